package reference

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Model is what is known of one vendor's model: documents of all times. At tells which of them count.
type Model struct {
	id        string
	documents []*Compiled // in ascending name, past ones too
	has       parts       // of any document that is not past
	moments   []time.Time // at which what counts changes, in ascending order
	scope     modelKey
	lists     []*denyList
	denials   map[string][]denial // of the set

	newest atomic.Pointer[View]
}

// ID changes whenever the documents of the model do.
func (m *Model) ID() string {
	if m == nil {
		return ""
	}
	return m.id
}

// View is what counts of a model at a moment. The nil View is that of a model of which nothing is known. It is immutable.
type View struct {
	model       *Model
	id          string
	from, until time.Time // zero: unbounded
	good        []*Compiled
	others      []*Compiled
	minSVN      uint64
	minBy       string
}

// At returns what counts at a moment. Between two moments at which a document begins or ceases to count it is the same.
func (m *Model) At(now time.Time) *View {
	if m == nil {
		return nil
	}
	if v := m.newest.Load(); v != nil && !now.Before(v.from) && (v.until.IsZero() || now.Before(v.until)) {
		return v
	}
	v := m.view(now)
	m.newest.Store(v)
	return v
}

func (m *Model) view(now time.Time) *View {
	v := &View{model: m, id: m.id}
	for _, t := range m.moments {
		if now.Before(t) {
			v.until = t
			break
		}
		v.from = t
	}
	if len(m.moments) > 0 {
		v.id += "@"
		if !v.from.IsZero() {
			v.id += strconv.FormatInt(v.from.Unix(), 10)
		}
	}
	for _, c := range m.documents {
		// What is not safe any more does not become safe when the release that said so ends: only withdrawal takes it back.
		if !c.past && !now.Before(c.from) && c.MinSVN > v.minSVN {
			v.minSVN, v.minBy = c.MinSVN, c.Name
		}
	}
	for _, c := range m.documents {
		switch {
		case c.valid(now) == InForce && !v.below(c):
			v.good = append(v.good, c)
		case !c.past || v.below(c):
			v.others = append(v.others, c)
		}
	}
	return v
}

// moments sorts and compacts times, without the zero one.
func moments(list []time.Time) []time.Time {
	list = slices.DeleteFunc(list, time.Time.IsZero)
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// Standing is whether a document counts, and why it does not.
type Standing int

// Standings.
const (
	InForce     Standing = iota
	NotYetValid          // its period has not begun
	Expired              // its period, or that for which this verifier lets it count, is over
	Rollback             // its SVN is below the minimum in force
	Retired              // it was superseded or withdrawn
)

// valid returns the document's standing by itself.
func (c *Compiled) valid(now time.Time) Standing {
	switch {
	case c.past:
		return Retired
	case now.Before(c.from):
		return NotYetValid
	case !c.until.IsZero() && !now.Before(c.until):
		return Expired
	}
	return InForce
}

// below reports whether a manifest's SVN is less than what is in force. One that states none counts as 0.
func (v *View) below(c *Compiled) bool { return c.Kind == KindManifest && c.SVN < v.minSVN }

// Standing returns a document's standing at the moment of the view.
func (v *View) Standing(c *Compiled) Standing {
	if v.below(c) {
		return Rollback
	}
	return c.valid(v.from) // nothing changes until the view's end
}

// ID changes whenever the document or what this verifier makes of it does. It is zero for nil.
func (c *Compiled) ID() [sha256.Size]byte {
	if c == nil {
		return [sha256.Size]byte{}
	}
	return c.id
}

// Period returns when a document counts; zero: unbounded. From until on it no longer does.
func (c *Compiled) Period() (from, until time.Time) { return c.from, c.until }

// MinSVN returns the minimum in force, and the document that states it: the highest of all releases whose period has begun,
// over or not, unless they were withdrawn. 0: there is none.
func (v *View) MinSVN() (svn uint64, by string) {
	if v == nil {
		return 0, ""
	}
	return v.minSVN, v.minBy
}

// ID changes whenever the documents of the model do, or which of them count.
func (v *View) ID() string {
	if v == nil {
		return ""
	}
	return v.id
}

// Alternatives returns the documents that count, in ascending name. Do not change them.
func (v *View) Alternatives() []*Compiled {
	if v == nil {
		return nil
	}
	return v.good
}

// Others returns documents that tell what a device runs which fits none of Alternatives: those that have expired or are
// not yet valid, and all that are below the minimum SVN. Do not change them.
func (v *View) Others() []*Compiled {
	if v == nil {
		return nil
	}
	return v.others
}

// HasFlash, HasInventory and HasTamper report whether any document of the model speaks of that part of a device.
func (v *View) HasFlash() bool { return v != nil && v.model.has.flash }

// HasInventory is like HasFlash.
func (v *View) HasInventory() bool { return v != nil && v.model.has.inventory }

// HasTamper is like HasFlash.
func (v *View) HasTamper() bool { return v != nil && v.model.has.tamper }

// Documents returns all documents of the model but past ones, in ascending name, whether they count or not.
func (m *Model) Documents() []*Compiled {
	if m == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(m.documents), func(c *Compiled) bool { return c.past })
}
