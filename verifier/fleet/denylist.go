package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/store"
)

// DenialSpec is an operator's own entry of the deny-list.
type DenialSpec struct {
	Digest   string // hexadecimal, with or without "sha256:", "sha384:" or "sha512:"
	Advisory string // such as "CVE-2026-12345"
	Note     string
}

// ParseDigest reads a hexadecimal SHA-256, SHA-384 or SHA-512 digest, with or without the algorithm's name.
func ParseDigest(s string) ([]byte, error) {
	name, digits, named := strings.Cut(strings.ToLower(strings.TrimSpace(s)), ":")
	if !named {
		name, digits = "", name
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, refuse("digest %q: want hexadecimal digits, as sha256sum prints them", clean(s, 80))
	}
	sizes := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}
	switch size := sizes[name]; {
	case named && size == 0:
		return nil, refuse("digest %q: want sha256, sha384 or sha512", clean(s, 80))
	case named && size != len(b):
		return nil, refuse("digest %q: %s has %d bytes, this has %d", clean(s, 80), name, size, len(b))
	case len(b) != 32 && len(b) != 48 && len(b) != 64:
		return nil, refuse("digest %q: want 32, 48 or 64 bytes (SHA-256, SHA-384, SHA-512), got %d", clean(s, 80), len(b))
	}
	return b, nil
}

// Deny puts a digest on the deny-list, whatever it is the digest of. The devices that have it become untrusted at once, by
// their stored evidence, also those that cannot be reached; they are asked to attest. Which devices ever had it Sightings
// tells.
func (f *Fleet) Deny(ctx context.Context, tenant string, spec DenialSpec, actor string) (store.Denial, error) {
	digest, err := ParseDigest(spec.Digest)
	if err != nil {
		return store.Denial{}, err
	}
	d := store.Denial{
		Tenant: tenant, Digest: digest, Advisory: strings.TrimSpace(spec.Advisory), Note: strings.TrimSpace(spec.Note), Actor: actor,
		Added: store.Micro(f.cfg.Now()),
	}
	if d.Advisory == "" || len(d.Advisory) > maxName || clean(d.Advisory, maxName) != d.Advisory {
		return store.Denial{}, refuse("advisory: want 1 to %d bytes without control characters, such as CVE-2026-12345", maxName)
	}
	if len(d.Note) > maxDetail || clean(d.Note, maxDetail) != d.Note {
		return store.Denial{}, refuse("note: want at most %d bytes without control characters", maxDetail)
	}
	detail := fmt.Sprintf("%x: %s %s", digest, d.Advisory, d.Note)
	err = f.cfg.Store.AddDenial(ctx, d, f.event(tenant, "", "denied", actor, clean(detail, maxDetail)))
	if errors.Is(err, store.ErrConflict) {
		return store.Denial{}, refuse("%x is on the deny-list already", digest)
	}
	if err != nil {
		return store.Denial{}, err
	}
	f.references.changed(tenant)
	f.ask(ctx, tenant, digest)
	return d, nil
}

// Undeny takes an operator's entry off the deny-list. What signed deny-lists have stays on it.
func (f *Fleet) Undeny(ctx context.Context, tenant, digest, actor string) error {
	b, err := ParseDigest(digest)
	if err != nil {
		return err
	}
	err = f.cfg.Store.RemoveDenial(ctx, tenant, b, store.Micro(f.cfg.Now()), f.event(tenant, "", "denial-removed", actor, hex.EncodeToString(b)))
	if err != nil {
		return err
	}
	f.references.changed(tenant)
	f.ask(ctx, tenant, b)
	return nil
}

// ask lets the devices that have digests know that the deny-list has changed.
func (f *Fleet) ask(ctx context.Context, tenant string, digests ...[]byte) {
	for _, d := range digests {
		if err := f.askHolders(ctx, tenant, d); err != nil {
			f.log.Warn("devices that have a denied digest were not all looked at; they will with their next report", "error", err)
		}
	}
}

// deniedDigests returns the digests of a deny-list.
func deniedDigests(list []manifest.Denial) (out [][]byte) {
	for _, d := range list {
		for _, digest := range d.Digests {
			out = append(out, digest.Value)
		}
	}
	return out
}

// DeniedEntry is one entry of the deny-list that is in force.
type DeniedEntry struct {
	Digests   manifest.Digests // of one content
	Component manifest.Component
	Advisory  string
	Note      string
	Issuer    string // who signed it, or the operator who added it
	Manifest  string // id of the signed deny-list; empty: an operator's entry
	Vendor    string // whose devices it is for; empty: anybody's
	Model     string
}

// DenyList returns the entries in force: operators' own in the order of addition, then those of signed deny-lists.
func (f *Fleet) DenyList(ctx context.Context, tenant string) ([]DeniedEntry, error) {
	plan, err := planReleases(ctx, f.cfg.Store, tenant, f.cfg.Now())
	if err != nil {
		return nil, err
	}
	var out []DeniedEntry
	for i := range plan.denials {
		d := denial(&plan.denials[i])
		out = append(out, DeniedEntry{
			Digests: d.Digests, Advisory: plan.denials[i].Advisory, Note: d.Note, Issuer: plan.denials[i].Actor,
		})
	}
	for i := range plan.manifests {
		m := &plan.manifests[i]
		if m.Advisory == "" || m.Awaits() || len(m.counts) == 0 || !m.Withdrawn.IsZero() {
			continue
		}
		c := newReleaseCache()
		endorsers, err := plan.endorsers(ctx, c, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: withdraw it", describeManifest(&m.Manifest), err)
		}
		for _, e := range c.denied[m.Digest] {
			out = append(out, DeniedEntry{
				Digests: e.Digests, Component: e.Component, Advisory: m.Advisory, Note: e.Note, Issuer: endorsers[0].Issuer,
				Manifest: m.Name, Vendor: m.Vendor, Model: m.Model,
			})
		}
	}
	return out, nil
}
