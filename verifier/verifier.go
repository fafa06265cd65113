// Package verifier is the Verifier daemon: configuration and wiring of the packages below it, nothing else.
//
// One process holds everything: the embedded MQTT broker, the SQLite store, the certification authority, which is made on
// first start, the appraisal of evidence and the HTTP API.
package verifier

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sync/errgroup"

	"github.com/probity-attest/probity/proto/daemon"
	people "github.com/probity-attest/probity/verifier/access"
	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/broker"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/link"
	"github.com/probity-attest/probity/verifier/notify"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// startTimeout is how long the parts may take to find each other.
const startTimeout = 30 * time.Second

// Verifier is a daemon that was put together. Make one with New, then Run it.
type Verifier struct {
	cfg       Config
	version   string
	log       *slog.Logger
	store     store.Store
	authority *authority.Authority
	broker    *broker.Broker
	link      *link.Link
	fleet     *fleet.Fleet
	metrics   *prometheus.Registry
	spans     *trace.TracerProvider // nil: no traces
	notifier  *notify.Notifier
	api       net.Listener
	setup     string        // code with which the first account may be made
	listening chan struct{} // closed when the link hears devices: nobody is let in before
	started   chan struct{}
	first     atomic.Pointer[firstToken] // nil: none was made by this process
}

// New opens the store and the keys, making them on first start, and listens. Nothing is answered before Run.
func New(ctx context.Context, cfg Config, version string, log *slog.Logger) (_ *Verifier, err error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state-dir: %w: choose a folder that this user may write to with --state-dir", err)
	}
	v := &Verifier{cfg: cfg, version: version, log: log, metrics: prometheus.NewRegistry(), setup: people.NewSetupCode(), listening: make(chan struct{}), started: make(chan struct{})}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	db, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(cfg.StateDir, "probity.db")})
	if err != nil {
		return nil, err
	}
	v.store = db // not before: an interface that holds a nil pointer is not nil
	v.authority, err = authority.Open(authority.Config{
		Dir: filepath.Join(cfg.StateDir, "keys"), Hosts: cfg.hosts(), DeviceLifetime: cfg.Enrollment.CertificateLifetime,
	})
	if err != nil {
		return nil, err
	}
	v.broker, err = broker.New(broker.Config{
		Address: cfg.MQTT.Listen, TLS: v.authority.ServerTLS(), Access: access{v.store, v.authority}, Log: log, Hold: v.listening,
	})
	if err != nil {
		return nil, err
	}
	if err := v.trace(ctx); err != nil {
		return nil, err
	}
	if err := v.lead(ctx); err != nil {
		return nil, err
	}
	if v.api, err = net.Listen("tcp", cfg.API.Listen); err != nil {
		return nil, fmt.Errorf("api.listen: %w: choose another address with --api-listen", err)
	}
	if err := v.alert(); err != nil {
		return nil, err
	}
	return v, nil
}

