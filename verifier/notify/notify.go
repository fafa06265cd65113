// Package notify is the part of the verifier that tells people and their systems what devices show: rules choose what is
// told, alerts gather the devices that show the same, and channels carry it to Alertmanager, webhooks, syslog and e-mail.
//
// The store notes every device whose state or findings change. The notifier compares these with the rules, lets them join
// and leave alerts, and tells an alert when it begins, when it doubles, from time to time while it lasts, and when it ends.
// A device is in at most one alert of a rule, that of its most important finding: one bad release is one alert, however
// many devices have it and however many components changed.
//
// All of it is in the store, so that nothing is lost by a restart. A delivery is made at least once; its key stays the same
// through all attempts, so that a receiver can tell repetitions. What cannot be delivered for a day is dead, until somebody
// sends it again.
//
// Limits: syslog has no receipts, so what was handed to the network counts as delivered. Secrets of channels are in the
// store as they are, and never in messages, errors or logs.
package notify

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Config is what a Notifier needs. Only Store has to be set.
type Config struct {
	Store store.Store
	// Verifier names the sender in messages.
	Verifier string
	Version  string
	// Dashboard is the URL of the dashboard, without a slash at its end; messages link to it. Empty: they don't.
	Dashboard string
	// Tenant gets rules when it is first seen; empty: none does.
	Tenant string
	// Local permits targets on this machine and on its link. Otherwise whoever may add channels could reach what listens
	// for this machine only.
	Local bool
	// Roots are what targets' certificates must lead to; nil: the system's.
	Roots   *x509.CertPool
	Metrics *Metrics             // nil: not counted
	Traces  trace.TracerProvider // nil: no traces
	Log     *slog.Logger         // nil: nowhere
	Now     func() time.Time     // nil: time.Now
	// Resolver looks up targets' names; nil: net.DefaultResolver.
	Resolver *net.Resolver
}

// Notifier is safe for concurrent use.
type Notifier struct {
	cfg    Config
	tracer trace.Tracer
	wake   chan struct{}
	done   chan struct{} // a channel has sent what it had

	rescanned, tended time.Time

	mu   sync.Mutex
	busy map[string]bool // channels that are sending
}

// New returns a Notifier.
func New(cfg Config) (*Notifier, error) {
	if cfg.Store == nil {
		return nil, errors.New("notify: a store is needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Traces == nil {
		cfg.Traces = noop.NewTracerProvider()
	}
	return &Notifier{
		cfg: cfg, tracer: cfg.Traces.Tracer("github.com/probity-attest/probity/verifier/notify"),
		wake: make(chan struct{}, 1), done: make(chan struct{}, 1), busy: make(map[string]bool),
	}, nil
}

// Wake makes Run look for work now, such as after a rule changed.
func (n *Notifier) Wake() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run tells alerts until ctx ends. What goes wrong is logged and tried again.
func (n *Notifier) Run(ctx context.Context) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	first := []byte(newID()) // nil: what a first start needs is there
	for ctx.Err() == nil {
		if first != nil {
			if err := n.first(ctx, first); err == nil {
				first = nil
			} else if ctx.Err() == nil {
				n.cfg.Log.Error("alert rules of a first start were not made, trying again", "error", err)
			}
		}
		more, err := n.step(ctx, &senders)
		if err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("alerts could not be looked after, trying again", "error", err)
			more = false
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-n.wake:
		case <-n.done:
		case <-time.After(pollEvery):
		}
	}
	return nil
}

// step does what there is to do now and reports whether there may be more.
func (n *Notifier) step(ctx context.Context, senders *sync.WaitGroup) (more bool, err error) {
	now := n.cfg.Now()
	if now.Sub(n.rescanned) >= rescanEvery {
		if err := n.cfg.Store.RescanAlerts(ctx); err != nil {
			return false, err
		}
		n.rescanned = now
	}
	if more, err = n.evaluate(ctx); err != nil {
		return false, err
	}
	if err := n.tell(ctx); err != nil {
		return false, err
	}
	if err := n.send(ctx, senders); err != nil {
		return false, err
	}
	if n.tended.IsZero() {
		n.tended = now // what waited while the verifier was off is tried before it is given up
	}
	if now.Sub(n.tended) >= tendEvery {
		err = errors.Join(n.cfg.Store.ExpireDeliveries(ctx, now), n.cfg.Store.PruneAlerts(ctx, now.Add(-keepFor)))
		n.tended = now
	}
	return more, err
}

// first gives a tenant rules that show what fails, once: who deletes them will not see them again. They tell nobody until
// they are given channels. mine stays the same when it is called again after an error.
func (n *Notifier) first(ctx context.Context, mine []byte) error {
	if n.cfg.Tenant == "" {
		return nil
	}
	first, err := n.cfg.Store.Setting(ctx, "alert-rules-made:"+n.cfg.Tenant, mine)
	if err != nil || string(first) != string(mine) {
		return err
	}
	ctx = context.WithoutCancel(ctx) // nobody else makes them now
	for _, r := range []store.AlertRule{
		{Name: "Untrusted devices", Severity: result.Critical},
		{Name: "Devices that fell silent", Severity: result.Warn, Codes: []string{silent}},
	} {
		r.Tenant, r.ID, r.Wait, r.Repeat, r.Created = n.cfg.Tenant, newID(), defaultWait, defaultRepeat, n.cfg.Now()
		err := n.cfg.Store.SaveAlertRule(ctx, r, store.Event{
			At: r.Created, Kind: "alert", Actor: "verifier", Detail: fmt.Sprintf("alert rule %q made on first start", r.Name),
		})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// newID returns an id of a rule, a channel or a test.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
