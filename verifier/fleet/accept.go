package fleet

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/store"
)

// accept verifies a submission by itself.
func (f *Fleet) accept(ctx context.Context, tenant string, signed []byte, actor string, now time.Time) (*accepted, error) {
	keys, err := f.cfg.Store.VendorKeys(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ring := newKeyring(keys)
	judged := now
	m, sig, err := manifest.Open(signed, ring.trust(now), now)
	var early *manifest.ValidityError
	if errors.Is(err, manifest.ErrNotYetValid) && errors.As(err, &early) {
		if early.Bound.After(now.Add(f.cfg.ManifestAhead)) {
			return nil, refuse("%s; a manifest may be submitted %s before its time", clean(err.Error(), maxDetail), f.cfg.ManifestAhead)
		}
		// The signature may begin before the manifest, or after it: the later one counts.
		judged = early.Bound
		m, sig, err = manifest.Open(signed, ring.trust(now), judged)
		if errors.Is(err, manifest.ErrNotYetValid) && errors.As(err, &early) && !early.Bound.After(now.Add(f.cfg.ManifestAhead)) {
			judged = early.Bound
			m, sig, err = manifest.Open(signed, ring.trust(now), judged)
		}
	}
	if err != nil {
		return nil, refuse("%s%s", clean(err.Error(), maxDetail), ring.hint(signed, now, err))
	}
	k := ring.of(sig.Key)
	if !inScope(k, m.Vendor, m.Model) {
		return nil, refuse("key %s of %s may not speak for %s; its scope: %s", short(k.ID), k.Name, scopeSubject(m), scopeText(k))
	}
	unsigned, _, err := manifest.Unverified(signed)
	if err != nil {
		return nil, refuse("%s", clean(err.Error(), maxDetail))
	}
	digest := sha256.Sum256(unsigned)
	return &accepted{manifest: m, key: k, stored: store.Manifest{
		Tenant: tenant, Digest: hex.EncodeToString(digest[:]), Name: m.ID, Vendor: m.Vendor, Model: m.Model, Version: m.Version,
		Advisory: m.Advisory, Begins: m.NotBefore.UTC(), Ends: m.NotAfter.UTC(), Size: len(unsigned), Submitted: now, From: later(now, judged),
		Endorsements: []store.Endorsement{{
			Key: k.ID, Issuer: sig.Issuer, Submitted: now, Judged: later(now, judged), Begins: sig.NotBefore.UTC(), Ends: sig.NotAfter.UTC(), Actor: actor,
		}},
	}}, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b.UTC()
	}
	return a.UTC()
}

func scopeSubject(m *manifest.Manifest) string {
	switch {
	case m.Vendor == "":
		return "any vendor, as this deny-list does"
	case m.Model == "":
		return fmt.Sprintf("all models of %q, as this deny-list does", m.Vendor)
	}
	return fmt.Sprintf("vendor %q, model %q", m.Vendor, m.Model)
}

// keyring looks up keys by what they signed.
type keyring struct {
	byID   map[string]*store.VendorKey
	public map[string]crypto.PublicKey
}

func newKeyring(keys []store.VendorKey) *keyring {
	r := &keyring{byID: make(map[string]*store.VendorKey, len(keys)), public: make(map[string]crypto.PublicKey, len(keys))}
	for i := range keys {
		key, err := x509.ParsePKIXPublicKey(keys[i].Public)
		if err != nil {
			continue // it was checked when it was added: what does not parse signs nothing
		}
		r.byID[keys[i].ID], r.public[keys[i].ID] = &keys[i], key
	}
	return r
}

// trust offers the keys that are usable at a time, only the one that the signature names if it names one.
func (r *keyring) trust(now time.Time) manifest.Trust {
	return func(claimed manifest.Signature) (out []crypto.PublicKey) {
		for id, k := range r.byID {
			if usable(k, now) == nil && (claimed.KeyID == nil || hex.EncodeToString(claimed.KeyID) == id) {
				out = append(out, r.public[id])
			}
		}
		return out
	}
}

