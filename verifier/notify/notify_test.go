package notify

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestOneBadRelease: forty devices with the same release, which changed three components, are one alert. It is told
// when it has gathered, when it doubles, from time to time, and when it is over; what is acknowledged only then.
func TestOneBadRelease(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	c := r.channel(KindWebhook, hook.URL)
	r.rule("Bad boot", tells(c))
	release := []result.Finding{unknown("PCR 4"), unknown("PCR 9"), unknown("PCR 11")}
	r.attest(many("good", 5))
	r.attest(many("bad", 20), release...)
	r.work()
	open := r.alerts("")
	if len(open) != 1 || open[0].State != store.AlertGathering || open[0].Devices != 20 {
		t.Fatalf("alerts = %+v, want one that gathers 20 devices", open)
	}
	if got := hook.take(); len(got) != 0 {
		t.Fatalf("told %d times before it gathered", len(got))
	}
	tell := func(what string, want ...string) *Message {
		t.Helper()
		got := messages(t, hook.take())
		var types []string
		for _, m := range got {
			types = append(types, m.Type)
		}
		if strings.Join(types, " ") != strings.Join(want, " ") {
			t.Fatalf("%s: told %q, want %q", what, types, want)
		}
		if len(got) == 0 {
			return nil
		}
		return got[len(got)-1]
	}
	r.pass(30 * time.Second)
	m := tell("when it gathered", "alert.firing")
	if want := "20 devices: PCR 4: boot loader is unknown; Acme R7, group north"; m.Title != want {
		t.Errorf("title = %q, want %q", m.Title, want)
	}
	if m.Data.URL != "https://dash.example.net/alerts/"+m.Data.ID || len(m.Data.Sample) != store.AlertSample {
		t.Errorf("message = %+v, want a link to the alert and %d devices", m.Data, store.AlertSample)
	}
	r.pass(time.Minute)
	tell("when nothing happened")
	r.attest(many("more", 19), release...)
	r.pass(time.Minute)
	tell("when it grew by less than half")
	r.attest(many("most", 1), release...)
	r.pass(time.Minute)
	if m := tell("when it doubled", "alert.grown"); m.Data.Devices != 40 {
		t.Errorf("told of %d devices, want 40", m.Data.Devices)
	}
	r.pass(4 * time.Hour)
	tell("after four hours", "alert.repeat")
	r.must("AcknowledgeAlert", r.store.AcknowledgeAlert(t.Context(), tenant, open[0].ID, "alice", r.clock()))
	r.attest(many("third", 60), release...)
	r.pass(5 * time.Hour)
	tell("while it is acknowledged")
	for _, group := range [][]string{many("bad", 20), many("more", 19), many("most", 1), many("third", 60)} {
		r.attest(group)
	}
	r.work()
	tell("when the last device left")
	r.pass(30 * time.Second)
	m = tell("when it stayed empty", "alert.resolved")
	if m.Data.Peak != 100 || m.Data.Resolved == nil || !strings.HasPrefix(m.Title, "100 devices: ") {
		t.Errorf("message = %+v, want an alert of 100 devices that is over", m)
	}
	r.pass(24 * time.Hour)
	tell("when it is over")
	if all := r.alerts(""); len(all) != 1 || all[0].State != store.AlertResolved || all[0].Actor != "alice" || len(all[0].Sample) == 0 {
		t.Errorf("alerts = %+v, want one, resolved, acknowledged by alice, with a sample", all)
	}
}

// TestFlapping: a device that comes and goes neither ends an alert nor begins another, and one that was mended before
// anybody was told is not told.
func TestFlapping(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	c := r.channel(KindWebhook, hook.URL)
	r.rule("any", tells(c))
	r.attest([]string{"a"}, unknown("PCR 4"))
	r.pass(time.Second)
	r.attest([]string{"a"})
	r.pass(time.Second)
	r.pass(time.Minute)
	if got := hook.take(); len(got) != 0 || len(r.alerts(store.AlertResolved)) != 1 {
		t.Fatalf("told %d times of what was over before, alerts %+v", len(got), r.alerts(""))
	}
	for range 5 {
		r.attest([]string{"a"}, unknown("PCR 4"))
		r.pass(31 * time.Second)
		r.attest([]string{"a"})
		r.pass(10 * time.Second)
	}
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Type != "alert.firing" {
		t.Errorf("told %d times of a device that comes and goes, want once", len(got))
	}
}

