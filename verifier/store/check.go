package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/probity-attest/probity/verifier/result"
)

// ErrInvalid is wrapped by the errors of writes whose arguments contradict each other or cannot be kept. Nothing was
// written; the same call will fail again.
var ErrInvalid = errors.New("invalid")

// Page sizes of all methods that list.
const (
	defaultPage = 100
	largestPage = 1000
)

// PageSize returns how many rows a page with this limit has: limit, 100 if it is 0 or less, at most 1,000.
func PageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, largestPage)
}

// Micro returns t as a store keeps it: UTC, cut to microseconds, the zero time as itself.
func Micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// Check reports what keeps d from being stored. The checks: tenant and id are there; status and state are ones that may be
// stored (Stale may not: it only follows from the time); all text is UTF-8 without NUL, which PostgreSQL cannot keep.
func (d *Device) Check() error {
	if d.Tenant == "" || d.ID == "" {
		return fmt.Errorf("%w device: want tenant and id, got %q and %q", ErrInvalid, d.Tenant, d.ID)
	}
	if d.Version < 0 {
		return fmt.Errorf("%w device: negative version %d", ErrInvalid, d.Version)
	}
	switch d.Status {
	case Approved, Pending, Active:
	default:
		return fmt.Errorf("%w device: unknown status %q", ErrInvalid, d.Status)
	}
	switch d.State {
	case result.Trusted, result.Warning, result.Untrusted, result.NeverAttested, result.Unsupported:
	default:
		return fmt.Errorf("%w device: state %q cannot be stored", ErrInvalid, d.State)
	}
	for _, s := range []string{
		d.Tenant, d.ID, string(d.Level), d.Label, d.Group, d.Vendor, d.Model, d.Firmware, d.Agent, d.EKIssuer, d.CertSerial,
	} {
		if err := checkText("device", s); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(d.Labels)) {
		if err := errors.Join(checkText("device label", k), checkText("device label", d.Labels[k])); err != nil {
			return err
		}
	}
	return nil
}

// Check reports what keeps o from being stored. The checks: the device's own; result, evidence digest and device are of one
// another; the EAR is text.
func (o *Outcome) Check() error {
	if err := o.Device.Check(); err != nil {
		return err
	}
	if o.Result.Tenant != o.Device.Tenant || o.Result.Device != o.Device.ID {
		return fmt.Errorf("%w outcome: result of device %q of tenant %q stored with device %q of tenant %q", ErrInvalid,
			o.Result.Device, o.Result.Tenant, o.Device.ID, o.Device.Tenant)
	}
	if digest := o.Digest(); o.Result.Evidence != digest {
		return fmt.Errorf("%w outcome: result is of evidence %q, but the evidence has digest %s", ErrInvalid, o.Result.Evidence, digest)
	}
	return checkText("EAR", o.EAR)
}

// Digest returns the digest under which the evidence is found: SHA-256 in lower-case hexadecimal.
func (o *Outcome) Digest() string {
	sum := sha256.Sum256(o.Evidence)
	return hex.EncodeToString(sum[:])
}

// EventsOf returns the events as they are stored beside something of tenant: those without a tenant get it, and one of
// another tenant is an error that wraps ErrInvalid. The arguments stay as they are.
func EventsOf(tenant string, events []Event) ([]Event, error) {
	out := slices.Clone(events)
	for i := range out {
		e := &out[i]
		if e.Tenant == "" {
			e.Tenant = tenant
		}
		if e.Tenant != tenant {
			return nil, fmt.Errorf("%w event: of tenant %q in a write of tenant %q", ErrInvalid, e.Tenant, tenant)
		}
		for _, s := range []string{e.Tenant, e.Device, e.Kind, e.Actor, e.Detail} {
			if err := checkText("event", s); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Check reports what keeps r from being stored.
func (r *Reference) Check() error {
	if r.Tenant == "" || r.Name == "" {
		return fmt.Errorf("%w reference: want tenant and name, got %q and %q", ErrInvalid, r.Tenant, r.Name)
	}
	return errors.Join(checkText("reference", r.Tenant), checkText("reference", r.Name), checkText("reference", r.Kind))
}

// Check reports what keeps t from being stored.
func (t *Token) Check() error {
	if t.Tenant == "" || t.ID == "" {
		return fmt.Errorf("%w token: want tenant and id", ErrInvalid)
	}
	if len(t.Hash) != sha256.Size {
		return fmt.Errorf("%w token: want a SHA-256 digest of %d bytes, got %d", ErrInvalid, sha256.Size, len(t.Hash))
	}
	if t.Uses < 0 {
		return fmt.Errorf("%w token: negative number of uses %d", ErrInvalid, t.Uses)
	}
	if t.Operator != (t.Role != "") {
		return fmt.Errorf("%w token: want a role for the API and none for enrolment, got %q", ErrInvalid, t.Role)
	}
	for _, s := range append([]string{t.Tenant, t.ID, t.Role, t.Name}, t.Vendors...) {
		if err := checkText("token", s); err != nil {
			return err
		}
	}
	return nil
}

// CheckContent reports whether content has this digest.
func CheckContent(digest [32]byte, content []byte) error {
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], digest[:]) {
		return fmt.Errorf("%w content: has digest %x, not %x", ErrInvalid, sum, digest)
	}
	return nil
}

func checkText(what, s string) error {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%w %s: want UTF-8 without NUL, got %.80q", ErrInvalid, what, s)
	}
	return nil
}