// of returns the entry of a key that verified.
func (r *keyring) of(key crypto.PublicKey) *store.VendorKey {
	id, err := manifest.KeyID(key)
	if err != nil {
		return nil
	}
	return r.byID[hex.EncodeToString(id)]
}

// hint says what to do about a signature by a key that may not sign.
func (r *keyring) hint(signed []byte, now time.Time, why error) string {
	if !errors.Is(why, manifest.ErrUntrusted) {
		return ""
	}
	if _, claimed, err := manifest.Unverified(signed); err == nil {
		if k := r.byID[hex.EncodeToString(claimed.KeyID)]; k != nil {
			if err := usable(k, now); err != nil {
				return fmt.Sprintf("; key %s of %s: %s", short(k.ID), k.Name, err)
			}
		}
	}
	return "; see \"probity vendor list\" for the keys that may sign, and add this one with \"probity vendor add\" if it may too"
}

// known reports whether the content is stored already, or refuses it.
func (a *accepted) known(all []store.Manifest) (bool, error) {
	for i := range all {
		m := &all[i]
		switch {
		case m.Digest == a.stored.Digest && !m.Withdrawn.IsZero():
			return false, refuse("%q was withdrawn at %s (%s): publish what is right under a new id", m.Name, m.Withdrawn.Format(time.RFC3339), m.Reason)
		case m.Digest == a.stored.Digest:
			return true, nil
		case m.Vendor == a.stored.Vendor && m.Name == a.stored.Name:
			return false, refuse("%q of %q exists with another content (sha256:%s): a changed manifest needs a new id", m.Name, m.Vendor, m.Digest)
		}
	}
	return false, nil
}

// repeats reports whether the key's signature is there already and lasts as long.
func (a *accepted) repeats(all []store.Manifest) bool {
	stored := find(all, a.stored.Digest)
	if len(a.stored.Proof) > 0 && string(stored.Proof) != string(a.stored.Proof) {
		return false
	}
	now := &a.stored.Endorsements[0]
	for _, e := range stored.Endorsements {
		if e.Key == now.Key {
			return e.Ends.IsZero() || !now.Ends.IsZero() && !now.Ends.After(e.Ends)
		}
	}
	return false
}

// effects returns what the manifest's own words, signed by this key, change of others: those of its vendor. names says
// it for people.
func (a *accepted) effects(all []store.Manifest, overlap *time.Duration, now time.Time) (changes []store.ManifestChange, names []string) {
	byName := make(map[string]*store.Manifest)
	for i := range all {
		m := &all[i]
		if m.Withdrawn.IsZero() && fold(m.Vendor) == fold(a.manifest.Vendor) && inScope(a.key, m.Vendor, m.Model) {
			byName[m.Name] = m
		}
	}
	for _, w := range a.manifest.Withdraws {
		if m := byName[w.ID]; m != nil {
			changes = append(changes, store.ManifestChange{Digest: m.Digest, Withdrawn: now, Reason: clip(w.Reason, maxDetail/2)})
			names = append(names, fmt.Sprintf("%s withdrawn by %q: %s", describeManifest(m), a.manifest.ID, w.Reason))
		}
	}
	if a.key.Role != roles[0] {
		return changes, names
	}
	for _, s := range a.manifest.Supersedes {
		m := byName[s.ID]
		if m == nil || m.SupersededBy == a.manifest.ID {
			continue
		}
		until := s.Until.UTC()
		if overlap != nil {
			until = a.stored.From.Add(*overlap)
		}
		c := store.ManifestChange{Digest: m.Digest, SupersededBy: a.manifest.ID}
		if !until.IsZero() && (m.Until.IsZero() || until.Before(m.Until)) {
			c.Until = store.Micro(until)
		}
		changes = append(changes, c)
		names = append(names, fmt.Sprintf("%s superseded by %q%s", describeManifest(m), a.manifest.ID, validUntil(c.Until)))
	}
	return changes, names
}

func validUntil(t time.Time) string {
	if t.IsZero() {
		return ", valid until its own end"
	}
	return ", both valid until " + t.UTC().Format(time.RFC3339)
}
