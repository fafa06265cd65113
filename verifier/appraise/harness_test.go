package appraise_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

const tenant = "acme"

func fixture(t testing.TB, kind, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", kind, name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bench is a verifier around one device: it keeps the record and the content as fleet and store do.
type bench struct {
	t        testing.TB
	device   *appraisetest.Device
	keys     *challenge.Keys
	level    result.Level
	record   appraise.Record
	set      *reference.Set
	policy   *appraise.Policy
	now      time.Time
	contents map[proto.Digest][]byte
	memo     *appraise.Memo
}

// newBench returns a healthy device of a Secure Boot machine, without references.
func newBench(t testing.TB) *bench {
	t.Helper()
	d, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), fixture(t, "ima", "grub-secure-boot"))
	if err != nil {
		t.Fatal(err)
	}
	return benchFor(t, d)
}

func benchFor(t testing.TB, d *appraisetest.Device) *bench {
	t.Helper()
	keys, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		t: t, device: d, keys: keys, level: result.Certified, policy: appraise.DefaultPolicy().Seal(),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), contents: map[proto.Digest][]byte{}, memo: &appraise.Memo{},
	}
}

// trusting gives the bench references taken from its own device as it is now.
func (b *bench) trusting() *bench {
	b.t.Helper()
	b.set = reference.Compile([]reference.Baseline{b.baseline("acme-r7-2.4.1")})
	return b
}

func (b *bench) baseline(name string) reference.Baseline {
	b.t.Helper()
	base := reference.Baseline{Name: name, Tenant: tenant, Vendor: "Acme", Model: "R7", Created: b.now}
	d := b.device
	if d.Bank != nil {
		if err := appraise.ReferenceValues(&base, d.Bank, d.BootLog, d.IMA, []int{1, 5}); err != nil {
			b.t.Fatal(err)
		}
	}
	b.claimed(&base)
	return base
}

// claimed adds what the device says of itself, from its own report; reportOnly are flash regions. It returns what was left
// out.
func (b *bench) claimed(base *reference.Baseline, reportOnly ...string) []string {
	b.t.Helper()
	message, contents, err := b.device.Report(b.challenge())
	if err != nil {
		b.t.Fatal(err)
	}
	open, err := appraise.Open(message, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var flash, platform []byte
	if s := open.Claims.Flash; s != nil && s.Regions.Content != nil {
		flash = contents[s.Regions.Content.Digest]
	}
	if c := open.Claims.Platform.Content; c != nil {
		platform = contents[c.Digest]
	}
	left, err := appraise.ClaimedValues(base, open.Claims, flash, platform, reportOnly)
	if err != nil {
		b.t.Fatal(err)
	}
	return left
}

func (b *bench) challenge() *proto.Challenge {
	b.now = b.now.Add(time.Minute)
	c := &proto.Challenge{
		Nonce: b.keys.Issue(challenge.Evidence, tenant, b.device.ID, b.now), PCRs: uint32(b.policy.PCRs),
		Banks: []uint16{0x0b}, Lifetime: 300,
	}
	b.record.Ask(c, b.set, b.policy, b.now)
	return c
}

// report lets the device answer a challenge.
func (b *bench) report() []byte {
	b.t.Helper()
	message, contents, err := b.device.Report(b.challenge())
	if err != nil {
		b.t.Fatal(err)
	}
	for d, c := range contents {
		b.contents[d] = c
	}
	return message
}

// input makes what Appraise takes of a message.
func (b *bench) input(message []byte) (appraise.Input, error) {
	claimed, err := appraise.Open(message, b.memo)
	if err != nil {
		return appraise.Input{}, err
	}
	nonce, err := b.keys.Check(challenge.Evidence, tenant, b.device.ID, claimed.Evidence.Nonce, b.now, 5*time.Minute)
	if err != nil {
		return appraise.Input{}, err
	}
	return appraise.Input{
		Tenant: tenant, Device: b.device.ID, Claimed: claimed, Nonce: nonce,
		Identity: appraise.Identity{AK: b.device.AK, Level: b.level},
		Record:   b.record, References: b.set, Policy: b.policy, Now: b.now, Memo: b.memo,
		Content: func(d proto.Digest) ([]byte, bool) { c, ok := b.contents[d]; return c, ok },
	}, nil
}

func (b *bench) appraise(message []byte) (appraise.Outcome, error) {
	in, err := b.input(message)
	if err != nil {
		return appraise.Outcome{}, err
	}
	return appraise.Appraise(in)
}

// attest runs a whole round and keeps the record, through its stored form.
func (b *bench) attest() result.Result {
	b.t.Helper()
	out, err := b.appraise(b.report())
	if err != nil {
		b.t.Fatalf("Appraise: %v", err)
	}
	stored, err := out.Record.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	if b.record, err = appraise.DecodeRecord(stored); err != nil {
		b.t.Fatal(err)
	}
	return out.Result
}

func (b *bench) wantState(r result.Result, want result.State) {
	b.t.Helper()
	if r.State != want {
		b.t.Errorf("state = %s, want %s; findings:", r.State, want)
		for _, f := range r.Findings {
			b.t.Errorf("  %s %s: %s", f.Severity, f.Code, f.Line())
		}
	}
}

func wantFinding(t testing.TB, r result.Result, code string) result.Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Code == code {
			return f
		}
	}
	t.Errorf("no finding %q among %v", code, codesOf(r))
	return result.Finding{}
}

func codesOf(r result.Result) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Code)
	}
	return out
}

func wantRejection(t testing.TB, err error, code string) {
	t.Helper()
	var r *appraise.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("error = %v, want a rejection with code %q", err, code)
	}
	if r.Code != code {
		t.Errorf("rejection = %v, want code %q", r, code)
	}
}

// remeasure returns a log as if the machine had measured something else: see eventlogtest.Remeasure.
func remeasure(t testing.TB, log []byte, pick func(*eventlog.Event) bool, change func(data []byte)) []byte {
	t.Helper()
	out, err := eventlogtest.Remeasure(log, pick, change)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
