package appraise_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// softBench returns a device without a TPM that reads flash, tells of hardware and has a tamper line.
func softBench(t *testing.T) *bench {
	t.Helper()
	d, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	d.Flash, d.Platform.Devices = flash(), devices()
	d.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
	b := benchFor(t, d)
	b.level = result.Software
	return b
}

// TestSoftwareDeviceWithReferences: it is compared, shown for what it is, at best warning and untrusted when it must
// be.
func TestSoftwareDeviceWithReferences(t *testing.T) {
	b := softBench(t)
	r := b.attest()
	b.wantState(r, result.Warning)
	f := wantFinding(t, r, "no-reference")
	if r.Findings[0].Code != "software-identity" || !strings.Contains(f.Component, "Acme R7") || f.Submod != result.Flash {
		t.Errorf("findings = %+v, want that it has no TPM first, then that the model has no references", r.Findings)
	}
	b.trusting()
	for range 2 {
		r = b.attest()
		b.wantState(r, result.Warning)
		if diff := cmp.Diff([]string{"software-identity", "flash-unavailable"}, codesOf(r)); diff != "" {
			t.Errorf("findings: %s", diff)
		}
		want := result.Strengths{
			Identity: result.SelfAsserted, Boot: result.None, Runtime: result.None,
			Flash: result.SelfAsserted, Platform: result.SelfAsserted,
		}
		if diff := cmp.Diff(want, r.Strength); diff != "" {
			t.Errorf("strength: %s", diff)
		}
		if diff := cmp.Diff([]string{"acme-r7-2.4.1"}, r.References); diff != "" {
			t.Errorf("references: %s", diff)
		}
		for part, want := range map[result.Submod]string{result.Identity: "warning", result.Boot: "none", result.Flash: "affirming", result.Platform: "affirming"} {
			if got := r.Submods[part].Status(); got != want {
				t.Errorf("%s is %s, want %s", part, got, want)
			}
		}
	}
	for code, change := range map[string]func(d *appraisetest.Device){
		"flash-changed":  func(d *appraisetest.Device) { region(d, "u-boot").Digest = flashDigest("implant") },
		"flash-excluded": func(d *appraisetest.Device) { region(d, "u-boot").Excluded = []proto.FlashRange{{Length: 1}} },
		"tamper-open":    func(d *appraisetest.Device) { d.Tamper[0].State = proto.TamperOpen },
	} {
		c := softBench(t)
		c.set = b.set
		change(c.device)
		r := c.attest()
		c.wantState(r, result.Untrusted)
		wantFinding(t, r, code)
	}
}

// TestReferencesOfTheOtherKind: values of a device without a TPM say nothing of what a TPM quotes, and the other way
// round.
func TestReferencesOfTheOtherKind(t *testing.T) {
	soft := softBench(t)
	b := newBench(t)
	b.device.Flash, b.device.Platform.Devices, b.device.Tamper = soft.device.Flash, devices(), soft.device.Tamper
	b.set = compileForTest(soft.baseline("soft"))
	r := b.attest()
	b.wantState(r, result.Unsupported)
	wantFinding(t, r, "no-reference")
	if got := r.Submods[result.Flash].Status(); got != "affirming" {
		t.Errorf("flash is %s, want affirming: it was compared", got)
	}
	region(b.device, "u-boot").Digest = flashDigest("implant")
	b.wantState(b.attest(), result.Untrusted)

	plain := newBench(t).baseline("r7")
	plain.Inventory = nil
	soft.set = compileForTest(plain)
	r = soft.attest()
	soft.wantState(r, result.Warning)
	wantFinding(t, r, "no-reference")

	// Flash alone counts only where the policy looks at it.
	only := reference.Baseline{Name: "flash", Vendor: "Acme", Model: "R7"}
	soft.claimed(&only)
	only.Inventory, only.Tamper = nil, nil
	soft.set = compileForTest(only)
	wantNone(t, soft.attest(), "no-reference")
	soft.with(func(p *appraise.Policy) { p.Flash = appraise.Ignored })
	wantFinding(t, soft.attest(), "no-reference")
}
