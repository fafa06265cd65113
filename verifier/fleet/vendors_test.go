package fleet

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestRevocation: row 36: what a stolen key signed after the theft is void, what it signed before stays.
func TestRevocation(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	r.clock.advance(time.Hour)
	theft := r.clock.Now()
	r.clock.advance(time.Hour)
	m := r.newRelease()
	m.Supersedes = nil
	r.mustSubmit(acme.sign(t, m))
	old.attest(result.Trusted)
	next.attest(result.Trusted)
	_, err := r.RevokeVendorKey(t.Context(), tenant, acme.id, r.clock.Now().Add(time.Hour), "x", "alice")
	refusedBecause(t, "a revocation in the future", err, "in the future")
	if _, err := r.RevokeVendorKey(t.Context(), tenant, "Acme", theft, "laptop stolen", "alice"); err != nil {
		t.Fatal(err)
	}
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	status, err := r.ManifestStatus(t.Context(), tenant, "acme/r7/2.5.0")
	if err != nil || status.State != manifestVoid || status.Counts || !strings.Contains(status.Endorsers[0].Void, "revoked") {
		t.Errorf("status = %+v, %v, want it void", status, err)
	}
	_, err = r.RevokeVendorKey(t.Context(), tenant, acme.id, theft.Add(time.Minute), "x", "alice")
	refusedBecause(t, "a later revocation", err, "only an earlier time")
	_, err = r.ScopeVendorKey(t.Context(), tenant, acme.id, KeyScope{Vendors: []string{"*"}}, "alice")
	refusedBecause(t, "a new scope for a revoked key", err, "was revoked")
	_, err = r.AddVendorKey(t.Context(), tenant, VendorKeySpec{Name: "Acme", Role: "vendor", Public: acme.public(t), KeyScope: KeyScope{Vendors: []string{"*"}}}, "alice")
	refusedBecause(t, "a revoked key added again", err, "stays so")

	// A new key of the same vendor signs the same content: it counts again.
	second := r.vendor()
	r.mustSubmit(second.sign(t, m))
	next.attest(result.Trusted)
	// The theft was earlier than thought: nothing of the first key is left.
	if _, err := r.RevokeVendorKey(t.Context(), tenant, acme.id, theft.Add(-24*time.Hour), "earlier", "alice"); err != nil {
		t.Fatal(err)
	}
	old.attest(result.Untrusted)
	next.attest(result.Trusted)
	if _, err := r.ScopeVendorKey(t.Context(), tenant, second.id, KeyScope{Vendors: []string{"Acme"}, Models: []string{"X*"}}, "alice"); err != nil {
		t.Fatal(err)
	}
	next.attest(result.Unsupported)
}

// TestVendorKeys: what keys may be.
func TestVendorKeys(t *testing.T) {
	r := newRig(t)
	scope := KeyScope{Vendors: []string{"Acme"}}
	acme := newSigner(t, "Acme")
	private, err := x509.MarshalPKCS8PrivateKey(acme.key)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddVendorKey(t.Context(), tenant, VendorKeySpec{Name: "Acme", Role: "vendor", Public: acme.public(t), KeyScope: scope}, "alice"); err != nil {
		t.Fatal(err)
	}
	other := newSigner(t, "x").public(t)
	for name, c := range map[string]struct {
		spec VendorKeySpec
		says string
	}{
		"the same key":         {VendorKeySpec{Name: "Acme", Role: "vendor", Public: acme.public(t), KeyScope: scope}, "there already"},
		"two roles":            {VendorKeySpec{Name: "ACME", Role: "lab", Public: other, KeyScope: scope}, "one role"},
		"no such role":         {VendorKeySpec{Name: "Acme", Role: "king", Public: other, KeyScope: scope}, "want one of"},
		"no name":              {VendorKeySpec{Role: "lab", Public: other, KeyScope: scope}, "name of the key's holder"},
		"no vendors":           {VendorKeySpec{Name: "x", Role: "lab", Public: other}, "at least one"},
		"empty pattern":        {VendorKeySpec{Name: "x", Role: "lab", Public: other, KeyScope: KeyScope{Vendors: []string{" "}}}, "pattern"},
		"ends before it began": {VendorKeySpec{Name: "x", Role: "lab", Public: other, KeyScope: KeyScope{Vendors: []string{"*"}, From: r.clock.Now(), Until: r.clock.Now()}}, "before it begins"},
		"private key": {VendorKeySpec{
			Name: "x", Role: "lab", KeyScope: scope, Public: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		}, "private key"},
		"weak curve":     {VendorKeySpec{Name: "x", Role: "lab", KeyScope: scope, Public: (&signer{key: weak}).public(t)}, "signs no manifests"},
		"two keys":       {VendorKeySpec{Name: "x", Role: "lab", KeyScope: scope, Public: append(bytes.Clone(other), other...)}, "one key at a time"},
		"no key":         {VendorKeySpec{Name: "x", Role: "lab", KeyScope: scope, Public: []byte("key")}, "not a public key"},
		"another thing":  {VendorKeySpec{Name: "x", Role: "lab", KeyScope: scope, Public: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})}, "want PUBLIC KEY"},
		"too many rules": {VendorKeySpec{Name: "x", Role: "lab", Public: other, KeyScope: KeyScope{Vendors: make([]string, maxPatterns+1)}}, "at most"},
	} {
		_, err := r.AddVendorKey(t.Context(), tenant, c.spec, "alice")
		refusedBecause(t, name, err, c.says)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second := &signer{name: "acme", key: edwards}
	k, err := r.AddVendorKey(t.Context(), tenant, VendorKeySpec{Name: "acme", Role: "vendor", Public: second.public(t), KeyScope: scope}, "alice")
	if err != nil || k.Name != "Acme" {
		t.Errorf("second key = %+v, %v, want it of the holder as known", k, err)
	}
	_, err = r.RevokeVendorKey(t.Context(), tenant, "acme", time.Time{}, "x", "alice")
	refusedBecause(t, "a holder of two keys", err, "name one")
	if _, err = r.RevokeVendorKey(t.Context(), tenant, "nobody", time.Time{}, "x", "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoking nothing: %v", err)
	}
	if _, err := r.RevokeVendorKey(t.Context(), tenant, strings.ToUpper(k.ID[:8]), time.Time{}, "x", "alice"); err != nil {
		t.Errorf("revoking by the start of an id: %v", err)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"*", "anything / at all", true},
		{"", "", true},
		{"", "x", false},
		{"r7", "r7", true},
		{"r7", "r7x", false},
		{"r*", "r7/2", true},
		{"r?", "r7", true},
		{"r?", "r", false},
		{"?", "é", true},
		{"*x*y*", "axbyc", true},
		{"*x*y", "axbyc", false},
		{"a*b*c", "abbbc", true},
		{strings.Repeat("a*", 100) + "b", strings.Repeat("a", 200), false},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %t, want %t", c.pattern, c.s, got, c.want)
		}
	}
}
