package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// facts is a result in which every fact differs from its zero value.
func facts() *result.Result {
	return &result.Result{
		Bank: "sha256", PCRs: map[string]string{"4": "ab"}, BootLog: "cd", IMAEntries: 1650, References: []string{"r7-2.4.1"},
		IssuedAt: now.Add(-time.Second), BootID: "0123", Resets: 7, Restarts: 3, FlashAge: 7200,
		Strength: result.Strengths{Identity: result.Hardware, Boot: result.Hardware, Runtime: result.None, Flash: result.SelfAsserted, Platform: result.None},
		Regions: []result.Region{{
			Name: "bios", Source: "mtd:bios", Offset: 16, Length: 4096, Digest: "ef", Left: 6, Status: result.RegionChanged, Reason: "none",
		}},
		Findings: []result.Finding{{
			Code: "file-unknown", Severity: result.Warn, Submod: result.Runtime, Component: "file /usr/sbin/x", Expected: "12",
			Observed: "34", FirstSeen: now.Add(-48 * time.Hour),
		}},
	}
}

func ruleOf(when string) string {
	return fmt.Sprintf("default: {rules: [{name: r, when: %q, severity: critical, message: it holds, action: mend it, part: flash}]}", when)
}

// TestEveryFact: each expression holds of facts and edge, and speaks of one fact.
func TestEveryFact(t *testing.T) {
	for _, when := range []string{
		`device.id.startsWith("abab")`, `device.label == "edge-7"`, `device.group == "edge"`, `device.labels["jurisdiction"] == "DE"`,
		`device.vendor == "Acme"`, `device.model.matches("^R[0-9]$")`, `device.firmware == "2.4.1"`, `device.agent == "1.0"`,
		`device.identity == "certified"`, `!("site" in device.labels)`,
		`result.bank == "sha256"`, `result.pcrs["4"] == "ab"`, `result.boot_log == "cd"`, `result.ima_entries == 1650u`,
		`"r7-2.4.1" in result.references`, `result.strength["flash"] == "self-asserted"`, `now - result.issued_at == duration("1s")`,
		`claims.boot_id == "0123"`, `claims.resets == 7u`, `claims.restarts == 3u`, `claims.flash_age > duration("1h")`,
		`claims.flash_regions.exists(r, r.name == "bios" && r.source == "mtd:bios" && r.offset == 16u && r.length == 4096u)`,
		`claims.flash_regions.all(r, r.digest == "ef" && r.excluded == 6u && r.status == "changed" && r.reason == "none")`,
		`findings.exists_one(f, f.code == "file-unknown" && f.severity == "warning" && f.part == "runtime")`,
		`findings.filter(f, f.component.contains("/sbin/") && f.expected == "12" && f.observed == "34").size() == 1`,
		`findings.exists(f, now - f.first_seen > duration("24h"))`, `now > timestamp("2026-03-01T00:00:00Z")`,
	} {
		r := facts()
		compile(t, ruleOf(when)).For(edge()).Rules.Apply(r, now)
		if len(r.Findings) != 2 || r.Findings[1].Code != appraise.CodeRule {
			t.Errorf("%s: findings %q, want that of the rule", when, said(r))
			continue
		}
		f := r.Findings[1]
		if f.Severity != result.Critical || f.Submod != result.Flash || f.Component != "rule r" || f.Meaning != "it holds" || f.Action != "mend it" {
			t.Errorf("%s: finding = %+v, want what the rule says", when, f)
		}
		r = facts()
		compile(t, ruleOf("!("+when+")")).For(edge()).Rules.Apply(r, now)
		if len(r.Findings) != 1 {
			t.Errorf("not %s: findings %q, want none of the rule", when, said(r))
		}
	}
}

// TestStrictEnvironment: what expressions may not say is refused when the document is compiled, with rule and line.
func TestStrictEnvironment(t *testing.T) {
	for when, want := range map[string]string{
		`device.grup == "a"`:                   "undefined field 'grup'",
		`devices.id == "a"`:                    "undeclared reference to 'devices'",
		`device.id == 1`:                       "no matching overload",
		`device.id`:                            "is of type string, want bool",
		`result.pcrs`:                          "want bool",
		`dyn(true)`:                            "want bool",
		`now() > result.issued_at`:             "undeclared reference to 'now'",
		`now.getHours() < 6`:                   "undeclared reference to 'getHours'",
		`now.getFullYear("Europe/Berlin") > 1`: "undeclared reference to 'getFullYear'",
		`result.state == "trusted"`:            "undefined field 'state'",
		`getenv("HOME") == ""`:                 "undeclared reference to 'getenv'",
		`true &&`:                              "Syntax error",
		`device.labels.foo.bar == "x"`:         "type 'string' does not support field selection",
		strings.Repeat("(", 200) + "true":      "recursion",
		`"` + strings.Repeat("x", maxExpression) + `" == ""`: "at most 4096 allowed",
	} {
		_, err := Compile([]byte("version: 1\nname: fleet\n"+ruleOf(when)), 1, builtin())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "line 3: default.rules[0].when") {
			t.Errorf("%.60s: Compile() = %.300v, want line, key and %q in it", when, err, want)
		}
		if err != nil && len(want) < 40 && !strings.Contains(want, "allowed") && !strings.Contains(err.Error(), "rule r:") {
			t.Errorf("%.60s: Compile() = %.300v, want the rule's name in it", when, err)
		}
	}
}

