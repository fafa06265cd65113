package manifest

import (
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// Errors that callers branch on.
var (
	// ErrProfile is returned for a CoRIM that isn't of the profile: the whole of it is refused (draft, section 4.1).
	ErrProfile = errors.New("unknown CoRIM profile")
	// ErrUntrusted is returned where no trusted key is the signer's.
	ErrUntrusted = errors.New("no trusted key for this signer")
	// ErrSignature is returned where the signature isn't that of the trusted key.
	ErrSignature = errors.New("signature does not verify")
	// ErrExpired and ErrNotYetValid are returned for what is correct but not in force now, as a *ValidityError.
	ErrExpired     = errors.New("expired")
	ErrNotYetValid = errors.New("not yet valid")
	// ErrCritical is returned for a critical header parameter that this package doesn't know (RFC 9052, section 3.1).
	ErrCritical = errors.New("unknown critical header parameter")
)

// MalformedError tells at which byte a document stops being a manifest.
type MalformedError = corim.MalformedError

// ProfileError is a CoRIM of another profile. It wraps ErrProfile.
type ProfileError struct {
	Profile string // empty: the CoRIM states none
}

func (e *ProfileError) Error() string {
	if e.Profile == "" {
		return fmt.Sprintf("%v: the CoRIM states none, want %s; it may be a valid CoRIM of another tool, but nothing says "+
			"what its values mean here", ErrProfile, Profile)
	}
	return fmt.Sprintf("%v %q, want %s", ErrProfile, e.Profile, Profile)
}

func (e *ProfileError) Unwrap() error { return ErrProfile }

// ValidityError is a document that isn't in force. It wraps ErrExpired or ErrNotYetValid.
type ValidityError struct {
	What  string    // "signature" or "manifest"
	Bound time.Time // until when, or from when it is in force
	Now   time.Time // the time it was compared with
	err   error
}

func (e *ValidityError) Error() string {
	const layout = time.RFC3339
	if errors.Is(e.err, ErrExpired) {
		return fmt.Sprintf("%s has expired: it was valid until %s, now is %s", e.What, e.Bound.UTC().Format(layout),
			e.Now.UTC().Format(layout))
	}
	return fmt.Sprintf("%s is not yet valid: it begins at %s, now is %s; compare this machine's clock", e.What,
		e.Bound.UTC().Format(layout), e.Now.UTC().Format(layout))
}

func (e *ValidityError) Unwrap() error { return e.err }

// inForce checks a period, whose end no longer belongs to it. Zero bounds don't bound.
func inForce(what string, notBefore, notAfter, now time.Time) error {
	switch {
	case !notAfter.IsZero() && !now.Before(notAfter):
		return &ValidityError{What: what, Bound: notAfter, Now: now, err: ErrExpired}
	case !notBefore.IsZero() && now.Before(notBefore):
		return &ValidityError{What: what, Bound: notBefore, Now: now, err: ErrNotYetValid}
	}
	return nil
}

func malformed(at int, format string, args ...any) error {
	return &MalformedError{Offset: at, Detail: fmt.Sprintf(format, args...)}
}
