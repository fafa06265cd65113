package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/store"
)

// roles are what holders of keys may be.
var roles = []string{"vendor", "lab", "builder"}

// KeyScope says what a key may sign. Patterns are compared without case; * stands for any characters, ? for one.
type KeyScope struct {
	Vendors []string  // at least one; "*" for any
	Models  []string  // none: "*"
	From    time.Time // nothing that it signs is accepted before; zero: no bound
	Until   time.Time // nor from then on; zero: no bound
}

// VendorKeySpec says which key to add.
type VendorKeySpec struct {
	Name   string // who holds it
	Role   string // "vendor", "lab" or "builder"
	Public []byte // PEM (RFC 7468, section 13) or DER
	KeyScope
}

// AddVendorKey lets a key sign manifests for what is in its scope.
func (f *Fleet) AddVendorKey(ctx context.Context, tenant string, spec VendorKeySpec, actor string) (store.VendorKey, error) {
	id, der, err := readPublicKey(spec.Public)
	if err != nil {
		return store.VendorKey{}, err
	}
	k := store.VendorKey{
		Tenant: tenant, ID: id, Name: strings.TrimSpace(spec.Name), Role: spec.Role, Public: der,
		Added: f.cfg.Now().UTC(),
	}
	switch {
	case k.Name == "" || len(k.Name) > maxName || clean(k.Name, maxName) != k.Name:
		return store.VendorKey{}, refuse("name of the key's holder: want 1 to %d bytes without control characters", maxName)
	case !slices.Contains(roles, k.Role):
		return store.VendorKey{}, refuse("role %q: want one of %s", k.Role, strings.Join(roles, ", "))
	}
	if err := spec.apply(&k); err != nil {
		return store.VendorKey{}, err
	}
	keys, err := f.cfg.Store.VendorKeys(ctx, tenant)
	if err != nil {
		return store.VendorKey{}, err
	}
	for _, other := range keys {
		switch {
		case other.ID == k.ID && !other.Revoked.IsZero():
			return store.VendorKey{}, refuse("key %s of %s was revoked at %s and stays so: %s needs a new one",
				short(k.ID), other.Name, other.Revoked.Format(time.RFC3339), k.Name)
		case other.ID == k.ID:
			return store.VendorKey{}, refuse("key %s is there already, of %s: change what it may sign with \"probity vendor scope\"",
				short(k.ID), other.Name)
		case strings.EqualFold(other.Name, k.Name) && other.Role != k.Role:
			// One holder in two roles would count as two who are independent of each other.
			return store.VendorKey{}, refuse("%s is known as %s: a holder has one role, or it would endorse what it made itself", other.Name, other.Role)
		case strings.EqualFold(other.Name, k.Name):
			k.Name = other.Name
		}
	}
	detail := fmt.Sprintf("key %s of %s (%s) for %s", k.ID, k.Name, k.Role, scopeText(&k))
	err = f.cfg.Store.AddVendorKey(ctx, k, f.event(tenant, "", "vendor-key-added", actor, detail))
	if err != nil {
		return store.VendorKey{}, err
	}
	f.references.changed(tenant)
	return k, nil
}

// readPublicKey returns the id and the DER form of a public key that manifests can be signed with.
func readPublicKey(public []byte) (id string, der []byte, err error) {
	der = public
	if block, rest := pem.Decode(public); block != nil {
		switch {
		case strings.Contains(block.Type, "PRIVATE"):
			return "", nil, refuse("this is a private key, which no verifier should see: give the public one (openssl pkey -pubout)")
		case block.Type != "PUBLIC KEY":
			return "", nil, refuse("PEM block %q: want PUBLIC KEY (RFC 7468, section 13), as openssl pkey -pubout writes it", clip(block.Type, 40))
		case len(strings.TrimSpace(string(rest))) > 0:
			return "", nil, refuse("there is more after the key: give one key at a time")
		}
		der = block.Bytes
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return "", nil, refuse("not a public key: want a SubjectPublicKeyInfo in PEM or DER: %s", clean(err.Error(), maxName))
	}
	if !signs(key) {
		return "", nil, refuse("a key of type %T signs no manifests: want Ed25519, P-256 or P-384", key)
	}
	kid, err := manifest.KeyID(key)
	if err != nil {
		return "", nil, err
	}
	return hex.EncodeToString(kid), der, nil
}

// signs reports whether manifests can be signed with the private half of a key.
func signs(key any) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return true
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384()
	}
	return false
}

