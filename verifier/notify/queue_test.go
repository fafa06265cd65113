package notify

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/probity-attest/probity/verifier/store"
)

// TestGivenUp: what fails is tried again ever more seldom, for a day, is then dead, and is sent when somebody asks for it.
// What was to be told after it comes after it.
func TestGivenUp(t *testing.T) {
	metrics, registry := NewMetrics(), prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Metrics = metrics })
	r.must("Register", metrics.Register(registry, r.store, nil))
	hook := newReceiver(t)
	hook.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	c := r.channel(KindWebhook, hook.URL)
	r.fire(c)
	var waits []time.Duration
	for len(waits) < 100 {
		if len(r.deliveries(store.DeliveryDead)) > 0 {
			break
		}
		waiting := r.deliveries(store.DeliveryWaiting)
		first := waiting[len(waiting)-1] // the others wait for it
		waits = append(waits, first.Next.Sub(r.clock()))
		if n := len(hook.take()); n != 1 {
			t.Fatalf("attempt %d: %d requests, want one", len(waits), n)
		}
		r.pass(first.Next.Sub(r.clock()))
	}
	for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600} {
		want *= time.Second
		if got := waits[i]; got < want*4/5 || got > want*6/5 {
			t.Errorf("attempt %d comes after %s, want about %s", i+2, got, want)
		}
	}
	dead := r.deliveries(store.DeliveryDead)
	if len(dead) == 0 || dead[len(dead)-1].Attempts < 20 || !strings.Contains(dead[len(dead)-1].Error, "502") {
		t.Fatalf("dead = %+v, want the first telling after more than 20 attempts", dead)
	}
	first := dead[len(dead)-1]
	if age := r.clock().Sub(first.Created); age < 22*time.Hour {
		t.Errorf("it was given up after %s, want about a day", age)
	}
	hook.respond(nil)
	hook.take()
	r.must("RetryDelivery", r.store.RetryDelivery(t.Context(), tenant, first.ID, r.clock(), Expires(r.clock())))
	r.work()
	if got := hook.take(); len(got) == 0 || got[0].header.Get(HeaderID) != first.Key {
		t.Errorf("after it was asked for again it was sent %d times", len(got))
	}
	gathered, err := registry.Gather()
	r.must("Gather", err)
	counts, given := make(map[string]int), 0.0
	for _, family := range gathered {
		counts[family.GetName()] = len(family.GetMetric())
		for _, m := range family.GetMetric() {
			if family.GetName() == "probity_alert_dead_total" {
				given += m.GetCounter().GetValue()
			}
		}
	}
	if given == 0 {
		t.Error("probity_alert_dead_total = 0, want what was given up")
	}
	for name, want := range map[string]int{
		"probity_alerts": 9, "probity_alert_deliveries": 2, "probity_alert_backlog": 1, "probity_alert_dead_total": 4,
		"probity_alert_attempts_total": 8, "probity_alert_attempt_seconds": 1, "probity_alert_devices_compared_total": 1,
	} {
		if counts[name] != want {
			t.Errorf("%s has %d series, want %d", name, counts[name], want)
		}
	}
}

// TestOneChannelHangs: it holds up no other, and is tried by one at a time.
func TestOneChannelHangs(t *testing.T) {
	r := newRig(t)
	slow, quick := newReceiver(t), newReceiver(t)
	free := make(chan struct{})
	slow.respond(func(http.ResponseWriter, *http.Request) { <-free })
	a, b := r.channel(KindWebhook, slow.URL), r.channel(KindWebhook, quick.URL)
	r.rule("boot", tells(a, b))
	r.attest([]string{"one"}, unknown("PCR 4"))
	r.attest([]string{"two"}, unknown("PCR 5"))
	var senders sync.WaitGroup
	step := func() {
		t.Helper()
		_, err := r.step(t.Context(), &senders)
		r.must("step", err)
	}
	step()
	step()
	r.mu.Lock()
	r.now = r.now.Add(30 * time.Second)
	r.mu.Unlock()
	deadline := time.Now().Add(20 * time.Second)
	got, hung := 0, 0
	for (got < 2 || hung < 1) && time.Now().Before(deadline) {
		step()
		got, hung = got+len(quick.take()), hung+len(slow.take())
		<-time.After(time.Millisecond)
	}
	if got != 2 {
		t.Errorf("the quick channel was told %d times while the other hung, want 2", got)
	}
	step()
	if hung += len(slow.take()); hung != 1 {
		t.Errorf("the slow channel has %d requests at once, want 1", hung)
	}
	close(free)
	senders.Wait()
	r.work()
	r.sent(4)
}

// early is a store whose answer of what is due is old before it is used.
type early struct {
	store.Store
	after func() // nil: nothing happens meanwhile
}

func (s *early) DueDeliveries(ctx context.Context, now time.Time, limit int) ([]store.Delivery, error) {
	out, err := s.Store.DueDeliveries(ctx, now, limit)
	if s.after != nil {
		s.after()
	}
	return out, err
}

