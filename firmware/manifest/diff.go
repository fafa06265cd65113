package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// Kind is what became of a component between two manifests.
type Kind string

// Kinds of changes.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Change is one difference between two manifests.
type Change struct {
	Kind      Kind   `json:"kind"`
	Component string `json:"component"` // "version", "PCR 4, application/BOOTX64.EFI", "flash region bios", "file /usr/bin/ls"
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Concern   string `json:"concern,omitempty"` // set where the newer manifest promises less than the older one
}

// Diff returns what changed from one valid manifest to another: what they are of, versions, validity, PCRs and events,
// flash regions, files, references and denied entries, in this order.
func Diff(from, to *Manifest) []Change {
	d := &differ{}
	d.text("id", from.ID, to.ID, "")
	d.text("vendor", from.Vendor, to.Vendor, "another vendor")
	d.text("model", from.Model, to.Model, "another model")
	d.text("version", from.Version, to.Version, "")
	d.numbers(from, to)
	d.text("valid from", date(from.NotBefore), date(to.NotBefore), "")
	d.text("valid until", date(from.NotAfter), date(to.NotAfter), "")
	d.pcrs(from, to)
	d.regions(from, to)
	d.files(from, to)
	d.references(from, to)
	d.denied(from, to)
	return d.out
}

type differ struct{ out []Change }

