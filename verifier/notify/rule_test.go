package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func TestMatch(t *testing.T) {
	critical, warn := unknown("PCR 4"), unknown("PCR 5")
	warn.Code, warn.Severity = "pcr-unlogged", result.Warn
	info := result.Finding{Code: "tpm-firmware", Severity: result.Info}
	bad := store.AlertWork{
		Device: store.Device{
			State: result.Untrusted, StaleAt: epoch.Add(time.Hour), Group: "edge-north", Vendor: "Acme", Model: "R7",
			Labels: map[string]string{"jurisdiction": "DE"},
		},
		Findings: []result.Finding{critical, warn, info},
	}
	with := func(change func(*store.AlertWork)) store.AlertWork {
		w := bad
		change(&w)
		return w
	}
	gone := with(func(w *store.AlertWork) { w.Device.StaleAt = epoch })
	quiet := with(func(w *store.AlertWork) { w.Device.StaleAt, w.Device.State, w.Findings = epoch, result.Trusted, nil })
	fresh := with(func(w *store.AlertWork) {
		w.Device.State, w.Device.StaleAt, w.Findings = result.NeverAttested, time.Time{}, nil
	})
	fine := with(func(w *store.AlertWork) { w.Device.State, w.Findings = result.Trusted, []result.Finding{info} })
	for name, tt := range map[string]struct {
		work store.AlertWork
		rule store.AlertRule
		want string // code; empty: no match
	}{
		"everything":                     {bad, store.AlertRule{Severity: result.Warn}, critical.Code},
		"disabled":                       {bad, store.AlertRule{Severity: result.Warn, Disabled: true}, ""},
		"by code":                        {bad, store.AlertRule{Severity: result.Warn, Codes: []string{"other", warn.Code}}, warn.Code},
		"by code below the severity":     {bad, store.AlertRule{Severity: result.Critical, Codes: []string{warn.Code}}, ""},
		"by state":                       {bad, store.AlertRule{Severity: result.Warn, States: []result.State{result.Untrusted}}, critical.Code},
		"another state":                  {bad, store.AlertRule{Severity: result.Warn, States: []result.State{result.Warning}}, ""},
		"by group":                       {bad, store.AlertRule{Severity: result.Warn, Groups: []string{"south", "edge-*"}}, critical.Code},
		"another group":                  {bad, store.AlertRule{Severity: result.Warn, Groups: []string{"south"}}, ""},
		"by model":                       {bad, store.AlertRule{Severity: result.Warn, Models: []string{"Acme/*"}}, critical.Code},
		"another vendor":                 {bad, store.AlertRule{Severity: result.Warn, Models: []string{"Other/*"}}, ""},
		"by label":                       {bad, store.AlertRule{Severity: result.Warn, Labels: map[string]string{"jurisdiction": "D*"}}, critical.Code},
		"another label":                  {bad, store.AlertRule{Severity: result.Warn, Labels: map[string]string{"jurisdiction": "FR"}}, ""},
		"a label that it lacks":          {bad, store.AlertRule{Severity: result.Warn, Labels: map[string]string{"site": "*"}}, ""},
		"infos of a trusted device":      {fine, store.AlertRule{Severity: result.Info}, info.Code},
		"a trusted device":               {fine, store.AlertRule{Severity: result.Warn}, ""},
		"named trusted":                  {fine, store.AlertRule{Severity: result.Warn, States: []result.State{result.Trusted}}, ""},
		"silent and bad":                 {gone, store.AlertRule{Severity: result.Warn}, critical.Code},
		"silent and bad, by silence":     {gone, store.AlertRule{Severity: result.Warn, Codes: []string{silent}}, silent},
		"silent and bad, by state stale": {gone, store.AlertRule{Severity: result.Warn, States: []result.State{result.Stale}}, silent},
		"silent and bad, by verdict":     {gone, store.AlertRule{Severity: result.Warn, States: []result.State{result.Untrusted}}, critical.Code},
		"silent":                         {quiet, store.AlertRule{Severity: result.Warn}, silent},
		"silence is no crime":            {quiet, store.AlertRule{Severity: result.Critical}, ""},
		"not silent":                     {bad, store.AlertRule{Severity: result.Warn, Codes: []string{silent}}, ""},
		"never attested":                 {fresh, store.AlertRule{Severity: result.Info}, ""},
		"never attested, by state":       {fresh, store.AlertRule{Severity: result.Warn, States: []result.State{result.NeverAttested}}, inState},
		"state that findings explain": {
			with(func(w *store.AlertWork) { w.Device.State, w.Findings = result.Warning, []result.Finding{warn} }),
			store.AlertRule{Severity: result.Critical, States: []result.State{result.Warning}},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.rule.ID = "r"
			m, ok := match(&tt.rule, &tt.work, epoch)
			if ok != (tt.want != "") || m.Finding.Code != tt.want {
				t.Errorf("match() = %q, %v, want %q", m.Finding.Code, ok, tt.want)
			}
			if cluster := ok && tt.want != silent && tt.want != inState; m.Cluster != cluster || ok && (m.Rule != "r" || m.Key != store.FindingKey(&m.Finding)) {
				t.Errorf("match() = %+v, want the rule and the finding's key", m)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "abc", true},
		{"a*", "abc", true},
		{"a*", "ba", false},
		{"*c", "abc", true},
		{"*c", "abcd", false},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"ab*bc", "abc", false},
		{"a**c", "abc", true},
		{"a*b*c", "a-b-c", true},
		{"a*b*c", "acb", false},
		{"[a]", "a", false},
		{"?", "a", false},
		{"é*", "été", true},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
	// A pattern of a vendor cannot make it slow.
	if glob(strings.Repeat("*a", 500)+"b", strings.Repeat("a", 100_000)) {
		t.Error("glob() = true for a text without b")
	}
}