// TestSilence: devices that fall silent are one alert, and what they showed before stays.
func TestSilence(t *testing.T) {
	r := newRig(t)
	r.rule("all", nil)
	r.attest([]string{"a", "b", "c"})
	r.attest([]string{"bad"}, unknown("PCR 4"))
	r.pass(time.Minute)
	for _, name := range []string{"a", "b", "bad"} {
		r.silence(name)
	}
	r.work()
	r.pass(time.Minute)
	open := r.alerts(store.AlertFiring)
	if len(open) != 2 || open[0].Finding.Code != "boot-event-unknown" || open[0].Devices != 1 || open[1].Finding.Code != silent ||
		open[1].Devices != 2 || open[1].Cluster != "" {
		t.Fatalf("alerts = %+v, want the bad device and two silent ones", open)
	}
	if got, want := Title(&open[1]), "2 devices: stopped attesting, so nothing is known of what it runs now; Acme R7, group north"; got != want {
		t.Errorf("Title() = %q, want %q", got, want)
	}
	r.must("RemoveDevice", r.store.RemoveDevice(t.Context(), tenant, deviceID("a")))
	r.attest([]string{"b"})
	r.work()
	r.pass(time.Minute)
	if over := r.alerts(store.AlertResolved); len(over) != 1 || over[0].Finding.Code != silent {
		t.Errorf("resolved alerts = %+v, want that of the silent devices", over)
	}
}

