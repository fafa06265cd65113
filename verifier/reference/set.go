package reference

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Set is all reference values of a tenant that are in force. It is immutable; the zero Set is empty.
type Set struct {
	models map[modelKey]*Model
	known  map[string][]string // digest: names of the documents that contain it
}

type modelKey struct{ vendor, model string }

// Model is what is known of one vendor's model: alternatives, any of which is good.
type Model struct {
	id           string
	alternatives []*Compiled
	has          parts // of any alternative
}

// parts are the self-asserted parts that a document may speak of.
type parts struct{ flash, inventory, tamper bool }

// Compiled is one document prepared for look-up.
type Compiled struct {
	Name     string
	Firmware string
	Bank     pcr.Algorithm
	Secure   *bool // Secure Boot of the reference; nil: not measured

	digest [sha256.Size]byte // of the document's content

	registers [pcr.Count]*Register
	selected  pcr.Selection
	files     map[string][][]byte // path: digests
	digests   map[string]string   // file digest: a path
	regions   []Region
	byRegion  map[string]*Region // by name
	devices   []Device
	inventory map[location]string // what is in devices
	tamper    []string
}

type location struct{ bus, address string }

// Compile prepares documents, which must have been verified.
func Compile(documents []Baseline) *Set {
	s := &Set{models: make(map[modelKey]*Model), known: make(map[string][]string)}
	for i := range documents {
		c := compile(&documents[i])
		key := modelKey{fold(documents[i].Vendor), fold(documents[i].Model)}
		m := s.models[key]
		if m == nil {
			m = &Model{}
			s.models[key] = m
		}
		m.alternatives = append(m.alternatives, c)
		m.has.flash = m.has.flash || c.HasFlash()
		m.has.inventory = m.has.inventory || c.HasInventory()
		m.has.tamper = m.has.tamper || c.HasTamper()
		s.index(&documents[i], documents[i].Name)
	}
	for _, m := range s.models {
		slices.SortFunc(m.alternatives, func(a, b *Compiled) int { return strings.Compare(a.Name, b.Name) })
		h := sha256.New()
		for _, c := range m.alternatives {
			h.Write(c.digest[:])
		}
		m.id = hex.EncodeToString(h.Sum(nil)[:8])
	}
	return s
}

func compile(b *Baseline) *Compiled {
	c := &Compiled{
		Name: b.Name, Firmware: b.Firmware, Bank: pcr.Algorithm(b.Bank), Secure: b.Secure,
		files:   make(map[string][][]byte, len(b.Files)),
		digests: make(map[string]string, len(b.Files)),
		regions: b.Flash, byRegion: make(map[string]*Region, len(b.Flash)),
		devices: b.Inventory, inventory: make(map[location]string, len(b.Inventory)), tamper: b.Tamper,
	}
	content, err := encoding.Marshal(b)
	if err != nil { // a struct of plain values always encodes
		panic(err)
	}
	c.digest = sha256.Sum256(content)
	for i := range b.PCRs {
		c.registers[b.PCRs[i].Index] = &b.PCRs[i]
		c.selected |= 1 << b.PCRs[i].Index
	}
	for _, f := range b.Files {
		path := string(f.Path)
		c.files[path] = append(c.files[path], f.Digest)
		c.digests[string(f.Digest)] = path
	}
	for i := range b.Flash {
		c.byRegion[b.Flash[i].Name] = &b.Flash[i]
	}
	for _, d := range b.Inventory {
		c.inventory[location{d.Bus, d.Address}] = d.Name
	}
	return c
}

// Remember adds documents that are no longer in force, only so that Knows can tell of them. Call it before s is used.
func (s *Set) Remember(retired []Baseline) {
	for i := range retired {
		s.index(&retired[i], retired[i].Name+" (retired)")
	}
}

func (s *Set) index(b *Baseline, name string) {
	add := func(digest []byte) {
		if names := s.known[string(digest)]; !slices.Contains(names, name) {
			s.known[string(digest)] = append(names, name)
		}
	}
	for _, r := range b.PCRs {
		for _, e := range r.Events {
			add(e.Digest)
		}
	}
	for _, f := range b.Files {
		add(f.Digest)
	}
	for _, r := range b.Flash {
		add(r.Digest)
	}
}

// For returns what is known of a model, nil where nothing is. Names are compared without case and surrounding space.
func (s *Set) For(vendor, model string) *Model {
	if s == nil {
		return nil
	}
	return s.models[modelKey{fold(vendor), fold(model)}]
}

// Knows returns the names of the documents, of any model, that contain a digest, those in force first; of one that is not
// the name says so.
func (s *Set) Knows(digest []byte) []string {
	if s == nil {
		return nil
	}
	return s.known[string(digest)]
}

// ID changes whenever the documents of the model do.
func (m *Model) ID() string {
	if m == nil {
		return ""
	}
	return m.id
}

// Alternatives returns the documents of the model in ascending name.
func (m *Model) Alternatives() []*Compiled {
	if m == nil {
		return nil
	}
	return m.alternatives
}

// HasFlash, HasInventory and HasTamper report whether any document of the model speaks of that part of a device.
func (m *Model) HasFlash() bool { return m != nil && m.has.flash }

// HasInventory is like HasFlash.
func (m *Model) HasInventory() bool { return m != nil && m.has.inventory }

// HasTamper is like HasFlash.
func (m *Model) HasTamper() bool { return m != nil && m.has.tamper }

// Register returns the reference for PCR i, nil where there is none.
func (c *Compiled) Register(i int) *Register { return c.registers[i] }

// PCRs returns the PCRs that the document speaks of.
func (c *Compiled) PCRs() pcr.Selection { return c.selected }

// HasFiles reports whether the document says which files may run.
func (c *Compiled) HasFiles() bool { return len(c.files) > 0 }

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
	expected, ok := c.files[path]
	for _, d := range expected {
		if bytes.Equal(d, digest) {
			return Same, ""
		}
	}
	if ok {
		return Changed, hex.EncodeToString(expected[0])
	}
	if p, ok := c.digests[string(digest)]; ok {
		return Moved, p
	}
	return Unknown, ""
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
