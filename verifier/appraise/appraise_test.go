package appraise_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

func TestHealthyDevice(t *testing.T) {
	b := newBench(t)
	first := b.attest()
	b.wantState(first, result.Unsupported)

	b.trusting()
	second := b.attest()
	b.wantState(second, result.Trusted)
	if got := second.Submods[result.Boot].Status(); got != "affirming" {
		t.Errorf("boot status = %q, want affirming", got)
	}
	if got := second.Submods[result.Runtime].Status(); got != "affirming" {
		t.Errorf("runtime status = %q, want affirming: files were compared", got)
	}
	if got := second.Submods[result.Flash].Status(); got != "none" {
		t.Errorf("flash status = %q, want none", got)
	}
	if diff := cmp.Diff([]string{"acme-r7-2.4.1"}, second.References); diff != "" {
		t.Errorf("references: %s", diff)
	}
	if want := b.now.Add(15 * time.Minute); !second.StaleAt.Equal(want) {
		t.Errorf("stale at %s, want %s", second.StaleAt, want)
	}
	if second.IMAEntries == 0 || second.PCRs["10"] == "" {
		t.Errorf("IMA entries %d, PCR 10 %q: want both", second.IMAEntries, second.PCRs["10"])
	}
}

func TestReplacedBootLoader(t *testing.T) {
	b := newBench(t).trusting()
	good := b.device.BootLog
	bad := remeasure(t, good, eventlogtest.BootLoader, nil)
	d, err := appraisetest.New(bad, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, d)
	c.set = b.set
	r := c.attest()
	c.wantState(r, result.Untrusted)
	f := wantFinding(t, r, "boot-event-changed")
	if f.Severity != result.Critical || f.Submod != result.Boot {
		t.Errorf("finding is %s of %s, want critical of boot", f.Severity, f.Submod)
	}
	if f.Expected == f.Observed || len(f.Expected) != 64 || len(f.Observed) != 64 {
		t.Errorf("expected %q, observed %q: want two SHA-256 digests", f.Expected, f.Observed)
	}
	if !strings.Contains(f.Component, "PCR 4 (boot loader)") {
		t.Errorf("component = %q, want it to name PCR 4 (boot loader)", f.Component)
	}
	if got := r.Submods[result.Boot].Status(); got != "contraindicated" {
		t.Errorf("boot status = %q, want contraindicated", got)
	}
}

func TestLogEditedToHideTheBackdoor(t *testing.T) {
	b := newBench(t).trusting()
	good := b.device.BootLog
	bad := remeasure(t, good, eventlogtest.BootLoader, nil)
	d, err := appraisetest.New(bad, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.BootLog = good // shows the healthy log over PCRs that measured the backdoor
	c := benchFor(t, d)
	c.set = b.set
	r := c.attest()
	c.wantState(r, result.Untrusted)
	f := wantFinding(t, r, "boot-log-mismatch")
	if !strings.HasPrefix(f.Expected, hex.EncodeToString(d.Bank.Value(4))) {
		t.Errorf("expected = %q, want the quoted value of PCR 4 %x", f.Expected, d.Bank.Value(4))
	}
}

func TestSecureBootTurnedOff(t *testing.T) {
	b := newBench(t).trusting()
	off := remeasure(t, b.device.BootLog, eventlogtest.SecureBoot, eventlogtest.Off)
	d, err := appraisetest.New(off, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, d)
	c.set = b.set
	r := c.attest()
	c.wantState(r, result.Untrusted)
	if f := r.Findings[0]; f.Code != "secure-boot-off" || f.Expected != "on" || f.Observed != "off" {
		t.Errorf("first finding = %+v, want secure-boot-off, on, off", f)
	}
}

func TestValueThatNoEventExplains(t *testing.T) {
	for _, withReference := range []bool{false, true} {
		b := newBench(t)
		if withReference {
			b.trusting()
		}
		if err := b.device.Bank.Extend(13, bytes.Repeat([]byte{1}, 32)); err != nil {
			t.Fatal(err)
		}
		r := b.attest()
		b.wantState(r, result.Untrusted)
		if f := wantFinding(t, r, "pcr-unlogged"); !strings.Contains(f.Component, "PCR 13") {
			t.Errorf("component = %q, want PCR 13", f.Component)
		}
		p := appraise.DefaultPolicy()
		p.Unlogged = pcr.Select(13)
		b.policy = p.Seal()
		want := result.Unsupported
		if withReference {
			want = result.Trusted
		}
		b.wantState(b.attest(), want)
	}
}

func TestGapsAreNeverTrusted(t *testing.T) {
	b := newBench(t).trusting()
	log := b.device.BootLog
	b.device.BootLog = nil
	r := b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "boot-log-unavailable")

	b.device.BootLog = []byte("not a log at all, but long enough to look at")
	r = b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "boot-log-malformed")

	b.device.BootLog, b.device.IMA = log, nil
	r = b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "ima-unavailable")

	p := appraise.DefaultPolicy()
	p.IMA = appraise.Ignored
	b.policy = p.Seal()
	b.wantState(b.attest(), result.Trusted)
}

