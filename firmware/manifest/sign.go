package manifest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/veraison/go-cose"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// Meta is what a signer says of a signature.
type Meta struct {
	Issuer    string    // who signs: a URI or name. Required
	NotBefore time.Time // whole seconds; zero: no bound
	NotAfter  time.Time // whole seconds, first instant at which the signature no longer counts; zero: no bound
}

// Signature is what the envelope of a signed manifest says. It counts where Open returned it.
type Signature struct {
	Issuer    string
	Subject   string // id of the manifest
	Algorithm string // "ES256", "ES384" or "EdDSA"
	KeyID     []byte // SHA-256 of the key's SubjectPublicKeyInfo; nil: the signer left it out
	NotBefore time.Time
	NotAfter  time.Time

	Key crypto.PublicKey // the key that verified; nil where nothing was verified
}

// Trust returns the keys that may have signed. It is asked before anything is verified, so that what it is told is a
// claim; to look up keys by issuer or key id is what it is for. No keys: the signature is refused with ErrUntrusted.
type Trust func(claimed Signature) []crypto.PublicKey

// TrustKeys trusts these keys, whoever they say they belong to.
func TrustKeys(keys ...crypto.PublicKey) Trust {
	return func(claimed Signature) (out []crypto.PublicKey) {
		for _, k := range keys {
			id, err := KeyID(k)
			if err == nil && (claimed.KeyID == nil || bytes.Equal(id, claimed.KeyID)) {
				out = append(out, k)
			}
		}
		return out
	}
}

// KeyID returns the id of a key: SHA-256 of its DER-encoded SubjectPublicKeyInfo (RFC 5280, section 4.1).
func KeyID(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("key id: %w", err)
	}
	id := sha256.Sum256(der)
	return id[:], nil
}

// keyAlgorithm returns the one algorithm that the profile has for a key.
func keyAlgorithm(key crypto.PublicKey) (cose.Algorithm, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return cose.AlgorithmEdDSA, nil
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return cose.AlgorithmES256, nil
		case elliptic.P384():
			return cose.AlgorithmES384, nil
		}
	}
	return 0, fmt.Errorf("%T: want an Ed25519 key, or an ECDSA key on P-256 or P-384", key)
}

// Sign signs an unsigned manifest, which it decodes first: nothing is signed that Open would refuse. The key may be in
// a file or a token; it is of type Ed25519, P-256 or P-384.
func Sign(unsigned []byte, key crypto.Signer, meta Meta) ([]byte, error) {
	m, err := Decode(unsigned)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if err := meta.validate(); err != nil {
		return nil, fmt.Errorf("sign manifest %q: %w", m.ID, err)
	}
	signed, err := sign(unsigned, key, cwtClaims(m.ID, meta))
	if err != nil {
		return nil, fmt.Errorf("sign manifest %q: %w", m.ID, err)
	}
	if len(signed) > MaxSize {
		return nil, fmt.Errorf("sign manifest %q: %d bytes with the signature, at most %d allowed", m.ID, len(signed), MaxSize)
	}
	return signed, nil
}

func (m *Meta) validate() error {
	if !m.NotBefore.IsZero() && !m.NotAfter.IsZero() && !m.NotBefore.Before(m.NotAfter) {
		return fmt.Errorf("signature: it ends at %s, before it begins", m.NotAfter.Format(time.RFC3339))
	}
	return first(text("issuer", m.Issuer, MaxText, true), moment("signature: beginning", m.NotBefore),
		moment("signature: end", m.NotAfter))
}

// Keys of CWT claims (RFC 8392, section 3.1).
const (
	claimIssuer    = 1
	claimSubject   = 2
	claimExpires   = 4
	claimNotBefore = 5
)

func cwtClaims(id string, meta Meta) cose.CWTClaims {
	claims := cose.CWTClaims{int64(claimIssuer): meta.Issuer, int64(claimSubject): id}
	if !meta.NotAfter.IsZero() {
		claims[int64(claimExpires)] = meta.NotAfter.Unix()
	}
	if !meta.NotBefore.IsZero() {
		claims[int64(claimNotBefore)] = meta.NotBefore.Unix()
	}
	return claims
}

func sign(payload []byte, key crypto.Signer, claims cose.CWTClaims) ([]byte, error) {
	if key == nil {
		return nil, errors.New("no key")
	}
	alg, err := keyAlgorithm(key.Public())
	if err != nil {
		return nil, err
	}
	id, err := KeyID(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := cose.NewSigner(alg, key)
	if err != nil {
		return nil, err
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm: alg, cose.HeaderLabelContentType: corim.ContentType, cose.HeaderLabelKeyID: id,
		cose.HeaderLabelCWTClaims: claims,
	}}
	return cose.Sign1(rand.Reader, signer, headers, payload, nil)
}