// TestRestart: what was gathered, and what could not be delivered, is there after a restart, and is told with the same key.
func TestRestart(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	hook.respond(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", http.StatusServiceUnavailable) })
	c := r.channel(KindWebhook, hook.URL)
	r.rule("any", tells(c))
	r.attest([]string{"a"}, unknown("PCR 4"))
	r.work()
	r.start()
	r.pass(30 * time.Second)
	first := hook.take()
	if len(first) != 1 {
		t.Fatalf("%d attempts after a restart, want 1", len(first))
	}
	waiting := r.deliveries(store.DeliveryWaiting)
	if len(waiting) != 1 || waiting[0].Attempts != 1 || !strings.Contains(waiting[0].Error, "503 Service Unavailable: not now") {
		t.Fatalf("waiting = %+v, want one that failed once", waiting)
	}
	r.start()
	hook.respond(nil)
	r.pass(10 * time.Second)
	second := hook.take()
	if len(second) != 1 || second[0].header.Get(HeaderID) != first[0].header.Get(HeaderID) || string(second[0].body) != string(first[0].body) {
		t.Fatalf("after another restart %d attempts, want one with the same id and body", len(second))
	}
	r.start()
	r.pass(time.Hour)
	if got := hook.take(); len(got) != 0 {
		t.Errorf("%d attempts after it was delivered", len(got))
	}
}

// TestRules: a rule that is changed, added or removed holds for devices that do not report meanwhile.
func TestRules(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	r.attest(many("old", 3), unknown("PCR 4"))
	r.attest(many("fine", 3))
	rule := r.rule("late", nil)
	r.pass(time.Minute)
	r.pass(time.Minute)
	open := r.alerts(store.AlertFiring)
	if len(open) != 1 || open[0].Devices != 3 {
		t.Fatalf("alerts of a rule that came after the devices = %+v, want one of 3", open)
	}
	rule.Channels = []string{r.channel(KindWebhook, hook.URL).ID}
	r.must("SaveAlertRule", r.store.SaveAlertRule(t.Context(), rule))
	r.work()
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Type != "alert.firing" || got[0].Data.ID != open[0].ID {
		t.Fatalf("a channel that is added to a firing alert's rule was told %d times, want once", len(got))
	}
	rule.Groups = []string{"south"}
	r.must("SaveAlertRule", r.store.SaveAlertRule(t.Context(), rule))
	r.work()
	r.pass(time.Minute)
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Type != "alert.resolved" {
		t.Errorf("after the rule left the devices it was told %d times, want that it is over", len(got))
	}
	d, err := r.store.Device(t.Context(), tenant, deviceID("old-000"))
	r.must("Device", err)
	d.Group = "south"
	_, err = r.store.SaveDevice(t.Context(), d)
	r.must("SaveDevice", err)
	r.pass(time.Second)
	r.pass(time.Minute)
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Data.Devices != 1 {
		t.Errorf("after a device moved to the rule's group it was told %d times, want once", len(got))
	}
	r.must("RemoveAlertRule", r.store.RemoveAlertRule(t.Context(), tenant, rule.ID))
	r.work()
	r.pass(time.Minute)
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Type != "alert.resolved" {
		t.Errorf("after the rule was removed it was told %d times, want that it is over", len(got))
	}
}

// TestFirstRules: a tenant has rules from the first start on, but only from the first.
func TestFirstRules(t *testing.T) {
	first := func(c *Config) { c.Tenant = tenant }
	r := newRig(t, first)
	r.must("first", r.first(t.Context(), []byte("one")))
	rules, err := r.store.AlertRules(t.Context(), tenant)
	if err != nil || len(rules) != 2 {
		t.Fatalf("rules = %+v, %v, want two", rules, err)
	}
	for _, rule := range rules {
		r.must("RemoveAlertRule", r.store.RemoveAlertRule(t.Context(), tenant, rule.ID))
	}
	r.start(first)
	r.must("first", r.first(t.Context(), []byte("two")))
	if rules, err = r.store.AlertRules(t.Context(), tenant); err != nil || len(rules) != 0 {
		t.Errorf("rules after they were removed = %+v, %v, want none", rules, err)
	}
}

// refusing is a store that cannot save rules, as often as it is told.
type refusing struct {
	store.Store
	times atomic.Int32
}

func (s *refusing) SaveAlertRule(ctx context.Context, r store.AlertRule, events ...store.Event) error {
	if s.times.Add(-1) >= 0 {
		return errors.New("the disk is full")
	}
	return s.Store.SaveAlertRule(ctx, r, events...)
}

// TestFirstRulesAgain: what a first start needs is made as soon as it can be.
func TestFirstRulesAgain(t *testing.T) {
	var s *refusing
	r := newRig(t, func(c *Config) {
		s = &refusing{Store: c.Store}
		c.Tenant, c.Store = tenant, s
	})
	s.times.Store(2)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	deadline := time.After(30 * time.Second)
	for {
		rules, err := r.store.AlertRules(t.Context(), tenant)
		r.must("AlertRules", err)
		if len(rules) == 2 {
			break
		}
		r.Wake()
		select {
		case <-deadline:
			t.Fatalf("rules = %+v, want two", rules)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil || s.times.Load() != -2 {
		t.Errorf("Run() = %v with %d saves too many, want no error and 4 saves", err, -2-s.times.Load())
	}
}

// TestRun: by itself, with the real clock, and it ends with its context.
func TestRun(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Now = nil })
	told := make(chan string, 10)
	hook := newReceiver(t)
	hook.respond(func(_ http.ResponseWriter, q *http.Request) { told <- q.Header.Get(HeaderID) })
	c := r.channel(KindWebhook, hook.URL)
	r.rule("any", func(rule *store.AlertRule) { rule.Wait = time.Millisecond; tells(c)(rule) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.attest([]string{"a"}, unknown("PCR 4"))
	r.Wake()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Error("nothing was told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// TestDamagedResult: what cannot be read of one device holds up no alert of others, and ends none.
func TestDamagedResult(t *testing.T) {
	r := newRig(t)
	r.rule("all", func(*store.AlertRule) {})
	r.attest([]string{"bad"}, unknown("shim"))
	r.work()
	db, err := sql.Open("sqlite", "file:"+r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r.attest([]string{"bad"}) // it is well again, but nobody can read that
	if _, err := db.ExecContext(t.Context(), `UPDATE results SET result = x'00'`); err != nil {
		t.Fatal(err)
	}
	r.attest([]string{"worse"}, unknown("grub"))
	r.work()
	devices := map[string]int{}
	for _, a := range r.alerts("") {
		devices[a.Finding.Component] = a.Devices
	}
	if diff := cmp.Diff(map[string]int{"shim": 1, "grub": 1}, devices); diff != "" {
		t.Errorf("devices of alerts -want +got:\n%s", diff)
	}
	if left, err := r.store.AlertWork(t.Context(), 10); err != nil || len(left) > 0 {
		t.Errorf("AlertWork() = %+v, %v, want nothing", left, err)
	}
}
