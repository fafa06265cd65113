package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestConversation is a first attestation step by step.
func TestConversation(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	c := d.challenged()
	if c.PCRs != 0xffff || !slices.Equal(c.Banks, []uint16{0x0b, 0x0c, 0x04}) || c.Lifetime != 300 || c.IMAFrom != 0 || len(c.PCRBase) != 0 {
		t.Errorf("first challenge = %+v", c)
	}
	message := d.report(c)
	r.Evidence(t.Context(), d.at(proto.UpEvidence), message)
	wants := r.sender.take(d.ID, proto.DownWant)
	if len(wants) != 1 {
		t.Fatalf("%d wants, want one", len(wants))
	}
	want := wants[0].message.(*proto.Want)
	if want.Evidence != proto.Sum(message) || len(want.Contents) != len(d.contents) {
		t.Errorf("want = %+v, of %d contents", want, len(d.contents))
	}
	for _, digest := range want.Contents {
		if got := d.receipt(); got != nil {
			t.Fatalf("receipt %+v before all content came", got)
		}
		r.Content(t.Context(), d.at(proto.UpBlob), digest, d.contents[digest])
	}
	got := d.receipt()
	if got == nil || got.Status != proto.Appraised || got.Evidence != proto.Sum(message) || got.State != string(result.Unsupported) {
		t.Fatalf("receipt = %+v, want appraised as unsupported", got)
	}
	if got.Next < 240 || got.Next > 360 {
		t.Errorf("next report after %d s, want 300 s and some spread", got.Next)
	}
	s := d.stored()
	if s.Vendor != "Acme" || s.Model != "R7" || s.Firmware != "2.4.1" || !s.LastSeen.Equal(r.clock.Now()) ||
		!s.StaleAt.Equal(r.clock.Now().Add(15*time.Minute)) || !s.Since.Equal(r.clock.Now()) {
		t.Errorf("device = %+v", s)
	}
	if got := d.wantPublished(result.Unsupported); got.Evidence != digestHex(message) {
		t.Errorf("published result is of evidence %s", got.Evidence)
	}
	if stored, err := r.store.Evidence(t.Context(), tenant, d.ID, digestHex(message)); err != nil || string(stored) != string(message) {
		t.Errorf("stored evidence: %d bytes, %v", len(stored), err)
	}
	if got := d.events("state-changed"); len(got) != 1 || !strings.HasPrefix(got[0], "never-attested -> unsupported") {
		t.Errorf("events = %q", got)
	}

	// The next challenge asks for what is new only, and nothing is wanted again.
	c = d.challenged()
	if c.IMAFrom == 0 || string(c.BootID) != string(d.BootID[:]) || len(c.PCRBase) != proto.PCRBaseSize {
		t.Errorf("second challenge = %+v, want one that builds on the first report", c)
	}
	r.Evidence(t.Context(), d.at(proto.UpEvidence), d.report(c))
	if got := r.sender.take(d.ID, proto.DownWant); len(got) != 0 {
		t.Errorf("content that is known is wanted: %+v", got[0].message)
	}
	if d.receipt() == nil || len(d.results()) != 2 {
		t.Error("the second report was not appraised")
	}
	if got := d.events("state-changed"); len(got) != 1 {
		t.Errorf("events = %q, want no new one: nothing changed", got)
	}
	for label, want := range map[string]int{"unsupported": 2, "wanted": 1} {
		if got := r.counted("probity_evidence_total", label); got != want {
			t.Errorf("%s evidence counted %d times, want %d", label, got, want)
		}
	}
}

// TestLostReceipt: evidence that is sent again, because its receipt was lost, gets another receipt and no second
// result.
func TestLostReceipt(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	message := d.report(d.challenged())
	first := d.submit(message)
	before, n := d.stored(), len(d.results())
	for range 3 {
		r.restart() // whoever answers
		got := d.submit(message)
		if got == nil || got.Status != proto.Appraised || got.State != first.State || got.Evidence != first.Evidence {
			t.Fatalf("receipt = %+v, want that of before: %+v", got, first)
		}
	}
	if len(d.results()) != n || d.stored().Version != before.Version || len(d.events("evidence-rejected")) != 0 {
		t.Errorf("%d results, device version %d, want %d and %d", len(d.results()), d.stored().Version, n, before.Version)
	}
	// Also when it was not the newest any more.
	d.attest(result.Trusted)
	if got := d.submit(message); got == nil || got.Status != proto.Appraised {
		t.Errorf("receipt = %+v, want appraised", got)
	}
}