// Open verifies and decodes a signed manifest. The checks, in order:
//
//  1. size, and well-formed deterministic CBOR in the structure of the draft, in the envelope and in the payload;
//  2. the profile;
//  3. the envelope: no critical parameter that is unknown, the parameters of the profile and no others, none outside
//     the signature, an algorithm of the profile;
//  4. a trusted key for the signer, and the signature, by the algorithm that the key has and no other;
//  5. the period of the signature (nbf, exp) at now;
//  6. the payload as Decode checks it;
//  7. the claim sub is the manifest's id;
//  8. the period of the manifest at now.
//
// Whether the signer may speak for the vendor and model isn't checked here. Digests of the manifest share memory with
// signed. After an error nothing is returned: Unverified serves to look at such a document.
func Open(signed []byte, trust Trust, now time.Time) (*Manifest, *Signature, error) {
	c, s, err := envelope(signed)
	if err != nil {
		return nil, nil, fmt.Errorf("open manifest: %w", err)
	}
	if err := verify(signed, s, trust); err != nil {
		return nil, nil, fmt.Errorf("open manifest of %q, signed by %q: %w", s.Subject, s.Issuer, err)
	}
	if err := inForce("the signature", s.NotBefore, s.NotAfter, now); err != nil {
		return nil, nil, fmt.Errorf("open manifest of %q, signed by %q: %w", s.Subject, s.Issuer, err)
	}
	m, err := fromCoRIM(c, c.Signed.Payload, c.Signed.PayloadOffset)
	if err != nil {
		return nil, nil, fmt.Errorf("open manifest: %w", err)
	}
	if s.Subject != m.ID {
		return nil, nil, fmt.Errorf("open manifest %q: the signature is for %q", m.ID, s.Subject)
	}
	if err := inForce("the manifest", m.NotBefore, m.NotAfter, now); err != nil {
		return nil, nil, fmt.Errorf("open manifest %q: %w", m.ID, err)
	}
	return m, s, nil
}

// Unverified returns the unsigned manifest in a signed one and what the envelope claims, after checks 1 to 3 of Open.
// Neither is to be relied on.
func Unverified(signed []byte) (unsigned []byte, claimed *Signature, err error) {
	c, s, err := envelope(signed)
	if err != nil {
		return nil, nil, fmt.Errorf("signed manifest: %w", err)
	}
	return c.Signed.Payload, s, nil
}

// envelope does checks 1 to 3 of Open.
func envelope(signed []byte) (*corim.CoRIM, *Signature, error) {
	c, err := read(signed)
	if err != nil {
		return nil, nil, err
	}
	if c.Signed == nil {
		return nil, nil, errors.New("it is not signed")
	}
	s, err := signature(c.Signed)
	return c, s, err
}

// signature checks the parameters of the envelope (README.md, section 6).
func signature(e *corim.Signed) (*Signature, error) {
	if len(e.Critical) > 0 {
		return nil, fmt.Errorf("%w %s: the profile has none", ErrCritical, e.Critical[0])
	}
	for i := range e.Others {
		return nil, unknown("protected header", &e.Others[i])
	}
	if len(e.Unprotected) > 0 {
		return nil, malformed(e.Unprotected[0].Offset, "unprotected header: want none, it isn't signed")
	}
	if e.ContentType != corim.ContentType {
		return nil, fmt.Errorf("content type %q, want %q", e.ContentType, corim.ContentType)
	}
	c := e.Claims
	if c == nil {
		return nil, errors.New("protected header: no CWT claims (15): the profile demands issuer and subject there")
	}
	for i := range c.Others {
		return nil, unknown("CWT claims", &c.Others[i])
	}
	alg := cose.Algorithm(e.Algorithm)
	switch alg {
	case cose.AlgorithmES256, cose.AlgorithmES384, cose.AlgorithmEdDSA:
	default:
		return nil, fmt.Errorf("signature algorithm %d: want -7 (ES256), -35 (ES384) or -8 (EdDSA)", e.Algorithm)
	}
	return &Signature{
		Issuer: c.Issuer, Subject: c.Subject, Algorithm: alg.String(), KeyID: e.KeyID, NotBefore: c.NotBefore, NotAfter: c.Expires,
	}, first(text("issuer", c.Issuer, MaxText, true), text("subject", c.Subject, MaxText, true))
}

// verify does check 4 of Open and sets s.Key.
func verify(signed []byte, s *Signature, trust Trust) error {
	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(signed); err != nil {
		return err
	}
	var keys []crypto.PublicKey
	if trust != nil {
		keys = trust(*s)
	}
	fitting := 0
	for _, key := range keys {
		alg, err := keyAlgorithm(key)
		if err != nil || alg.String() != s.Algorithm {
			continue
		}
		verifier, err := cose.NewVerifier(alg, key)
		if err != nil {
			continue
		}
		fitting++
		if message.Verify(nil, verifier) == nil {
			s.Key = key
			return nil
		}
	}
	if fitting == 0 {
		return fmt.Errorf("%w: key id %x, algorithm %s, %d keys offered", ErrUntrusted, s.KeyID, s.Algorithm, len(keys))
	}
	return fmt.Errorf("%w with any of %d keys", ErrSignature, fitting)
}
