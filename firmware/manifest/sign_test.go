package manifest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/veraison/go-cose"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

const issuer = "https://acme.example"

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustSign(t testing.TB, m *Manifest, key crypto.Signer) []byte {
	t.Helper()
	b, err := Sign(mustEncode(t, m), key, Meta{Issuer: issuer, NotBefore: day(1), NotAfter: day(31)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// token is a key whose bytes nobody has, as in a smart card.
type token struct{ key crypto.Signer }

func (k token) Public() crypto.PublicKey { return k.key.Public() }

func (k token) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return k.key.Sign(r, digest, o)
}

func TestSignOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		key crypto.Signer
		alg string
	}{
		"Ed25519":          {edKey(t), "EdDSA"},
		"P-256":            {ecKey(t, elliptic.P256()), "ES256"},
		"P-384":            {ecKey(t, elliptic.P384()), "ES384"},
		"P-384 in a token": {token{ecKey(t, elliptic.P384())}, "ES384"},
		"Ed25519 in token": {token{edKey(t)}, "EdDSA"},
	} {
		t.Run(name, func(t *testing.T) {
			signed := mustSign(t, sample(), tt.key)
			other := edKey(t).Public()
			m, s, err := Open(signed, TrustKeys(other, tt.key.Public()), day(2))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sample(), m); diff != "" {
				t.Errorf("manifest: %s", diff)
			}
			id, err := KeyID(tt.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			want := &Signature{
				Issuer: issuer, Subject: "acme/r7/2.5.0", Algorithm: tt.alg, KeyID: id, NotBefore: day(1), NotAfter: day(31),
				Key: tt.key.Public(),
			}
			if diff := cmp.Diff(want, s); diff != "" {
				t.Errorf("signature: %s", diff)
			}
			unsigned, claimed, err := Unverified(signed)
			if err != nil || !bytes.Equal(unsigned, mustEncode(t, sample())) {
				t.Errorf("Unverified = %d bytes, %v", len(unsigned), err)
			}
			if diff := cmp.Diff(want, claimed, cmpopts.IgnoreFields(Signature{}, "Key")); diff != "" || claimed.Key != nil {
				t.Errorf("claimed: %s, key %v", diff, claimed.Key)
			}
			if _, _, err := Open(signed, TrustKeys(other), day(2)); !errors.Is(err, ErrUntrusted) {
				t.Errorf("Open with another key = %v, want %v", err, ErrUntrusted)
			}
		})
	}
}

// A signature is only as long in force as it says, and the manifest as it says itself.
func TestOpenPeriods(t *testing.T) {
	key := edKey(t)
	long, short := Meta{Issuer: issuer}, Meta{Issuer: issuer, NotBefore: day(3), NotAfter: day(5)}
	for _, tt := range []struct {
		name string
		meta Meta
		now  time.Time
		want error
		what string
	}{
		{"first instant", short, day(3), nil, ""},
		{"before the signature", short, day(3).Add(-1), ErrNotYetValid, "the signature"},
		{"last instant", short, day(5).Add(-1), nil, ""},
		{"end of the signature", short, day(5), ErrExpired, "the signature"},
		{"before the manifest", long, day(1).Add(-1), ErrNotYetValid, "the manifest"},
		{"in the manifest's time", long, day(1), nil, ""},
		{"end of the manifest", long, day(31), ErrExpired, "the manifest"},
	} {
		signed, err := Sign(mustEncode(t, sample()), key, tt.meta)
		if err != nil {
			t.Fatal(err)
		}
		m, s, err := Open(signed, TrustKeys(key.Public()), tt.now)
		var v *ValidityError
		if !errors.Is(err, tt.want) || (m == nil) != (err != nil) || (s == nil) != (err != nil) {
			t.Errorf("%s: Open = %v, %v, %v, want %v", tt.name, m, s, err, tt.want)
		}
		if tt.want != nil && (!errors.As(err, &v) || v.What != tt.what || !v.Now.Equal(tt.now) || v.Bound.IsZero()) {
			t.Errorf("%s: %v, want it to name %s and both times", tt.name, err, tt.what)
		}
	}
}

