package inspect

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func bootLog(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "eventlogs", "grub-secure-boot.bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replay returns what a machine has in its PCRs after this log.
func replay(t testing.TB, log []byte) *pcr.Bank {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	values, err := parsed.Replay(pcr.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	bank := pcr.Reset(pcr.SHA256)
	for _, i := range values.Present().Indices() {
		if err := bank.Set(i, values.Value(i)); err != nil {
			t.Fatal(err)
		}
	}
	return bank
}

// booted returns the evidence of a machine that booted with a log and shows another one.
func booted(t testing.TB, log, shown []byte) *Evidence {
	t.Helper()
	bank := replay(t, log)
	r := &result.Result{At: now, Bank: "sha256", PCRs: make(map[string]string), Vendor: "Acme", Model: "R7"}
	policy := appraise.DefaultPolicy()
	for _, i := range policy.PCRs.Indices() {
		r.PCRs[strconv.Itoa(i)] = hex.EncodeToString(bank.Value(i))
	}
	return &Evidence{Seq: 7, Result: r, Claims: &proto.Claims{}, BootLog: shown}
}

// baseline returns the reference values of a machine that booted with a log.
func baseline(t testing.TB, log []byte) reference.Baseline {
	t.Helper()
	b := reference.Baseline{Name: "golden", Tenant: "t", Vendor: "Acme", Model: "R7", Device: "d", Created: now}
	policy := appraise.DefaultPolicy()
	bank, all := pcr.NewBank(pcr.SHA256), replay(t, log)
	for _, i := range policy.PCRs.Indices() {
		if err := bank.Set(i, all.Value(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := appraise.ReferenceValues(&b, bank, log, nil, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func basisOf(t testing.TB, d reference.Documents) Basis {
	t.Helper()
	set, err := reference.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	policy := appraise.DefaultPolicy()
	return Basis{References: set, Policy: &policy}
}

func explain(t testing.TB, e *Evidence, b Basis) map[int]v1.BootPCR {
	t.Helper()
	got, err := Boot(e, b)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[int]v1.BootPCR)
	last := -1
	for _, p := range got.PCRs {
		if p.Index <= last {
			t.Errorf("PCR %d after PCR %d", p.Index, last)
		}
		out[p.Index], last = p, p.Index
	}
	return out
}

func count(p v1.BootPCR) map[v1.Standing]int {
	out := make(map[v1.Standing]int)
	for _, e := range p.Events {
		out[e.Standing]++
	}
	return out
}

// TestBaseline: events against a baseline, which has them in their order: the same, another one in the place, one more,
// one less.
func TestBaseline(t *testing.T) {
	log := bootLog(t)
	b := basisOf(t, reference.Documents{Baselines: []reference.Baseline{baseline(t, log)}})
	for i, p := range explain(t, booted(t, log, log), b) {
		if i != 10 && p.Standing != v1.Matched && p.Standing != v1.Explained {
			t.Errorf("PCR %d of the golden boot is %s", i, p.Standing)
		}
		if !p.Replayed {
			t.Errorf("PCR %d of the golden boot is not replayed", i)
		}
	}
	other, err := eventlogtest.Remeasure(log, eventlogtest.BootLoader, nil)
	if err != nil {
		t.Fatal(err)
	}
	golden := explain(t, booted(t, log, log), b)[4]
	p := explain(t, booted(t, other, other), b)[4]
	if want := map[v1.Standing]int{v1.Unknown: 1, v1.Matched: len(golden.Events) - 1}; p.Standing != v1.Unknown || !cmp.Equal(count(p), want) {
		t.Errorf("another boot loader: %s, %v, want %v", p.Standing, count(p), want)
	}
	for i, e := range p.Events {
		if e.Standing == v1.Unknown && e.Expected != golden.Events[i].Digest {
			t.Errorf("expected = %s, want %s of the golden boot", e.Expected, golden.Events[i].Digest)
		}
	}

	// A baseline that has one event more, and one less, than what was measured.
	more := baseline(t, log)
	for i := range more.PCRs {
		r := &more.PCRs[i]
		if r.Index != 4 {
			continue
		}
		r.Value = make([]byte, 32)
		r.Events = append(r.Events[1:], reference.Event{Slot: "EV_IPL extra", Digest: make([]byte, 32), Note: "an \x1b extra"})
	}
	p = explain(t, booted(t, log, log), basisOf(t, reference.Documents{Baselines: []reference.Baseline{more}}))[4]
	if want := map[v1.Standing]int{v1.Unknown: 1, v1.Missing: 1, v1.Matched: len(golden.Events) - 1}; !cmp.Equal(count(p), want) {
		t.Errorf("one more and one less: %v, want %v", count(p), want)
	}
	last := p.Events[len(p.Events)-1]
	if last.Standing != v1.Missing || last.Number != 0 || last.Type != "EV_IPL" || strings.Contains(last.Text, "\x1b") || last.Reference != "golden" {
		t.Errorf("missing event = %+v", last)
	}
}

// TestManifestCoverage: what a manifest covers partly, requires, or knows only the value of.
func TestManifestCoverage(t *testing.T) {
	log := bootLog(t)
	e := booted(t, log, log)
	value, err := hex.DecodeString(e.Result.PCRs["0"])
	if err != nil {
		t.Fatal(err)
	}
	digests := func(v []byte) manifest.Digests { return manifest.Digests{{Algorithm: pcr.SHA256, Value: v}} }
	other := make([]byte, 32)
	other[0] = 1
	release := func(pcrs ...manifest.PCR) Basis {
		return basisOf(t, reference.Documents{Releases: []reference.Release{{
			Manifest:  &manifest.Manifest{ID: "r7/1", Vendor: "Acme", Model: "R7", Version: "1", PCRs: pcrs},
			Endorsers: []reference.Endorser{{Issuer: "Acme", Role: reference.RoleVendor, KeyID: "k"}},
		}}})
	}
	required := manifest.Event{Slot: "EV_EFI_ACTION never", Digests: digests(other), Required: true, Note: "an action"}
	b := release(
		manifest.PCR{Index: 0, Values: []manifest.Digests{digests(value)}},
		manifest.PCR{Index: 2, Values: []manifest.Digests{digests(other)}},
		manifest.PCR{Index: 4, Coverage: manifest.Partial, Events: []manifest.Event{required}},
	)
	got := explain(t, e, b)
	for i, want := range map[int]v1.Standing{0: v1.Matched, 2: v1.Unknown, 4: v1.Missing, 7: v1.Uncovered, 10: v1.Explained, 13: v1.Explained} {
		if p, ok := got[i]; ok && p.Standing != want {
			t.Errorf("PCR %d is %s, want %s", i, p.Standing, want)
		}
	}
	if n := count(got[4]); n[v1.Missing] != 1 || n[v1.Unknown] != 0 || n[v1.Uncovered] == 0 || n[v1.Explained] != 1 {
		t.Errorf("events of a partly covered PCR: %v", n)
	}
	if n := count(got[0]); n[v1.Matched] != len(got[0].Events) {
		t.Errorf("events of a PCR of which the value is known: %v", n)
	}
	if got, err := Boot(&Evidence{Result: &result.Result{}, Claims: &proto.Claims{}}, b); err != nil || got.NoLog == "" || len(got.PCRs) != 0 {
		t.Errorf("Boot() without TPM = %+v, %v", got, err)
	}
	for name, spoil := range map[string]func(*result.Result){
		"bank":  func(r *result.Result) { r.Bank = "md5" },
		"index": func(r *result.Result) { r.PCRs = map[string]string{"x": "00"} },
		"value": func(r *result.Result) { r.PCRs = map[string]string{"0": "00"} },
	} {
		r := *e.Result
		spoil(&r)
		if _, err := Boot(&Evidence{Result: &r, Claims: &proto.Claims{}}, b); err == nil {
			t.Errorf("Boot() of a result with a wrong %s succeeds", name)
		}
	}
}

// TestNoLog: without a log the values are compared all the same, and the reason is told.
func TestNoLog(t *testing.T) {
	log := bootLog(t)
	b := basisOf(t, reference.Documents{Baselines: []reference.Baseline{baseline(t, log)}})
	e := booted(t, log, nil)
	e.Claims.BootLog.Unavailable = &proto.Unavailable{Cause: proto.CauseNotFound, Reason: "no \u202e securityfs"}
	got, err := Boot(e, b)
	if err != nil || !strings.Contains(got.NoLog, "securityfs") || strings.Contains(got.NoLog, "\u202e") {
		t.Errorf("NoLog = %q, %v", got.NoLog, err)
	}
	if p := explain(t, e, b)[4]; p.Standing != v1.Matched || p.Replayed || len(p.Events) != 0 {
		t.Errorf("PCR 4 = %s, replayed %t, %v", p.Standing, p.Replayed, count(p))
	}
}

// denial returns a deny-list's entry for a digest of one repeated byte.
func denial(b byte) manifest.Denial {
	return manifest.Denial{Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: bytes.Repeat([]byte{b}, 32)}}}
}
