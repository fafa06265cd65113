// Package enroll decides whom the verifier lets in: it proves that a device's keys are in one TPM, finds out how well
// that TPM is known (the identity level) and issues the device's client certificate.
//
// An enrolment takes two messages of the device. The hello carries the endorsement key (EK) with its certificates, the
// attestation key (AK) with the proof of its creation and the TLS key certified by the AK (RFC 9683). The verifier
// answers with a credential that only a TPM with both EK and AK can activate. The proof brings its secret back together
// with the same hello. The verifier keeps nothing in between: nonce and secret are recomputed (package challenge).
// A renewal of the certificate is the same exchange by a device that is enrolled already.
//
// Who is let in: a device that the operator approved, or one with a valid token and, by configuration, an EK
// certificate that chains to a TPM maker's root or trust on first use. Everybody else with a token waits as pending. A
// known device with another key or other claims is refused and reported; its record stays as it is.
//
// Limits: an EK must follow a template of the TCG EK Credential Profile 2.5 (L-1, L-2, H-1, H-2, H-3), so that one TPM
// has few ids; a TPM that made the same key from a low and a high template could claim two. Revocation lists of TPM
// makers are not fetched: remove the root, or the device.
//
// Sources: TPM 2.0 Library 1.59, Parts 1 and 2 (cited as such); TCG EK Credential Profile 2.5; RFC 9683.
package enroll

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/store"
)

// Store is what an enrolment reads and writes (see store.Store). Methods are safe for concurrent use.
type Store interface {
	Device(ctx context.Context, tenant, id string) (store.Device, error)
	SaveDevice(ctx context.Context, d store.Device, events ...store.Event) (int64, error)
	Token(ctx context.Context, id string) (store.Token, error)
	UseToken(ctx context.Context, id, device string, now time.Time) error
	AddEvent(ctx context.Context, e store.Event) error
}

// Issuer certifies TLS keys of devices (see authority.Authority).
type Issuer interface {
	// IssueDevice returns the certificate's chain (DER, the device's first), hexadecimal serial number and expiry.
	IssueDevice(tenant, device string, pub crypto.PublicKey) (chain [][]byte, serial string, expires time.Time, err error)
}

// Config says who is let in. Store, Issuer and Keys must be set; other zero values work.
type Config struct {
	Store  Store
	Issuer Issuer
	Keys   *challenge.Keys

	// Roots is a folder of certificates of TPM makers, PEM or DER, files *.pem, *.crt, *.cer, *.der. Self-signed ones
	// are roots, others intermediates. It is read again whenever it changed. Zero: nobody is certified.
	Roots string
	// FirstUse lets in a device with a token whose EK nobody certifies, or whose EK certificate does not verify, and
	// then holds it to its keys. Otherwise such a device waits for the operator.
	FirstUse bool
	// ProofTime is how long a device may take from challenge to proof; zero: DefaultProofTime.
	ProofTime time.Duration
	// RetryPending and RetryWithheld are after how long a device asks again; zero: DefaultRetry.
	RetryPending, RetryWithheld time.Duration
	Now                         func() time.Time // zero: time.Now
	Log                         *slog.Logger     // zero: slog.Default()
}

// Defaults of Config. ProofTime leaves room for TPMs that need half a minute for an RSA key.
const (
	DefaultProofTime = 5 * time.Minute
	DefaultRetry     = 5 * time.Minute
)

// Enroller runs enrolments. Make one with New. It is safe for concurrent use.
type Enroller struct {
	config Config
	roots  *roots
	quiet  quiet
}