// TestUnreachableDevice: what cannot be sent or published does not undo what was decided.
func TestUnreachableDevice(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	message := d.report(d.challenged())
	r.sender.err = errFault
	d.submit(message)
	d.sayReady()
	r.sender.err = nil
	if got := d.results()[0].Result.Evidence; got != digestHex(message) {
		t.Error("the evidence was not appraised")
	}
	if got := d.submit(message); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v, want trusted", got)
	}
}

// TestRestartBetween: a verifier that restarts between evidence and content asks again, and takes what came before.
func TestRestartBetween(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	message := d.report(d.challenged())
	r.Evidence(t.Context(), d.at(proto.UpEvidence), message)
	r.restart()
	d.answerWants()
	if got := d.receipt(); got != nil {
		t.Fatalf("receipt = %+v of a verifier that never saw the evidence", got)
	}
	r.Evidence(t.Context(), d.at(proto.UpEvidence), message)
	if got := r.sender.take(d.ID, proto.DownWant); len(got) != 0 {
		t.Error("content that came before the restart is wanted again")
	}
	if got := d.receipt(); got == nil || got.Status != proto.Appraised {
		t.Errorf("receipt = %+v", got)
	}
}

// TestConflict: what somebody else changed between reading and writing a device is kept, and the evidence counts.
func TestConflict(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	label := func(text string) {
		s := d.stored()
		s.Label = text
		if _, err := r.store.Store.SaveDevice(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	times := 0
	r.store.before = func(op string) error {
		if op == "Record" && times < conflictRetries-1 {
			times++
			label(strings.Repeat("x", times))
		}
		return nil
	}
	d.attest(result.Trusted)
	if got := d.stored(); got.Label != "xxx" || times != 3 {
		t.Errorf("label %q after %d conflicts, want the operator's last", got.Label, times)
	}
	// Somebody who never stops changing the device keeps it from being recorded, but not from being stale.
	n := len(d.results())
	r.store.before = func(op string) error {
		if op == "Record" {
			times++
			label(strings.Repeat("y", times))
		}
		return nil
	}
	message := d.report(d.challenged())
	if got := d.submit(message); got != nil {
		t.Errorf("receipt = %+v for evidence that was not recorded", got)
	}
	if got := len(d.results()); got != n {
		t.Errorf("%d results, want %d", got, n)
	}
	if r.counted("probity_failures_total", "") != 1 {
		t.Error("the failure was not counted")
	}
	r.store.before = nil
	if got := d.submit(message); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v, want trusted", got)
	}
}

// TestWrongStates: only a device that is enrolled is challenged and appraised.
func TestWrongStates(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	message := d.report(d.challenged())
	for _, status := range []store.Status{store.Pending, store.Approved} {
		s := d.stored()
		s.Status = status
		if _, err := r.store.SaveDevice(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		d.sayReady()
		if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 0 {
			t.Errorf("a device that is %s was challenged", status)
		}
		d.wantRejected(message, proto.CodeNotEnrolled)
	}
	if err := r.Remove(t.Context(), tenant, d.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	r.sender.all = nil
	d.sayReady()
	r.Evidence(t.Context(), d.at(proto.UpEvidence), message)
	r.Evidence(t.Context(), d.at(proto.UpEvidence), []byte("nonsense"))
	if len(r.sender.all) != 0 {
		t.Errorf("a removed device was answered: %+v", r.sender.all)
	}
	if got := r.counted("probity_refused_total", "unknown"); got != 3 {
		t.Errorf("%d messages of an unknown device were counted, want 3", got)
	}
	if got := r.counted("probity_failures_total", ""); got != 0 {
		t.Errorf("%d failures were counted: a stranger is none", got)
	}
}

func TestOffline(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	r.State(t.Context(), d.at(proto.UpState), &proto.State{Kind: proto.StateOffline})
	if len(r.sender.all) != 0 {
		t.Errorf("a device that left was answered: %+v", r.sender.all)
	}
}

// TestOutOfSync: a device that builds on what the verifier does not have is asked anew at once.
func TestOutOfSync(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	c := d.challenged()
	c.IMAFrom -= 2
	d.wantRejected(d.report(c), proto.CodeOutOfSync)
	asked := r.sender.take(d.ID, proto.DownChallenge)
	if len(asked) != 1 {
		t.Fatalf("%d challenges, want one", len(asked))
	}
	if got := d.submit(d.report(asked[0].message.(*proto.Challenge))); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v, want trusted", got)
	}
	if got := d.events("evidence-rejected"); len(got) != 0 {
		t.Errorf("events = %q: being out of sync is no attack", got)
	}
}

func TestEnroll(t *testing.T) {
	r := newRig(t)
	from := proto.Address{Tenant: tenant, Device: strings.Repeat("a", 64), Leaf: proto.UpEnroll}
	r.enroller.err = errFault
	r.Enroll(t.Context(), from, &proto.EnrollUp{})
	r.enroller.err = nil
	r.Enroll(t.Context(), from, &proto.EnrollUp{})
	if len(r.sender.all) != 0 {
		t.Errorf("answers without one: %+v", r.sender.all)
	}
	r.enroller.down = &proto.EnrollDown{Pending: &proto.EnrollPending{Message: "wait", Retry: 5}}
	r.Enroll(t.Context(), from, &proto.EnrollUp{})
	if got := r.sender.take(from.Device, proto.DownEnroll); len(got) != 1 {
		t.Errorf("%d answers, want one", len(got))
	}
}

// TestSoftwareDevice: a device without a TPM goes the same way.
func TestSoftwareDevice(t *testing.T) {
	r := newRig(t)
	sim, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	d := r.enrolled(sim, result.Software)
	d.attest(result.Warning)
	d.wantPublished(result.Warning)
}

// TestHostileText is ATTACKS row 14: text of a device that no store and no message takes stops neither its verdict nor
// its receipt.
func TestHostileText(t *testing.T) {
	r := newRig(t)
	golden := r.trusted()
	d := r.healthy()
	d.Platform.FirmwareVersion = "1\x00\x1b[31m" + strings.Repeat("ä", 110)
	path := "/tmp/" + strings.Repeat("ü", 700) + "\n\x1b[2J\xff\xfe"
	var b ima.Builder
	if err := b.AppendList(d.IMA); err != nil {
		t.Fatal(err)
	}
	if err := b.Append(ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Measure(b.Bytes()[len(d.IMA):]); err != nil {
		t.Fatal(err)
	}
	d.IMA = b.Bytes()
	got := d.attest(result.Warning)
	if len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0], "/tmp/ü") {
		t.Errorf("reasons = %q", got.Reasons)
	}
	if strings.ContainsAny(got.Reasons[0]+strings.Join(d.events("state-changed"), ""), "\x00\x1b\n") {
		t.Errorf("control characters in %q or %q", got.Reasons, d.events("state-changed"))
	}
	d.attest(result.Warning) // and its record can be read again
	golden.attest(result.Trusted)
}

func TestNew(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	for name, change := range map[string]func(*Config){
		"store": func(c *Config) { c.Store = nil }, "sender": func(c *Config) { c.Sender = nil },
		"enroller": func(c *Config) { c.Enroller = nil }, "nonces": func(c *Config) { c.Nonces = nil },
		"signer": func(c *Config) { c.Signer = nil }, "baseline key": func(c *Config) { c.Baseline = nil },
		"interval": func(c *Config) { c.Interval = c.Policy.StaleAfter },
	} {
		bad := cfg
		change(&bad)
		if f, err := New(bad); err == nil || f != nil {
			t.Errorf("New without a good %s = %v, %v, want an error", name, f, err)
		}
	}
	cfg.Now, cfg.Log, cfg.Disconnect, cfg.Metrics = nil, nil, nil, nil
	if _, err := New(cfg); err != nil {
		t.Errorf("New with zero values = %v", err)
	}
}

// TestDamagedRecord: without knowing what was accepted before, nothing is.
func TestDamagedRecord(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	message := d.report(d.challenged())
	s := d.stored()
	s.Record = []byte("damaged")
	if _, err := r.store.SaveDevice(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	d.sayReady()
	if len(r.sender.all) != 0 {
		t.Error("a device with a damaged record was challenged")
	}
	if got := d.submit(message); got != nil {
		t.Errorf("receipt = %+v", got)
	}
	if !strings.Contains(r.log.String(), "decode device record") {
		t.Errorf("log:\n%s", r.log.String())
	}
}
