package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, nil},
		{"one two  three", 7, []string{"one two", "three"}},
		{"one two three", 100, []string{"one two three"}},
		{"exactly ten", 11, []string{"exactly ten"}},
		{"a 0123456789abcdef b", 8, []string{"a", "01234567", "89abcdef", "b"}},
		{"a 0123456789abcde b", 8, []string{"a", "01234567", "89abcde", "b"}},
		{"üüüü ßßßß", 4, []string{"üüüü", "ßßßß"}},
		{"üüüüü", 2, []string{"üü", "üü", "ü"}},
		{"ab", 0, []string{"a", "b"}},
	} {
		if diff := cmp.Diff(tt.want, wrap(tt.text, tt.width)); diff != "" {
			t.Errorf("wrap(%q, %d) (-want +got): %s", tt.text, tt.width, diff)
		}
	}
}

func FuzzWrap(f *testing.F) {
	for _, s := range []string{"one two three", hostile, strings.Repeat("x", 500), "üß\u2028 \u00a0y"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, width int) {
		s = safe(s)
		if width < 1 || width > 1000 || len(s) > 10_000 {
			return
		}
		lines := wrap(s, width)
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n == 0 || n > width {
				t.Fatalf("a line of %d characters: %q, want 1 to %d", n, l, width)
			}
		}
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if got := squeeze(strings.Join(lines, "")); got != squeeze(s) {
			t.Fatalf("wrap(%q) lost or added something: %q", s, got)
		}
	})
}

func TestShellQuote(t *testing.T) {
	for s, want := range map[string]string{
		"bios": "bios", "u-boot_2.1@x/y+z": "u-boot_2.1@x/y+z", "": "''", "two words": "'two words'", "-O": "'-O'",
		"$(reboot)": "'$(reboot)'", "it's; rm -rf /": `'it'\''s; rm -rf /'`, "`x`": "'`x`'", "a\nb": "'a\nb'",
	} {
		if got := shellQuote(s); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", s, got, want)
		}
	}
	for s, want := range map[string]string{
		"bios": "bios.bin", "../../etc/passwd": "______etc_passwd.bin", "-rf": "rf.bin", "a b\x1b": "a_b_.bin", "": ".bin",
	} {
		if got := fileName(s); got != want {
			t.Errorf("fileName(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	four := 4
	r := &result.Result{Regions: []result.Region{{Name: "bios", Source: "mtd:bios", Offset: 4096, Length: 8192}}}
	for component, want := range map[string]place{
		`PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`: {PCR: &four},
		"PCR 44": {}, "PCR bank": {},
		"PCR 4, firmware volume 7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1": {PCR: &four, Module: "7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1"},
		"flash region bios": {Region: "bios", Source: "mtd:bios", Offset: 4096, Length: 8192},
		"flash region env":  {Region: "env"},
		"file /usr/bin/x":   {File: "/usr/bin/x"},
		"PCR 44, x":         {},
	} {
		got := placeOf(r, &result.Finding{Component: component})
		if component == "PCR 44" || component == "PCR 44, x" {
			n := 44
			want.PCR = &n // a number is a number: what it means is not known
			if got.describe() != "" {
				t.Errorf("describe() of PCR 44 = %q", got.describe())
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("placeOf(%q) (-want +got): %s", component, diff)
		}
	}
}

// TestEveryPCRHasAMeaning: of those that firmware and boot loaders use.
func TestEveryPCRHasAMeaning(t *testing.T) {
	for n := range 24 {
		if got := pcrMeaning(n); (got != "") != (n <= 14) {
			t.Errorf("pcrMeaning(%d) = %q", n, got)
		}
	}
}

func TestGaps(t *testing.T) {
	r := &result.Result{
		Strength: result.Strengths{
			Identity: result.Hardware, Boot: result.Hardware, Runtime: result.Hardware, Flash: result.SelfAsserted, Platform: result.None,
		},
		Findings: []result.Finding{
			{Code: "flash-unavailable", Component: "flash region modem", Observed: "permission: not root", Meaning: "could not read it"},
			{Code: "flash-changed", Component: "flash region bios", Meaning: "is other"},
		},
		Regions: []result.Region{
			{Name: "bios", Status: result.RegionChanged},
			{Name: "env", Status: result.RegionSame, Left: 64},
			{Name: "modem", Status: result.RegionUnavailable, Reason: "permission: not root"},
			{Name: "nvm", Status: result.RegionUnavailable, Reason: "pending"},
		},
	}
	want := []gap{
		{"flash region modem", "could not read it (permission: not root)"},
		{"flash region env", "64 of its bytes are excluded from the digest"},
		{"flash region nvm", "the device could not read it: pending"},
		{"platform", "nothing of it was appraised"},
		{"files that ran", "the IMA list is empty"},
	}
	if diff := cmp.Diff(want, gapsOf(r)); diff != "" {
		t.Errorf("gapsOf (-want +got): %s", diff)
	}
}

// TestExplanationIsSafe: what a device says steers no terminal, and no line is too long but commands.
func TestExplanationIsSafe(t *testing.T) {
	n, now := 3, time.Now()
	f := explained{
		Finding: result.Finding{
			Code: hostile, Severity: hostile, Component: "flash region " + hostile, Expected: hostile, Observed: strings.Repeat("a", 300),
			Nearest: hostile, Meaning: hostile, Action: hostile, FirstSeen: now, Waiver: &result.Waiver{Owner: hostile, Reason: hostile, Was: hostile},
		},
		Words: hostile, Where: place{Source: hostile, Module: hostile, Region: hostile}, Others: &n, OtherDevices: []string{hostile},
		Steps: []step{{hostile, hostile}},
	}
	e := &explanation{
		Device: v1.Device{ID: hostile, Label: hostile, State: hostile, LastSeen: &now}, Reason: hostile, Findings: []explained{f},
		Gaps: []gap{{hostile, hostile}}, Parts: []partSummary{{Part: hostile, Status: hostile, Strength: hostile}},
		Freshness: freshness{BootID: hostile}, Next: []step{{Do: hostile}},
	}
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.writeExplanation(&out, e); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return !v1.Prints(r) }); i >= 0 {
			t.Errorf("the line %q does not print at %d", line, i)
		}
		if strings.HasPrefix(line, "TRUSTED") {
			t.Errorf("a device wrote a verdict: %q", line)
		}
	}
	for name, e := range map[string]*explanation{"json": e} {
		a.output = name
		out.Reset()
		if err := a.print(e, nil); err != nil || bytes.ContainsAny(out.Bytes(), "\x1b\u202e") {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
}

func TestGauge(t *testing.T) {
	for _, tt := range []struct {
		done, total uint64
		want        string
	}{
		{0, 0, "bios ..."},
		{0, 8 << 20, "bios [..............................]   0 %  0.0 of 8.0 MiB"},
		{4 << 20, 8 << 20, "bios [###############...............]  50 %  4.0 of 8.0 MiB"},
		{9 << 20, 8 << 20, "bios [##############################] 100 %  9.0 of 8.0 MiB"},
	} {
		if got := gauge("bios", tt.done, tt.total); got != tt.want {
			t.Errorf("gauge(%d, %d) = %q, want %q", tt.done, tt.total, got, tt.want)
		}
	}
	if got := gauge(hostile, 0, 0); strings.ContainsAny(got, "\x1b\n\u202e") {
		t.Errorf("gauge = %q", got)
	}
}
