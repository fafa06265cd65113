package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestSilence is ATTACKS row 12 (keylime#1888): a device that falls silent is stale, whoever asks, and this is told
// once.
func TestSilence(t *testing.T) {
	r := newRig(t)
	d, chatty := r.trusted(), r.healthy()
	r.clock.advance(10 * time.Minute)
	chatty.attest(result.Trusted)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.wantPublished(result.Trusted)
	staleAt := d.stored().StaleAt
	r.clock.advance(10 * time.Minute)
	if got := d.stored(); got.Current(r.clock.Now()) != result.Stale {
		t.Errorf("state before Sweep is %s, want stale", got.Current(r.clock.Now()))
	}
	for range 3 {
		r.restart() // a verifier that was restarted does not tell again
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	events := d.events("state-changed")
	if len(events) != 3 || !strings.HasPrefix(events[0], "trusted -> stale: ") {
		t.Errorf("events = %q, want one of silence", events)
	}
	if s := d.stored(); !s.Silenced || !s.Since.Equal(staleAt) || s.State != result.Trusted {
		t.Errorf("device = %+v", s)
	}
	got := d.wantPublished(result.Stale)
	if len(got.Findings) != 1 || got.Findings[0].Code != "silent" || !strings.Contains(got.Findings[0].Expected, "5m") {
		t.Errorf("findings = %+v", got.Findings)
	}
	chatty.wantPublished(result.Trusted)
	if len(d.results()) != 2 {
		t.Errorf("%d results, want 2: silence is no appraisal", len(d.results()))
	}

	// It comes back, and can fall silent again.
	d.attest(result.Trusted)
	d.wantPublished(result.Trusted)
	if s := d.stored(); s.Silenced || !s.Since.Equal(r.clock.Now()) {
		t.Errorf("device = %+v after it came back", s)
	}
	r.clock.advance(time.Hour)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := d.events("state-changed"); len(got) != 5 || !strings.HasPrefix(got[1], "stale -> trusted") {
		t.Errorf("events = %q", got)
	}
}

func TestNeverAttestedIsNotStale(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	r.clock.advance(1000 * time.Hour)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := d.stored(); got.Silenced || got.Current(r.clock.Now()) != result.NeverAttested || d.published() != "" {
		t.Errorf("device = %+v", got)
	}
}

// TestSweepMeetsReport lets a device report, or be removed, at the moment in which its silence is written down.
func TestSweepMeetsReport(t *testing.T) {
	meet := func(t *testing.T, r *rig, d *device, where func(then func())) {
		t.Helper()
		message := d.report(d.challenged())
		r.clock.advance(time.Minute)
		met := false
		where(func() {
			if met {
				return
			}
			met = true
			if got := d.submit(message); got == nil || got.State != string(result.Trusted) {
				t.Errorf("receipt = %+v", got)
			}
		})
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := d.stored(); s.Silenced || s.Current(r.clock.Now()) != result.Trusted {
			t.Errorf("device = %+v, want it trusted", s)
		}
		d.wantPublished(result.Trusted)
	}
	almost := func(t *testing.T) (*rig, *device) {
		r := newRig(t)
		d := r.trusted()
		r.clock.advance(15*time.Minute - time.Second)
		return r, d
	}
	t.Run("before it is written", func(t *testing.T) {
		r, d := almost(t)
		meet(t, r, d, func(then func()) {
			r.store.before = func(op string) error {
				if op == "SaveDevice" {
					then()
				}
				return nil
			}
		})
		if got := d.events("state-changed"); strings.HasPrefix(got[0], "trusted -> stale") {
			t.Errorf("events = %q", got)
		}
	})
	t.Run("before it is published", func(t *testing.T) {
		r, d := almost(t)
		meet(t, r, d, func(then func()) {
			r.sender.before = func(to proto.Address) {
				if to.Leaf == proto.Result {
					then()
				}
			}
		})
	})
	t.Run("removed", func(t *testing.T) {
		r, d := almost(t)
		other := r.healthy()
		other.attest(result.Trusted)
		r.clock.advance(time.Hour)
		r.store.before = func(op string) error {
			if op == "SaveDevice" {
				_ = r.store.Store.RemoveDevice(t.Context(), tenant, d.ID)
			}
			return nil
		}
		if err := r.Sweep(t.Context()); err != nil {
			t.Errorf("Sweep() = %v because of a removed device", err)
		}
		other.wantPublished(result.Stale)
	})
	t.Run("removed before it is published", func(t *testing.T) {
		r, d := almost(t)
		r.clock.advance(time.Hour)
		removed := false
		r.sender.before = func(to proto.Address) {
			if !removed {
				removed = true
				if err := r.Remove(t.Context(), tenant, d.ID, "alice"); err != nil {
					t.Error(err)
				}
			}
		}
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.published(); got != "" {
			t.Error("a result of a removed device is published")
		}
	})
}

// TestSweepOfMany: devices that fell silent together are written down together, which takes the store one commit.
func TestSweepOfMany(t *testing.T) {
	r := newRig(t)
	devices := []*device{r.trusted(), r.healthy(), r.healthy()}
	for _, d := range devices[1:] {
		d.attest(result.Trusted)
	}
	r.clock.advance(time.Hour)
	var all sync.WaitGroup
	all.Add(len(devices))
	r.store.before = func(op string) error {
		if op != "SaveDevice" {
			return nil
		}
		all.Done()
		together := make(chan struct{})
		go func() { all.Wait(); close(together) }()
		select {
		case <-together:
			return nil
		case <-time.After(time.Minute):
			return errors.New("the others do not come")
		}
	}
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		d.wantPublished(result.Stale)
		if events := d.events("state-changed"); !strings.HasPrefix(events[0], "trusted -> stale: ") {
			t.Errorf("events = %q, want one of silence", events)
		}
	}
}

func TestSweepFails(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	r.clock.advance(time.Hour)
	for _, op := range []string{"Overdue", "SaveDevice"} {
		r.store.before = func(got string) error {
			if got == op {
				return errFault
			}
			return nil
		}
		if err := r.Sweep(t.Context()); err == nil {
			t.Errorf("Sweep with a failing %s succeeded", op)
		}
	}
	r.store.before = nil
	r.sender.err = errFault // publishing may fail: the published result has expired by itself
	if err := r.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if !d.stored().Silenced {
		t.Error("silence was not written down")
	}
}

// TestWatch lets Watch find out, across a failure of the store, and end.
func TestWatch(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	cfg.Now, cfg.Policy.StaleAfter = time.Now, 2*time.Second
	var err error
	if r.Fleet, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	d := r.healthy()
	if got := d.submit(d.report(d.challenged())); got == nil {
		t.Fatal("no receipt")
	}
	var mu sync.Mutex
	failures := 0
	r.store.before = func(op string) error {
		mu.Lock()
		defer mu.Unlock()
		if failures++; op == "Overdue" && failures < 5 {
			return errFault
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Watch(ctx) }()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !d.stored().Silenced {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the device's silence was not noticed:\n%s", r.log.String())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch() = %v", err)
	}
	if !strings.Contains(r.log.String(), "trying again") {
		t.Errorf("log does not tell of the failures:\n%s", r.log.String())
	}
}

// many stores devices that have a result, as many writers at once.
func (r *rig) many(n int, change func(i int, d *store.Device)) {
	r.Helper()
	const writers = 64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				d := store.Device{
					Tenant: tenant, ID: fmt.Sprintf("%064x", i), Status: store.Active, Level: result.Certified, State: result.Trusted,
					StaleAt: r.clock.Now().Add(time.Minute), Result: []byte(fmt.Sprint("result ", i)),
				}
				change(i, &d)
				if _, err := r.store.Store.SaveDevice(r.Context(), d); err != nil {
					r.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestRepublish publishes the results of more devices than a page has.
func TestRepublish(t *testing.T) {
	r := newRig(t)
	const devices = 330
	r.many(devices, func(i int, d *store.Device) {
		switch i % 3 {
		case 1: // has no result
			d.Result, d.State, d.StaleAt = nil, result.NeverAttested, time.Time{}
		case 2: // became stale while nobody watched
			d.StaleAt = r.clock.Now()
		}
	})
	if err := r.Republish(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	if got := len(r.sender.published); got != devices/3 {
		t.Errorf("%d results published, want %d", got, devices/3)
	}
	for id, got := range r.sender.published {
		var i int
		if _, err := fmt.Sscanf(id, "%x", &i); err != nil || got != fmt.Sprint("result ", i) {
			t.Fatalf("device %s: published %q", id, got)
		}
	}
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(r.sender.published); got != 2*devices/3 {
		t.Errorf("%d results published after Sweep, want %d", got, 2*devices/3)
	}
	r.restart()
	clear(r.sender.published)
	if err := r.Republish(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	if got := len(r.sender.published); got != 2*devices/3 {
		t.Errorf("%d results published again, want %d", got, 2*devices/3)
	}
	r.sender.err = errFault
	if err := r.Republish(t.Context(), tenant); err == nil {
		t.Error("Republish without a broker succeeded")
	}
}

// TestRepublishMeetsReport: an old verdict is not published over the one that comes meanwhile.
func TestRepublishMeetsReport(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	old := d.published()
	message := d.report(d.challenged())
	met := false
	r.sender.before = func(to proto.Address) {
		if to.Leaf == proto.Result && !met {
			met = true
			d.submit(message)
		}
	}
	if err := r.Republish(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	if d.published() == old {
		t.Error("an old result was published last")
	}
	d.wantPublished(result.Trusted)
}
