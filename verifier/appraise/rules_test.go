package appraise_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// rules are Rules of a test.
type rules func(r *result.Result, now time.Time)

// Apply implements appraise.Rules.
func (f rules) Apply(r *result.Result, now time.Time) { f(r, now) }

// ruled appraises a new report of the bench by rules and keeps the record.
func (b *bench) ruled(f rules) result.Result {
	b.t.Helper()
	in, err := b.input(b.report())
	if err != nil {
		b.t.Fatal(err)
	}
	if f != nil {
		in.Rules = f
	}
	out, err := appraise.Appraise(in)
	if err != nil {
		b.t.Fatalf("Appraise: %v", err)
	}
	b.record = out.Record
	return out.Result
}

// grade gives every finding of a code a severity.
func grade(code string, s result.Severity) rules {
	return func(r *result.Result, _ time.Time) {
		for i := range r.Findings {
			if r.Findings[i].Code == code {
				r.Findings[i].Severity = s
			}
		}
	}
}

// TestRulesMakeTheState: state, vector and order follow the findings as the rules leave them.
func TestRulesMakeTheState(t *testing.T) {
	b := newBench(t).trusting()
	b.wantState(b.ruled(func(*result.Result, time.Time) {}), result.Trusted)
	named := b.ruled(func(r *result.Result, _ time.Time) { r.Policy = "acme@1" })
	if named.Policy != "acme@1" {
		t.Errorf("policy = %q, want as the rules name it", named.Policy)
	}
	for _, tt := range []struct {
		severity result.Severity
		state    result.State
		claim    int8
	}{{result.Info, result.Trusted, 2}, {result.Warn, result.Warning, 32}, {result.Critical, result.Untrusted, 96}} {
		r := b.ruled(func(r *result.Result, now time.Time) {
			if r.State != "" || r.Submods != nil || r.Level != result.Certified || r.Bank == "" || len(r.PCRs) == 0 || r.Model != "R7" || !now.Equal(b.now) {
				t.Errorf("rules see %+v at %s, want all but state and submodules", r, now)
			}
			r.Findings = append(r.Findings, result.Finding{
				Code: appraise.CodeRule, Severity: tt.severity, Submod: result.Boot, Component: "rule x", Meaning: "m",
			})
		})
		if r.State != tt.state || r.Submods[result.Boot].Configuration != tt.claim || r.Submods[result.Boot].Executables != 2 {
			t.Errorf("%s: state %s, boot %+v, want %s and configuration %d", tt.severity, r.State, r.Submods[result.Boot], tt.state, tt.claim)
		}
	}
}

// TestRulesChangeSeverities: the vector stays in the tier that the state has.
func TestRulesChangeSeverities(t *testing.T) {
	b := newBench(t).trusting()
	b.wantState(b.ruled(nil), result.Trusted)
	b.device.Resets++ // within one boot: the TPM was reset under the machine
	if r := b.ruled(nil); r.State != result.Untrusted || r.Submods[result.Identity].InstanceIdentity < 96 {
		t.Fatalf("state = %s, identity %+v, want untrusted without rules", r.State, r.Submods[result.Identity])
	}
	r := b.ruled(grade("tpm-reset", result.Warn))
	if r.State != result.Warning || r.Submods[result.Identity].InstanceIdentity != 32 {
		t.Errorf("state = %s, identity %+v, want a warning in both", r.State, r.Submods[result.Identity])
	}
	r = b.ruled(grade("tpm-reset", result.Info))
	if r.State != result.Trusted || r.Submods[result.Identity].InstanceIdentity != 2 {
		t.Errorf("state = %s, identity %+v, want trusted and affirming", r.State, r.Submods[result.Identity])
	}
}

// TestRulesSeeEverything: rules judge all findings, also those that the result has no room for, and since when they
// are.
func TestRulesSeeEverything(t *testing.T) {
	b := newBench(t).trusting()
	add := func(r *result.Result, _ time.Time) {
		for i := range 100 {
			r.Findings = append(r.Findings, result.Finding{
				Code: appraise.CodeRule, Severity: result.Warn, Submod: result.Boot, Component: fmt.Sprintf("rule %d", i),
			})
		}
		r.Findings = append(r.Findings, result.Finding{Code: appraise.CodeRule, Severity: result.Critical, Component: "rule last"})
	}
	r := b.ruled(add)
	if len(r.Findings) != 32 || r.Findings[0].Component != "rule last" || r.State != result.Untrusted {
		t.Errorf("%d findings, first %q, %s: want the 32 most important", len(r.Findings), r.Findings[0].Component, r.State)
	}
	first := r.Findings[0].FirstSeen
	if r = b.ruled(add); !r.Findings[0].FirstSeen.Equal(first) || first.IsZero() {
		t.Errorf("first seen = %s, want %s as in the result before", r.Findings[0].FirstSeen, first)
	}
	if n := len(b.record.FirstSeen); n != 32 {
		t.Errorf("the record remembers %d findings, want the 32 of the result", n)
	}

	b = newBench(t).trusting()
	b.ruled(nil)
	b.device.Resets++
	first = b.ruled(nil).Findings[0].FirstSeen
	b.ruled(func(r *result.Result, _ time.Time) {
		if len(r.Findings) == 0 || !r.Findings[0].FirstSeen.Equal(first) {
			t.Errorf("rules see %+v, want when it was first seen (%s)", r.Findings, first)
		}
	})
}

// TestNoRuleMakesSoftwareTrusted: whatever a policy makes of the findings, a device without a TPM is not trusted.
func TestNoRuleMakesSoftwareTrusted(t *testing.T) {
	d, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.device, b.level = d, result.Software
	for name, f := range map[string]rules{
		"no weight": func(r *result.Result, _ time.Time) {
			for i := range r.Findings {
				r.Findings[i].Severity = result.Info
			}
		},
		"no findings": func(r *result.Result, _ time.Time) { r.Findings = nil },
	} {
		if r := b.ruled(f); r.State != result.Warning {
			t.Errorf("%s: state = %s, want warning", name, r.State)
		}
	}
}

func TestCodes(t *testing.T) {
	codes := appraise.Codes()
	seen := map[string]bool{}
	for i, c := range codes {
		if c == "" || seen[c] || i > 0 && codes[i-1] >= c {
			t.Errorf("codes = %q, want different ones in ascending order", codes)
		}
		seen[c] = true
	}
	if !seen[appraise.CodeSoftware] || seen[appraise.CodeRule] {
		t.Error("codes have a policy's own, or not that of software identities")
	}
}
