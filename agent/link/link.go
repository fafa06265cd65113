// Package link is the agent's side of the conversation with a verifier over MQTT (proto/README.md): it enrols the
// device, keeps one TLS 1.3 connection with the device's certificate, answers challenges with evidence, sends wanted
// content and waits for receipts.
//
// It trusts nothing but the verifier's CA, pinned by fingerprint or file. It never executes what it receives, bounds
// every message, answers challenges at most once in Timing.MinInterval and sends a report's content a few times at
// most, so that even the verifier cannot wear out the TPM or the uplink. Its only memory is the newest report, kept
// until the verifier's receipt for it. After any failure it tries again with full jitter, for ever, unless the verifier
// said that trying again is of no use.
package link

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/probity-attest/probity/proto"
)

// Device is the identity that the link speaks for. Calls may take seconds on a slow TPM.
type Device interface {
	// ID returns the device id.
	ID() string
	// Hello returns an encoded proto.Hello.
	Hello(ctx context.Context) ([]byte, error)
	// Answer returns proto.EnrollProof.Answer for a challenge to hello.
	Answer(ctx context.Context, hello []byte, c *proto.EnrollChallenge) ([]byte, error)
	// TLSSigner returns the key that the device's certificate is for.
	TLSSigner() crypto.Signer
}

// Attester makes evidence.
type Attester interface {
	// Report answers a challenge that passed proto's checks.
	Report(ctx context.Context, c *proto.Challenge) (*Report, error)
}

// Capturer reads raw bytes of flash memory for an operator.
type Capturer interface {
	// Capture answers a request that passed proto's checks: it sends a start, the pieces and the end. send waits until the
	// message before is on its way; messages need no nonce. An error that is a *proto.Unavailable says why it is refused.
	Capture(ctx context.Context, m *proto.CaptureRequest, send func(*proto.CaptureUp) error) error
}

// Report is evidence on its way.
type Report struct {
	Evidence []byte // encoded proto.Evidence
	// Content returns content that the evidence names. It may read it again.
	Content func(ctx context.Context, d proto.Digest) ([]byte, error)
	// Accepted is called once if the verifier appraised the evidence.
	Accepted func()
}

// Certificates keeps the device's certificate between runs.
type Certificates interface {
	// Load returns the chain, DER, the device's own first; nil if there is none.
	Load() ([][]byte, error)
	// Save replaces it.
	Save(chain [][]byte) error
}

// Config says how to reach a verifier and who speaks. Server, Device, Attester and one way to pin the CA are required.
type Config struct {
	Server        string // mqtts://HOST:PORT
	CAFingerprint string // "sha256:<hex>" of the CA certificate, which the server presents in its chain
	CAFile        string // or: PEM file of CA certificates
	Tenant        string // "": from the certificate or the token
	Token         string // enrolment token; "": only a device that has a certificate gets in
	Agent         string // version of the agent

	Device       Device
	Attester     Attester
	Capturer     Capturer     // nil: requests for raw bytes of flash are ignored
	Certificates Certificates // nil: the certificate is kept in memory

	Log       *slog.Logger         // nil: discard
	OnReceipt func(*proto.Receipt) // told of every receipt for our evidence; nil: nobody
	OnStatus  func(string)         // told in one line what the link is doing; nil: nobody
	Timing    Timing
	Clock     Clock          // nil: the system's
	Jitter    func() float64 // in [0,1); nil: random
}

// Link is one device's conversation. Make one with New, run it once.
type Link struct {
	cfg     Config
	server  server
	trust   trust
	talk    *conversation
	reports chan reported
	soon    chan struct{}  // ReportSoon was called
	working sync.WaitGroup // the goroutine that makes a report
	watch   watch

	capturing atomic.Pointer[proto.CaptureRequest] // nil: no capture runs
	captureAt time.Time                            // before which no other begins

	certificate *tls.Certificate // nil until enrolled
	tenant      string
	renewAt     time.Time
	expires     time.Time
	once        chan outcome // nil unless Once runs
}

type reported struct {
	report *Report
	err    error
}

type outcome struct {
	receipt *proto.Receipt
	err     error
}

// Check finds mistakes in what a person configures: Server, CAFingerprint, CAFile, Tenant and Token. It reads CAFile and
// contacts nobody.
func (c *Config) Check() error {
	_, _, _, err := c.parse()
	return err
}

// parse returns what the texts of a configuration mean. The tenant is "" where only a certificate can tell it.
func (c *Config) parse() (s server, t trust, tenant string, err error) {
	if s, err = parseServer(c.Server); err != nil {
		return s, t, "", err
	}
	if t, err = newTrust(c.CAFingerprint, c.CAFile); err != nil {
		return s, t, "", err
	}
	if c.Tenant != "" && !proto.ValidTenant(c.Tenant) {
		return s, t, "", fmt.Errorf("tenant %q: want 1 to 32 of a-z, 0-9 and \"-\"", c.Tenant)
	}
	if c.Token == "" {
		return s, t, c.Tenant, nil
	}
	if tenant, err = TokenTenant(c.Token); err != nil {
		return s, t, "", err
	}
	if c.Tenant != "" && c.Tenant != tenant {
		return s, t, "", fmt.Errorf("token is for tenant %q, configured is %q: use one or the other", tenant, c.Tenant)
	}
	return s, t, tenant, nil
}