// apply checks a scope and puts it into k.
func (s *KeyScope) apply(k *store.VendorKey) error {
	models := s.Models
	if len(models) == 0 {
		models = []string{"*"}
	}
	if len(s.Vendors) == 0 {
		return refuse("vendors: want at least one that the key may speak for, or * for any")
	}
	if len(s.Vendors) > maxPatterns || len(models) > maxPatterns {
		return refuse("a scope has at most %d vendors and %d models", maxPatterns, maxPatterns)
	}
	for _, p := range append(slices.Clone(s.Vendors), models...) {
		if strings.TrimSpace(p) == "" || len(p) > maxName || clean(p, maxName) != p {
			return refuse("pattern %q: want 1 to %d bytes without control characters", clean(p, 40), maxName)
		}
	}
	if !s.From.IsZero() && !s.Until.IsZero() && !s.From.Before(s.Until) {
		return refuse("the key would be valid until %s, before it begins", s.Until.Format(time.RFC3339))
	}
	k.Vendors, k.Models, k.From, k.Until = s.Vendors, models, store.Micro(s.From), store.Micro(s.Until)
	return nil
}

func scopeText(k *store.VendorKey) string {
	s := "vendors " + strings.Join(k.Vendors, ", ") + "; models " + strings.Join(k.Models, ", ")
	if !k.From.IsZero() {
		s += "; from " + k.From.Format(time.RFC3339)
	}
	if !k.Until.IsZero() {
		s += "; until " + k.Until.Format(time.RFC3339)
	}
	return clip(s, maxDetail)
}

// ScopeVendorKey changes what a key may sign. What it signed before stays as far as the new scope has it.
func (f *Fleet) ScopeVendorKey(ctx context.Context, tenant, name string, scope KeyScope, actor string) (store.VendorKey, error) {
	k, err := f.vendorKey(ctx, tenant, name)
	if err != nil {
		return store.VendorKey{}, err
	}
	if !k.Revoked.IsZero() {
		return store.VendorKey{}, refuse("key %s was revoked at %s: it signs nothing any more", short(k.ID), k.Revoked.Format(time.RFC3339))
	}
	if err := scope.apply(&k); err != nil {
		return store.VendorKey{}, err
	}
	detail := fmt.Sprintf("key %s of %s: %s", k.ID, k.Name, scopeText(&k))
	if err := f.cfg.Store.ScopeVendorKey(ctx, k, f.event(tenant, "", "vendor-key-scoped", actor, detail)); err != nil {
		return store.VendorKey{}, err
	}
	f.keysChanged(ctx, tenant, k.ID)
	return k, nil
}

// RevokeVendorKey makes every signature of a key void that was made or submitted at or after a time, which may be past;
// zero is now. It may be moved to an earlier time afterwards, never to a later one.
func (f *Fleet) RevokeVendorKey(ctx context.Context, tenant, name string, at time.Time, reason, actor string) (store.VendorKey, error) {
	k, err := f.vendorKey(ctx, tenant, name)
	if err != nil {
		return store.VendorKey{}, err
	}
	now := f.cfg.Now().UTC()
	if at.IsZero() {
		at = now
	}
	at = store.Micro(at)
	switch {
	case at.After(now):
		return store.VendorKey{}, refuse("revocation at %s is in the future: end a key later on with \"probity vendor scope --until\"", at.Format(time.RFC3339))
	case !k.Revoked.IsZero() && !at.Before(k.Revoked):
		return store.VendorKey{}, refuse("key %s was revoked at %s already: only an earlier time changes anything", short(k.ID), k.Revoked.Format(time.RFC3339))
	}
	reason = clean(strings.TrimSpace(reason), maxDetail/2)
	detail := fmt.Sprintf("key %s of %s, as of %s: %s", k.ID, k.Name, at.Format(time.RFC3339), reason)
	err = f.cfg.Store.RevokeVendorKey(ctx, tenant, k.ID, at, reason, f.event(tenant, "", "vendor-key-revoked", actor, detail))
	if err != nil {
		return store.VendorKey{}, err
	}
	k.Revoked, k.Reason = at, reason
	f.keysChanged(ctx, tenant, k.ID)
	return k, nil
}

