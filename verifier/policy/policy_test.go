package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func builtin() Builtin {
	return Builtin{Policy: appraise.DefaultPolicy(), Interval: 5 * time.Minute}
}

// compile compiles a document without its first two keys.
func compile(t testing.TB, body string) *Document {
	t.Helper()
	d, err := Compile([]byte("version: 1\nname: fleet\n"+body), 7, builtin())
	if err != nil {
		t.Fatalf("Compile: %v\n%s", err, body)
	}
	return d
}

// edge is a device that most documents of the tests speak of.
func edge() Device {
	return Device{
		ID: strings.Repeat("ab", 32), Label: "edge-7", Group: "edge", Labels: map[string]string{"jurisdiction": "DE"},
		Vendor: "Acme", Model: "R7", Firmware: "2.4.1", Agent: "1.0", Level: result.Certified,
	}
}

// TestEveryKey sets every key of a section and looks at what comes of it.
func TestEveryKey(t *testing.T) {
	d := compile(t, `
default:
  stale-after: 1h
  report-every: 10m
  banks: [sha384, sha256]
  endorsers: {vendor: 1, lab: 2, builder: 3}
  required-pcrs: [0, 4, 7]
  unlogged-pcrs: [11, 15]
  secure-boot: required
  ima: ignored
  boot-log: ignored
  flash: required
  flash-regions: [bios, "EC 1"]
  flash-max-age: 2h
  min-identity: certified
`)
	in := d.For(edge())
	want := appraise.DefaultPolicy()
	want.Name = "fleet:default"
	want.StaleAfter, want.FlashMaxAge = time.Hour, 2*time.Hour
	want.Banks = []pcr.Algorithm{pcr.SHA384, pcr.SHA256}
	want.Endorsers = map[reference.Role]int{"vendor": 1, "lab": 2, "builder": 3}
	want.RequiredPCRs, want.Unlogged = pcr.Select(0, 4, 7), pcr.Select(11, 15)
	want.SecureBoot, want.IMA, want.BootLog, want.Flash = appraise.Required, appraise.Ignored, appraise.Ignored, appraise.Required
	want.RequiredRegions, want.MinLevel = []string{"bios", "EC 1"}, result.Certified
	if got, want := in.Policy.ID(), want.ID(); got != want {
		t.Errorf("policy = %+v (%s), want %s", in.Policy, got, want)
	}
	if in.Interval != 10*time.Minute || d.Shortest() != time.Hour || in.Group != "default" {
		t.Errorf("interval, shortest, group = %s, %s, %s, want 10m, 1h, default", in.Interval, d.Shortest(), in.Group)
	}
	if want := "fleet@7/default/" + d.Digest[:16]; in.ID != want {
		t.Errorf("id = %s, want %s", in.ID, want)
	}
}

// TestEmptyIsBuiltin: what a document does not say holds as it is built in.
func TestEmptyIsBuiltin(t *testing.T) {
	for name, body := range map[string]string{"no default": "", "builtin as document": ""} {
		text := []byte("version: 1\nname: x\n" + body)
		if name == "builtin as document" {
			text = builtin().Document()
		}
		d, err := Compile(text, 1, builtin())
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		in, want := d.For(edge()), appraise.DefaultPolicy()
		want.Name = in.Policy.Name
		if in.Policy.ID() != want.ID() || in.Interval != 5*time.Minute {
			t.Errorf("%s: policy %+v every %s, want the built-in one every 5m", name, in.Policy, in.Interval)
		}
	}
}

