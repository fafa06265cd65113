package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
)

// faults are the ways in which a call of the store goes wrong.
var faults = map[string]func(r *rig, hit func() bool){
	"fails": func(r *rig, hit func() bool) {
		r.store.before = func(string) error {
			if hit() {
				return errFault
			}
			return nil
		}
	},
	"is done and fails": func(r *rig, hit func() bool) {
		r.store.after = func(string) error {
			if hit() {
				return errFault
			}
			return nil
		}
	},
	"panics": func(r *rig, hit func() bool) {
		r.store.before = func(op string) error {
			if hit() {
				panic("injected panic in " + op)
			}
			return nil
		}
	},
}

// survive runs a call as link.Link does: a panic ends the call only.
func survive(call func()) {
	defer func() { _ = recover() }()
	call()
}

// TestFaultAtEveryStep is ATTACKS rows 12 and 50: one call of the store after another goes wrong during a device's
// first attestation. Whatever is acknowledged or published is stored, and when the fault is over the same evidence is
// accepted, once.
func TestFaultAtEveryStep(t *testing.T) {
	for name, inject := range faults {
		t.Run(name, func(t *testing.T) {
			steps := 0
			for done := false; !done; steps++ {
				t.Run(fmt.Sprintf("call %d", steps+1), func(t *testing.T) { done = !faultAt(t, steps, inject) })
			}
			if steps < 10 {
				t.Errorf("only %d calls of the store were tried", steps)
			}
		})
	}
}

// faultAt lets the n-th call of the store go wrong and reports whether there were so many.
func faultAt(t *testing.T, n int, inject func(*rig, func() bool)) (reached bool) {
	r := newRig(t)
	d := r.healthy()
	message := d.report(d.challenged())
	inject(r, func() bool {
		n--
		reached = reached || n == -1
		return n == -1
	})
	survive(d.sayReady)
	survive(func() { r.Evidence(t.Context(), d.at(proto.UpEvidence), message) })
	for _, m := range r.sender.take(d.ID, proto.DownWant) {
		for _, digest := range m.message.(*proto.Want).Contents {
			survive(func() { r.Content(t.Context(), d.at(proto.UpBlob), digest, d.contents[digest]) })
		}
	}
	r.store.before, r.store.after = nil, nil
	results := len(d.results())
	if got := d.receipt(); got != nil && results != 1 {
		t.Errorf("receipt %+v with %d results in the store", got, results)
	}
	if got := d.published(); got != "" && results != 1 {
		t.Errorf("a result was published with %d results in the store", results)
	}
	if s := d.stored(); results == 0 && (s.State != result.NeverAttested || s.Version != 1) {
		t.Errorf("device = %+v without a result", s)
	}
	got := d.submit(message)
	if got == nil || got.Status != proto.Appraised || got.State != string(result.Unsupported) {
		t.Errorf("receipt = %+v for the same evidence after the fault, want unsupported", got)
	}
	if n, e := len(d.results()), d.events("state-changed"); n != 1 || len(e) != 1 {
		t.Errorf("%d results and events %q, want one of each", n, e)
	}
	return reached
}

// TestFaultsBecomeStale is ATTACKS row 12 (CVE-2022-3500): evidence that the verifier fails on, as a bad device's might
// be made to, leaves no good state standing. It becomes stale by itself, and that is written down when the store works
// again.
func TestFaultsBecomeStale(t *testing.T) {
	for name, inject := range faults {
		if name == "is done and fails" {
			continue // then it is recorded
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d := r.trusted()
			inject(r, func() bool { return true })
			for range 20 {
				r.clock.advance(time.Minute)
				message := []byte("evidence")
				survive(func() { r.Evidence(t.Context(), d.at(proto.UpEvidence), message) })
				survive(func() { _ = r.Sweep(t.Context()) })
			}
			if got := d.receipt(); got != nil {
				t.Errorf("receipt = %+v", got)
			}
			if got := d.stored(); got.Current(r.clock.Now()) != result.Stale {
				t.Errorf("state is %s after 20 minutes of failures, want stale", got.Current(r.clock.Now()))
			}
			if _, err := result.Verify(d.published(), &r.key.PublicKey, r.clock.Now()); err == nil {
				t.Error("the published result is still good")
			}
			r.store.before = nil
			if err := r.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.wantPublished(result.Stale)
			if got := d.events("state-changed"); !strings.HasPrefix(got[0], "trusted -> stale") {
				t.Errorf("events = %q", got)
			}
			d.attest(result.Trusted)
		})
	}
}

// TestUnreadableContent: content that the store has and cannot read is not asked for again.
func TestUnreadableContent(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	r.restart() // nothing is remembered of its boot log
	r.clock.advance(time.Minute)
	message := d.report(d.challenged())
	r.store.before = func(op string) error {
		if op == "Content" {
			return errFault
		}
		return nil
	}
	if got := d.submit(message); got != nil || r.counted("probity_failures_total", "") != 1 {
		t.Errorf("receipt = %+v, %d failures counted", got, r.counted("probity_failures_total", ""))
	}
	if got := r.counted("probity_evidence_total", "wanted"); got != 0 {
		t.Error("content that the store has was wanted")
	}
	r.store.before = nil
	if got := d.submit(message); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v", got)
	}
}
