package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/firmware/manifest/corim"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Decode reads an unsigned manifest. The checks, in order: size, well-formed deterministic CBOR without duplicate keys,
// indefinite lengths and trailing bytes, the structure of the draft, the profile, nothing that the profile doesn't
// define, the rules of Validate, the one encoding that Encode gives this content.
//
// The error is a *MalformedError with the offset, a *ProfileError, or tells the rule that is broken. Digests of the
// manifest share memory with b.
func Decode(b []byte) (*Manifest, error) {
	c, err := read(b)
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if c.Signed != nil {
		return nil, errors.New("decode manifest: it is signed: open it with the keys that are trusted")
	}
	m, err := fromCoRIM(c, b, 0)
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
}

// read reads a CoRIM of the profile.
func read(b []byte) (*corim.CoRIM, error) {
	c, err := corim.ReadDeterministic(b)
	if err != nil {
		// What isn't ours need not be deterministic. That it isn't ours is the better message.
		if other, again := corim.Read(b); again == nil && other.Profile != Profile {
			err = &ProfileError{Profile: other.Profile}
		}
		return nil, err
	}
	if c.Profile != Profile {
		return nil, &ProfileError{Profile: c.Profile}
	}
	return c, nil
}

// fromCoRIM maps c, which was read from payload, the unsigned CoRIM at byte base of the document.
func fromCoRIM(c *corim.CoRIM, payload []byte, base int) (*Manifest, error) {
	m := &Manifest{ID: c.ID.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	if err := m.fromTags(c); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	again := corim.Encode(m.corim())
	if !bytes.Equal(again, payload) {
		at := 0
		for at < min(len(again), len(payload)) && again[at] == payload[at] {
			at++
		}
		return nil, malformed(base+at, "not the encoding that the profile has for this content (README.md, section 5)")
	}
	return m, nil
}

func (m *Manifest) fromTags(c *corim.CoRIM) error {
	for _, f := range c.Extensions {
		if err := m.fromExtension(&f); err != nil {
			return err
		}
	}
	for i := range c.Tags {
		t := &c.Tags[i]
		switch {
		case t.CoMID != nil && i == 0:
			if err := m.fromCoMID(t.CoMID, t.Offset); err != nil {
				return err
			}
		case t.CoSWID != nil && i > 0:
			for k := range t.CoSWID.Files {
				f := &t.CoSWID.Files[k]
				d, err := fromDigest(f.Digest, t.Offset)
				if err != nil {
					return err
				}
				m.Files = append(m.Files, File{Path: f.Path, Digest: d})
			}
		default:
			return malformed(t.Offset, "tag %d: want one CoMID, and CoSWIDs after it", t.Number)
		}
	}
	return nil
}

func (m *Manifest) fromExtension(f *corim.Field) error {
	switch f.Key {
	case extAdvisory:
		return value(f, &m.Advisory)
	case extSupersedes:
		var list []wireSupersession
		if err := value(f, &list); err != nil {
			return err
		}
		for _, s := range list {
			out := Supersession{ID: s.ID}
			if s.Until != nil {
				out.Until = time.Unix(*s.Until, 0).UTC()
			}
			m.Supersedes = append(m.Supersedes, out)
		}
		return nil
	}
	return unknown("CoRIM", f)
}

// value decodes an extension.
func value(f *corim.Field, v any) error {
	if err := decoding.Unmarshal(f.Value, v); err != nil {
		return malformed(f.Offset, "extension %d: not of the type that the profile gives it (README.md, section 4)", f.Key)
	}
	return nil
}

// unknown refuses a field.
func unknown(what string, f *corim.Field) error {
	if f.Name != "" {
		return malformed(f.Offset, "%s: field %q is not part of the profile", what, f.Name)
	}
	return malformed(f.Offset, "%s: field %d is not part of the profile", what, f.Key)
}

func (m *Manifest) fromCoMID(c *corim.CoMID, at int) error {
	for _, f := range c.Others {
		return unknown("CoMID", &f)
	}
	t := &c.Triples
	if len(t.Endorsed) > 0 {
		return malformed(at, "endorsed triples are not part of the profile")
	}
	for i := range t.Reference {
		if err := m.fromTriple(&t.Reference[i], m.fromReference); err != nil {
			return err
		}
	}
	for i := range t.Others {
		f := &t.Others[i]
		if f.Key != extDenied {
			return unknown("triples", f)
		}
		list, err := f.Triples()
		if err != nil {
			return err
		}
		for k := range list {
			if err := m.fromTriple(&list[k], m.fromDenied); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(m.PCRs, func(a, b PCR) int { return cmp.Compare(a.Index, b.Index) })
	return nil
}

// fromTriple gives the single measurement of t to f, after looking at its environment.
func (m *Manifest) fromTriple(t *corim.Triple, f func(*corim.Class, *corim.Measurement) error) error {
	class := t.Environment.Class
	if class == nil || class.ID == nil || len(t.Environment.Others) > 0 {
		return malformed(t.Offset, "triple: the environment needs a class with a class id, and nothing else")
	}
	if m.Vendor == "" && m.Model == "" {
		m.Vendor, m.Model = class.Vendor, class.Model
	}
	if class.Vendor != m.Vendor || class.Model != m.Model {
		return malformed(t.Offset, "triple: vendor %q and model %q, want %q and %q as in the first", class.Vendor, class.Model,
			m.Vendor, m.Model)
	}
	if len(t.Measurements) != 1 {
		return malformed(t.Offset, "triple: %d measurements, want 1", len(t.Measurements))
	}
	v := &t.Measurements[0]
	for i := range v.Others {
		return unknown("measurement", &v.Others[i])
	}
	return f(class, v)
}

func is(id, class *corim.ClassID) bool {
	return id.Tag == class.Tag && bytes.Equal(id.Bytes, class.Bytes)
}

func (m *Manifest) fromReference(class *corim.Class, v *corim.Measurement) error {
	switch {
	case is(class.ID, &classDevice):
		return m.fromDevice(v)
	case is(class.ID, &classPCR):
		return m.fromPCR(v)
	case is(class.ID, &classEvent) && class.Index != nil && *class.Index < pcr.Count:
		return m.fromEvent(m.pcr(int(*class.Index)), v)
	case is(class.ID, &classFlash):
		return m.fromRegion(v)
	}
	return malformed(v.Offset, "reference triple: class id %s is not part of the profile here, or lacks the PCR as its index", class.ID)
}

// pcr returns the entry of a PCR, which it adds where it is missing.
func (m *Manifest) pcr(index int) *PCR {
	for i := range m.PCRs {
		if m.PCRs[i].Index == index {
			return &m.PCRs[i]
		}
	}
	m.PCRs = append(m.PCRs, PCR{Index: index})
	return &m.PCRs[len(m.PCRs)-1]
}

func (m *Manifest) fromDevice(v *corim.Measurement) error {
	if version := v.Values.Version; version != nil {
		m.Version = version.Text
	}
	if svn := v.Values.SVN; svn != nil && svn.Minimum {
		m.MinSVN = svn.Number
	} else if svn != nil {
		m.SVN = svn.Number
	}
	return only("firmware", v)
}

// only refuses extensions of a measurement's values other than keys.
func only(what string, v *corim.Measurement, keys ...int64) error {
	for i := range v.Values.Others {
		if f := &v.Values.Others[i]; f.Name != "" || !slices.Contains(keys, f.Key) {
			return unknown(what, f)
		}
	}
	return nil
}

// find returns an extension, nil where there is none.
func find(v *corim.Measurement, key int64) *corim.Field {
	for i := range v.Values.Others {
		if f := &v.Values.Others[i]; f.Name == "" && f.Key == key {
			return f
		}
	}
	return nil
}

func (m *Manifest) fromPCR(v *corim.Measurement) error {
	if v.Key == nil || v.Key.Text != "" || v.Key.ID != nil || v.Key.Number >= pcr.Count {
		return malformed(v.Offset, "PCR: want its number from 0 to %d as measured element", pcr.Count-1)
	}
	p := m.pcr(int(v.Key.Number))
	if f := find(v, extCoverage); f != nil {
		p.Note = v.Values.Name
		return first(value(f, (*uint8)(&p.Coverage)), only("PCR", v, extCoverage))
	}
	d, err := fromDigests(v)
	if err != nil {
		return err
	}
	p.Values = append(p.Values, d)
	return only("PCR", v)
}

func (m *Manifest) fromEvent(p *PCR, v *corim.Measurement) error {
	d, err := fromDigests(v)
	if err != nil {
		return err
	}
	e := Event{Slot: elementName(v), Digests: d, Note: v.Values.Name}
	if f := find(v, extRequired); f != nil {
		err = value(f, &e.Required)
	}
	p.Events = append(p.Events, e)
	return first(err, only("boot event", v, extRequired))
}

func elementName(v *corim.Measurement) string {
	if v.Key == nil {
		return ""
	}
	return v.Key.Text
}

func (m *Manifest) fromRegion(v *corim.Measurement) error {
	d, err := fromDigests(v)
	if err != nil {
		return err
	}
	r := Region{Name: elementName(v), Digests: d, Note: v.Values.Name}
	if f := find(v, extRange); f != nil {
		var w wireRange
		if err := value(f, &w); err != nil {
			return err
		}
		r.Offset, r.Length = w.Offset, w.Length
	}
	if f := find(v, extExcluded); f != nil {
		var list []wireExcluded
		if err := value(f, &list); err != nil {
			return err
		}
		for _, x := range list {
			r.Excluded = append(r.Excluded, Range{Offset: x.Offset, Length: x.Length, Reason: x.Reason})
		}
	}
	m.Regions = append(m.Regions, r)
	return only("flash region", v, extRange, extExcluded)
}

func (m *Manifest) fromDenied(class *corim.Class, v *corim.Measurement) error {
	if is(class.ID, &classManifest) {
		m.Withdraws = append(m.Withdraws, Withdrawal{ID: elementName(v), Reason: v.Values.Name})
		return only("withdrawn manifest", v)
	}
	for component, id := range deniedClasses {
		if !is(class.ID, id) {
			continue
		}
		d, err := fromDigests(v)
		if err != nil {
			return err
		}
		m.Denied = append(m.Denied, Denial{Component: component, Digests: d, Note: v.Values.Name})
		return only("denied entry", v)
	}
	return malformed(v.Offset, "denied triple: class id %s is not part of the profile", class.ID)
}

func fromDigests(v *corim.Measurement) (Digests, error) {
	out := make(Digests, 0, len(v.Values.Digests))
	for _, d := range v.Values.Digests {
		converted, err := fromDigest(d, v.Offset)
		if err != nil {
			return nil, err
		}
		out = append(out, converted)
	}
	return out, nil
}

func fromDigest(d corim.Digest, at int) (Digest, error) {
	a := algorithm(d.Algorithm)
	if a == 0 || d.Name != "" {
		return Digest{}, malformed(at, "digest algorithm %d%s: want 1 (sha-256), 7 (sha-384) or 8 (sha-512)", d.Algorithm, d.Name)
	}
	return Digest{Algorithm: a, Value: d.Value}, nil
}
