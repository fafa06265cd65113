package notify

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

const tenant = "acme"

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a notifier on a store of its own with a clock that the test moves.
type rig struct {
	*Notifier
	t     *testing.T
	path  string
	store store.Store

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "probity.db"), now: epoch}
	r.start(change...)
	t.Cleanup(func() {
		if err := r.store.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return r
}

// start opens the store and makes a notifier on it: what a verifier does that starts again.
func (r *rig) start(change ...func(*Config)) {
	r.t.Helper()
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	s, err := sqlite.Open(r.t.Context(), sqlite.Config{Path: r.path})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = s
	c := Config{
		Store: s, Verifier: "verifier.test", Version: "1.2.3", Dashboard: "https://dash.example.net", Local: true, Now: r.clock,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	if r.Notifier, err = New(c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// pass lets time pass and does what there is to do.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.work()
}

// work does what there is to do now, deliveries included.
func (r *rig) work() {
	r.t.Helper()
	for range 1000 {
		var senders sync.WaitGroup
		more, err := r.step(r.t.Context(), &senders)
		senders.Wait()
		if err != nil {
			r.t.Fatalf("step() = %v", err)
		}
		due, err := r.store.DueDeliveries(r.t.Context(), r.clock(), 1)
		if err != nil {
			r.t.Fatal(err)
		}
		if !more && len(due) == 0 {
			return
		}
	}
	r.t.Fatal("there is always more to do")
}

func (r *rig) must(what string, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s = %v", what, err)
	}
}

// channel adds a channel.
func (r *rig) channel(kind, target string, change ...func(*store.AlertChannel)) store.AlertChannel {
	r.t.Helper()
	c := store.AlertChannel{Tenant: tenant, ID: newID(), Name: kind + " " + newID()[:4], Kind: kind, Target: target, Created: epoch}
	if kind == KindWebhook {
		c.Secret = "a secret of this test"
	}
	for _, f := range change {
		f(&c)
	}
	r.must("Check", r.Check(&c))
	r.must("SaveAlertChannel", r.store.SaveAlertChannel(r.t.Context(), c))
	return c
}

// rule adds a rule that waits 30 s and repeats after 4 h.
func (r *rig) rule(name string, change func(*store.AlertRule)) store.AlertRule {
	r.t.Helper()
	rule := store.AlertRule{
		Tenant: tenant, ID: newID(), Name: name, Severity: result.Warn, Wait: 30 * time.Second, Repeat: 4 * time.Hour, Created: r.clock(),
	}
	if change != nil {
		change(&rule)
	}
	r.must("SaveAlertRule", r.store.SaveAlertRule(r.t.Context(), rule))
	return rule
}

func tells(channels ...store.AlertChannel) func(*store.AlertRule) {
	return func(r *store.AlertRule) {
		for _, c := range channels {
			r.Channels = append(r.Channels, c.ID)
		}
	}
}

func deviceID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// unknown is the finding of a bad release.
func unknown(component string) result.Finding {
	return result.Finding{
		Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot, Component: component, Observed: "sha256:bb",
		Meaning: "boot loader is unknown", Action: "isolate the device", FirstSeen: epoch,
	}
}

// attest lets devices attest with these findings; no findings: they are trusted.
func (r *rig) attest(names []string, findings ...result.Finding) {
	r.t.Helper()
	ctx := r.t.Context()
	for _, name := range names {
		d, err := r.store.Device(ctx, tenant, deviceID(name))
		if err != nil {
			d = store.Device{
				Tenant: tenant, ID: deviceID(name), Status: store.Active, Level: result.Certified, State: result.NeverAttested, Label: name,
				Vendor: "Acme", Model: "R7", Group: "north",
			}
			d.Version, err = r.store.SaveDevice(ctx, d)
			r.must("SaveDevice", err)
		}
		state := result.Trusted
		for _, f := range findings {
			switch {
			case f.Severity == result.Critical:
				state = result.Untrusted
			case f.Severity == result.Warn && state == result.Trusted:
				state = result.Warning
			}
		}
		now := r.clock()
		evidence := fmt.Appendf(nil, "%s at %v: %v", name, now, findings)
		sum := sha256.Sum256(evidence)
		res := result.Result{
			Tenant: tenant, Device: d.ID, Evidence: hex.EncodeToString(sum[:]), At: now, StaleAt: now.Add(time.Hour), State: state, Findings: findings,
		}
		d.State, d.StaleAt, d.LastSeen, d.Since, d.Silenced, d.Result = state, res.StaleAt, now, now, false, []byte("ear")
		r.must("Record", r.store.Record(ctx, store.Outcome{Device: d, Evidence: evidence, Result: res, EAR: "ear"}))
	}
}

// silence writes down that a device fell silent.
func (r *rig) silence(name string) {
	r.t.Helper()
	d, err := r.store.Device(r.t.Context(), tenant, deviceID(name))
	r.must("Device", err)
	d.Silenced, d.StaleAt = true, r.clock()
	_, err = r.store.SaveDevice(r.t.Context(), d)
	r.must("SaveDevice", err)
}

// alerts returns the alerts in a state, oldest first.
func (r *rig) alerts(state store.AlertState) []store.Alert {
	r.t.Helper()
	found, err := r.store.Alerts(r.t.Context(), tenant, state, 0, 1000)
	r.must("Alerts", err)
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

func (r *rig) deliveries(state store.DeliveryState) []store.Delivery {
	r.t.Helper()
	found, err := r.store.Deliveries(r.t.Context(), tenant, store.DeliveryFilter{State: state}, 0, 1000)
	r.must("Deliveries", err)
	return found
}

// receiver is a real HTTP server that remembers what it was sent.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex
	got    []received
	answer func(w http.ResponseWriter, r *http.Request)
}

type received struct {
	path   string
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	s := &receiver{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *receiver) serve(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, 0, 1<<12)
	for chunk := make([]byte, 1<<12); ; {
		n, err := r.Body.Read(chunk)
		body = append(body, chunk[:n]...)
		if err != nil {
			break
		}
	}
	s.mu.Lock()
	s.got = append(s.got, received{r.URL.Path, r.Header, body})
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
	}
}

// respond sets what is answered from now on; nil: 200.
func (s *receiver) respond(answer func(w http.ResponseWriter, r *http.Request)) {
	s.mu.Lock()
	s.answer = answer
	s.mu.Unlock()
}

// take returns what came since the last call.
func (s *receiver) take() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// messages decodes bodies.
func messages(t *testing.T, got []received) (out []*Message) {
	t.Helper()
	for _, r := range got {
		m, err := decodeMessage(r.body)
		if err != nil {
			t.Fatalf("body %s: %v", r.body, err)
		}
		out = append(out, m)
	}
	return out
}

func many(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%03d", prefix, i))
	}
	return out
}

func newTLSServer(t *testing.T, config *tls.Config, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