// No changed bit is taken for the vendor's, whichever it is.
func TestOpenMutations(t *testing.T) {
	key := edKey(t)
	m := &Manifest{ID: "a", Vendor: "V", Model: "M", Version: "1", Files: []File{{Path: "/init", Digest: sum("i")}}}
	signed := mustSign(t, m, key)
	trust := TrustKeys(key.Public())
	all := func(Signature) []crypto.PublicKey { return []crypto.PublicKey{key.Public()} }
	if _, _, err := Open(signed, trust, day(2)); err != nil {
		t.Fatal(err)
	}
	for bit := range len(signed) * 8 {
		changed := bytes.Clone(signed)
		changed[bit/8] ^= 1 << (bit % 8)
		if m, s, err := Open(changed, all, day(2)); err == nil || m != nil || s != nil {
			t.Fatalf("bit %d changed: Open = %v, %v, %v", bit, m, s, err)
		}
	}
	for n := range signed {
		if _, _, err := Open(signed[:n], trust, day(2)); err == nil {
			t.Fatalf("opened when cut to %d bytes", n)
		}
	}
}

// forge signs a payload with an envelope of the test's making.
func forge(t *testing.T, key ed25519.PrivateKey, payload []byte, change func(*cose.Headers)) []byte {
	t.Helper()
	h := cose.Headers{Unprotected: cose.UnprotectedHeader{}, Protected: cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA, cose.HeaderLabelContentType: corim.ContentType,
		cose.HeaderLabelCWTClaims: cose.CWTClaims{int64(1): issuer, int64(2): "acme/r7/2.5.0"},
	}}
	change(&h)
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cose.Sign1(rand.Reader, signer, h, payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Correctly signed by a trusted key, and refused all the same.
func TestOpenRefusesEnvelopes(t *testing.T) {
	key := edKey(t)
	good := mustEncode(t, sample())
	label := func(l, v any) func(*cose.Headers) { return func(h *cose.Headers) { h.Protected[l] = v } }
	claim := func(k int64, v any) func(*cose.Headers) {
		return label(cose.HeaderLabelCWTClaims, cose.CWTClaims{int64(1): issuer, int64(2): "acme/r7/2.5.0", k: v})
	}
	for _, tt := range []struct {
		name    string
		payload []byte
		change  func(*cose.Headers)
		is      error
		want    string
	}{
		{"nothing wrong", good, func(*cose.Headers) {}, nil, ""},
		{"unknown critical extension", good, func(h *cose.Headers) {
			h.Protected[cose.HeaderLabelCritical], h.Protected[int64(-70)] = []any{int64(-70)}, int64(1)
		}, ErrCritical, "-70"},
		{"known label as critical", good, label(cose.HeaderLabelCritical, []any{int64(15)}), ErrCritical, "15"},
		{"unknown parameter", good, label(int64(-70), int64(1)), nil, "field -70 is not part of the profile"},
		{"unknown parameter by name", good, label("x", int64(1)), nil, `field "x" is not part`},
		{"legacy meta map", good, label(int64(8), []byte{0xa0}), nil, "field 8 is not part"},
		{"parameter outside the signature", good, func(h *cose.Headers) { h.Unprotected[int64(4)] = []byte{1} }, nil, "unprotected"},
		{"another content type", good, label(cose.HeaderLabelContentType, "text/plain"), nil, "content type"},
		{"no claims", good, func(h *cose.Headers) { delete(h.Protected, cose.HeaderLabelCWTClaims) }, nil, "no CWT claims"},
		{"unknown claim", good, claim(3, "x"), nil, "CWT claims: field 3"},
		{"no subject", good, label(cose.HeaderLabelCWTClaims, cose.CWTClaims{int64(1): issuer}), nil, "subject: missing"},
		{"another subject", good, claim(2, "acme/r7/2.4.0"), nil, `for "acme/r7/2.4.0"`},
		{"issuer with control characters", good, claim(1, "a\x1b[2J"), nil, "control"},
		{"fraction of a second", good, claim(4, 1.5), nil, "floating-point"},
		{"algorithm that it isn't", good, func(h *cose.Headers) {
			h.RawProtected = replaced(t, h, []byte{1, 0x27}, []byte{1, 0x26})
		}, ErrUntrusted, "ES256"},
		{"algorithm of no profile", good, func(h *cose.Headers) {
			h.RawProtected = replaced(t, h, []byte{1, 0x27}, []byte{1, 0x38, 36})
		}, nil, "algorithm -37"},
		{"payload of another profile", bytes.Replace(good, []byte("corim-profile:1"), []byte("corim-profile:2"), 1), func(*cose.Headers) {}, ErrProfile, "profile:2"},
		{"malformed payload", good[:len(good)-1], func(*cose.Headers) {}, nil, "cut off"},
		{"payload with bytes behind", append(bytes.Clone(good), 0), func(*cose.Headers) {}, nil, "after the end"},
		{"signed payload within a signed one", mustSign(t, sample(), key), func(*cose.Headers) {}, nil, "want tag 501"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, s, err := Open(forge(t, key, tt.payload, tt.change), TrustKeys(key.Public()), day(2))
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if m != nil || s != nil || err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, %v, %v, want %v with %q", m, s, err, tt.is, tt.want)
			}
		})
	}
}

