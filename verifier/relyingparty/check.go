package relyingparty

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/probity-attest/probity/verifier/result"
)

// Check returns what an EAR says of a device, or an error. The checks, in order:
//
//  1. size and form: three parts, a header with a key id that is pinned
//  2. signature with ES256 by that key, expiry, profile, subject (result.Verify)
//  3. tenant, and that the device is the one that is asked for
//  4. that the result is not of the future
//  5. age of the nonce that the evidence answers
//  6. state: its tier, and that every appraised part of the EAR is in it
//  7. identity level
//
// device is the full id, 64 hexadecimal digits, as it is the CN of the device's certificate: take it from a connection
// that the device authenticated, never from the EAR. A result that is authentic comes with the error too, for logs, unless
// it has expired.
func (c *Checker) Check(ear, device string) (result.Result, error) {
	now := c.cfg.Now()
	r, err := c.verify(ear, now)
	if errors.Is(err, jwt.ErrTokenExpired) { // the signature is checked first
		return result.Result{}, fmt.Errorf("relying party: %w: %w", ErrTooOld, err)
	}
	if err != nil {
		return result.Result{}, fmt.Errorf("relying party: %w: %w", ErrInvalid, err)
	}
	if err := c.judge(&r, device, now); err != nil {
		return r, fmt.Errorf("relying party: %w", err)
	}
	return r, nil
}

// verify returns an authentic result that has not expired.
func (c *Checker) verify(ear string, now time.Time) (result.Result, error) {
	if len(ear) > maxEAR {
		return result.Result{}, fmt.Errorf("more than %d bytes", maxEAR)
	}
	first, rest, _ := strings.Cut(ear, ".")
	if strings.Count(rest, ".") != 1 || len(first) > maxJOSEHeader {
		return result.Result{}, fmt.Errorf("not a signed JWT")
	}
	header, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return result.Result{}, fmt.Errorf("header: %w", err)
	}
	var claimed struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(header, &claimed); err != nil {
		return result.Result{}, fmt.Errorf("header: %w", err)
	}
	key := c.cfg.Keys[claimed.KeyID]
	if key == nil {
		return result.Result{}, fmt.Errorf("key %.64q is not pinned", claimed.KeyID)
	}
	return result.Verify(ear, key, now)
}

// judge says what is wrong with an authentic result.
func (c *Checker) judge(r *result.Result, device string, now time.Time) error {
	if device == "" || r.Device != device || c.cfg.Tenant != "" && r.Tenant != c.cfg.Tenant {
		return fmt.Errorf("%w: it is of %s/%s, want %s/%.64q", ErrDevice, r.Tenant, r.Device, c.cfg.Tenant, device)
	}
	if !now.Before(r.StaleAt) {
		return fmt.Errorf("%w: it was stale at %s", ErrTooOld, r.StaleAt.Format(time.RFC3339))
	}
	if r.At.After(now.Add(c.cfg.Skew)) {
		return fmt.Errorf("%w: it is of %s, which is to come: set this clock", ErrTooOld, r.At.Format(time.RFC3339))
	}
	if c.cfg.MaxAge > 0 {
		if age := now.Sub(r.IssuedAt); r.IssuedAt.IsZero() || age > c.cfg.MaxAge {
			return fmt.Errorf("%w: its nonce was issued at %s, at most %s ago is wanted", ErrTooOld,
				r.IssuedAt.Format(time.RFC3339), c.cfg.MaxAge)
		}
	}
	if err := c.tier(r); err != nil {
		return err
	}
	if !slices.Contains(c.cfg.Levels, r.Level) {
		return fmt.Errorf("%w: %s", ErrIdentity, r.Level)
	}
	return nil
}

// tier checks the state and, whatever the state says, every part that was appraised.
func (c *Checker) tier(r *result.Result) error {
	states := []result.State{result.Trusted}
	parts := []string{"none", "affirming"}
	if c.cfg.Tier == Warning {
		states, parts = append(states, result.Warning), append(parts, "warning")
	}
	if !slices.Contains(states, r.State) {
		return fmt.Errorf("%w: it is %s, want %s", ErrTier, r.State, c.cfg.Tier)
	}
	for name, vector := range r.Submods {
		if status := vector.Status(); !slices.Contains(parts, status) {
			return fmt.Errorf("%w: %s is %s, want %s", ErrTier, name, status, c.cfg.Tier)
		}
	}
	return nil
}
