package appraise

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// standing returns what is to be said of a document that a part of a device fits, whatever its content: rollback, period,
// endorsers.
func standing(m *reference.View, c *reference.Compiled, p *Policy, part result.Submod) []result.Finding {
	var out []result.Finding
	find := func(name, expected, observed string) {
		f := finding(name, "release "+c.Name, expected, observed)
		f.Submod = part
		out = append(out, f)
	}
	from, until := c.Period()
	switch m.Standing(c) {
	case reference.Rollback:
		svn, by := m.MinSVN()
		find("rollback", fmt.Sprintf("SVN %d or more, as %s demands", svn, by), fmt.Sprintf("version %s, SVN %d", c.Firmware, c.SVN))
	case reference.NotYetValid:
		find("release-not-yet-valid", "a release in force", "counts from "+from.UTC().Format(time.RFC3339))
	case reference.Expired:
		find("release-expired", "a release in force", "counted until "+until.UTC().Format(time.RFC3339))
	}
	if lacks := c.Lacks(p.Endorsers); lacks != "" {
		observed := c.Endorsers()
		if observed == "" {
			observed = "nobody"
		}
		find("endorsers-missing", "more endorsers: it has "+lacks, "endorsed by "+observed)
	}
	return out
}

// accepted reports whether a document makes anything good: it counts, and enough endorsers signed it.
func accepted(m *reference.View, c *reference.Compiled, p *Policy) bool {
	return m.Standing(c) == reference.InForce && c.Lacks(p.Endorsers) == ""
}

// withFiles returns the documents that say which files may run: the one that the boot fits, which standing speaks of, then
// those that are accepted.
func withFiles(m *reference.View, booted *reference.Compiled, p *Policy) []*reference.Compiled {
	var out []*reference.Compiled
	if booted != nil && booted.HasFiles() {
		out = append(out, booted)
	}
	for _, c := range m.Alternatives() {
		if c != booted && c.HasFiles() && accepted(m, c, p) {
			out = append(out, c)
		}
	}
	return out
}

// denial returns a finding on a digest that a deny-list has.
func denial(m *reference.View, kind manifest.Component, part result.Submod, component string, digest []byte) (result.Finding, bool) {
	advisory, note, denied := m.Denied(kind, digest)
	if !denied {
		return result.Finding{}, false
	}
	if note != "" {
		advisory += ": " + note
	}
	f := finding("denied", component, "nothing that "+advisory+" names", hex.EncodeToString(digest))
	f.Submod = part
	return f, true
}

// denied tells of PCR values and events that a deny-list has.
func (j *bootJudge) denied() {
	if !j.model.HasDenied() {
		return
	}
	find := func(kind manifest.Component, component string, digest []byte) {
		if f, ok := denial(j.model, kind, result.Boot, component, digest); ok {
			j.findings = append(j.findings, f)
		}
	}
	for _, i := range j.bank.Present().Indices() {
		find(manifest.DeniedPCR, pcrName(i), j.bank.Value(i))
		for _, e := range j.events(i) {
			find(manifest.DeniedEvent, pcrName(i)+", "+e.Describe().String(), e.Digest(j.bank.Algorithm()))
		}
	}
}

// required tells of PCRs that the policy wants known and the document does not know.
func (j *bootJudge) required(c *reference.Compiled) {
	for _, i := range j.policy.RequiredPCRs.Indices() {
		var how string
		switch r, p := c.Register(i), c.PCR(i); {
		case i == ima.PCR:
			continue
		case r != nil && !r.ReportOnly && j.bank.Present().Has(i):
			continue
		case r != nil && r.ReportOnly:
			how = "only reported"
		case p != nil && reference.Comparable(p, j.bank.Algorithm()) && j.bank.Present().Has(i):
			if p.Coverage == manifest.Complete {
				continue
			}
			how = p.Coverage.String()
		default:
			how = "not at all"
		}
		j.find("pcr-uncovered", pcrName(i), "covered completely, as the policy requires", how+", by "+c.Name)
	}
}
