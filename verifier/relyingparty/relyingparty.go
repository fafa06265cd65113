// Package relyingparty is the Relying Party's side of an Attestation Result (RFC 9334): it checks, offline, what a
// verifier signed about a device.
//
// A service that talks to a device gets the device's EAR (a signed JWT) from the device, from the retained MQTT topic
// of results, or from the verifier's API. It pins the verifier's keys once, from GET /v1/keys, and then needs nobody:
//
//	checker, err := relyingparty.New(relyingparty.Config{Keys: keys, Tenant: "acme"})
//	result, err := checker.Check(ear, device)
//
// Check fails closed: anything but a result that it verified, of that device, fresh and in the demanded tier is an
// error. It reads no clock but Config.Now, opens no connection and writes nothing. Limits: an EAR of 4 MiB, a key set
// of 64 KiB with 32 keys; only ES256 (RFC 7518, section 3.4), which is what this verifier signs with.
package relyingparty

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Tier is the worst trustworthiness tier (AR4SI, draft-ietf-rats-ar4si-08, section 2.3) of a device that may pass.
type Tier string

// Tiers.
const (
	Affirming Tier = "affirming" // the device is trusted
	Warning   Tier = "warning"   // trusted, or with warnings
)

// Errors on which callers branch. ErrInvalid says that the text is no result of this verifier: it may be forged. The
// others say what is wrong with one that is authentic; of them Check returns the result too, unless it has expired.
var (
	ErrInvalid  = errors.New("not an authentic result")
	ErrDevice   = errors.New("the result is of another device")
	ErrTooOld   = errors.New("the result is too old")
	ErrTier     = errors.New("the device is not in the demanded tier")
	ErrIdentity = errors.New("the device's identity is not known well enough")
)

// Config says what a service demands. Keys is required; zero values of the rest work.
type Config struct {
	// Keys are the verifier's public keys by key id; ParseKeys reads them.
	Keys map[string]*ecdsa.PublicKey
	// Tenant is whose devices may pass; empty: those of every tenant that the verifier signs for.
	Tenant string
	// Tier is the worst that may pass; empty: Affirming.
	Tier Tier
	// MaxAge is how long ago the verifier's nonce may have been issued that the evidence answers, so it bounds the age of
	// what was measured; zero: until the result expires.
	MaxAge time.Duration
	// Skew is how far this clock may be behind the verifier's; zero: one minute, negative: none.
	Skew time.Duration
	// Levels are the identity levels that may pass; nil: certified, pinned and first use.
	Levels []result.Level
	Now    func() time.Time // nil: time.Now
}

// Checker checks results. It is safe for concurrent use.
type Checker struct{ cfg Config }

// New returns a Checker.
func New(cfg Config) (*Checker, error) {
	if len(cfg.Keys) == 0 {
		return nil, errors.New("relying party: no keys: pin those that the verifier shows under /v1/keys")
	}
	for id, key := range cfg.Keys {
		if key == nil {
			return nil, fmt.Errorf("relying party: key %q is nil", id)
		}
		if known, err := result.KeyID(key); err != nil || known != id {
			return nil, fmt.Errorf("relying party: key %q has the id %q", id, known)
		}
	}
	switch cfg.Tier {
	case "":
		cfg.Tier = Affirming
	case Affirming, Warning:
	default:
		return nil, fmt.Errorf("relying party: tier %q: want %s or %s", cfg.Tier, Affirming, Warning)
	}
	if cfg.MaxAge < 0 {
		return nil, fmt.Errorf("relying party: the greatest age is %s", cfg.MaxAge)
	}
	if cfg.Skew == 0 {
		cfg.Skew = time.Minute
	}
	cfg.Skew = max(cfg.Skew, 0)
	if cfg.Levels == nil {
		cfg.Levels = []result.Level{result.Certified, result.Pinned, result.FirstUse}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Checker{cfg}, nil
}
