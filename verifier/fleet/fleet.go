// Package fleet leads the verifier's devices: it challenges them, has their evidence appraised, records every outcome
// before it acknowledges it, tells who falls silent, and carries out what operators decide.
//
// It keeps nothing that matters in memory: whatever a replica or a restart needs is in the store. A receipt is sent
// only after the store has committed. What is lost on the way (a message, this process) is asked for or sent again.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/link"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Sender reaches devices; link.Link is one.
type Sender interface {
	// Send sends a message to a device.
	Send(ctx context.Context, to proto.Address, m link.Message) error
	// Retain publishes a device's newest result; nil clears it.
	Retain(ctx context.Context, to proto.Address, payload []byte) error
}

// Enroller answers enrolment messages; enroll.Enroller is one.
type Enroller interface {
	// Handle answers one message; an error is internal and means that there is no answer.
	Handle(ctx context.Context, tenant, device string, up *proto.EnrollUp) (*proto.EnrollDown, error)
}

// Config is what a Fleet needs. Zero values of Interval, NonceLifetime, Disconnect, Metrics, Traces, Now and Log work.
type Config struct {
	Store    store.Store
	Sender   Sender
	Enroller Enroller
	Nonces   *challenge.Keys
	Signer   *result.Signer
	Baseline *BaselineKey
	Policy   appraise.Policy // built-in: what holds where a tenant has no policy document, or it says nothing
	// Interval is how often a device reports; zero: a third of the policy's StaleAfter.
	Interval time.Duration
	// NonceLifetime is how long evidence for a nonce is accepted; zero: five minutes.
	NonceLifetime time.Duration
	// ManifestAhead is how long before its time a manifest is accepted; zero: 30 days.
	ManifestAhead time.Duration
	// Disconnect ends a removed device's connection.
	Disconnect func(tenant, device string)
	Metrics    *Metrics
	Traces     trace.TracerProvider // nil: appraisals are not traced
	Now        func() time.Time
	Log        *slog.Logger
}

// Fleet is safe for concurrent use.
type Fleet struct {
	cfg        Config
	policies   *policies
	log        *slog.Logger
	memo       *appraise.Memo
	references *references
	indexed    indexed
	jobs       jobs
	bulks      jobs
	asking     sync.WaitGroup // devices that are asked behind an operator's back
	askPace    *rate.Limiter
	peers      *peers

	questions  *limits // by device
	rejections *limits // by device and code

	mu      sync.Mutex
	waiting map[string]*waiting // by device

	capturing map[string]bool // devices that were asked for raw bytes of flash
}

// waiting is evidence that waits for content.
type waiting struct {
	message []byte
	missing map[proto.Digest]bool
}

