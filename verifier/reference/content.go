package reference

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Content is a manifest prepared for look-up, without what belongs to one verifier. It is immutable. Once a manifest is
// prepared it need not stay in memory.
type Content struct {
	compiled Compiled // name, digest, registers, regions and files
	head     manifest.Manifest
	table    *Table
}

// Prepare prepares a manifest, which must not change any more. A deny-list is no content.
func (t *Table) Prepare(m *manifest.Manifest) (*Content, error) {
	if m.IsDenyList() {
		return nil, fmt.Errorf("manifest %q is a deny-list, and no reference values", m.ID)
	}
	encoded, err := manifest.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("manifest %q: %w", m.ID, err)
	}
	c := &Content{table: t, head: *m}
	c.head.Files = nil
	d := &c.compiled
	*d = Compiled{
		Name: m.ID, Kind: KindManifest, Firmware: m.Version, Secure: secureBoot(m), SVN: m.SVN, MinSVN: m.MinSVN,
		digest: sha256.Sum256(encoded), events: make(map[string][]eventAt),
	}
	for i := range m.PCRs {
		p := &m.PCRs[i]
		d.sets[p.Index] = p
		d.selected |= 1 << p.Index
		for k := range p.Events {
			e := &p.Events[k]
			for _, x := range e.Digests {
				d.events[string(x.Value)] = append(d.events[string(x.Value)], eventAt{p.Index, e})
			}
		}
	}
	d.files, err = t.keep(len(m.Files), func(add func(string, []byte) error) error {
		for i := range m.Files {
			if err := add(m.Files[i].Path, m.Files[i].Digest.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("manifest %q: %w", m.ID, err)
	}
	d.setRegions(regionsOf(m))
	return c, nil
}

// regionsOf returns the flash regions that can be compared: devices report SHA-256.
func regionsOf(m *manifest.Manifest) []Region {
	var out []Region
	for i := range m.Regions {
		r := &m.Regions[i]
		digest := r.Digests.Get(pcr.SHA256)
		if digest == nil {
			continue
		}
		region := Region{Name: r.Name, Offset: r.Offset, Length: r.Length, Digest: digest}
		for _, x := range r.Excluded {
			region.Excluded = append(region.Excluded, Range{Offset: x.Offset, Length: x.Length, Reason: x.Reason})
		}
		out = append(out, region)
	}
	slices.SortFunc(out, func(a, b Region) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Slot and content of the event of the variable SecureBoot (PFP 1.06, section 3.3.4.8): UEFI_VARIABLE_DATA of
// EFI_GLOBAL_VARIABLE's GUID, the lengths of name and value, the name in UTF-16, and the value.
const (
	secureBootSlot = "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"
	secureBootData = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c" +
		"\x0a\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" +
		"S\x00e\x00c\x00u\x00r\x00e\x00B\x00o\x00o\x00t\x00"
)

// secureBoot returns what a manifest says of Secure Boot, nil if it leaves that open.
func secureBoot(m *manifest.Manifest) *bool {
	on, off := false, false
	for i := range m.PCRs {
		if m.PCRs[i].Index != 7 || m.PCRs[i].Coverage == manifest.Informative {
			continue
		}
		for _, e := range m.PCRs[i].Events {
			if e.Slot != secureBootSlot {
				continue
			}
			switch {
			case valueOf(e.Digests, "\x01"):
				on = true
			default:
				off = true
			}
		}
	}
	if on == off {
		return nil
	}
	return &on
}

// valueOf reports whether digests are those of the variable SecureBoot with this value.
func valueOf(list manifest.Digests, value string) bool {
	for _, d := range list {
		h := d.Algorithm.New()
		h.Write([]byte(secureBootData + value))
		if !bytes.Equal(h.Sum(nil), d.Value) {
			return false
		}
	}
	return len(list) > 0
}

// release returns the document of a release.
func (r *Release) release(t *Table, past bool) (*Compiled, error) {
	content := r.Content
	if content == nil {
		if r.Manifest == nil {
			return nil, errors.New("a release without manifest")
		}
		var err error
		if content, err = t.Prepare(r.Manifest); err != nil {
			return nil, err
		}
	} else if content.table != t {
		return nil, fmt.Errorf("manifest %q was prepared for another table", content.head.ID)
	}
	c := content.compiled // a copy: the rest belongs to this verifier
	c.head, c.past, c.state = &content.head, past, cmp.Or(r.State, "active")
	c.from, c.until = content.head.NotBefore, content.head.NotAfter
	if c.from.Before(r.From) {
		c.from = r.From
	}
	if c.until.IsZero() || !r.Until.IsZero() && r.Until.Before(c.until) {
		c.until = r.Until
	}
	c.endorsers = independent(r.Endorsers)
	h := sha256.New()
	h.Write(c.digest[:])
	h.Write([]byte(c.state))
	for _, t := range []int64{c.from.Unix(), c.until.Unix()} {
		h.Write(encodedNumber(t))
	}
	for _, e := range c.endorsers {
		h.Write([]byte(hex.EncodeToString([]byte(e.Issuer)) + "/" + hex.EncodeToString([]byte(e.Role)) + "/" + e.KeyID + ";"))
	}
	if past {
		h.Write([]byte("past"))
	}
	c.id = [sha256.Size]byte(h.Sum(nil))
	return &c, nil
}
