package policy

import (
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// bound is a group of a document as it holds for one device. It implements appraise.Rules.
type bound struct {
	group    *group
	document *Document
	device   Device
}

// Apply implements appraise.Rules: first severities, then rules, which see these, then waivers, which cover rules too.
func (b *bound) Apply(r *result.Result, now time.Time) {
	r.Policy = b.group.id
	if len(b.group.severities) > 0 {
		for i := range r.Findings {
			if s, ok := b.group.severities[r.Findings[i].Code]; ok {
				r.Findings[i].Severity = s
			}
		}
	}
	if len(b.group.rules) > 0 {
		b.judge(r, now)
	}
	if len(b.document.waivers) > 0 {
		b.waive(r, now)
	}
}

// judge adds a finding for each rule that holds or fails.
func (b *bound) judge(r *result.Result, now time.Time) {
	facts := factsOf(&b.device, r, now)
	for _, rule := range b.group.rules {
		holds, err := rule.eval(facts)
		switch f := rule.finding(now); {
		case err != nil:
			f.Code, f.Observed = appraise.CodeRuleFailed, clip(err.Error())
			f.Meaning = "the policy's rule could not be evaluated, so it counts as if it held: " + rule.message
			f.Action = "correct the rule; test it with probity policy test"
			r.Findings = append(r.Findings, f)
		case holds:
			r.Findings = append(r.Findings, f)
		}
	}
}

// finding returns what is found where the rule holds.
func (u *rule) finding(now time.Time) result.Finding {
	return result.Finding{
		Code: appraise.CodeRule, Severity: u.severity, Submod: u.part, Component: "rule " + u.name, Meaning: u.message,
		Action: u.action, FirstSeen: time.Unix(now.Unix(), 0).UTC(),
	}
}

// waive marks the findings that a waiver covers, and tells of waivers that would, had they not expired.
func (b *bound) waive(r *result.Result, now time.Time) {
	told := map[*waiver]bool{}
	for i, n := 0, len(r.Findings); i < n; i++ {
		f := &r.Findings[i]
		if f.Severity == result.Info {
			continue
		}
		w := b.waiverOf(f, now)
		switch {
		case w == nil:
		case !w.expired(now):
			f.Waiver = &result.Waiver{Owner: w.owner, Reason: w.reason, Expires: w.expires, Was: f.Severity}
			f.Severity = result.Info
		case !told[w] && len(told) < maxExpired:
			told[w] = true
			r.Findings = append(r.Findings, w.told(f, now))
		}
	}
}

// waiverOf returns the first waiver in force for a finding, else one that expired, else nil.
func (b *bound) waiverOf(f *result.Finding, now time.Time) *waiver {
	var late *waiver
	for i := range b.document.waivers {
		w := &b.document.waivers[i]
		switch {
		case !w.covers(f, &b.device):
		case !w.expired(now):
			return w
		default:
			late = w
		}
	}
	return late
}

// told says that a waiver expired.
func (w *waiver) told(f *result.Finding, now time.Time) result.Finding {
	return result.Finding{
		Code: appraise.CodeWaiverExpired, Severity: result.Info, Submod: f.Submod,
		Component: fmt.Sprintf("waiver of %s on %s", w.finding, w.component), Observed: "expired at " + w.expires.Format(time.RFC3339),
		Meaning:   fmt.Sprintf("the waiver of %s (%s) expired, so the finding counts again", w.owner, w.reason),
		Action:    "mend the device, or have the owner renew the waiver with probity policy set",
		FirstSeen: time.Unix(now.Unix(), 0).UTC(),
	}
}
