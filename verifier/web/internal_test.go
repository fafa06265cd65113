package web

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"plain\n\tgrüße 漢字 ":        "plain\n\tgrüße 漢字 ",
		"a\x1b[31mb":                `a\u001b[31mb`,
		"a\u202eb\u2066c\u200bd":    `a\u202eb\u2066c\u200bd`,
		"\u0085\x00\x7f":            `\u0085\u0000\u007f`,
		"\U000e0041":                `\U000e0041`,
		"a\u00a0b":                  `a\u00a0b`,
		"broken \xff\xc3( utf-8":    "broken \ufffd\ufffd( utf-8",
		"the replacement \ufffd ok": "the replacement \ufffd ok",
	} {
		if got := string(visible([]byte(in))); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"plain", "a\u202eb", "\xff\x1b[0m", "\U000e0041\u2066", "<p>\u00a0</p>"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out := visible(b)
		for _, r := range string(out) {
			if r != '\n' && r != '\t' && r != '\r' && r != '\ufffd' && !v1.Prints(r) {
				t.Errorf("visible(%q) has %U", b, r)
			}
		}
		if again := visible(out); string(again) != string(out) {
			t.Errorf("visible(%q) = %q, and of that %q", b, out, again)
		}
	})
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 4 * time.Second: "just now", 61 * time.Second: "61 s ago", 3 * time.Minute: "3 min ago",
		5 * time.Hour: "5 h ago", 49 * time.Hour: "2 days ago", -90 * time.Second: "in 90 s", -72 * time.Hour: "in 3 days",
	} {
		if got := relative(d); got != want {
			t.Errorf("relative(%s) = %q, want %q", d, got, want)
		}
	}
	now := time.Date(2026, 11, 22, 17, 4, 5, 0, time.UTC)
	s := &server{Config: Config{Now: func() time.Time { return now }}}
	before, zero := now.Add(-time.Hour), time.Time{}
	for _, c := range []struct {
		v          any
		ago, exact string
	}{
		{before, ">60 min ago<", ">2026-11-22 16:04:05 UTC<"},
		{&before, ">60 min ago<", ">2026-11-22 16:04:05 UTC<"},
		{zero, "never", "never"},
		{(*time.Time)(nil), "never", "never"},
		{nil, "never", "never"},
	} {
		ago, err1 := s.ago(c.v)
		exact, err2 := when(c.v)
		if err1 != nil || err2 != nil || !strings.Contains(string(ago), c.ago) || !strings.Contains(string(exact), c.exact) {
			t.Errorf("ago(%v), when(%v) = %q %v, %q %v", c.v, c.v, ago, err1, exact, err2)
		}
	}
	if _, err := when("yesterday"); err == nil {
		t.Error("when(string) = nil error, want one")
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[any]string{0: "0", 999: "999", 1000: "1,000", int64(-1234567): "-1,234,567", uint32(12345): "12,345"} {
		if got, err := num(v); got != want || err != nil {
			t.Errorf("num(%v) = %q %v, want %q", v, got, err, want)
		}
	}
	for v, want := range map[any]string{1: "1 device", 3104: "3,104 devices", 0: "0 devices"} {
		if got, err := count(v, "device", "devices"); got != want || err != nil {
			t.Errorf("count(%v) = %q %v, want %q", v, got, err, want)
		}
	}
	for v, want := range map[any]string{0: "0 B", 1023: "1023 B", 4096: "4.0 KiB", 8 << 20: "8.0 MiB", uint64(math.MaxUint64): "8388608.0 TiB"} {
		if got, err := byteSize(v); got != want || err != nil {
			t.Errorf("byteSize(%v) = %q %v, want %q", v, got, err, want)
		}
	}
	for _, c := range [][3]any{{1, 3, "33.3"}, {0, 0, "0"}, {5, 5, "100.0"}} {
		if got, err := percent(c[0], c[1]); got != c[2] || err != nil {
			t.Errorf("percent(%v, %v) = %q %v, want %v", c[0], c[1], got, err, c[2])
		}
	}
	for _, f := range []func(any) (string, error){num, byteSize} {
		if _, err := f("5"); err == nil {
			t.Error("a string counts as a number")
		}
	}
	if _, err := percent(1, "x"); err == nil {
		t.Error("percent(1, string) = nil error, want one")
	}
}

func TestAddresses(t *testing.T) {
	if got := pathTo("devices", "a/b?c#d"); got != "/devices/a%2Fb%3Fc%23d" {
		t.Errorf("pathTo() = %q", got)
	}
	got, err := queryOf("/devices", "state", result.Stale, "q", "", "label", "a=b&c")
	if want := "/devices?label=a%3Db%26c&state=stale"; got != want || err != nil {
		t.Errorf("queryOf() = %q %v, want %q", got, err, want)
	}
	if _, err := queryOf("/", "odd"); err == nil {
		t.Error("queryOf() with an odd number = nil error, want one")
	}
	if _, err := dict("odd"); err == nil {
		t.Error("dict() with an odd number = nil error, want one")
	}
	if _, err := dict(1, 2); err == nil {
		t.Error("dict() with a key that is no string = nil error, want one")
	}
}

