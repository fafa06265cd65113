package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/result"
)

// try tests a document on one device.
func (d *device) try(body string) PolicyChange {
	d.r.Helper()
	got, err := d.r.TestPolicy(d.r.Context(), tenant, []byte(policyHead+body), PolicyTestSpec{Device: d.ID})
	if err != nil || len(got.Devices) != 1 {
		d.r.Fatalf("TestPolicy() = %+v, %v, want one device", got, err)
	}
	return got.Devices[0]
}

// TestTestPolicy: a test says what the next report would give, by evidence that builds on earlier ones, and changes
// nothing.
func TestTestPolicy(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	d.stranger()
	d.attest(result.Warning) // its evidence brings one IMA entry and no PCR values but those that changed
	d.attest(result.Warning) // and this one nothing at all
	before, published := d.stored(), d.published()
	for name, tt := range map[string]struct {
		body  string
		after result.State
		why   string
	}{
		"nothing":   {"", result.Warning, ""},
		"severity":  {"default: {severities: {file-unknown: critical}}", result.Untrusted, "file /usr/bin/stranger"},
		"no IMA":    {"default: {ima: ignored}", result.Trusted, ""},
		"waiver":    {`waivers: [{finding: file-unknown, component: "*", groups: ["*"], owner: a, reason: b, expires: 2030-01-01}]`, result.Trusted, ""},
		"rule":      {`default: {rules: [{name: r, when: 'result.ima_entries > 10u', severity: critical, message: too many}]}`, result.Untrusted, "too many"},
		"silence":   {"default: {stale-after: 30s}", result.Stale, "stale after 30s"},
		"identity":  {"default: {min-identity: certified}", result.Warning, ""},
		"flash":     {"default: {flash: required, severities: {flash-missing: critical}}", result.Untrusted, "the policy requires it"},
		"log twice": {"default: {secure-boot: required}", result.Warning, ""},
	} {
		r.clock.advance(time.Second)
		if name == "silence" {
			r.clock.advance(time.Minute)
		}
		got := d.try(tt.body)
		if got.Before != result.Warning || got.After != tt.after || got.Note != "" || !strings.Contains(strings.Join(got.Reasons, ";"), tt.why) {
			t.Errorf("%s: %+v, want warning -> %s because of %q", name, got, tt.after, tt.why)
		}
		if tt.why == "" && len(got.Reasons) != 0 {
			t.Errorf("%s: reasons = %q, want none", name, got.Reasons)
		}
	}
	if after := d.stored(); after.Version != before.Version || d.published() != published || len(d.results()) != 4 {
		t.Error("a test changed the device")
	}
	if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 0 {
		t.Error("a test asked the device")
	}
	if _, err := r.Policy(t.Context(), tenant, 1); err == nil {
		t.Error("a test set the policy")
	}
	// What it said comes true.
	r.setPolicy("default: {severities: {file-unknown: critical}}")
	d.attest(result.Untrusted)
	if got := d.try(""); got.Before != result.Untrusted || got.After != result.Warning {
		t.Errorf("back: %+v, want untrusted -> warning", got)
	}
}

func TestTestPolicyCannotTell(t *testing.T) {
	r := newRig(t)
	d, never := r.trusted(), r.healthy()
	got := d.try("default: {banks: [sha384]}")
	if got.Before != result.Trusted || got.After != "" || !strings.Contains(got.Note, "attest anew") {
		t.Errorf("evidence in another bank: %+v, want that it cannot be told", got)
	}
	if got := never.try("default: {ima: required}"); got.Before != result.NeverAttested || got.After != result.NeverAttested {
		t.Errorf("a device that never attested: %+v", got)
	}
	var wrong *policy.Error
	if _, err := r.TestPolicy(t.Context(), tenant, []byte("x: 1"), PolicyTestSpec{}); !errors.As(err, &wrong) {
		t.Errorf("TestPolicy of a wrong document = %v, want a policy.Error", err)
	}
}

// TestTestPolicyPages: all devices, a page at a time.
func TestTestPolicyPages(t *testing.T) {
	r := newRig(t)
	want := map[string]bool{r.trusted().ID: true}
	for range 4 {
		want[r.healthy().ID] = true
	}
	after, pages := "", 0
	for {
		got, err := r.TestPolicy(t.Context(), tenant, []byte(policyHead), PolicyTestSpec{After: after, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, d := range got.Devices {
			if !want[d.ID] {
				t.Errorf("device %s is there twice or not ours", d.ID)
			}
			delete(want, d.ID)
		}
		if after = got.Next; after == "" {
			break
		}
	}
	if len(want) != 0 || pages != 3 {
		t.Errorf("%d devices are missing after %d pages, want none after 3", len(want), pages)
	}
}