// New returns an Enroller.
func New(c Config) (*Enroller, error) {
	if c.Store == nil || c.Issuer == nil || c.Keys == nil {
		return nil, errors.New("enrolment: store, issuer and nonce keys must be set")
	}
	if c.ProofTime == 0 {
		c.ProofTime = DefaultProofTime
	}
	if c.RetryPending == 0 {
		c.RetryPending = DefaultRetry
	}
	if c.RetryWithheld == 0 {
		c.RetryWithheld = DefaultRetry
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	e := &Enroller{config: c, roots: &roots{dir: c.Roots, log: c.Log}}
	if _, err := e.roots.current(); err != nil {
		return nil, fmt.Errorf("enrolment: TPM makers' roots: %w", err)
	}
	return e, nil
}

// Roots says what the folder of TPM makers' certificates holds now, for people: names of the roots in force, and what
// could not be read.
func (e *Enroller) Roots() (names, problems []string, err error) {
	set, err := e.roots.current()
	if err != nil {
		return nil, nil, err
	}
	return set.names, set.problems, nil
}

// Handle answers one message of a device. tenant and device are those of the topic, which the broker has checked. The
// error is only of failures inside the verifier (store, CA): then the device is not answered and asks again.
func (e *Enroller) Handle(ctx context.Context, tenant, device string, up *proto.EnrollUp) (*proto.EnrollDown, error) {
	if !proto.ValidTenant(tenant) || !proto.ValidDevice(device) {
		return nil, fmt.Errorf("enrolment: not a tenant and device id: %q, %q", clip(tenant), clip(device))
	}
	var down *proto.EnrollDown
	var err error
	if up.Proof == nil {
		down, err = e.hello(ctx, tenant, device, up)
	} else {
		down, err = e.proof(ctx, tenant, device, up)
	}
	var no *denial
	if errors.As(err, &no) {
		return no.message(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("enrolment of %s/%s: %w", tenant, device, err)
	}
	return down, nil
}

// hello checks what can be checked without proof and answers with a challenge.
func (e *Enroller) hello(ctx context.Context, tenant, device string, up *proto.EnrollUp) (*proto.EnrollDown, error) {
	now := e.config.Now()
	c, err := readHello(device, up.Hello)
	if err != nil {
		return nil, err
	}
	if err := e.admissible(ctx, tenant, c, up.Token, now); err != nil {
		return nil, err
	}
	nonce := e.config.Keys.Issue(challenge.Enrolment, tenant, device, now)
	out := &proto.EnrollChallenge{Nonce: nonce}
	if c.endorsement != nil {
		secret := e.config.Keys.Secret(tenant, device, nonce, up.Hello)
		if out.Credential, out.Secret, err = c.credential(secret); err != nil {
			return nil, err
		}
	}
	return &proto.EnrollDown{Challenge: out}, nil
}

// proof lets a device in that has answered a challenge. The checks, in order: nonce, hello, answer, then what admit
// checks.
func (e *Enroller) proof(ctx context.Context, tenant, device string, up *proto.EnrollUp) (*proto.EnrollDown, error) {
	now := e.config.Now()
	p := up.Proof
	_, err := e.config.Keys.Check(challenge.Enrolment, tenant, device, p.Nonce, now, e.config.ProofTime)
	switch {
	case errors.Is(err, challenge.ErrExpired):
		return nil, deny(CodeNonceExpired, retryNow, "the challenge has expired: start again with a hello")
	case err != nil:
		return nil, deny(CodeNonceForeign, retryNow, "the nonce is not of a challenge for this device: start again with a hello")
	}
	c, err := readHello(device, p.Hello)
	if err != nil {
		return nil, err
	}
	if !c.proves(e.config.Keys.Secret(tenant, device, p.Nonce, p.Hello), p.Nonce, p.Hello, p.Answer) {
		if err := e.report(ctx, now, "", store.Event{
			Tenant: tenant, Device: device, Kind: EventRefused, Actor: device,
			Detail: "a device claimed these keys and could not prove that it holds them",
		}); err != nil {
			return nil, err
		}
		return nil, deny(CodeProofWrong, 0, proofWrong)
	}
	return e.admit(ctx, tenant, c, up.Token, now)
}

// proofWrong is all that is ever said of a wrong answer: nothing in it depends on the expected one.
const proofWrong = "the answer does not prove that the device holds the keys of its hello"

// quietTime is how long an event of the same kind about the same device is not repeated.
const quietTime = time.Hour

// report adds an event unless the same kind and variety was reported of the device a short time ago: a refused device
// asks again and again, and an operator needs to be told once.
func (e *Enroller) report(ctx context.Context, now time.Time, variety string, ev store.Event) error {
	key := ev.Tenant + "/" + ev.Device + "/" + ev.Kind + "/" + variety
	if !e.quiet.first(key, now) {
		return nil
	}
	ev.At = now
	if err := e.config.Store.AddEvent(ctx, ev); err != nil {
		e.quiet.forget(key)
		return fmt.Errorf("record %s: %w", ev.Kind, err)
	}
	return nil
}
