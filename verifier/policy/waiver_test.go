package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

const waivers = `
waivers:
  - finding: boot-event-changed
    component: 'PCR 4*\EFI\BOOT\*'
    groups: [edge]
    owner: alice
    reason: vendor confirmed the hotfix
    expires: 2026-03-31
  - {finding: file-unknown, component: "*", devices: ["edge-?"], owner: bob, reason: migration, expires: "2026-02-28"}
  - {finding: file-unknown, component: "*", devices: [abababababab], owner: eve, reason: longer, expires: "2026-03-02T00:00:00Z"}
  - {finding: policy-rule, component: rule old, groups: ["*"], owner: carol, reason: agreed, expires: 2027-01-01}
`

func TestWaivers(t *testing.T) {
	d := compile(t, waivers)
	changed := result.Finding{
		Code: "boot-event-changed", Severity: result.Critical, Submod: result.Boot, Component: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`,
	}
	march := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) // the day 2026-03-31 ends
	for name, tt := range map[string]struct {
		dev     func(*Device)
		finding result.Finding
		at      time.Time
		owner   string
	}{
		"covered":         {func(*Device) {}, changed, now, "alice"},
		"last moment":     {func(*Device) {}, changed, march.Add(-1), "alice"},
		"expired":         {func(*Device) {}, changed, march, ""},
		"other group":     {func(d *Device) { d.Group = "core" }, changed, now, ""},
		"no group":        {func(d *Device) { d.Group = "" }, changed, now, ""},
		"other component": {func(*Device) {}, result.Finding{Code: changed.Code, Severity: result.Critical, Component: "PCR 7"}, now, ""},
		"other code":      {func(*Device) {}, result.Finding{Code: "boot-event-unknown", Severity: result.Critical, Component: changed.Component}, now, ""},
		"by id after the other expired": {
			func(*Device) {}, result.Finding{Code: "file-unknown", Severity: result.Warn, Component: "file /x"}, now, "eve",
		},
		"other id":        {func(d *Device) { d.ID = strings.Repeat("cd", 32) }, result.Finding{Code: "file-unknown", Severity: result.Warn}, now, ""},
		"id as the label": {func(d *Device) { d.ID, d.Label = "", "abababababab" }, result.Finding{Code: "file-unknown", Severity: result.Warn}, now, "eve"},
		"for all groups":  {func(d *Device) { d.Group = "" }, result.Finding{Code: "policy-rule", Severity: result.Critical, Component: "rule old"}, now, "carol"},
		"other rule":      {func(*Device) {}, result.Finding{Code: "policy-rule", Severity: result.Critical, Component: "rule older"}, now, ""},
		"does not weigh":  {func(*Device) {}, result.Finding{Code: changed.Code, Severity: result.Info, Component: changed.Component}, now, ""},
	} {
		dev := edge()
		tt.dev(&dev)
		r := &result.Result{Findings: []result.Finding{tt.finding}}
		d.For(dev).Rules.Apply(r, tt.at)
		got := r.Findings[0]
		switch {
		case tt.owner == "" && (got.Waiver != nil || got.Severity != tt.finding.Severity):
			t.Errorf("%s: finding = %+v with waiver %+v, want it untouched", name, got, got.Waiver)
		case tt.owner == "":
		case got.Waiver == nil || got.Waiver.Owner != tt.owner || got.Severity != result.Info || got.Waiver.Was != tt.finding.Severity:
			t.Errorf("%s: finding = %+v with waiver %+v, want info and waived by %s", name, got, got.Waiver, tt.owner)
		case got.Waiver.Reason == "" || !got.Waiver.Expires.After(tt.at):
			t.Errorf("%s: waiver = %+v, want its reason and end", name, got.Waiver)
		}
	}
}

// TestExpiredWaiverIsTold: a waiver that expired no longer counts, and says so once where it would have.
func TestExpiredWaiverIsTold(t *testing.T) {
	d := compile(t, waivers)
	dev := edge()
	dev.ID = strings.Repeat("cd", 32)
	two := []result.Finding{
		{Code: "file-unknown", Severity: result.Warn, Submod: result.Runtime, Component: "file /a"},
		{Code: "file-unknown", Severity: result.Warn, Submod: result.Runtime, Component: "file /b"},
	}
	r := &result.Result{Findings: two}
	d.For(dev).Rules.Apply(r, now)
	want := []string{"warning file-unknown file /a", "warning file-unknown file /b", "info waiver-expired waiver of file-unknown on *"}
	if diff := cmp.Diff(want, said(r)); diff != "" {
		t.Fatalf("findings -want +got: %s", diff)
	}
	f := r.Findings[2]
	if f.Code != appraise.CodeWaiverExpired || f.Submod != result.Runtime || !strings.Contains(f.Meaning, "bob") || !strings.Contains(f.Observed, "2026-03-01") {
		t.Errorf("finding = %+v, want owner and end", f)
	}
	r = &result.Result{}
	if d.For(dev).Rules.Apply(r, now); len(r.Findings) != 0 {
		t.Errorf("findings of a device without any = %q, want none", said(r))
	}
}

func TestNotices(t *testing.T) {
	d := compile(t, waivers)
	got := strings.Join(d.Notices(now), "\n")
	want := "line 11: waiver of file-unknown on *, owner bob: expired at 2026-03-01T00:00:00Z\n" +
		"line 12: waiver of file-unknown on *, owner eve: expires at 2026-03-02T00:00:00Z"
	if got != want {
		t.Errorf("Notices() = %s, want %s", got, want)
	}
	if got := d.Notices(now.AddDate(-1, 0, 0)); got != nil {
		t.Errorf("Notices() a year before = %q, want none", got)
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b\\c", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*c", "abbbc", true},
		{"a*c", "abbb", false},
		{"a**c", "ac", true},
		{"?", "ü", true},
		{"?", "", false},
		{"?", "ab", false},
		{`PCR 4, *\EFI\*.EFI`, `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`, true},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"*a*a*a*", "aa", false},
		{"*a*a*a*", "xaxaxax", true},
		{"ab", "abc", false},
		{"abc", "ab", false},
		{"A", "a", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
	start := time.Now()
	if glob(strings.Repeat("*a", 500)+"b", strings.Repeat("a", maxPattern)) {
		t.Error("glob matches what does not end with b")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("glob took %s for a hostile pattern", took)
	}
}