// replaced returns the encoded protected header with a part of it replaced.
func replaced(t *testing.T, h *cose.Headers, from, to []byte) []byte {
	t.Helper()
	b, err := h.MarshalProtected()
	if err != nil {
		t.Fatal(err)
	}
	inner := b[2:] // after the head of a byte string of 24 to 255 bytes
	changed := bytes.Replace(inner, from, to, 1)
	if bytes.Equal(changed, inner) {
		t.Fatal("nothing to replace")
	}
	return append([]byte{0x58, byte(len(changed))}, changed...)
}

// The signature is checked with the key's own algorithm: what a P-256 key signed as ES384 doesn't count.
func TestOpenKeyDecidesAlgorithm(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	signer, err := cose.NewSigner(cose.AlgorithmES384, key)
	if err != nil {
		t.Fatal(err)
	}
	h := cose.Headers{Protected: cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm: cose.AlgorithmES384, cose.HeaderLabelContentType: corim.ContentType,
		cose.HeaderLabelCWTClaims: cose.CWTClaims{int64(1): issuer, int64(2): "acme/r7/2.5.0"},
	}}
	b, err := cose.Sign1(rand.Reader, signer, h, mustEncode(t, sample()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(b, TrustKeys(key.Public()), day(2)); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Open = %v, want %v", err, ErrUntrusted)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	everything := func(Signature) []crypto.PublicKey {
		return []crypto.PublicKey{nil, "key", weak.Public(), (*ecdsa.PublicKey)(&ecdsa.PublicKey{Curve: elliptic.P224()})}
	}
	if _, _, err := Open(b, everything, day(2)); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Open with keys of no use = %v, want %v", err, ErrUntrusted)
	}
	if _, _, err := Open(b, nil, day(2)); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Open without trust = %v, want %v", err, ErrUntrusted)
	}
}

func TestOpenForeignSignature(t *testing.T) {
	key, other := edKey(t), edKey(t)
	signed := mustSign(t, sample(), key)
	always := func(Signature) []crypto.PublicKey { return []crypto.PublicKey{other.Public()} }
	if _, _, err := Open(signed, always, day(2)); !errors.Is(err, ErrSignature) {
		t.Errorf("Open = %v, want %v", err, ErrSignature)
	}
	if _, _, err := Open(mustEncode(t, sample()), always, day(2)); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("Open of an unsigned manifest = %v", err)
	}
	if _, err := Decode(signed); err == nil || !strings.Contains(err.Error(), "open it with the keys") {
		t.Errorf("Decode of a signed manifest = %v", err)
	}
	if _, _, err := Open(make([]byte, MaxSize+1), always, day(2)); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("Open of too many bytes = %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	good := mustEncode(t, sample())
	key := edKey(t)
	for _, tt := range []struct {
		name    string
		payload []byte
		key     crypto.Signer
		meta    Meta
		want    string
	}{
		{"no issuer", good, key, Meta{}, "issuer: missing"},
		{"upside down", good, key, Meta{Issuer: issuer, NotBefore: day(2), NotAfter: day(1)}, "before it begins"},
		{"nanoseconds", good, key, Meta{Issuer: issuer, NotAfter: day(2).Add(1)}, "whole seconds"},
		{"no key", good, nil, Meta{Issuer: issuer}, "no key"},
		{"P-224", good, ecKey(t, elliptic.P224()), Meta{Issuer: issuer}, "want an Ed25519 key"},
		{"no manifest", good[1:], key, Meta{Issuer: issuer}, "after the end"},
	} {
		b, err := Sign(tt.payload, tt.key, tt.meta)
		if b != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Sign = %d bytes, %v, want %q", tt.name, len(b), err, tt.want)
		}
	}
}

// The vectors of another implementation are CoRIMs, but of no profile that is known here: the whole is refused.
func TestOpenRefusesVectors(t *testing.T) {
	paths, err := filepath.Glob("../../../shared/corpus/corim/*corim*.cbor")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("no vectors: the corpus of CoRIMs is not here")
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		_, _, opening := Open(b, TrustKeys(edKey(t).Public()), day(2))
		_, decoding := Decode(b)
		for _, err := range []error{opening, decoding} {
			var e *ProfileError
			if !errors.Is(err, ErrProfile) || !errors.As(err, &e) || !strings.Contains(err.Error(), Profile) {
				t.Errorf("%s: %v, want %v", filepath.Base(p), err, ErrProfile)
			}
		}
	}
}