// New checks a configuration. It does not contact anybody.
func New(cfg Config) (*Link, error) {
	if cfg.Device == nil || cfg.Attester == nil {
		return nil, errors.New("link: Device and Attester are required")
	}
	s, t, tenant, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	if cfg.Certificates == nil {
		cfg.Certificates = &memory{}
	}
	cfg.Timing = cfg.Timing.orDefault()
	l := &Link{cfg: cfg, server: s, trust: t, reports: make(chan reported, 1), soon: make(chan struct{}, 1), tenant: tenant}
	l.talk = newConversation(cfg.Timing, cfg.Jitter, cfg.Agent)
	l.watch.clock = cfg.Clock
	return l, nil
}

// ReportSoon brings the next report forward to now: what the last one said has changed. That sets aside the time that
// the verifier's receipt asked for, but neither Timing.MinInterval nor the wait after a failure. A report that is on its
// way is followed by another one. It may be called at any time, from any goroutine, and does not wait.
func (l *Link) ReportSoon() {
	select {
	case l.soon <- struct{}{}:
	default: // it is known already
	}
}

// Run converses until ctx ends, which is no error, or until the verifier said that trying again is of no use.
func (l *Link) Run(ctx context.Context) error {
	work, stop := context.WithCancel(ctx)
	defer l.working.Wait() // the TPM must be idle before the caller closes it
	defer stop()
	if err := l.loadCertificate(); err != nil {
		return err
	}
	retry := backoff{min: l.cfg.Timing.ReconnectMin, max: l.cfg.Timing.ReconnectMax, jitter: l.cfg.Jitter}
	for {
		began := l.cfg.Clock.Now()
		err := l.connectAndTalk(work)
		if ctx.Err() != nil || errors.Is(err, errDone) {
			return nil
		}
		var final *finalError
		if errors.As(err, &final) {
			return final.error
		}
		if l.once != nil && hopeless(err) {
			return err
		}
		if l.cfg.Clock.Now().Sub(began) >= l.cfg.Timing.Stable {
			retry.reset()
		}
		wait := retry.next()
		var again *retryError
		if errors.As(err, &again) {
			wait = max(wait, spread(again.after, l.cfg.Jitter))
		}
		l.cfg.Log.Warn("not connected to the verifier", "reason", err, "retry_in", wait.Round(time.Millisecond))
		l.status(fmt.Sprintf("not connected, next try in %s: %v", wait.Round(time.Second), err))
		if l.pause(ctx, wait) != nil {
			return nil
		}
	}
}

// Once converses until the first verdict and returns its receipt. It fails where Run would, where evidence cannot be
// made, where the verifier rejects the evidence, where somebody must act first (another CA, enrolment denied or waiting for
// approval), and when ctx ends, with the last obstacle as reason.
func (l *Link) Once(ctx context.Context) (*proto.Receipt, error) {
	l.once = make(chan outcome, 1)
	var last string
	status := l.cfg.OnStatus
	l.cfg.OnStatus = func(s string) { // Run's goroutine only
		last = s
		if status != nil {
			status(s)
		}
	}
	err := l.Run(ctx)
	select {
	case o := <-l.once:
		return o.receipt, o.err
	default:
	}
	if err == nil {
		err = fmt.Errorf("no verdict in time (%w): %s", context.Cause(ctx), last)
	}
	return nil, err
}

// hopeless reports whether Once need not wait: somebody must act before a further try can come out differently.
func hopeless(err error) bool {
	var denied *DeniedError
	var pending *PendingError
	var untrusted *untrustedError
	var invalid *tls.CertificateVerificationError
	return errors.As(err, &denied) || errors.As(err, &pending) || errors.As(err, &untrusted) || errors.As(err, &invalid)
}

// finish ends Once.
func (l *Link) finish(o outcome) error {
	if l.once == nil {
		return nil
	}
	l.once <- o
	return errDone
}

// errDone ends Run after Once has its outcome.
var errDone = errors.New("done")

// connectAndTalk enrols if it must, then holds one connection until it breaks.
func (l *Link) connectAndTalk(ctx context.Context) error {
	if l.certificate == nil {
		if err := l.enroll(ctx); err != nil {
			return err
		}
	}
	l.status("connecting to " + l.server.String())
	c, err := l.dial(ctx, login{
		clientID: l.cfg.Device.ID(), certificate: l.certificate, subscribe: l.address("").Down(), will: l.offline(),
	})
	if err != nil {
		return l.refused(err)
	}
	defer c.close()
	l.cfg.Log.Info("connected to the verifier", "server", l.server.String(), "tenant", l.tenant)
	return l.session(ctx, c)
}

// refused decides what follows from a connection that failed with our certificate.
func (l *Link) refused(err error) error {
	if !errors.Is(err, errRefused) {
		return err
	}
	if l.cfg.Token == "" {
		return fmt.Errorf("%w: the verifier does not accept this device's certificate; "+
			"to enrol again, start the agent with --token", err)
	}
	l.cfg.Log.Warn("the verifier does not accept this device's certificate, enrolling again", "reason", err)
	l.certificate = nil
	return err
}

// address returns a topic of this device.
func (l *Link) address(leaf proto.Leaf) proto.Address {
	return proto.Address{Tenant: l.tenant, Device: l.cfg.Device.ID(), Leaf: leaf}
}

// offline is the will, and what a clean shutdown says.
func (l *Link) offline() publication {
	b, err := proto.Encode(&proto.State{Kind: proto.StateOffline, Agent: l.cfg.Agent})
	if err != nil {
		return publication{} // an agent version over the limits: nothing is said instead
	}
	return publication{leaf: proto.UpState, payload: b}
}

func (l *Link) status(s string) {
	if l.cfg.OnStatus != nil {
		l.cfg.OnStatus(s)
	}
}

// pause waits for d or until ctx ends.
func (l *Link) pause(ctx context.Context, d time.Duration) error {
	timer, stop := l.cfg.Clock.After(d)
	defer stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer:
		return nil
	}
}
