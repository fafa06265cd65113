package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// Encode returns m as an unsigned CoRIM, the only encoding of this content. It fails where Validate does, and where the
// encoding exceeds MaxSize. Files are put into the order of SortFiles, without duplicates.
func Encode(m *Manifest) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	b := corim.Encode(m.corim())
	if len(b) > MaxSize {
		return nil, fmt.Errorf("encode manifest: %d bytes, at most %d allowed", len(b), MaxSize)
	}
	return b, nil
}

// SortFiles sorts by directory, name and digest, files of the root last, and removes duplicates. It returns the list.
func SortFiles(list []File) []File {
	slices.SortFunc(list, compareFiles)
	return slices.CompactFunc(list, func(a, b File) bool { return compareFiles(a, b) == 0 })
}

func compareFiles(a, b File) int {
	da, na := corim.SplitPath(a.Path)
	db, nb := corim.SplitPath(b.Path)
	switch {
	case da == "" && db != "":
		return 1
	case da != "" && db == "":
		return -1
	}
	if c := strings.Compare(da, db); c != 0 {
		return c
	}
	if c := strings.Compare(na, nb); c != 0 {
		return c
	}
	if c := int(a.Digest.Algorithm) - int(b.Digest.Algorithm); c != 0 {
		return c
	}
	return bytes.Compare(a.Digest.Value, b.Digest.Value)
}

// corim maps m, which must be valid.
func (m *Manifest) corim() *corim.CoRIM {
	c := &corim.CoRIM{ID: corim.ID{Text: m.ID}, Profile: Profile, NotBefore: m.NotBefore, NotAfter: m.NotAfter}
	if len(m.Supersedes) > 0 {
		c.Extensions = append(c.Extensions, extension(extSupersedes, m.wireSupersedes()))
	}
	if m.Advisory != "" {
		c.Extensions = append(c.Extensions, extension(extAdvisory, m.Advisory))
	}
	swids := m.coswids()
	c.Tags = append(c.Tags, corim.Tag{Number: corim.TagCoMID, CoMID: m.comid(swids)})
	for _, s := range swids {
		c.Tags = append(c.Tags, corim.Tag{Number: corim.TagCoSWID, CoSWID: s})
	}
	return c
}

func (m *Manifest) wireSupersedes() []wireSupersession {
	out := make([]wireSupersession, len(m.Supersedes))
	for i, s := range m.Supersedes {
		out[i].ID = s.ID
		if !s.Until.IsZero() {
			until := s.Until.Unix()
			out[i].Until = &until
		}
	}
	return out
}

// environment returns the environment of m's vendor and model with this class id.
func (m *Manifest) environment(class *corim.ClassID) corim.Environment {
	return corim.Environment{Class: &corim.Class{ID: class, Vendor: m.Vendor, Model: m.Model}}
}

func (m *Manifest) triple(class *corim.ClassID, key *corim.Key, v corim.Values) corim.Triple {
	return corim.Triple{Environment: m.environment(class), Measurements: []corim.Measurement{{Key: key, Values: v}}}
}

func (m *Manifest) comid(swids []*corim.CoSWID) *corim.CoMID {
	c := &corim.CoMID{ID: corim.ID{Text: m.ID + "/platform"}}
	t := &c.Triples
	if !m.IsDenyList() {
		t.Reference = append(m.deviceTriples(), m.pcrTriples()...)
		for i := range m.Regions {
			t.Reference = append(t.Reference, m.regionTriple(&m.Regions[i]))
		}
	}
	if len(swids) > 0 {
		link := corim.CoSWIDTriple{Environment: m.environment(&classFiles)}
		for _, s := range swids {
			link.IDs = append(link.IDs, s.ID)
		}
		t.CoSWIDs = []corim.CoSWIDTriple{link}
	}
	if denied := m.deniedTriples(); len(denied) > 0 {
		t.Others = []corim.Field{corim.TriplesField(extDenied, denied)}
	}
	return c
}