// TestBuiltinDocument: everything that configuration can set comes back from the built-in policy written as a document.
func TestBuiltinDocument(t *testing.T) {
	b := builtin()
	b.Policy.Endorsers = map[reference.Role]int{"lab": 2}
	b.Policy.RequiredPCRs, b.Policy.Unlogged = pcr.Select(0, 2), pcr.Select(11)
	b.Policy.RequiredRegions = []string{`a "quoted" name`, "bios"}
	b.Policy.Banks = []pcr.Algorithm{pcr.SHA256, pcr.SHA1}
	b.Policy.SecureBoot, b.Policy.IMA, b.Policy.BootLog = appraise.Required, appraise.Required, appraise.Ignored
	b.Policy.StaleAfter, b.Policy.FlashMaxAge, b.Interval = time.Hour, time.Hour, time.Minute
	b.Policy.UnknownFile, b.Policy.Violation = result.Critical, result.Info
	d, err := Compile(b.Document(), 1, builtin())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.Document())
	}
	in := d.For(edge())
	got, want := *in.Policy, b.Policy
	got.UnknownFile, got.Violation, got.Name = want.UnknownFile, want.Violation, want.Name // by severities
	if g, w := (&got).Seal().ID(), want.ID(); g != w || in.Interval != time.Minute {
		t.Errorf("policy = %+v every %s, want %+v every 1m", got, in.Interval, want)
	}
	r := &result.Result{Findings: []result.Finding{{Code: "file-unknown", Severity: result.Warn}, {Code: "ima-violation", Severity: result.Warn}}}
	in.Rules.Apply(r, now)
	if r.Findings[0].Severity != result.Critical || r.Findings[1].Severity != result.Info {
		t.Errorf("severities = %s, %s, want critical, info", r.Findings[0].Severity, r.Findings[1].Severity)
	}
}

// TestGroups: first match wins, a group has all of the default that it does not say otherwise.
func TestGroups(t *testing.T) {
	d := compile(t, `
default:
  ima: required
  endorsers: {vendor: 1, lab: 1}
  severities: {file-unknown: critical, file-moved: warning}
  rules: [{name: all, when: "true", severity: info, message: everywhere}]
groups:
  - name: lab
    match: {groups: [lab-*], labels: {site: "b?"}}
    stale-after: 30s
    endorsers: {lab: 0, builder: 1}
    severities: {file-unknown: info}
    rules: [{name: own, when: "true", severity: info, message: here}]
  - name: acme
    match: {vendors: [Acme], models: ["R*", X1], identity: [certified, pinned]}
    ima: ignored
  - name: late
    match: {groups: ["*"]}
`)
	for name, tt := range map[string]struct {
		change func(*Device)
		want   string
	}{
		"model and vendor": {func(*Device) {}, "acme"},
		"other model":      {func(d *Device) { d.Model = "Q7" }, "late"},
		"second model":     {func(d *Device) { d.Model = "X1" }, "acme"},
		"case matters":     {func(d *Device) { d.Model = "r7" }, "late"},
		"level too weak":   {func(d *Device) { d.Level = result.FirstUse }, "late"},
		"group and label":  {func(d *Device) { d.Group, d.Labels = "lab-1", map[string]string{"site": "b2"} }, "lab"},
		"label is missing": {func(d *Device) { d.Group = "lab-1" }, "acme"},
		"label differs":    {func(d *Device) { d.Group, d.Labels = "lab-1", map[string]string{"site": "b22"} }, "acme"},
		"no group":         {func(d *Device) { d.Group, d.Vendor = "", "" }, "late"},
	} {
		dev := edge()
		tt.change(&dev)
		if got := d.For(dev).Group; got != tt.want {
			t.Errorf("%s: group = %s, want %s", name, got, tt.want)
		}
	}
	lab := edge()
	lab.Group, lab.Labels = "lab-1", map[string]string{"site": "b2"}
	in := d.For(lab)
	if diff := cmp.Diff(map[reference.Role]int{"vendor": 1, "builder": 1}, in.Policy.Endorsers); diff != "" {
		t.Errorf("endorsers -want +got: %s", diff)
	}
	if in.Policy.IMA != appraise.Required || in.Policy.StaleAfter != 30*time.Second || in.Interval != 10*time.Second || d.Shortest() != 30*time.Second {
		t.Errorf("ima, stale-after, interval = %s, %s, %s, want required (inherited), 30s, 10s", in.Policy.IMA, in.Policy.StaleAfter, in.Interval)
	}
	r := applied(in, result.Finding{Code: "file-unknown", Severity: result.Warn}, result.Finding{Code: "file-moved", Severity: result.Info})
	want := []string{"info file-unknown", "warning file-moved", "info policy-rule rule all", "info policy-rule rule own"}
	if diff := cmp.Diff(want, said(r)); diff != "" {
		t.Errorf("findings of the group -want +got: %s", diff)
	}
	r = applied(d.For(edge()), result.Finding{Code: "file-unknown", Severity: result.Warn})
	if diff := cmp.Diff([]string{"critical file-unknown", "info policy-rule rule all"}, said(r)); diff != "" {
		t.Errorf("findings of another group -want +got: %s", diff)
	}
	if other := d.For(edge()); other.Policy.Endorsers["lab"] != 1 {
		t.Error("a group changed the default's endorsers")
	}
}

