package reference

import (
	"crypto/sha256"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Set is all reference values of a tenant that are in force. It is immutable; the zero Set is empty.
type Set struct {
	models  map[modelKey]*Model
	vendors map[string]*Model // models without documents, of vendors with a deny-list of their own
	others  *Model            // all other models, where there is a deny-list for all
	known   map[string][]string
	all     []*Compiled // those in force first
	table   *Table
}

type modelKey struct{ vendor, model string }

// parts are the self-asserted parts that a document may speak of.
type parts struct{ flash, inventory, tamper bool }

// Kind is what a document is.
type Kind string

// Kinds.
const (
	KindBaseline Kind = "baseline" // the operator's own
	KindManifest Kind = "manifest" // published and signed by others
)

// Compiled is one document prepared for look-up.
type Compiled struct {
	Name     string
	Kind     Kind
	Firmware string
	Bank     pcr.Algorithm // of a baseline; a manifest has digests of several banks
	Secure   *bool         // Secure Boot of the reference; nil: not measured
	SVN      uint64        // of a manifest; 0: none is stated
	MinSVN   uint64        // of a manifest; 0: none is stated

	digest [sha256.Size]byte // of the document's content
	id     [sha256.Size]byte // of the content and of what this verifier makes of it

	registers [pcr.Count]*Register     // of a baseline
	sets      [pcr.Count]*manifest.PCR // of a manifest
	events    map[string][]eventAt     // of sets, by digest
	selected  pcr.Selection
	files     *files
	regions   []Region
	byRegion  map[string]*Region // by name
	devices   []Device
	inventory map[location]string // what is in devices
	tamper    []string

	head        *manifest.Manifest // without files; nil: a baseline
	endorsers   []Endorser
	from, until time.Time // zero: unbounded
	past        bool
	state       string
	grown       map[string]Growth // by region
}

type location struct{ bus, address string }

// eventAt is an event of a manifest and where it belongs.
type eventAt struct {
	pcr   int
	event *manifest.Event
}

// For returns what is known of a model, nil where nothing is. Names are compared without case and surrounding space.
func (s *Set) For(vendor, model string) *Model {
	if s == nil {
		return nil
	}
	key := modelKey{fold(vendor), fold(model)}
	if m := s.models[key]; m != nil {
		return m
	}
	if m := s.vendors[key.vendor]; m != nil {
		return m
	}
	return s.others
}

// Knows returns the names of documents, of any model, that contain a digest, those in force first; of one that is not
// the name says so. Of very many it gives some.
func (s *Set) Knows(digest []byte) []string {
	if s == nil {
		return nil
	}
	names := s.known[string(digest)]
	if s.table == nil {
		return names
	}
	for _, c := range s.all {
		if len(names) >= maxKnown {
			break
		}
		if c.files == nil || slices.Contains(names, c.label()) {
			continue
		}
		for _, id := range s.table.holding(&c.files.view, digest) {
			if c.files.has(id) {
				names = append(names[:len(names):len(names)], c.label())
				break
			}
		}
	}
	return names
}

// Files returns how many files the documents have, those that several have counted as often.
func (s *Set) Files() int {
	n := 0
	for _, c := range s.all {
		if c.files != nil {
			n += c.files.n
		}
	}
	return n
}

// Register returns a baseline's reference for PCR i, nil where there is none.
func (c *Compiled) Register(i int) *Register { return c.registers[i] }

// PCR returns a manifest's reference for PCR i, nil where there is none.
func (c *Compiled) PCR(i int) *manifest.PCR { return c.sets[i] }

// Events yields the events of a manifest's PCR i that have a digest, in any bank.
func (c *Compiled) Events(i int, digest []byte) iter.Seq[*manifest.Event] {
	return func(yield func(*manifest.Event) bool) {
		for _, e := range c.events[string(digest)] {
			if e.pcr == i && !yield(e.event) {
				return
			}
		}
	}
}

// PCRs returns the PCRs that the document speaks of.
func (c *Compiled) PCRs() pcr.Selection { return c.selected }

// Speaks reports whether the document has something to compare PCRs of a bank with.
func (c *Compiled) Speaks(bank pcr.Algorithm) bool {
	if c.Kind == KindBaseline {
		return c.Bank == bank
	}
	for _, p := range c.sets {
		if p != nil && Comparable(p, bank) {
			return true
		}
	}
	return false
}

// Comparable reports whether a manifest's PCR has a value or an event in a bank.
func Comparable(p *manifest.PCR, bank pcr.Algorithm) bool {
	return slices.ContainsFunc(p.Values, func(d manifest.Digests) bool { return d.Get(bank) != nil }) ||
		slices.ContainsFunc(p.Events, func(e manifest.Event) bool { return e.Digests.Get(bank) != nil })
}

// HasFiles reports whether the document says which files may run.
func (c *Compiled) HasFiles() bool { return c.files != nil && c.files.n > 0 }

// Match is how a file compares with the reference.
type Match int

// Matches.
const (
	Unknown Match = iota // neither path nor digest is known
	Same                 // this digest is expected at this path
	Moved                // this digest is expected, at another path
	Changed              // another digest is expected at this path
)

// File compares a measured file. other is the expected path (Moved) or the expected digest in hexadecimal (Changed).
func (c *Compiled) File(path string, digest []byte) (m Match, other string) {
	return c.files.compare(path, digest)
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