// New returns a Fleet.
func New(cfg Config) (*Fleet, error) {
	if cfg.Store == nil || cfg.Sender == nil || cfg.Enroller == nil || cfg.Nonces == nil || cfg.Signer == nil || cfg.Baseline == nil {
		return nil, errors.New("fleet: store, sender, enroller, nonces, signer and baseline key are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.NonceLifetime == 0 {
		cfg.NonceLifetime = defaultNonceLifetime
	}
	if cfg.ManifestAhead == 0 {
		cfg.ManifestAhead = defaultAhead
	}
	if cfg.Traces == nil {
		cfg.Traces = noop.NewTracerProvider()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Disconnect == nil {
		cfg.Disconnect = func(string, string) {}
	}
	if cfg.Interval == 0 {
		cfg.Interval = cfg.Policy.Due()
	}
	if cfg.Interval >= cfg.Policy.StaleAfter {
		return nil, fmt.Errorf("fleet: devices report every %s and would be stale after %s: the interval must be shorter",
			cfg.Interval, cfg.Policy.StaleAfter)
	}
	return &Fleet{
		cfg: cfg, log: cfg.Log, memo: &appraise.Memo{},
		policies:   newPolicies(cfg.Store, policy.Builtin{Policy: cfg.Policy, Interval: cfg.Interval}, cfg.Now),
		references: newReferences(cfg.Store, cfg.Baseline, cfg.Now),
		questions:  newLimits(askRate, askBurst), rejections: newLimits(rejectRate, rejectBurst),
		askPace: rate.NewLimiter(askPage, askPage), peers: newPeers(), waiting: make(map[string]*waiting), capturing: make(map[string]bool),
	}, nil
}

// State implements link.Handler: a device that is ready is challenged.
func (f *Fleet) State(ctx context.Context, from proto.Address, m *proto.State) {
	if m.Kind != proto.StateReady {
		f.log.Debug("device left", "tenant", from.Tenant, "device", from.Device)
		return
	}
	if !f.mayAsk(from) {
		f.cfg.Metrics.refused.WithLabelValues("rate").Inc()
		return
	}
	d, err := f.cfg.Store.Device(ctx, from.Tenant, from.Device)
	if err != nil {
		f.failed("reading the device", from, err)
		return
	}
	if d.Status != store.Active {
		return
	}
	if err := f.challenge(ctx, &d); err != nil {
		f.log.Warn("challenge not sent", "tenant", d.Tenant, "device", d.ID, "error", err)
	}
	f.resumeCapture(ctx, from)
}

// mayAsk limits how often one device can make the verifier work by asking.
func (f *Fleet) mayAsk(from proto.Address) bool { return f.questions.allow(key(from), f.cfg.Now()) }

// challenge asks a device for evidence.
func (f *Fleet) challenge(ctx context.Context, d *store.Device) error {
	record, err := appraise.DecodeRecord(d.Record)
	if err != nil {
		return err
	}
	set, err := f.references.set(ctx, d.Tenant)
	if err != nil {
		return err
	}
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return err
	}
	c := &proto.Challenge{
		Nonce:    f.cfg.Nonces.Issue(challenge.Evidence, d.Tenant, d.ID, f.cfg.Now()),
		Banks:    in.Policy.Offers(),
		PCRs:     uint32(in.Policy.PCRs),
		Lifetime: uint32(f.cfg.NonceLifetime / time.Second),
	}
	record.Ask(c, set, in.Policy, f.cfg.Now())
	f.cfg.Metrics.challenges.Inc()
	return f.cfg.Sender.Send(ctx, address(d, proto.DownChallenge), c)
}

// Enroll implements link.Handler.
func (f *Fleet) Enroll(ctx context.Context, from proto.Address, m *proto.EnrollUp) {
	down, err := f.cfg.Enroller.Handle(ctx, from.Tenant, from.Device, m)
	if err != nil {
		f.failed("enrolment", from, err)
		return
	}
	if down == nil {
		return
	}
	from.Leaf = proto.DownEnroll
	if err := f.cfg.Sender.Send(ctx, from, down); err != nil {
		f.log.Warn("enrolment answer not sent", "device", from.Device, "error", err)
	}
}

// next returns when a device that reports every interval should report again: spread, so that devices that came
// together do not stay together.
func next(interval time.Duration) uint32 {
	spread := interval / 5
	return uint32(max((interval-spread/2+rand.N(spread+1))/time.Second, 1))
}

// due returns when a device should report again whose evidence was not appraised now.
func (f *Fleet) due(ctx context.Context, d *store.Device) uint32 {
	in, err := f.policies.of(ctx, d)
	if err != nil { // it will be told with its next receipt
		return next(f.cfg.Interval)
	}
	return next(in.Interval)
}

func (f *Fleet) failed(what string, from proto.Address, err error) {
	if errors.Is(err, store.ErrNotFound) {
		f.cfg.Metrics.refused.WithLabelValues("unknown").Inc()
		f.log.Info(what+": device is not enrolled", "tenant", from.Tenant, "device", from.Device)
		return
	}
	f.cfg.Metrics.failures.Inc()
	f.log.Error(what+" failed", "tenant", from.Tenant, "device", from.Device, "error", err)
}

func address(d *store.Device, leaf proto.Leaf) proto.Address {
	return proto.Address{Tenant: d.Tenant, Device: d.ID, Leaf: leaf}
}