// deviceTriples states version and security version number and, as another acceptable state, the least number.
func (m *Manifest) deviceTriples() []corim.Triple {
	key := &corim.Key{Text: firmwareElement}
	v := corim.Values{Version: &corim.Version{Text: m.Version}}
	if m.SVN > 0 {
		v.SVN = &corim.SVN{Number: m.SVN}
	}
	out := []corim.Triple{m.triple(&classDevice, key, v)}
	if m.MinSVN > 0 {
		out = append(out, m.triple(&classDevice, key, corim.Values{SVN: &corim.SVN{Number: m.MinSVN, Minimum: true}}))
	}
	return out
}

func (m *Manifest) pcrTriples() (out []corim.Triple) {
	for i := range m.PCRs {
		p := &m.PCRs[i]
		key := &corim.Key{Number: uint64(p.Index)}
		if p.Coverage != Complete || p.Note != "" {
			v := corim.Values{Name: p.Note}
			v.Others = append(v.Others, extension(extCoverage, uint8(p.Coverage)))
			out = append(out, m.triple(&classPCR, key, v))
		}
		for _, d := range p.Values {
			out = append(out, m.triple(&classPCR, key, corim.Values{Digests: wireDigests(d)}))
		}
		for k := range p.Events {
			out = append(out, m.eventTriple(p.Index, &p.Events[k]))
		}
	}
	return out
}

func (m *Manifest) eventTriple(index int, e *Event) corim.Triple {
	v := corim.Values{Digests: wireDigests(e.Digests), Name: e.Note}
	if e.Required {
		v.Others = []corim.Field{extension(extRequired, true)}
	}
	t := m.triple(&classEvent, &corim.Key{Text: e.Slot}, v)
	n := uint64(index)
	t.Environment.Class.Index = &n
	return t
}

func (m *Manifest) regionTriple(r *Region) corim.Triple {
	v := corim.Values{Digests: wireDigests(r.Digests), Name: r.Note}
	v.Others = append(v.Others, extension(extRange, wireRange{Offset: r.Offset, Length: r.Length}))
	if len(r.Excluded) > 0 {
		list := make([]wireExcluded, len(r.Excluded))
		for i, x := range r.Excluded {
			list[i] = wireExcluded{Offset: x.Offset, Length: x.Length, Reason: x.Reason}
		}
		v.Others = append(v.Others, extension(extExcluded, list))
	}
	return m.triple(&classFlash, &corim.Key{Text: r.Name}, v)
}

// deniedTriples states what must not be: withdrawn manifests, and the entries of a deny-list.
func (m *Manifest) deniedTriples() (out []corim.Triple) {
	for _, w := range m.Withdraws {
		out = append(out, m.triple(&classManifest, &corim.Key{Text: w.ID}, corim.Values{Name: w.Reason}))
	}
	for _, d := range m.Denied {
		v := corim.Values{Digests: wireDigests(d.Digests), Name: d.Note}
		out = append(out, m.triple(deniedClasses[d.Component], nil, v))
	}
	return out
}

// coswids returns the files in CoSWIDs of at most filesPerTag.
func (m *Manifest) coswids() (out []*corim.CoSWID) {
	list := m.Files
	if !slices.IsSortedFunc(list, compareFiles) {
		list = slices.Clone(list)
	}
	for chunk := range slices.Chunk(SortFiles(list), filesPerTag) {
		s := &corim.CoSWID{
			ID: corim.ID{Text: m.ID + "/files/" + strconv.Itoa(len(out)+1)}, SoftwareName: m.Model, SoftwareVersion: m.Version,
			Entities: []corim.Entity{{Name: m.Vendor, Roles: []int64{1, 2}}}, // tag-creator, software-creator
			Files:    make([]corim.File, len(chunk)),
		}
		for i, f := range chunk {
			s.Files[i] = corim.File{Path: f.Path, Digest: wireDigest(f.Digest)}
		}
		out = append(out, s)
	}
	return out
}

func wireDigest(d Digest) corim.Digest {
	return corim.Digest{Algorithm: number(d.Algorithm), Value: d.Value}
}

func wireDigests(list Digests) []corim.Digest {
	out := make([]corim.Digest, len(list))
	for i, d := range list {
		out[i] = wireDigest(d)
	}
	return out
}