// TestLinesOfExpressions: a mistake in an expression of several lines has its own line.
func TestLinesOfExpressions(t *testing.T) {
	const text = `version: 1
name: fleet
default:
  rules:
    - name: r
      severity: info
      message: m
      when: |
        device.group == "a" &&
        device.grup == "b"
`
	_, err := Compile([]byte(text), 1, builtin())
	if err == nil || !strings.Contains(err.Error(), "line 10: default.rules[0].when: rule r: undefined field 'grup'") {
		t.Errorf("Compile() = %v, want line 10", err)
	}
}

// TestRuleThatFails: an expression that cannot be evaluated counts as if it held, and is bounded.
func TestRuleThatFails(t *testing.T) {
	const nested = `[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, ` +
		`[0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, a + b + c + d + e >= 0)))))`
	for when, want := range map[string]string{
		`device.labels["site"] == "x"`:               "no such key: site",
		`claims.flash_regions[3].name == "x"`:        "index out of bounds",
		`1 / (claims.flash_regions.size() - 1) == 1`: "division by zero",
		nested: "cost limit exceeded",
		`result.ima_entries * 18446744073709551615u > 0u`: "overflow",
	} {
		r := facts()
		in := compile(t, ruleOf(when)).For(edge())
		start := time.Now()
		in.Rules.Apply(r, now)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %s", when, took)
		}
		if len(r.Findings) != 2 {
			t.Errorf("%s: findings = %q, want that the rule failed", when, said(r))
			continue
		}
		f := r.Findings[1]
		if f.Code != appraise.CodeRuleFailed || f.Severity != result.Critical || !strings.Contains(f.Observed, want) || !strings.Contains(f.Meaning, "it holds") {
			t.Errorf("%s: finding = %+v, want severity critical and %q observed", when, f, want)
		}
	}
}

// TestRulesSeeSeverities: rules see the severities that the policy gives, and nothing of other rules.
func TestRulesSeeSeverities(t *testing.T) {
	d := compile(t, `
default:
  severities: {file-unknown: critical}
  rules:
    - {name: one, when: 'findings.exists(f, f.severity == "critical")', severity: warning, message: m}
    - {name: two, when: 'findings.exists(f, f.code == "policy-rule")', severity: warning, message: m}
`)
	r := facts()
	d.For(edge()).Rules.Apply(r, now)
	if got := strings.Join(said(r), "; "); got != "critical file-unknown file /usr/sbin/x; warning policy-rule rule one" {
		t.Errorf("findings = %s", got)
	}
}

// TestPure: the same facts give the same findings, also at the same time.
func TestPure(t *testing.T) {
	in := compile(t, ruleOf(`findings.size() == 1 && now > result.issued_at`)).For(edge())
	want := facts()
	in.Rules.Apply(want, now)
	for range 4 {
		t.Run("again", func(t *testing.T) {
			t.Parallel()
			for range 100 {
				r := facts()
				in.Rules.Apply(r, now)
				if strings.Join(said(r), ";") != strings.Join(said(want), ";") || r.Policy != want.Policy {
					t.Errorf("findings = %q, want %q", said(r), said(want))
				}
			}
		})
	}
}

// BenchmarkApply measures what a policy adds to an appraisal.
func BenchmarkApply(b *testing.B) {
	for name, body := range map[string]string{
		"nothing":    "",
		"severities": "default: {severities: {file-unknown: critical}}",
		"rule":       ruleOf(`device.group == "core" && claims.flash_age > duration("1h")`),
	} {
		d := compile(b, body)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := facts()
			r.Findings = nil
			dev := edge()
			for b.Loop() {
				d.For(dev).Rules.Apply(r, now)
				r.Findings = r.Findings[:0]
			}
		})
	}
}