// text notes a difference of two texts, of which an empty one stands for nothing.
func (d *differ) text(component, from, to, concern string) {
	c := Change{Kind: Changed, Component: component, From: from, To: to, Concern: concern}
	switch {
	case from == to:
		return
	case from == "":
		c.Kind = Added
	case to == "":
		c.Kind = Removed
	}
	d.out = append(d.out, c)
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (d *differ) numbers(from, to *Manifest) {
	for _, n := range []struct {
		name     string
		from, to uint64
	}{{"security version number", from.SVN, to.SVN}, {"least security version number", from.MinSVN, to.MinSVN}} {
		concern := ""
		if n.to < n.from {
			concern = "it went down: security version numbers only rise"
		}
		d.text(n.name, count(n.from), count(n.to), concern)
	}
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// sets notes the differences of named sets of texts, by name in the order of names.
func (d *differ) sets(names []string, from, to map[string][]string, component func(name string) string) {
	for _, name := range names {
		a, b := from[name], to[name]
		slices.Sort(a)
		slices.Sort(b)
		d.text(component(name), strings.Join(slices.Compact(a), ", "), strings.Join(slices.Compact(b), ", "), "")
	}
}

// union returns the keys of both maps in order.
func union[V any](a, b map[string]V) []string {
	out := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *differ) pcrs(from, to *Manifest) {
	for i := range 24 {
		a, b := registerOf(from, i), registerOf(to, i)
		if a == nil && b == nil {
			continue
		}
		at := fmt.Sprintf("PCR %d", i)
		d.coverage(at, a, b)
		d.sets([]string{""}, values(a), values(b), func(string) string { return at + ", value" })
		x, y := slots(a), slots(b)
		d.sets(union(x, y), x, y, func(slot string) string { return at + ", " + slot })
		d.required(at, a, b)
	}
}

func registerOf(m *Manifest, index int) *PCR {
	for i := range m.PCRs {
		if m.PCRs[i].Index == index {
			return &m.PCRs[i]
		}
	}
	return nil
}

func (d *differ) coverage(at string, a, b *PCR) {
	switch {
	case a == nil:
		d.text(at, "", b.Coverage.String(), "")
	case b == nil:
		d.text(at, a.Coverage.String(), "", "nothing is known of it any more")
	case b.Coverage > a.Coverage:
		d.text(at, a.Coverage.String(), b.Coverage.String(), "less is known of it: "+b.Note)
	default:
		d.text(at, a.Coverage.String(), b.Coverage.String(), "")
	}
}

func values(p *PCR) map[string][]string {
	out := map[string][]string{}
	if p != nil {
		for _, v := range p.Values {
			out[""] = append(out[""], list(v))
		}
	}
	return out
}

func slots(p *PCR) map[string][]string {
	out := map[string][]string{}
	if p != nil {
		for i := range p.Events {
			e := &p.Events[i]
			out[e.Slot] = append(out[e.Slot], list(e.Digests))
		}
	}
	return out
}

// list returns digests of one content.
func list(digests Digests) string {
	parts := make([]string, len(digests))
	for i, d := range digests {
		parts[i] = d.String()
	}
	return strings.Join(parts, " ")
}

// required notes slots that must no longer occur.
func (d *differ) required(at string, a, b *PCR) {
	if a == nil || b == nil {
		return
	}
	still := map[string]bool{}
	for i := range b.Events {
		still[b.Events[i].Slot] = still[b.Events[i].Slot] || b.Events[i].Required
	}
	seen := map[string]bool{}
	for i := range a.Events {
		slot := a.Events[i].Slot
		now, there := still[slot]
		if a.Events[i].Required && there && !now && !seen[slot] {
			seen[slot] = true
			d.text(at+", "+slot, "required", "allowed", "a boot without it passes now")
		}
	}
}

func (d *differ) regions(from, to *Manifest) {
	a, b := byName(from), byName(to)
	for _, name := range union(a, b) {
		at := "flash region " + name
		x, y := a[name], b[name]
		switch {
		case x == nil:
			d.text(at, "", place(y)+" "+list(y.Digests), "")
			continue
		case y == nil:
			d.text(at, place(x)+" "+list(x.Digests), "", "nothing is known of it any more")
			continue
		}
		d.text(at+", place", place(x), place(y), "")
		d.text(at+", digest", list(x.Digests), list(y.Digests), "")
		concern := ""
		if grown := NewlyExcluded(x, y); len(grown) > 0 {
			var n uint64
			for _, g := range grown {
				n += g.Length
			}
			concern = fmt.Sprintf("%d bytes that were measured no longer are: %s", n, ranges(grown))
		} else if n, before := y.ExcludedLength(), x.ExcludedLength(); n > before {
			concern = fmt.Sprintf("%d more bytes are excluded than before", n-before)
		}
		d.text(at+", excluded", ranges(x.Excluded), ranges(y.Excluded), concern)
	}
}

func byName(m *Manifest) map[string]*Region {
	out := make(map[string]*Region, len(m.Regions))
	for i := range m.Regions {
		out[m.Regions[i].Name] = &m.Regions[i]
	}
	return out
}

func place(r *Region) string { return fmt.Sprintf("%d bytes at %#x", r.Length, r.Offset) }

func ranges(list []Range) string {
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = fmt.Sprintf("%d bytes at %#x (%s)", x.Length, x.Offset, x.Reason)
	}
	return strings.Join(parts, ", ")
}

// NewlyExcluded returns the parts of the newer region that it excludes but that the older one measured, with the
// offsets and reasons of the newer one. Bytes are compared by their offset in the flash image or, where the regions
// have no byte of it in common, by their offset in the region.
func NewlyExcluded(older, newer *Region) (out []Range) {
	if older.Offset >= newer.Offset+newer.Length || newer.Offset >= older.Offset+older.Length {
		moved := *older
		moved.Offset = newer.Offset
		older = &moved
	}
	for _, x := range newer.Excluded {
		// What of [low, high) in the image lies in the older region and isn't excluded there?
		low, high := newer.Offset+x.Offset, newer.Offset+x.Offset+x.Length
		low, high = max(low, older.Offset), min(high, older.Offset+older.Length)
		add := func(from, to uint64) {
			if from < to {
				out = append(out, Range{Offset: from - newer.Offset, Length: to - from, Reason: x.Reason})
			}
		}
		for _, o := range older.Excluded {
			start, end := older.Offset+o.Offset, older.Offset+o.Offset+o.Length
			if end <= low || start >= high {
				continue
			}
			add(low, start)
			low = end
		}
		add(low, high)
	}
	return out
}

func (d *differ) files(from, to *Manifest) {
	a, b := paths(from), paths(to)
	names := union(a, b)
	slices.SortFunc(names, func(x, y string) int {
		dx, _ := corim.SplitPath(x)
		dy, _ := corim.SplitPath(y)
		return cmp.Or(strings.Compare(dx, dy), strings.Compare(x, y))
	})
	d.sets(names, a, b, func(path string) string { return "file " + path })
}

func paths(m *Manifest) map[string][]string {
	out := make(map[string][]string, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		out[f.Path] = append(out[f.Path], f.Digest.String())
	}
	return out
}

func (d *differ) references(from, to *Manifest) {
	refs := func(m *Manifest) map[string][]string {
		out := map[string][]string{}
		for _, s := range m.Supersedes {
			until := cmp.Or(date(s.Until), "without an end of the overlap")
			out["supersedes "+s.ID] = append(out["supersedes "+s.ID], until)
		}
		for _, w := range m.Withdraws {
			out["withdraws "+w.ID] = append(out["withdraws "+w.ID], w.Reason)
		}
		return out
	}
	a, b := refs(from), refs(to)
	d.sets(union(a, b), a, b, func(name string) string { return name })
}

func (d *differ) denied(from, to *Manifest) {
	d.text("advisory", from.Advisory, to.Advisory, "")
	entries := func(m *Manifest) map[string][]string {
		out := map[string][]string{}
		for i := range m.Denied {
			x := &m.Denied[i]
			name := "denied " + x.Component.String() + " " + list(x.Digests)
			out[name] = append(out[name], cmp.Or(x.Note, "no note"))
		}
		return out
	}
	a, b := entries(from), entries(to)
	for _, name := range union(a, b) {
		concern := ""
		if len(a[name]) > 0 && len(b[name]) == 0 {
			concern = "it is no longer denied"
		}
		d.text(name, strings.Join(a[name], ", "), strings.Join(b[name], ", "), concern)
	}
}
