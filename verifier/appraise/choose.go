package appraise

import (
	"cmp"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

// fit says how well a boot fits a document.
type fit struct {
	distance int // PCRs that differ; those that only are reported weigh less
	events   int // differences within them, of a manifest
	same     int // PCRs that are as the document has them
}

// weight of a PCR that makes the verdict: more than all that are only reported.
const pcrWeight = pcr.Count

// compare orders fits, the better first.
func (f fit) compare(o fit) int {
	return cmp.Or(cmp.Compare(f.distance, o.distance), cmp.Compare(f.events, o.events), cmp.Compare(o.same, f.same))
}

// fits reports whether nothing differs that makes the verdict.
func (f fit) fits() bool { return f.distance < pcrWeight }

// choose returns the document of the model, in the quoted bank, that the boot differs least from: one that counts and
// that enough endorsers signed, where there is any. If the boot does not fit it, another that it fits tells more: that of
// a rollback, of a period that is over, or one that lacks endorsers. standing says so.
func (j *bootJudge) choose(m *reference.View) *reference.Compiled {
	var weak []*reference.Compiled
	var best *reference.Compiled
	var least fit
	try := func(c *reference.Compiled, wanted func(fit) bool) {
		if !c.Speaks(j.bank.Algorithm()) {
			return
		}
		if f := j.fit(c); wanted(f) && (best == nil || f.compare(least) < 0) {
			best, least = c, f
		}
	}
	for _, c := range m.Alternatives() {
		if c.Lacks(j.policy.Endorsers) != "" {
			weak = append(weak, c)
			continue
		}
		try(c, func(fit) bool { return true })
	}
	if best != nil && least.fits() {
		return best
	}
	none := best == nil
	for _, c := range append(weak, m.Others()...) {
		try(c, func(f fit) bool { return none || f.fits() })
	}
	return best
}

// fit compares a boot with a document.
func (j *bootJudge) fit(c *reference.Compiled) fit {
	if c.Kind == reference.KindManifest {
		return j.fitManifest(c)
	}
	var f fit
	for _, i := range j.bank.Present().Indices() {
		switch r := c.Register(i); {
		case r == nil:
		case string(r.Value) == string(j.bank.Value(i)):
			f.same++
		case r.ReportOnly:
			f.distance++
		default:
			f.distance += pcrWeight
		}
	}
	return f
}
