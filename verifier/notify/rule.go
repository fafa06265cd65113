package notify

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Codes of what is told although no finding of a stored result says it.
const (
	silent  = "silent" // as results say it that the verifier publishes of silent devices
	inState = "state"
)

// weights orders severities.
var weights = map[result.Severity]int{result.Info: 1, result.Warn: 2, result.Critical: 3}

// match returns what a rule tells of a device: the first of its findings that the rule selects, then its silence, then its
// state if the rule names it and nothing else says why it is in it.
//
// A device that fell silent keeps what it showed before: silence mends nothing.
func match(r *store.AlertRule, w *store.AlertWork, now time.Time) (store.AlertMatch, bool) {
	d := &w.Device
	if r.Disabled || !selects(r, d) {
		return store.AlertMatch{}, false
	}
	if named(r, d.State) {
		for i := range w.Findings {
			f := w.Findings[i]
			if weights[f.Severity] >= weights[r.Severity] && coded(r, f.Code) {
				return store.AlertMatch{Rule: r.ID, Key: store.FindingKey(&f), Cluster: true, Finding: f}, true
			}
		}
	}
	current := d.Current(now)
	if current == result.Stale && named(r, result.Stale) && coded(r, silent) && weights[result.Warn] >= weights[r.Severity] {
		return pseudo(r, silence(d)), true
	}
	if len(r.Codes) == 0 && current != result.Trusted && slices.Contains(r.States, current) && !explained(w, r) {
		return pseudo(r, standing(current, d)), true
	}
	return store.AlertMatch{}, false
}

// explained reports whether findings that weigh say why the device is in its state: then a rule that asks for more severe
// ones does not want to hear of it.
func explained(w *store.AlertWork, r *store.AlertRule) bool {
	return slices.ContainsFunc(w.Findings, func(f result.Finding) bool { return f.Severity != result.Info }) && named(r, w.Device.State)
}

func pseudo(r *store.AlertRule, f result.Finding) store.AlertMatch {
	return store.AlertMatch{Rule: r.ID, Key: store.FindingKey(&f), Finding: f}
}

func silence(d *store.Device) result.Finding {
	return result.Finding{
		Code: silent, Severity: result.Warn, Submod: result.Identity, Component: "device",
		Meaning:   "stopped attesting, so nothing is known of what it runs now",
		Action:    "check that the device and its agent run and can reach the verifier",
		FirstSeen: d.StaleAt,
	}
}

func standing(s result.State, d *store.Device) result.Finding {
	f := result.Finding{
		Code: inState, Severity: result.Warn, Submod: result.Identity, Component: "device", Observed: string(s),
		Meaning: "is " + string(s), Action: "see the device's page for the reason", FirstSeen: d.Since,
	}
	switch s {
	case result.NeverAttested:
		f.Severity, f.Meaning = result.Info, "has never attested"
	case result.Untrusted:
		f.Severity = result.Critical
	}
	return f
}

// named reports whether a rule selects a state.
func named(r *store.AlertRule, s result.State) bool {
	return len(r.States) == 0 || slices.Contains(r.States, s)
}

func coded(r *store.AlertRule, code string) bool {
	return len(r.Codes) == 0 || slices.Contains(r.Codes, code)
}

// selects reports whether a rule is about a device, whatever it shows.
func selects(r *store.AlertRule, d *store.Device) bool {
	if len(r.Groups) > 0 && !slices.ContainsFunc(r.Groups, func(p string) bool { return glob(p, d.Group) }) {
		return false
	}
	if model := d.Vendor + "/" + d.Model; len(r.Models) > 0 && !slices.ContainsFunc(r.Models, func(p string) bool { return glob(p, model) }) {
		return false
	}
	for name, pattern := range r.Labels {
		if value, ok := d.Labels[name]; !ok || !glob(pattern, value) {
			return false
		}
	}
	return true
}

// glob reports whether pattern matches all of s; * stands for any characters. The time is linear in both for each *.
func glob(pattern, s string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(s, rest)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}

// alerts of one step are told the most severe first.
func bySeverity(a, b store.Alert) int {
	return cmp.Or(cmp.Compare(weights[b.Finding.Severity], weights[a.Finding.Severity]), cmp.Compare(a.Seq, b.Seq))
}
