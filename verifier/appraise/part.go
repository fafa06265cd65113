package appraise

import (
	"math"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// partVerdict is what followed from what a device says of its flash memory or its hardware: it depends on nothing but
// its partKey. It is shared: do not change it.
type partVerdict struct {
	findings  []result.Finding
	reference *reference.Compiled // document that it was compared with; nil: there was none
	compared  bool                // something was found to compare
	regions   []result.Region     // of flash, for display
	open      []seenRegion        // flash regions with a digest that no reference covers
	measured  bool                // there is a digest of flash
}

// find appends a finding with the code's own severity.
func (v *partVerdict) find(name, component, expected, observed string) {
	v.findings = append(v.findings, finding(name, component, expected, observed))
}

// graded appends a finding with another severity.
func (v *partVerdict) graded(s result.Severity, name, component, expected, observed string) {
	f := finding(name, component, expected, observed)
	f.Severity = s
	v.findings = append(v.findings, f)
}

// criticalCost is what a critical finding costs: more than all warnings together.
const criticalCost = 1 << 16

// cost says how badly the device fits the document: criticals count before warnings.
func (v *partVerdict) cost() int {
	n := 0
	for i := range v.findings {
		switch v.findings[i].Severity {
		case result.Critical:
			n += criticalCost
		case result.Warn:
			n++
		}
	}
	return n
}

// part judges content, once for each reference and policy. It is nil where the content is not there yet.
func (ap *appraisal) part(part result.Submod, c proto.Content, judge func(raw []byte) *partVerdict) *partVerdict {
	key := partKey{part: part, content: c.Digest, basis: ap.basis(ap.model)}
	if ap.booted != nil {
		key.booted = ap.booted.compiled.ID()
	}
	if v := ap.in.Memo.part(key); v != nil {
		return v
	}
	raw, ok := ap.content(c)
	if !ok {
		return nil
	}
	v := judge(raw)
	if len(raw) <= maxPart {
		ap.in.Memo.keepPart(key, v)
	}
	return v
}

// take makes the verdict on a part a part of the result.
func (ap *appraisal) take(part result.Submod, v *partVerdict) {
	ap.found = append(ap.found, v.findings...)
	ap.parts = append(ap.parts, v)
	ap.covered[part] = ap.covered[part] || v.compared
}

// fitting returns the verdict on the document of the model that fits best. Documents are alternatives, old and new
// firmware are valid together, so each part may fit another one; of equals it is the one that the boot fits, then the
// first. Documents that are not accepted come in as for the boot: see choose. It is nil where none speaks of the part.
func (ap *appraisal) fitting(
	part result.Submod, has func(*reference.Compiled) bool, judge func(*reference.Compiled) *partVerdict,
) *partVerdict {
	var best *partVerdict
	var weak []*reference.Compiled
	least := 0
	try := func(c *reference.Compiled, limit int) {
		if v := judge(c); v.cost() < limit && (best == nil || v.cost() < least) {
			best, least = v, v.cost()
		}
	}
	var booted *reference.Compiled
	if ap.booted != nil && ap.booted.compiled != nil && has(ap.booted.compiled) {
		booted = ap.booted.compiled
		try(booted, math.MaxInt)
	}
	for _, c := range ap.model.Alternatives() {
		switch {
		case c == booted || !has(c):
		case c.Lacks(ap.in.Policy.Endorsers) != "":
			weak = append(weak, c)
		default:
			try(c, math.MaxInt)
		}
	}
	if best == nil || least >= criticalCost {
		limit := criticalCost
		if best == nil {
			limit = math.MaxInt
		}
		for _, c := range append(weak, ap.model.Others()...) {
			if c != booted && has(c) {
				try(c, limit)
			}
		}
	}
	if best != nil && best.reference != booted {
		best.findings = append(best.findings, standing(ap.model, best.reference, ap.in.Policy, part)...)
	}
	return best
}

// asserted returns the strength of what the device says itself: more if its TPM vouches for the agent that says it.
// Nothing vouches for anything in SHA-1.
func (ap *appraisal) asserted() result.Strength {
	if ap.next.Agent == agentKnown && ap.strength.Runtime == result.Hardware && ap.evidence.quote.bank != pcr.SHA1 {
		return result.MeasuredAgent
	}
	return result.SelfAsserted
}