// keysChanged makes what a key signed be looked at anew, and the devices that it was for attest.
func (f *Fleet) keysChanged(ctx context.Context, tenant, id string) {
	f.references.changed(tenant)
	manifests, err := f.cfg.Store.Manifests(ctx, tenant)
	if err != nil {
		f.log.Warn("devices were not asked to attest; they will with their next report", "error", err)
		return
	}
	for i := range manifests {
		if slices.ContainsFunc(manifests[i].Endorsements, func(e store.Endorsement) bool { return e.Key == id }) {
			f.askAgain(ctx, tenant, &manifests[i])
		}
	}
}

// vendorKey returns the key that has this id, whose id starts so (at least 8 characters), or that is its holder's only
// one.
func (f *Fleet) vendorKey(ctx context.Context, tenant, name string) (store.VendorKey, error) {
	keys, err := f.cfg.Store.VendorKeys(ctx, tenant)
	if err != nil {
		return store.VendorKey{}, err
	}
	var found []store.VendorKey
	for _, k := range keys {
		if k.ID == name {
			return k, nil
		}
		if len(name) >= minKeyPrefix && strings.HasPrefix(k.ID, strings.ToLower(name)) || strings.EqualFold(k.Name, name) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return store.VendorKey{}, fmt.Errorf("no key of this id or holder: %w", store.ErrNotFound)
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = short(found[i].ID)
	}
	return store.VendorKey{}, refuse("%q may be any of the keys %s: name one", clean(name, maxName), strings.Join(ids, ", "))
}

// inScope reports whether a key may speak for a vendor and model. An empty vendor or model, as deny-lists for
// everything have, only fits patterns that fit anything.
func inScope(k *store.VendorKey, vendor, model string) bool {
	fits := func(patterns []string, s string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return glob(fold(p), fold(s)) })
	}
	return fits(k.Vendors, vendor) && fits(k.Models, model)
}

// fold prepares a name for comparison, as package reference does.
func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// glob reports whether s fits a pattern in which * stands for any characters and ? for one. It takes at most the
// product of both lengths.
func glob(pattern, s string) bool {
	p, r := []rune(pattern), []rune(s)
	star, mark, i := -1, 0, 0
	for at := 0; at < len(r) || i < len(p); {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, at
			i++
		case at < len(r) && i < len(p) && (p[i] == '?' || p[i] == r[at]):
			i++
			at++
		case star >= 0 && mark < len(r):
			mark++
			i, at = star+1, mark
		default:
			return false
		}
	}
	return true
}

// short shortens an id for people.
func short(id string) string { return id[:min(len(id), 16)] }

// usable says what keeps a key from endorsing something at a time, nil if nothing does.
func usable(k *store.VendorKey, now time.Time) error {
	switch {
	case !k.Revoked.IsZero():
		return fmt.Errorf("it was revoked at %s", k.Revoked.Format(time.RFC3339))
	case !k.From.IsZero() && now.Before(k.From):
		return fmt.Errorf("it is valid from %s on", k.From.Format(time.RFC3339))
	case !k.Until.IsZero() && !now.Before(k.Until):
		return fmt.Errorf("it was valid until %s", k.Until.Format(time.RFC3339))
	}
	return nil
}

// errVoid is wrapped by the reasons why an endorsement that was accepted counts no longer.
var errVoid = errors.New("void")

// endorses says why an accepted endorsement of a manifest counts no longer at now, nil if it counts. A key that has
// expired since doesn't unmake what it signed in its time; one that was revoked does, from its revocation on.
func endorses(k *store.VendorKey, m *store.Manifest, e *store.Endorsement, now time.Time) error {
	switch {
	case k == nil:
		return fmt.Errorf("%w: the key is not known", errVoid)
	case !k.Revoked.IsZero() && !e.Submitted.Before(k.Revoked):
		return fmt.Errorf("%w: submitted at %s, the key was revoked at %s", errVoid, e.Submitted.Format(time.RFC3339), k.Revoked.Format(time.RFC3339))
	case !k.Revoked.IsZero() && !e.Begins.IsZero() && !e.Begins.Before(k.Revoked):
		return fmt.Errorf("%w: signed for the time from %s, the key was revoked at %s", errVoid, e.Begins.Format(time.RFC3339), k.Revoked.Format(time.RFC3339))
	case !inScope(k, m.Vendor, m.Model):
		return fmt.Errorf("%w: %s %s is no longer in the key's scope", errVoid, m.Vendor, m.Model)
	case m.Advisory == "" && !e.Ends.IsZero() && !now.Before(e.Ends): // what was denied stays so
		return fmt.Errorf("%w: the signature ended at %s", errVoid, e.Ends.Format(time.RFC3339))
	}
	return nil
}
