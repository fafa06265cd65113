package result

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Profile is the EAT profile of EAR (draft-ietf-rats-ear-04, section 3).
const Profile = "tag:ietf.org,2026:rats/ear#04"

const developer = "https://github.com/probity-attest/probity"

// Claims of the EAR, draft-ietf-rats-ear-04, section 3. What EAR has no name for is in the extension "probity", a map as
// section 3 requires of extensions: the Result itself, so that nothing of a verdict is lost in the token.
type claims struct {
	Profile              string               `json:"eat_profile"`
	VerifierID           verifierID           `json:"ear_verifier_id"`
	Submods              map[Submod]appraisal `json:"submods"`
	Probity              Result               `json:"probity"`
	jwt.RegisteredClaims                      // iss, sub (the device), iat, exp (when the result becomes stale)
}

type verifierID struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

type appraisal struct {
	Status   string     `json:"ear_status"`
	Vector   Vector     `json:"ear_trustworthiness_vector"`
	Policies []string   `json:"ear_appraisal_policy_ids"`
	Probity  *extension `json:"probity,omitempty"`
}

// extension is what we say of a submodule beyond EAR: affirming is worth less of what a device only says of itself.
type extension struct {
	Strength Strength `json:"strength"`
}

// Signer signs results as EAR tokens (JWT, ES256).
type Signer struct {
	key    *ecdsa.PrivateKey
	id     string
	build  string
	issuer string
}

// NewSigner returns a Signer with a P-256 key. build is the verifier's version, issuer its name in "iss".
func NewSigner(key *ecdsa.PrivateKey, issuer, build string) (*Signer, error) {
	id, err := KeyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, id: id, build: build, issuer: issuer}, nil
}

// KeyID returns the key id that tokens carry: the first 8 bytes of the SHA-256 of the SubjectPublicKeyInfo, hexadecimal.
func KeyID(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("key id: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8]), nil
}

// Sign returns the result as an EAR.
func (s *Signer) Sign(r Result) (string, error) {
	c := claims{
		Profile:    Profile,
		VerifierID: verifierID{Developer: developer, Build: s.build},
		Submods:    make(map[Submod]appraisal, len(r.Submods)),
		Probity:    r,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.issuer,
			Subject:   r.Device,
			IssuedAt:  jwt.NewNumericDate(r.At),
			ExpiresAt: jwt.NewNumericDate(r.StaleAt),
		},
	}
	for name, v := range r.Submods {
		a := appraisal{Status: v.Status(), Vector: v, Policies: []string{r.Policy}}
		if r.Strength != (Strengths{}) {
			a.Probity = &extension{Strength: r.Strength.Of(name)}
		}
		c.Submods[name] = a
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	t.Header["kid"] = s.id
	token, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign result of %s: %w", r.Device, err)
	}
	return token, nil
}

// ErrProfile is returned for a token that is not an EAR of the profile that this package knows.
var ErrProfile = errors.New("not an EAR of profile " + Profile)

// Verify checks an EAR offline and returns the result that it carries. The checks, in order: algorithm ES256, signature
// by key, expiry at now (a result is worth nothing once it is stale), profile, subject.
func Verify(token string, key *ecdsa.PublicKey, now time.Time) (Result, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c,
		func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if err != nil {
		return Result{}, fmt.Errorf("verify result: %w", err)
	}
	if c.Profile != Profile {
		return Result{}, fmt.Errorf("verify result: %w: %q", ErrProfile, c.Profile)
	}
	if c.Subject != c.Probity.Device {
		return Result{}, errors.New("verify result: subject and device differ")
	}
	return c.Probity, nil
}

// Status returns the name of the worst tier in the vector (AR4SI, section 2.3.2): none < affirming < warning <
// contraindicated.
func (v Vector) Status() string {
	worst := 0
	for _, claim := range []int8{
		v.InstanceIdentity, v.Configuration, v.Executables, v.FileSystem,
		v.Hardware, v.RuntimeOpaque, v.StorageOpaque, v.SourcedData,
	} {
		worst = max(worst, rank(claim))
	}
	return [...]string{"none", "affirming", "warning", "contraindicated"}[worst]
}

func rank(claim int8) int {
	switch {
	case claim >= -1 && claim <= 1:
		return 0
	case claim >= 2 && claim < 32, claim > -33 && claim < -1:
		return 1
	case claim >= 32 && claim < 96, claim > -97 && claim < -32:
		return 2
	}
	return 3
}
