package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/store"
)

// endorsed is what releases are made of.
type endorsed interface {
	store.Vendors
	store.Manifests
	store.Denials
}

// releasePlan is which manifests and deny-lists of a tenant count at a time, without their content.
type releasePlan struct {
	store     endorsed
	tenant    string
	ring      *keyring
	manifests []planned
	denials   []store.Denial

	// key changes whenever something of the plan does.
	key string
}

// planned is a manifest and the endorsements of it that count.
type planned struct {
	store.Manifest
	counts []store.Endorsement
}

// planReleases reads what there is, but no documents: it is asked often.
func planReleases(ctx context.Context, s endorsed, tenant string, now time.Time) (*releasePlan, error) {
	keys, err := s.VendorKeys(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading vendor keys: %w", err)
	}
	all, err := s.Manifests(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	p := &releasePlan{store: s, tenant: tenant, ring: newKeyring(keys)}
	var key strings.Builder
	for i := range all {
		m := planned{Manifest: all[i]}
		fmt.Fprintf(&key, "%s %d %d %s %s", m.Digest, m.From.UnixMicro(), m.Until.UnixMicro(), m.State(now), m.SupersededBy)
		for _, e := range all[i].Endorsements {
			if endorses(p.ring.byID[e.Key], &all[i], &e, now) == nil {
				m.counts = append(m.counts, e)
				k := p.ring.byID[e.Key]
				fmt.Fprintf(&key, " %s %s %s %d", k.ID, k.Name, k.Role, e.Submitted.UnixMicro())
			}
		}
		key.WriteByte('\n')
		p.manifests = append(p.manifests, m)
	}
	denials, err := s.Denials(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading the deny-list: %w", err)
	}
	for _, d := range denials {
		if d.Removed.IsZero() {
			p.denials = append(p.denials, d)
			fmt.Fprintf(&key, "denied %x %s %s\n", d.Digest, d.Advisory, d.Note)
		}
	}
	p.key = key.String()
	return p, nil
}

// releaseCache keeps what was opened of a tenant's manifests: documents don't change. It belongs to one table, in which
// all sets of the tenant keep their files. It isn't safe for concurrent use.
type releaseCache struct {
	table    *reference.Table
	releases map[string]*reference.Content // by digest of the manifest
	denied   map[string][]manifest.Denial  // of deny-lists, likewise
	verified map[string]bool               // signatures, see signature
}

func newReleaseCache() *releaseCache {
	return &releaseCache{
		table: reference.NewTable(), releases: make(map[string]*reference.Content), denied: make(map[string][]manifest.Denial),
		verified: make(map[string]bool),
	}
}

// open verifies the documents of the plan, reading those that the cache doesn't have one at a time, and puts them into
// d.
func (p *releasePlan) open(ctx context.Context, c *releaseCache, d *documents) error {
	d.Table = c.table
	for i := range p.manifests {
		m := &p.manifests[i]
		if m.Awaits() {
			continue
		}
		endorsers, err := p.endorsers(ctx, c, m)
		if err != nil {
			return fmt.Errorf("%s: %w: withdraw it", describeManifest(&m.Manifest), err)
		}
		void := len(m.counts) == 0 || !m.Withdrawn.IsZero()
		content := c.releases[m.Digest]
		switch {
		case m.Advisory != "" && !void:
			d.Denied = append(d.Denied, reference.DenyList{
				Advisory: m.Advisory, Issuer: endorsers[0].Issuer, Vendor: m.Vendor, Model: m.Model, Entries: c.denied[m.Digest],
			})
		case content == nil: // a deny-list that no longer counts, or a manifest whose signers are all unknown by now
		case void:
			d.Past = append(d.Past, reference.Release{Content: content, Endorsers: endorsers, From: m.From, Until: m.Until, State: p.state(m)})
		default:
			d.Releases = append(d.Releases, reference.Release{Content: content, Endorsers: endorsers, From: m.From, Until: m.Until, State: p.state(m)})
			d.digests = append(d.digests, m.Digest)
		}
	}
	for _, entry := range p.denials {
		d.Denied = append(d.Denied, reference.DenyList{
			Advisory: entry.Advisory, Issuer: "operator", Entries: []manifest.Denial{denial(&entry)},
		})
	}
	return nil
}

// state is the release's state in words, for people.
func (p *releasePlan) state(m *planned) string {
	switch {
	case !m.Withdrawn.IsZero():
		return string(store.ManifestWithdrawn)
	case len(m.counts) == 0:
		return manifestVoid
	case m.SupersededBy != "":
		return string(store.ManifestSuperseded)
	}
	return string(store.ManifestActive)
}

// manifestVoid is the state of a manifest of which no endorsement counts any more.
const manifestVoid = "void"

// endorsers verifies the signatures that count, or, for naming only, one that no longer does.
func (p *releasePlan) endorsers(ctx context.Context, c *releaseCache, m *planned) (out []reference.Endorser, err error) {
	signatures := m.counts
	if len(signatures) == 0 {
		signatures = m.Endorsements[:1]
	}
	for i := range signatures {
		e := &signatures[i]
		k := p.ring.byID[e.Key]
		if k == nil {
			continue
		}
		if err := p.signature(ctx, c, m, e); err != nil {
			return nil, fmt.Errorf("signature of %s: %w", k.Name, err)
		}
		out = append(out, reference.Endorser{Issuer: k.Name, Role: reference.Role(k.Role), KeyID: k.ID})
	}
	return out, nil
}

// signature verifies one signature at the time at which it was accepted, and keeps the content.
func (p *releasePlan) signature(ctx context.Context, c *releaseCache, m *planned, e *store.Endorsement) error {
	key := fmt.Sprintf("%s %s %d", m.Digest, e.Key, e.Submitted.UnixMicro())
	if c.verified[key] {
		return nil
	}
	document, err := p.store.ManifestDocument(ctx, p.tenant, m.Digest, e.Key)
	if err != nil {
		return err
	}
	opened, _, err := manifest.Open(document, manifest.TrustKeys(p.ring.public[e.Key]), e.Judged)
	if err != nil {
		return err
	}
	if err := fits(opened, document, m); err != nil {
		return err
	}
	if opened.IsDenyList() {
		c.denied[m.Digest] = opened.Denied
	} else if c.releases[m.Digest] == nil {
		detach(opened)
		if c.releases[m.Digest], err = c.table.Prepare(opened); err != nil {
			return err
		}
	}
	c.verified[key] = true
	return nil
}

// fits reports what is stored beside a document and is not what the document says.
func fits(opened *manifest.Manifest, document []byte, m *planned) error {
	unsigned, _, err := manifest.Unverified(document)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(unsigned); hex.EncodeToString(sum[:]) != m.Digest {
		return fmt.Errorf("the stored document has the content sha256:%x", sum)
	}
	if opened.ID != m.Name || opened.Vendor != m.Vendor || opened.Model != m.Model || opened.Advisory != m.Advisory {
		return fmt.Errorf("the stored document is %q of %s %s", opened.ID, opened.Vendor, opened.Model)
	}
	return nil
}

// detach copies the digests that stay in memory out of the document, which then need not: files are most of it, and are
// copied by the table.
func detach(m *manifest.Manifest) {
	copied := func(list manifest.Digests) {
		for i := range list {
			list[i].Value = bytes.Clone(list[i].Value)
		}
	}
	for i := range m.PCRs {
		for _, v := range m.PCRs[i].Values {
			copied(v)
		}
		for k := range m.PCRs[i].Events {
			copied(m.PCRs[i].Events[k].Digests)
		}
	}
	for i := range m.Regions {
		copied(m.Regions[i].Digests)
	}
}

// denial returns an operator's entry as a deny-list has it.
func denial(d *store.Denial) manifest.Denial {
	alg := pcr.SHA256
	switch len(d.Digest) {
	case pcr.SHA384.Size():
		alg = pcr.SHA384
	case pcr.SHA512.Size():
		alg = pcr.SHA512
	}
	return manifest.Denial{Digests: manifest.Digests{{Algorithm: alg, Value: d.Digest}}, Note: d.Note}
}
