package appraise

import (
	"maps"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Rules is what a policy document says beyond a Policy: other severities, waivers, expressions. Package policy makes
// them.
type Rules interface {
	// Apply changes severities of the findings of r, marks those that are waived, adds its own, and may name itself in
	// r.Policy. r has everything but state and submodules, which follow from the findings, and their final order; what
	// it refers to besides the findings is shared and must stay as it is. Apply is pure: now is all that it knows of
	// the time.
	Apply(r *result.Result, now time.Time)
}

// Codes of findings that Rules make.
const (
	CodeRule          = "policy-rule"        // an expression of the policy holds
	CodeRuleFailed    = "policy-rule-failed" // an expression of the policy could not be evaluated
	CodeWaiverExpired = "waiver-expired"     // a waiver would have covered a finding, had it not expired
)

// CodeSoftware is the code of the finding that a device has no TPM, which no policy can make weigh less than a warning.
const CodeSoftware = "software-identity"

// Codes returns the codes of all findings that an appraisal without Rules can make, in ascending order.
func Codes() []string { return slices.Sorted(maps.Keys(codes)) }

// rule lets the rules of the policy judge what was found. They see when each finding was first seen; what the record
// remembers of that is decided later, for it is bounded.
func (ap *appraisal) rule(r *result.Result) {
	if ap.in.Rules == nil {
		return
	}
	for i := range ap.found {
		ap.found[i].FirstSeen = ap.in.Record.firstSeen(&ap.found[i], ap.in.Now)
	}
	r.Findings = ap.found
	ap.in.Rules.Apply(r, ap.in.Now)
	ap.found = r.Findings
}

// claim returns the claim of the trustworthiness vector that a finding worsens, and its value: the code's own, moved
// into the tier that the finding's severity deserves where a policy changed that. nil: none.
func claim(f *result.Finding) (of func(*result.Vector) *int8, value int8) {
	c := codes[f.Code]
	switch {
	case f.Severity == result.Info, c.claim == nil && f.Severity == c.severity:
		return nil, 0
	case c.claim == nil: // the policy's own finding, or one that only the policy makes weigh
		c.claim, c.value = configuration, int8(result.TierWarning)
	}
	switch contraindicated := int8(result.TierContraindicated); {
	case f.Severity == result.Critical:
		return c.claim, max(c.value, contraindicated)
	case c.value >= contraindicated:
		return c.claim, int8(result.TierWarning)
	}
	return c.claim, c.value
}
