package appraise

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// maxRuntime bounds the findings about files that a record carries along.
const maxRuntime = 64

// runtime judges the IMA list. It only fails with a *Rejection: the segment must continue where the verifier stands.
func (ap *appraisal) runtime() error {
	if ap.evidence.bank == nil || ap.in.Policy.IMA == Ignored || !ap.in.Policy.PCRs.Has(ima.PCR) {
		return nil
	}
	model := ap.model
	ap.next.Basis = ap.basis(model)
	segment := ap.evidence.Evidence.IMA
	if segment == nil {
		ap.withoutIMA(model)
		return nil
	}
	state := ima.State{}
	if segment.From > 0 {
		r := &ap.in.Record
		if !r.sameBoot(ap.evidence.Claims.BootID) || segment.From != r.IMA.Entries {
			return reject(proto.CodeOutOfSync, fmt.Errorf("IMA list from entry %d of a boot of which %d were appraised", segment.From, r.IMA.Entries))
		}
		state, ap.next.Runtime, ap.next.Basis, ap.next.Agent = r.IMA, r.Runtime, r.Basis, r.Agent
	}
	if segment.From+segment.Count < ap.evidence.Claims.IMA.Count {
		ap.find("ima-mismatch", "IMA list", fmt.Sprintf("at least %d entries, as claimed", ap.evidence.Claims.IMA.Count),
			fmt.Sprintf("%d entries", segment.From+segment.Count))
	}
	var list []byte
	if segment.Part.Size > 0 {
		var ok bool
		if list, ok = ap.content(segment.Part); !ok {
			return nil
		}
	}
	ap.replay(state, list, model)
	return nil
}

// withoutIMA judges a device that has no list.
func (ap *appraisal) withoutIMA(model *reference.View) {
	reason := "not sent"
	if un := ap.evidence.Claims.IMA.Unavailable; un != nil {
		reason = un.Error()
	}
	value := ap.evidence.bank.Value(ima.PCR)
	switch {
	case !isReset(ima.PCR, value):
		ap.find("ima-unavailable", "IMA list", "a list that explains "+pcrName(ima.PCR), reason)
	case ap.in.Policy.IMA == Required, hasFiles(model):
		ap.find("ima-unavailable", "IMA list", "a list, as the reference values have", reason)
	}
}

func hasFiles(m *reference.View) bool {
	for _, c := range m.Alternatives() {
		if c.HasFiles() {
			return true
		}
	}
	return false
}

// replay advances the IMA state over a segment and judges the entries of the prefix that the quote covers.
func (ap *appraisal) replay(state ima.State, list []byte, model *reference.View) {
	bank := ap.evidence.bank
	judge := &fileJudge{ap: ap, alternatives: ap.alternatives(model)}
	if model.HasDenied() {
		judge.denied = model
	}
	next, matched, err := state.Advance(list, bank.Algorithm(), bank.Value(ima.PCR), judge.entry)
	var none *ima.NoPrefixError
	switch {
	case errors.As(err, &none):
		ap.find("ima-mismatch", "IMA list, "+pcrName(ima.PCR), hex.EncodeToString(none.Quoted)+" (signed by the TPM)",
			hex.EncodeToString(none.Replayed)+" (from the list)")
		ap.forgetList()
		return
	case err != nil:
		ap.find("ima-mismatch", "IMA list", "a list as the kernel writes it", err.Error())
		ap.forgetList()
		return
	}
	judge.finish()
	ap.next.IMA = next
	if matched == 0 && state.Entries == 0 && len(list) > 0 {
		// IMA ran before the TPM's driver: PCR 10 was never extended, so nothing vouches for the list.
		ap.find("ima-unbound", "IMA list", "a list that "+pcrName(ima.PCR)+" vouches for", "a list beside a PCR 10 of zeros")
		ap.strength.Runtime, ap.next.Agent = result.SelfAsserted, agentUnseen
		return
	}
	if next.Entries > 0 {
		ap.strength.Runtime = result.Hardware
	}
	if next.Mode != 0 && !next.Mode.Strong() && bank.Algorithm() != pcr.SHA1 {
		ap.find("ima-padded", pcrName(ima.PCR), bank.Algorithm().String()+" of each entry", "padded SHA-1")
	}
	ap.found = append(ap.found, ap.next.Runtime...)
	ap.covered[result.Runtime] = len(judge.alternatives) > 0
}