// lead puts the parts together that deal with devices.
func (v *Verifier) lead(ctx context.Context) error {
	initial := make([]byte, challenge.KeySize)
	_, _ = rand.Read(initial) // never fails (crypto/rand)
	key, err := v.store.Setting(ctx, "nonce-key", initial)
	if err != nil {
		return err
	}
	nonces, err := challenge.New(key)
	if err != nil {
		return err
	}
	signer, err := result.NewSigner(v.authority.SigningKey(), v.cfg.name(), v.version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(v.cfg.roots(), 0o755); err != nil {
		return fmt.Errorf("enrollment.tpm-roots: %w", err)
	}
	enroller, err := enroll.New(enroll.Config{
		Roots: v.cfg.roots(), Store: v.store, Issuer: v.authority, Keys: nonces, FirstUse: v.cfg.Enrollment.FirstUse, Log: v.log,
	})
	if err != nil {
		return err
	}
	policy, err := v.cfg.Policy.compile()
	if err != nil {
		return err
	}
	sender := &lateSender{}
	metrics := fleet.NewMetrics()
	if err := metrics.Register(v.metrics); err != nil {
		return err
	}
	v.fleet, err = fleet.New(fleet.Config{
		Store: v.store, Sender: sender, Enroller: enroller, Nonces: nonces, Signer: signer,
		Baseline: &fleet.BaselineKey{Key: v.authority.SigningKey()}, Policy: policy, Interval: v.cfg.Policy.Interval,
		Disconnect: v.broker.Disconnect, Metrics: metrics, Traces: v.traces(), Log: v.log,
	})
	if err != nil {
		return err
	}
	v.link, err = link.New(link.Config{Dial: v.broker.Dial, ClientID: "verifier", Handler: v.fleet, Log: v.log})
	if err != nil {
		return err
	}
	sender.Link = v.link
	return v.registerMetrics()
}

// lateSender breaks the circle of a fleet that sends through a link whose handler is the fleet.
type lateSender struct{ *link.Link }

// Run serves devices and operators until ctx ends. Where there is no device yet, it tells people on out how to enrol one.
func (v *Verifier) Run(ctx context.Context, out io.Writer) error {
	defer v.close()
	defer v.flush()
	handler, err := v.handler()
	if err != nil {
		return err
	}
	if handler, err = v.site(handler); err != nil {
		return err
	}
	serverTLS, err := v.apiTLS()
	if err != nil {
		return err
	}
	if err := v.broker.Start(); err != nil {
		return fmt.Errorf("mqtt.listen: %w: choose another address with --mqtt-listen", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.link.Run(ctx) })
	g.Go(func() error { return api.Serve(ctx, tls.NewListener(v.api, serverTLS), handler) })
	g.Go(func() error { return v.fleet.Watch(ctx) })
	g.Go(func() error { return v.fleet.IndexPast(ctx) })
	g.Go(func() error { return v.notifier.Run(ctx) })
	g.Go(func() error { return daemon.Watchdog(ctx, v.healthy) })
	g.Go(func() error { return v.ready(ctx, out) })
	g.Go(func() error { return v.republish(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		_ = daemon.Stopping() // that systemd does not hear it must not hold up the end
		return nil
	})
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// ready waits until devices can be heard, and says so.
func (v *Verifier) ready(ctx context.Context, out io.Writer) error {
	select {
	case <-v.link.Ready():
	case <-time.After(startTimeout):
		return errors.New("the embedded broker did not answer")
	case <-ctx.Done():
		return nil
	}
	close(v.listening)
	if err := v.welcomePeople(ctx, out); err != nil {
		return err
	}
	if err := v.welcome(ctx, out); err != nil {
		return err
	}
	v.log.Info("verifier is ready", "version", v.version, "mqtt", v.MQTTAddr(), "api", v.APIAddr(),
		"ca_fingerprint", v.authority.Fingerprint())
	close(v.started)
	if err := daemon.Ready(); err != nil {
		v.log.Warn("systemd was not told that the verifier is ready", "error", err)
	}
	return nil
}

// republish gives the broker what it forgot when it ended. That takes a while where there are many devices, and none of
// them waits for it.
func (v *Verifier) republish(ctx context.Context) error {
	select {
	case <-v.link.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := v.fleet.Republish(ctx, v.cfg.Tenant); err != nil && ctx.Err() == nil {
		v.log.Warn("results were not all published again; each is with the device's next report", "error", err)
	}
	return nil
}

func (v *Verifier) handler() (http.Handler, error) {
	who, err := v.people()
	if err != nil {
		return nil, err
	}
	return api.New(api.Config{
		Access: who,
		Store:  v.store, Fleet: v.fleet, Keys: publicKeys(v.authority), Health: v.healthy, Metrics: v.metrics,
		Version: v.version, Log: v.log, Alerts: v.notifier, Traces: v.traces(),
		GateHeader: v.cfg.API.GateHeader,
	})
}

func (v *Verifier) healthy(ctx context.Context) error {
	return errors.Join(v.store.Ping(ctx), v.link.Healthy())
}

// Ready is closed when devices and operators are served.
func (v *Verifier) Ready() <-chan struct{} { return v.started }

// MQTTAddr returns the address on which devices connect, once Ready.
func (v *Verifier) MQTTAddr() string { return v.broker.Addr().String() }

// APIAddr returns the address of the HTTPS API.
func (v *Verifier) APIAddr() string { return v.api.Addr().String() }

// Fingerprint returns the CA fingerprint that agents pin.
func (v *Verifier) Fingerprint() string { return v.authority.Fingerprint() }

func (v *Verifier) close() {
	if v.broker != nil {
		_ = v.broker.Close()
	}
	if v.api != nil {
		_ = v.api.Close()
	}
	if v.store != nil {
		if err := v.store.Close(); err != nil {
			v.log.Error("closing the store", "error", err)
		}
	}
}