// applied returns a result with these findings after the rules.
func applied(in InForce, findings ...result.Finding) *result.Result {
	r := &result.Result{Findings: findings, Policy: "before"}
	in.Rules.Apply(r, now)
	return r
}

// said returns the findings as "severity code component".
func said(r *result.Result) (out []string) {
	for _, f := range r.Findings {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Component)))
	}
	return out
}

func TestUnavailable(t *testing.T) {
	d := compile(t, `
default:
  unavailable: {boot-log: critical, ima: info, flash: critical, tamper: info, secure-boot: critical}
`)
	var findings []result.Finding
	for _, code := range []string{"boot-log-unavailable", "ima-unavailable", "flash-unavailable", "tamper-unavailable", "secure-boot-unknown"} {
		findings = append(findings, result.Finding{Code: code, Severity: result.Warn})
	}
	want := []string{
		"critical boot-log-unavailable", "info ima-unavailable", "critical flash-unavailable", "info tamper-unavailable",
		"critical secure-boot-unknown",
	}
	if diff := cmp.Diff(want, said(applied(d.For(edge()), findings...))); diff != "" {
		t.Errorf("findings -want +got: %s", diff)
	}
	known := appraise.Codes()
	for kind, code := range unavailables {
		found := false
		for _, k := range known {
			found = found || k == code
		}
		if !found {
			t.Errorf("unavailable %s stands for %s, which no appraisal finds", kind, code)
		}
	}
}

// TestPolicyIDs: what an appraisal is judged by keeps its id where only rules, waivers and the version change, so that
// nothing is sent or judged again; what the result says changes with every version.
func TestPolicyIDs(t *testing.T) {
	a, b := compile(t, ""), compile(t, `default: {severities: {file-moved: warning}}`)
	c := compile(t, `default: {ima: required}`)
	if a.For(edge()).Policy.ID() != b.For(edge()).Policy.ID() {
		t.Error("a severity changed the id of the policy that memory is keyed by")
	}
	if a.For(edge()).Policy.ID() == c.For(edge()).Policy.ID() {
		t.Error("a requirement did not change the id of the policy")
	}
	if a.For(edge()).ID == b.For(edge()).ID {
		t.Error("two documents have one id in results")
	}
	if r := applied(b.For(edge())); r.Policy != b.For(edge()).ID {
		t.Errorf("result names policy %q, want %q", r.Policy, b.For(edge()).ID)
	}
}

func TestErrorIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nname: x\n")
	for i := range 100 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, err := Compile([]byte(b.String()), 1, builtin())
	var wrong *Error
	if !errors.As(err, &wrong) || len(wrong.Problems) != maxProblems {
		t.Fatalf("Compile() = %v, want an Error with %d problems", err, maxProblems)
	}
	for i, p := range wrong.Problems {
		if p.Line != i+3 {
			t.Errorf("problem %d is of line %d, want %d", i, p.Line, i+3)
		}
	}
}