// forgetList starts anew with the next report: what this list said is worthless.
func (ap *appraisal) forgetList() {
	ap.next.Runtime, ap.next.Basis, ap.next.IMA, ap.next.Agent = nil, "", ima.State{}, agentUnseen
}

// alternatives returns the documents that say which files may run, the one that the boot fits first.
func (ap *appraisal) alternatives(model *reference.View) []*reference.Compiled {
	if ap.booted != nil {
		return ap.booted.files
	}
	return withFiles(model, nil, ap.in.Policy)
}

// fileJudge compares the entries of an IMA list with references.
type fileJudge struct {
	ap           *appraisal
	alternatives []*reference.Compiled
	denied       *reference.View // nil: there is no deny-list
	violations   int
	violated     string
}

func (j *fileJudge) entry(e ima.Entry) {
	file, ok := e.File()
	if e.Violation() {
		j.violations++
		if j.violated == "" && ok {
			j.violated = file.Path
		}
		j.agent(file.Path, reference.Unknown)
		return
	}
	if !ok {
		file = ima.File{Path: "(unreadable entry of template " + e.Template + ")", Digest: e.TemplateDigest}
	}
	if file.Path == ima.BootAggregatePath {
		j.bootAggregate(e)
		return
	}
	if j.denied != nil {
		if f, ok := denial(j.denied, manifest.DeniedFile, result.Runtime, "file "+file.Path, file.Digest); ok {
			j.keep(f)
		}
	}
	if len(j.alternatives) == 0 {
		return
	}
	match, other := j.alternatives[0].File(file.Path, file.Digest)
	for _, c := range j.alternatives[1:] {
		if match == reference.Same {
			break
		}
		if m, o := c.File(file.Path, file.Digest); m == reference.Same || match == reference.Unknown {
			match, other = m, o
		}
	}
	j.agent(file.Path, match)
	digest := hex.EncodeToString
	switch match {
	case reference.Changed:
		j.keep(finding("file-changed", "file "+file.Path, other, digest(file.Digest)))
	case reference.Moved:
		j.keep(finding("file-moved", "file "+file.Path, "at "+other, digest(file.Digest)))
	case reference.Unknown:
		f := finding("file-unknown", "file "+file.Path, "", digest(file.Digest))
		f.Severity = j.ap.in.Policy.UnknownFile
		j.keep(f)
	}
}

// agentName is the base name of the agent's binary.
const agentName = "probity-agent"

// agent notes whether the program that speaks for the device is the one that the reference values know. Once another one
// of its name ran, which of the two speaks is not known until the machine boots.
func (j *fileJudge) agent(path string, match reference.Match) {
	if !strings.HasSuffix(path, agentName) || len(path) > len(agentName) && path[len(path)-len(agentName)-1] != '/' {
		return
	}
	switch known := &j.ap.next.Agent; {
	case match != reference.Same:
		*known = agentForeign
	case *known == agentUnseen:
		*known = agentKnown
	}
}

func (j *fileJudge) bootAggregate(e ima.Entry) {
	fits, err := ima.CheckBootAggregate(e, j.ap.evidence.bank)
	if err != nil || fits { // an aggregate in another hash than the bank's cannot be checked
		return
	}
	file, _ := e.File()
	bank := j.ap.evidence.bank
	j.keep(finding("ima-boot-aggregate", "IMA boot_aggregate",
		hex.EncodeToString(ima.BootAggregate(bank, bank.Algorithm()))+" (over the quoted PCRs 0 to 9)", hex.EncodeToString(file.Digest)))
}

// finish turns the violations of a segment into one finding.
func (j *fileJudge) finish() {
	if j.violations == 0 {
		return
	}
	f := finding("ima-violation", "file "+j.violated, "no violation", fmt.Sprintf("%d in this part of the list", j.violations))
	f.Severity = j.ap.in.Policy.Violation
	j.keep(f)
}

// keep remembers a finding about an entry, for the entry is not sent again. Of too many the worst stay.
func (j *fileJudge) keep(f result.Finding) {
	runtime := &j.ap.next.Runtime
	if len(*runtime) < maxRuntime {
		*runtime = append((*runtime)[:len(*runtime):len(*runtime)], f)
		return
	}
	for i := range *runtime {
		if severities[(*runtime)[i].Severity] < severities[f.Severity] {
			kept := append([]result.Finding(nil), *runtime...)
			kept[i] = f
			*runtime = kept
			return
		}
	}
}