// TestSentMeanwhile: what a channel has sent while others were looked for is not sent again.
func TestSentMeanwhile(t *testing.T) {
	var s *early
	r := newRig(t, func(c *Config) {
		s = &early{Store: c.Store}
		c.Store = s
	})
	hook := newReceiver(t)
	r.rule("boot", tells(r.channel(KindWebhook, hook.URL)))
	r.attest([]string{"one"}, unknown("PCR 4"))
	r.work()
	r.mu.Lock()
	r.now = r.now.Add(30 * time.Second)
	r.mu.Unlock()
	came, free := make(chan struct{}, 2), make(chan struct{})
	hook.respond(func(http.ResponseWriter, *http.Request) {
		came <- struct{}{}
		<-free
	})
	var senders sync.WaitGroup
	for range 2 {
		_, err := r.step(t.Context(), &senders)
		r.must("step", err)
	}
	wait(t, came)
	s.after = func() {
		close(free)
		senders.Wait()
		s.after = nil
	}
	r.must("send", r.send(t.Context(), &senders))
	senders.Wait()
	if got := hook.take(); len(got) != 1 {
		t.Errorf("it was sent %d times, want once", len(got))
	}
	r.sent(1)
}

// ending is told when an attempt is over.
type ending struct{ then func() }

func (e *ending) OnStart(context.Context, trace.ReadWriteSpan) {}
func (e *ending) OnEnd(trace.ReadOnlySpan)                     { e.then() }
func (e *ending) Shutdown(context.Context) error               { return nil }
func (e *ending) ForceFlush(context.Context) error             { return nil }

// TestStopAfterAnswer: what a receiver took is sent, also when the verifier stops at that moment.
func TestStopAfterAnswer(t *testing.T) {
	after := &ending{func() {}}
	r := newRig(t, func(c *Config) { c.Traces = trace.NewTracerProvider(trace.WithSpanProcessor(after)) })
	hook := newReceiver(t)
	hook.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	r.fire(r.channel(KindWebhook, hook.URL))
	hook.respond(nil)
	r.mu.Lock()
	r.now = r.now.Add(10 * time.Second)
	r.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	after.then = stop
	var senders sync.WaitGroup
	r.must("send", r.send(ctx, &senders))
	senders.Wait()
	r.sent(1)
}

// TestOffForDays: what waited while the verifier was off is sent when it is back, and counts as sent.
func TestOffForDays(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	hook.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	c := r.channel(KindWebhook, hook.URL)
	r.fire(c)
	r.start()
	hook.take()
	free := make(chan struct{})
	hook.respond(func(http.ResponseWriter, *http.Request) { <-free })
	r.mu.Lock()
	r.now = r.now.Add(3 * 24 * time.Hour)
	r.mu.Unlock()
	var senders sync.WaitGroup
	_, err := r.step(t.Context(), &senders)
	r.must("step", err)
	close(free)
	senders.Wait()
	r.work()
	if got := messages(t, hook.take()); len(got) != 2 || got[0].Type != "alert.firing" || got[1].Type != "alert.repeat" {
		t.Errorf("told %d times, want that it fires and that it lasts", len(got))
	}
	r.sent(2)
}

// TestSecretIsNotRepeated: not even the beginning of one that the receiver repeats where its answer is cut off.
func TestSecretIsNotRepeated(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	c := r.channel(KindWebhook, hook.URL)
	for pad := 0; pad <= maxError; pad += 5 {
		hook.respond(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(strings.Repeat("x", pad) + c.Secret))
		})
		d, err := r.Test(t.Context(), &c, "alice")
		if err != nil || !strings.HasPrefix(d.Error, "it answered 403 Forbidden") || len(d.Error) > maxError || strings.Contains(d.Error, c.Secret[:5]) {
			t.Fatalf("Test() = %q, %v, want no part of the secret", d.Error, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		attempts int
		err      error
		min, max time.Duration
	}{
		{1, errors.New("refused"), 4 * time.Second, 6 * time.Second},
		{2, errors.New("refused"), 8 * time.Second, 12 * time.Second},
		{50, errors.New("refused"), 48 * time.Minute, 72 * time.Minute},
		{1, &answerError{status: 429, after: 2 * time.Minute}, 2 * time.Minute, 2 * time.Minute},
		{1, &answerError{status: 503, after: 1000 * time.Hour}, time.Hour, time.Hour},
	} {
		for range 100 {
			if got := backoff(tt.attempts, tt.err); got < tt.min || got > tt.max {
				t.Fatalf("backoff(%d, %v) = %s, want %s to %s", tt.attempts, tt.err, got, tt.min, tt.max)
			}
		}
	}
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "Sun, 01 Mar 2026 12:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 11:01:00 GMT": 0,
	} {
		if got := retryAfter(text, epoch); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", text, got, want)
		}
	}
}

// TestTraces: attempts are spans that name the kind of channel and why they failed, nothing else.
func TestTraces(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	r := newRig(t, func(c *Config) { c.Traces = trace.NewTracerProvider(trace.WithSyncer(spans)) })
	hook := newReceiver(t)
	c := r.channel(KindWebhook, hook.URL)
	if _, err := r.Test(t.Context(), &c, "alice"); err != nil {
		t.Fatal(err)
	}
	hook.Close()
	if _, err := r.Test(t.Context(), &c, "alice"); err != nil {
		t.Fatal(err)
	}
	got := spans.GetSpans()
	if len(got) != 2 || got[0].Name != "deliver alert" || got[0].Status.Code != codes.Unset || got[1].Status.Code != codes.Error {
		t.Fatalf("spans = %+v, want one that is well and one that failed", got)
	}
	if len(got[1].Attributes) != 1 || got[1].Attributes[0].Value.AsString() != KindWebhook {
		t.Errorf("attributes = %v, want the kind", got[1].Attributes)
	}
}
