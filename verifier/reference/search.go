package reference

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
)

// Mention is a place in a document that names something.
type Mention struct {
	Document string // name
	Kind     Kind
	State    string // "active", or why it is past, such as "superseded"
	Place    string // such as "PCR 4, shim" or "file /usr/bin/ls"
	Digest   []byte // at the place; nil: the document itself is named
	Others   int    // more such places in the document
}

// Mentions returns the documents, past ones too, that have a digest, those in force first.
func (s *Set) Mentions(digest []byte) []Mention {
	if s == nil {
		return nil
	}
	return s.mentions(func(c *Compiled, add func(place string, digest []byte)) {
		c.measurements(func(place, _ string, d []byte) {
			if bytes.Equal(d, digest) {
				add(place, d)
			}
		})
		if c.files == nil {
			return
		}
		for _, id := range s.table.holding(&c.files.view, digest) {
			if c.files.has(id) {
				add("file "+c.files.path(id), digest)
			}
		}
	})
}

// Named returns the documents, past ones too, of which the name, vendor, model, version, or a slot, note, region or path
// has a part, in any case (of ASCII letters), those in force first.
func (s *Set) Named(part string) []Mention {
	if s == nil || part == "" {
		return nil
	}
	part = lower(part)
	has := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(lower(t), part) {
				return true
			}
		}
		return false
	}
	found := s.table.paths(part)
	return s.mentions(func(c *Compiled, add func(place string, digest []byte)) {
		switch {
		case has(c.Name):
			add("its name", nil)
		case has(c.Firmware):
			add("version "+c.Firmware, nil)
		case c.head != nil && has(c.head.Vendor, c.head.Model):
			add(strings.TrimSpace(c.head.Vendor+" "+c.head.Model), nil)
		}
		c.measurements(func(place, more string, d []byte) {
			if has(place, more) {
				add(place, d)
			}
		})
		for _, id := range found {
			if c.files.has(id) {
				add("file "+c.files.path(id), c.files.record(id).digest())
			}
		}
	})
}

// mentions collects what look finds of each document.
func (s *Set) mentions(look func(c *Compiled, add func(place string, digest []byte))) []Mention {
	var out []Mention
	for _, c := range s.all {
		m := Mention{Document: c.Name, Kind: c.Kind, State: c.state}
		found := false
		look(c, func(place string, digest []byte) {
			if found {
				m.Others++
				return
			}
			found, m.Place, m.Digest = true, place, bytes.Clone(digest)
		})
		if found {
			out = append(out, m)
		}
	}
	return out
}

// measurements calls each for every PCR value, event and flash region. more is what else names the place.
func (c *Compiled) measurements(each func(place, more string, digest []byte)) {
	event := func(i int, slot, note string, digest []byte) {
		if note == "" {
			each(fmt.Sprintf("PCR %d, %s", i, slot), "", digest)
		} else {
			each(fmt.Sprintf("PCR %d, %s", i, note), slot, digest)
		}
	}
	for i, r := range c.registers {
		if r == nil {
			continue
		}
		each(fmt.Sprintf("PCR %d", i), "", r.Value)
		for _, e := range r.Events {
			event(i, e.Slot, e.Note, e.Digest)
		}
	}
	for i, p := range c.sets {
		if p == nil {
			continue
		}
		for _, alternative := range p.Values {
			eachDigest(alternative, func(d []byte) { each(fmt.Sprintf("PCR %d", i), "", d) })
		}
		for k := range p.Events {
			e := &p.Events[k]
			eachDigest(e.Digests, func(d []byte) { event(i, e.Slot, e.Note, d) })
		}
	}
	for i := range c.regions {
		each("flash region "+c.regions[i].Name, "", c.regions[i].Digest)
	}
}

func eachDigest(list manifest.Digests, each func([]byte)) {
	for _, d := range list {
		each(d.Value)
	}
}

// paths returns the entries of which the path has a part, in lower case; at most maxPaths.
func (t *Table) paths(part string) []uint32 {
	if t == nil {
		return nil
	}
	t.mu.Lock() // the last chunk is being filled
	defer t.mu.Unlock()
	var out []uint32
	var path []byte
	for n, chunk := range t.chunks {
		for at := 0; at+recordHead <= len(chunk); {
			r := record(chunk[at:])
			name, digest := int(binary.LittleEndian.Uint16(r[4:])), int(r[6])
			if digest == 0 { // the rest of the chunk is empty
				break
			}
			path = append(append(path[:0], t.folders[r.folder()]...), r.name()...)
			lowerBytes(path)
			if bytes.Contains(path, []byte(part)) {
				if out = append(out, uint32(n*chunkUnits+at/recordUnit)); len(out) == maxPaths {
					return out
				}
			}
			at += (recordHead + name + digest + recordUnit - 1) &^ (recordUnit - 1)
		}
	}
	return out
}

// lower makes ASCII letters small: others differ between languages.
func lower(s string) string {
	b := []byte(s)
	lowerBytes(b)
	return string(b)
}

func lowerBytes(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}
