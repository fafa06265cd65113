package ima

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Measurement is what Builder makes an entry of.
type Measurement struct {
	Path      string // without NUL; spaces become "_", as in the kernel
	Algorithm pcr.Algorithm
	Digest    []byte // of Algorithm's size; not looked at for a violation
	Signature []byte // makes the entry an ima-sig one
	Violation bool
}

// Builder makes lists in the kernel's binary format, as a device would have them: for tests and virtual devices. The zero
// Builder is an empty list. It is not safe for concurrent use.
type Builder struct {
	first []byte // boot_aggregate, if there is one
	rest  []byte
}

// Append adds a measurement to PCR 10, in template ima-ng, or ima-sig with a signature.
func (b *Builder) Append(m Measurement) error {
	e, err := m.entry(templateNG)
	if err != nil {
		return err
	}
	b.rest = appendEntry(b.rest, e)
	return nil
}

// AppendList adds the entries of a binary list. Where b is empty and the list begins with boot_aggregate, this becomes the
// entry that SetBootAggregate replaces. It fails with a *ParseError and then adds nothing.
func (b *Builder) AppendList(list []byte) error {
	if _, err := Count(list); err != nil {
		return err
	}
	s := NewScanner(list)
	if len(b.first)+len(b.rest) == 0 && s.Scan() && s.Entry().IsBootAggregate() {
		b.first = append(b.first, list[:s.Offset()]...)
		list = list[s.Offset():]
	}
	b.rest = append(b.rest, list...)
	return nil
}

// SetBootAggregate makes boot_aggregate the first entry, in place of one that is there, and in its template. The digest
// has the size of alg: see BootAggregate.
func (b *Builder) SetBootAggregate(alg pcr.Algorithm, digest []byte) error {
	template := templateNG
	if s := NewScanner(b.first); s.Scan() && s.Entry().Template == templateSig {
		template = templateSig
	}
	e, err := Measurement{Path: BootAggregatePath, Algorithm: alg, Digest: digest}.entry(template)
	if err != nil {
		return err
	}
	b.first = appendEntry(b.first[:0], e)
	return nil
}

// Bytes returns a copy of the list.
func (b *Builder) Bytes() []byte {
	return append(append(make([]byte, 0, len(b.first)+len(b.rest)), b.first...), b.rest...)
}

func (m Measurement) entry(template string) (Entry, error) {
	if strings.IndexByte(m.Path, 0) >= 0 {
		return Entry{}, fmt.Errorf("IMA entry %q: NUL in path", m.Path)
	}
	digest := m.Digest
	if m.Violation {
		digest = make([]byte, m.Algorithm.Size())
	}
	if m.Algorithm.Size() == 0 || len(digest) != m.Algorithm.Size() {
		return Entry{}, fmt.Errorf("IMA entry %q: %w: want %d bytes for %s, got %d",
			m.Path, pcr.ErrSize, m.Algorithm.Size(), m.Algorithm, len(digest))
	}
	if m.Signature != nil {
		template = templateSig
	}
	data := appendField(nil, m.Algorithm.String()+":\x00"+string(digest))
	data = appendField(data, strings.ReplaceAll(m.Path, " ", "_")+"\x00")
	if template == templateSig {
		data = appendField(data, string(m.Signature))
	}
	if len(data) > maxData {
		return Entry{}, fmt.Errorf("IMA entry: %d bytes of template data, at most %d allowed", len(data), maxData)
	}
	var d [DigestSize]byte
	if !m.Violation {
		d = sha1.Sum(data)
	}
	return Entry{PCR: PCR, Template: template, TemplateDigest: d[:], Data: data}, nil
}

func appendField(b []byte, v string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

// appendEntry appends the binary format of e.
func appendEntry(b []byte, e Entry) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.PCR)
	b = append(b, e.TemplateDigest...)
	b = appendField(b, e.Template)
	if e.Template != templateOld {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Data)))
	}
	return append(b, e.Data...)
}