func TestDraw(t *testing.T) {
	h := v1.History{At: []int64{0, 3600, 7200}, States: map[result.State][]int{
		result.Trusted: {10, 8, 8}, result.Untrusted: {0, 2}, // shorter than the times
	}}
	got := draw(h, 24*time.Hour)
	if got.Empty || len(got.Areas) != 2 || len(got.Ticks) != 6 || len(got.Levels) != 3 {
		t.Fatalf("draw() = %+v, want two areas", got)
	}
	if diff := cmp.Diff([]string{"10", "5", "0"}, []string{got.Levels[0].Text, got.Levels[1].Text, got.Levels[2].Text}); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	// Trusted fills the picture at first; at the end there is room above it, and nothing of untrusted.
	if want := "44.0,8.0 472.0,45.6 900.0,45.6 900.0,196.0 472.0,196.0 44.0,196.0"; got.Areas[0].Points != want {
		t.Errorf("area of trusted = %q, want %q", got.Areas[0].Points, want)
	}
	if want := "44.0,8.0 472.0,8.0 900.0,45.6 900.0,45.6 472.0,45.6 44.0,8.0"; got.Areas[1].Points != want {
		t.Errorf("area of untrusted = %q, want %q", got.Areas[1].Points, want)
	}
	for _, empty := range []v1.History{{}, {At: []int64{1}}, {At: []int64{1, 2}, States: map[result.State][]int{result.Trusted: {0, -5}}}} {
		if got := draw(empty, time.Hour); !got.Empty {
			t.Errorf("draw(%v) = %+v, want an empty one", empty, got)
		}
	}
	for n, want := range map[int]int{1: 2, 2: 2, 9: 10, 10: 10, 11: 20, 65: 80, 101: 200, 1000: 1000, 3104: 4000, 999999: 1000000} {
		if got := roundUp(n); got != want {
			t.Errorf("roundUp(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	got := string(bar(map[result.State]int{result.Trusted: 3, result.Stale: 1, result.State(`"><script>`): 9}))
	for _, want := range []string{`class="fill-trusted" x="0.00" y="0" width="750.00"`, `class="fill-stale" x="750.00" y="0" width="250.00"`} {
		if !strings.Contains(got, want) {
			t.Errorf("bar() = %s, want %s", got, want)
		}
	}
	if strings.Contains(got, "script") || strings.Count(got, "<rect") != 2 {
		t.Errorf("bar() = %s, want two parts", got)
	}
	if got := string(meter(5, 0)); !strings.Contains(got, `width="0.00"`) {
		t.Errorf("meter(5, 0) = %s, want nothing filled", got)
	}
}

func TestLinesEnd(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	l := newLines(func() time.Time { return now })
	ada := v1.Me{Tenant: "default", Name: "ada"}
	l.put(ada, enrolmentLine{Secret: "s", Expires: now.Add(time.Hour)})
	if _, ok := l.get(v1.Me{Tenant: "other", Name: "ada"}); ok {
		t.Error("another tenant has the line")
	}
	if _, ok := l.get(ada); !ok {
		t.Error("the line is gone")
	}
	now = now.Add(time.Hour)
	if _, ok := l.get(ada); ok {
		t.Error("the line outlives its token")
	}
	for i := range 3 * maxLines {
		l.put(v1.Me{Tenant: "default", Name: fmt.Sprint(i)}, enrolmentLine{Expires: now.Add(time.Hour)})
	}
	if len(l.line) > maxLines {
		t.Errorf("%d lines are kept, want at most %d", len(l.line), maxLines)
	}
}

// token is a colour of app.css with its light and its dark value.
var token = regexp.MustCompile(`--([a-z-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)`)

// TestContrast computes the contrast of words and borders on what they stand on (WCAG 2.2, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := [2]map[string]string{{}, {}}
	for _, m := range token.FindAllStringSubmatch(string(css), -1) {
		colours[0][m[1]], colours[1][m[1]] = m[2], m[3]
	}
	const words, shapes = 4.5, 3.0
	check := func(over, under string, want float64) {
		t.Helper()
		for i, scheme := range []string{"light", "dark"} {
			a, okA := colours[i][over]
			b, okB := colours[i][under]
			if !okA || !okB {
				t.Fatalf("app.css has no token %s or %s", over, under)
			}
			if got := contrast(t, a, b); got < want {
				t.Errorf("%s: %s on %s has contrast %.2f, want %.1f", scheme, over, under, got, want)
			}
		}
	}
	for _, under := range []string{"page", "panel", "raised", "sunken", "hover"} {
		check("text", under, words)
		check("muted", under, words)
		check("accent", under, words)
		check("focus", under, shapes)
	}
	check("accent", "accent-soft", words)
	check("text", "accent-soft", words)
	check("muted", "accent-soft", words)
	check("on-accent", "accent-fill", words)
	check("on-accent", "accent-hover", words)
	check("line-strong", "panel", shapes)
	for _, s := range states {
		check(string(s), string(s)+"-soft", words)
		check(string(s), "panel", words)
		check(string(s), "hover", words)
		check(string(s)+"-fill", "panel", 2.5) // always beside words and numbers that say the same
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// luminance is the relative luminance of a colour (WCAG 2.2, definition).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