func TestReportOnlyPCR(t *testing.T) {
	b := newBench(t).trusting()
	setting := func(e *eventlog.Event) bool { return e.PCR == 1 && e.Type != eventlog.Separator }
	changed := remeasure(t, b.device.BootLog, setting, func(d []byte) { d[len(d)-1] ^= 1 })
	d, err := appraisetest.New(changed, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, d)
	p := appraise.DefaultPolicy()
	p.IMA = appraise.Ignored
	c.set, c.policy = b.set, p.Seal()
	r := c.attest()
	c.wantState(r, result.Trusted)
	if f := wantFinding(t, r, "boot-difference"); f.Severity != result.Info {
		t.Errorf("severity = %s, want info", f.Severity)
	}
}

func TestOldAndNewAreBothGood(t *testing.T) {
	b := newBench(t)
	old := b.baseline("r7-2.4.1")
	other, err := appraisetest.New(fixture(t, "eventlogs", "uki"), fixture(t, "ima", "uki"))
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, other)
	set := reference.Compile([]reference.Baseline{old, c.baseline("r7-2.5.0")})
	b.set, c.set = set, set
	b.wantState(b.attest(), result.Trusted)
	r := c.attest()
	c.wantState(r, result.Trusted)
	if diff := cmp.Diff([]string{"r7-2.5.0"}, r.References); diff != "" {
		t.Errorf("references: %s", diff)
	}
}

func TestNearestReferenceIsNamed(t *testing.T) {
	b := newBench(t)
	other, err := appraisetest.New(fixture(t, "eventlogs", "uki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, other)
	foreign := c.baseline("r9-1.0")
	foreign.Model = "R9"
	c.set = reference.Compile([]reference.Baseline{b.baseline("r7-2.4.1"), foreign})
	r := c.attest() // says it is an R7, runs what R9 runs
	c.wantState(r, result.Untrusted)
	for _, f := range r.Findings {
		if f.Nearest == "r9-1.0" {
			return
		}
	}
	t.Errorf("no finding names r9-1.0: %+v", r.Findings)
}

func TestSoftwareDeviceIsAtBestWarning(t *testing.T) {
	d, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	b := benchFor(t, d)
	b.level = result.Software
	r := b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "software-identity")
	if r.Bank != "" || r.PCRs != nil {
		t.Errorf("bank %q, PCRs %v: a device without a TPM has none", r.Bank, r.PCRs)
	}

	b.device.ForgeClaims = func(c *proto.Claims) { c.Bank = uint16(pcr.SHA256) }
	_, err = b.appraise(b.report())
	wantRejection(t, err, proto.CodeSelection)
}

func TestWeakIdentity(t *testing.T) {
	b := newBench(t).trusting()
	p := appraise.DefaultPolicy()
	p.MinLevel = result.Pinned
	b.policy, b.level = p.Seal(), result.FirstUse
	r := b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "identity-level")
}

func TestModelChange(t *testing.T) {
	b := newBench(t).trusting()
	b.wantState(b.attest(), result.Trusted)
	b.device.Platform.Model = "R9"
	for range 2 { // it does not go away by being said twice
		r := b.attest()
		b.wantState(r, result.Warning)
		wantFinding(t, r, "model-changed")
	}
	b.device.Platform.Model = "R7"
	b.wantState(b.attest(), result.Trusted)
}

func TestFindingRemembersWhenItWasFirstSeen(t *testing.T) {
	b := newBench(t).trusting()
	b.device.BootLog = nil
	first := wantFinding(t, b.attest(), "boot-log-unavailable").FirstSeen
	again := wantFinding(t, b.attest(), "boot-log-unavailable").FirstSeen
	if !again.Equal(first) || first.IsZero() {
		t.Errorf("first seen %s, then %s: want the same", first, again)
	}
}

func TestSteadyReportIsSmall(t *testing.T) {
	b := newBench(t).trusting()
	b.attest()
	message := b.report()
	var ev proto.Evidence
	if err := proto.Decode(message, &ev); err != nil {
		t.Fatal(err)
	}
	if ev.PCRBase == nil || len(ev.PCRs) != 0 {
		t.Errorf("%d PCR values over base %x, want none over a base", len(ev.PCRs), ev.PCRBase)
	}
	if len(message) >= 600 {
		t.Errorf("steady report has %d bytes, want under 600", len(message))
	}
	if ev.IMA.From == 0 || ev.IMA.Count != 0 {
		t.Errorf("IMA segment from %d with %d entries, want an empty one from the end", ev.IMA.From, ev.IMA.Count)
	}
	out, err := b.appraise(message)
	if err != nil {
		t.Fatal(err)
	}
	b.wantState(out.Result, result.Trusted)
}

// TestPure: the same input gives the same outcome, with and without memo.
func TestPure(t *testing.T) {
	b := newBench(t).trusting()
	in, err := b.input(b.report())
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []appraise.Outcome
	for _, memo := range []*appraise.Memo{nil, in.Memo, in.Memo} {
		in.Memo = memo
		out, err := appraise.Appraise(in)
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, out)
	}
	for _, o := range outcomes[1:] {
		if diff := cmp.Diff(outcomes[0].Result, o.Result); diff != "" {
			t.Errorf("result differs: %s", diff)
		}
		if diff := cmp.Diff(outcomes[0].Record, o.Record); diff != "" {
			t.Errorf("record differs: %s", diff)
		}
	}
}

func TestMissingContentIsAskedFor(t *testing.T) {
	b := newBench(t).trusting()
	message := b.report()
	b.contents = map[proto.Digest][]byte{}
	_, err := b.appraise(message)
	missing, ok := err.(*appraise.MissingError)
	if !ok || len(missing.Digests) != 3 {
		t.Fatalf("error = %v, want three missing contents (platform, boot log, IMA list)", err)
	}
}
