package reference

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Compile prepares baselines, which must have been verified.
func Compile(documents []Baseline) *Set {
	s, err := Build(Documents{Baselines: documents})
	if err != nil { // only a baseline that breaks its own rules
		panic(err)
	}
	return s
}

// Build prepares documents. The set does not change any more, whatever becomes of d; sets that share a Table may be built
// and used at the same time.
func Build(d Documents) (*Set, error) {
	b := builder{
		Set: &Set{
			models: make(map[modelKey]*Model), vendors: make(map[string]*Model), known: make(map[string][]string), table: d.Table,
		},
	}
	if b.table == nil {
		b.table = NewTable()
	}
	for i := range d.Baselines {
		if err := b.baseline(&d.Baselines[i], false); err != nil {
			return nil, err
		}
	}
	for i := range d.Releases {
		if err := b.release(&d.Releases[i], false); err != nil {
			return nil, err
		}
	}
	for i := range d.Retired {
		if err := b.baseline(&d.Retired[i], true); err != nil {
			return nil, err
		}
	}
	for i := range d.Past {
		if err := b.release(&d.Past[i], true); err != nil {
			return nil, err
		}
	}
	b.deny(d.Denied)
	for _, m := range b.models {
		m.finish()
	}
	return b.Set, nil
}

type builder struct{ *Set }

func (b *builder) model(vendor, name string) *Model {
	key := modelKey{fold(vendor), fold(name)}
	m := b.models[key]
	if m == nil {
		m = &Model{}
		b.models[key] = m
	}
	return m
}

func (b *builder) baseline(doc *Baseline, retired bool) error {
	c, err := b.table.baseline(doc)
	if err != nil {
		return err
	}
	if retired {
		c.past, c.state = true, "retired"
	} else {
		m := b.model(doc.Vendor, doc.Model)
		m.documents = append(m.documents, c)
		m.has.add(c)
	}
	b.all = append(b.all, c)
	b.index(c)
	return nil
}

func (b *builder) release(r *Release, past bool) error {
	c, err := r.release(b.table, past)
	if err != nil {
		return err
	}
	m := b.model(c.head.Vendor, c.head.Model)
	m.documents = append(m.documents, c)
	if !past {
		m.has.add(c)
	}
	b.all = append(b.all, c)
	b.index(c)
	return nil
}

func (p *parts) add(c *Compiled) {
	p.flash = p.flash || c.HasFlash()
	p.inventory = p.inventory || c.HasInventory()
	p.tamper = p.tamper || c.HasTamper()
}

// baseline prepares a baseline.
func (t *Table) baseline(b *Baseline) (*Compiled, error) {
	c := &Compiled{
		Name: b.Name, Kind: KindBaseline, Firmware: b.Firmware, Bank: pcr.Algorithm(b.Bank), Secure: b.Secure,
		devices: b.Inventory, inventory: make(map[location]string, len(b.Inventory)), tamper: b.Tamper, state: "active",
	}
	content, err := encoding.Marshal(b)
	if err != nil { // a struct of plain values always encodes
		panic(err)
	}
	c.digest = sha256.Sum256(content)
	c.id = c.digest
	for i := range b.PCRs {
		c.registers[b.PCRs[i].Index] = &b.PCRs[i]
		c.selected |= 1 << b.PCRs[i].Index
	}
	c.files, err = t.keep(len(b.Files), func(add func(string, []byte) error) error {
		for i := range b.Files {
			if err := add(string(b.Files[i].Path), b.Files[i].Digest); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c.files != nil {
		c.files.exact = true
	}
	c.setRegions(b.Flash)
	for _, d := range b.Inventory {
		c.inventory[location{d.Bus, d.Address}] = d.Name
	}
	return c, nil
}

func (c *Compiled) setRegions(list []Region) {
	c.regions, c.byRegion = list, make(map[string]*Region, len(list))
	for i := range list {
		c.byRegion[list[i].Name] = &list[i]
	}
}

// label is the document's name as others are told of it.
func (c *Compiled) label() string {
	if c.past {
		return c.Name + " (" + c.state + ")"
	}
	return c.Name
}

// index notes what Knows tells of, but for files.
func (s *Set) index(c *Compiled) {
	name := c.label()
	add := func(digest []byte) {
		if names := s.known[string(digest)]; len(names) < maxKnown && !slices.Contains(names, name) {
			s.known[string(digest)] = append(names, name)
		}
	}
	for _, r := range c.registers {
		if r != nil {
			for _, e := range r.Events {
				add(e.Digest)
			}
		}
	}
	for _, p := range c.sets {
		if p == nil {
			continue
		}
		for _, e := range p.Events {
			for _, d := range e.Digests {
				add(d.Value)
			}
		}
		for _, v := range p.Values {
			for _, d := range v {
				add(d.Value)
			}
		}
	}
	for i := range c.regions {
		add(c.regions[i].Digest)
	}
}

// finish is called when a model has all its documents.
func (m *Model) finish() {
	slices.SortStableFunc(m.documents, func(a, b *Compiled) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, c := range m.documents {
		h.Write(c.id[:])
		m.moments = append(m.moments, c.from, c.until)
	}
	m.moments = moments(m.moments)
	for _, l := range m.lists {
		h.Write(l.id[:])
	}
	m.id = hex.EncodeToString(h.Sum(nil)[:8])
	m.growths()
}

func encodedNumber(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
