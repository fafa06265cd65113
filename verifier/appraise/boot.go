package appraise

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// bootVerdict is what followed from a boot: it depends on nothing but its memoKey. It is shared: do not change it.
type bootVerdict struct {
	findings  []result.Finding
	values    func() map[string]string // of the PCRs: decimal index, hexadecimal value
	reference string                   // document that the boot was compared with; empty: there was none
	compiled  *reference.Compiled
	files     []*reference.Compiled // documents that say which files may run, the one that the boot fits first
}

// boot judges the boot log and the PCRs that it explains.
func (ap *appraisal) boot() {
	ap.covered = make(map[result.Submod]bool)
	if ap.evidence.bank == nil {
		return
	}
	in, claim := &ap.in, ap.evidence.Claims.BootLog
	model := ap.model
	bank, pcrs := ap.evidence.bank, in.Policy.bootPCRs()
	key := memoKey{pcrs: valuesDigest(bank, pcrs), bank: bank.Algorithm(), basis: ap.basis(model)}
	if claim.Content != nil {
		key.log = claim.Content.Digest
	}
	v := in.Memo.boot(key)
	if v == nil {
		var log []byte
		if claim.Content != nil {
			var ok bool
			if log, ok = ap.content(*claim.Content); !ok {
				return
			}
		}
		v = judgeBoot(quoted(bank, pcrs), log, claim.Unavailable, model, in.Policy)
		in.Memo.keepBoot(key, v)
	}
	ap.booted = v
	ap.found = append(ap.found, v.findings...)
	ap.covered[result.Boot] = v.compiled != nil
	if v.compiled == nil {
		ap.find("no-reference", strings.TrimSpace("model "+ap.next.Vendor+" "+ap.next.Model), "", "")
	}
}

// quoted returns the selected values of a bank.
func quoted(b *pcr.Bank, s pcr.Selection) *pcr.Bank {
	out := pcr.NewBank(b.Algorithm())
	for i := range pcr.Count {
		if s.Has(i) && b.Present().Has(i) {
			_ = out.Set(i, b.Value(i)) // same algorithm: the size fits
		}
	}
	return out
}

// valuesDigest returns a digest of which PCRs of s have which values.
func valuesDigest(b *pcr.Bank, s pcr.Selection) [sha256.Size]byte {
	buf := make([]byte, 4, 4+pcr.Count*48)
	for i := range pcr.Count {
		if v := b.Value(i); v != nil && s.Has(i) {
			buf[i/8] |= 1 << (i % 8)
			buf = append(buf, v...)
		}
	}
	return sha256.Sum256(buf)
}

// Boot judges a boot log against quoted PCR values and a model's references as Appraise does when it sees a log for the
// first time. The values must be those of a quote that was verified, without IMA's PCR.
func Boot(quotedPCRs *pcr.Bank, log []byte, m *reference.View, p *Policy) []result.Finding {
	return judgeBoot(quotedPCRs, log, nil, m, p).findings
}

// bootJudge is one run of judgeBoot.
type bootJudge struct {
	bank     *pcr.Bank
	policy   *Policy
	model    *reference.View
	verified *eventlog.Verified // nil: no log, or one that is not genuine
	byPCR    *[pcr.Count][]*eventlog.Event
	slots    map[*eventlog.Event]string
	quick    bool          // only finding out which document fits best
	failed   pcr.Selection // PCRs that the log fails to explain
	findings []result.Finding
}

// judgeBoot compares a boot with a model's reference values. An unavailable, malformed or false log is a finding, and
// the PCR values are compared all the same.
func judgeBoot(bank *pcr.Bank, log []byte, un *proto.Unavailable, m *reference.View, p *Policy) *bootVerdict {
	j, best := runBoot(bank, log, un, m, p)
	v := &bootVerdict{findings: j.findings, values: sync.OnceValue(bank.Strings), files: withFiles(m, best, p)}
	if best != nil {
		v.reference, v.compiled = best.Name, best
	}
	return v
}

// runBoot is judgeBoot as far as to the findings; best is the document that the boot was compared with.
func runBoot(bank *pcr.Bank, log []byte, un *proto.Unavailable, m *reference.View, p *Policy) (j *bootJudge, best *reference.Compiled) {
	j = &bootJudge{bank: bank, policy: p, model: m}
	j.log(log, un)
	j.denied()
	best = j.choose(m)
	if best != nil {
		j.findings = append(j.findings, standing(m, best, p, result.Boot)...)
		if best.Kind == reference.KindManifest {
			j.compareManifest(best)
		} else {
			j.compare(best)
		}
		j.required(best)
	} else if j.verified != nil {
		for _, i := range j.verified.Unlogged().Indices() {
			j.unlogged(i)
		}
	}
	j.secureBoot(best)
	return j, best
}

func (j *bootJudge) find(name, component, expected, observed string) {
	j.findings = append(j.findings, finding(name, component, expected, observed))
}

// log verifies the boot log against the quoted values.
func (j *bootJudge) log(raw []byte, un *proto.Unavailable) {
	if raw == nil {
		reason := "no reason given"
		if un != nil {
			reason = un.Error()
		}
		if j.policy.BootLog != Ignored {
			j.find("boot-log-unavailable", "boot log", "", reason)
		}
		return
	}
	claimed, err := eventlog.Parse(raw)
	if err != nil {
		j.find("boot-log-malformed", "boot log", "a TCG event log", err.Error())
		return
	}
	verified, err := verify(claimed, j.bank)
	var mismatch *eventlog.MismatchError
	switch {
	case errors.As(err, &mismatch):
		for _, m := range mismatch.Mismatches {
			j.failed |= 1 << m.PCR
			j.find("boot-log-mismatch", pcrName(m.PCR), hex.EncodeToString(m.Quoted)+" (signed by the TPM)",
				hex.EncodeToString(m.Replayed)+" (from the log)")
		}
		return
	case err != nil:
		j.find("boot-log-rule", "boot log", "a log as firmware writes it", err.Error())
		return
	}
	j.verified = verified
}

// verify verifies a log; against SHA-1 values only so far that it explains.
func verify(claimed *eventlog.Log, quotedPCRs *pcr.Bank) (*eventlog.Verified, error) {
	if quotedPCRs.Algorithm() == pcr.SHA1 {
		return claimed.VerifyWeak(quotedPCRs)
	}
	return claimed.Verify(quotedPCRs)
}

// events returns the verified events of a PCR. They are sorted out when the first is asked for: of a healthy device none is.
func (j *bootJudge) events(i int) []*eventlog.Event {
	if j.byPCR == nil {
		j.byPCR = new([pcr.Count][]*eventlog.Event)
		if j.verified != nil {
			all := j.verified.Events()
			for k := range all {
				if n := all[k].PCR; n < pcr.Count {
					j.byPCR[n] = append(j.byPCR[n], &all[k])
				}
			}
		}
	}
	return j.byPCR[i]
}

// compare tells what differs from one alternative.
func (j *bootJudge) compare(c *reference.Compiled) {
	for _, i := range j.bank.Present().Indices() {
		r, value := c.Register(i), j.bank.Value(i)
		if r != nil && string(r.Value) == string(value) {
			continue
		}
		if r == nil {
			if !isReset(i, value) && len(j.events(i)) == 0 {
				j.unlogged(i)
			}
			if len(j.events(i)) > 0 {
				j.find("pcr-mismatch", pcrName(i), "no measurement", hex.EncodeToString(value))
			}
			continue
		}
		if j.failed.Has(i) {
			continue // already told: what the log says of this PCR is worthless
		}
		unlogged := len(j.events(i)) == 0 && !isReset(i, value)
		if j.verified == nil || unlogged && len(r.Events) == 0 && !isReset(i, r.Value) {
			j.differ(r, "pcr-mismatch", pcrName(i), hex.EncodeToString(r.Value), hex.EncodeToString(value))
			continue
		}
		if unlogged {
			j.unlogged(i)
			continue
		}
		j.diff(i, r)
	}
}

// unlogged tells of a value that nothing explains, unless the policy allows it.
func (j *bootJudge) unlogged(i int) {
	if !j.policy.Unlogged.Has(i) {
		j.find("pcr-unlogged", pcrName(i), "a boot log event for the value", hex.EncodeToString(j.bank.Value(i)))
	}
}

func isReset(i int, value []byte) bool {
	var want byte
	if i >= 17 && i <= 22 {
		want = 0xff
	}
	for _, b := range value {
		if b != want {
			return false
		}
	}
	return true
}

func (j *bootJudge) differ(r *reference.Register, name, component, expected, observed string) {
	if r.ReportOnly {
		name = "boot-difference"
	}
	j.find(name, component, expected, observed)
}

// diff pairs the events of a PCR with those of its reference: first the same digests, then the same slots.
func (j *bootJudge) diff(i int, r *reference.Register) {
	alg := j.bank.Algorithm()
	unused := make(map[string]int, len(r.Events))
	for _, e := range r.Events {
		unused[string(e.Digest)]++
	}
	var unknown []*eventlog.Event
	for _, e := range j.events(i) {
		if d := string(e.Digest(alg)); unused[d] > 0 {
			unused[d]--
			continue
		}
		unknown = append(unknown, e)
	}
	var absent []reference.Event
	for k := len(r.Events) - 1; k >= 0; k-- { // from the end: of equal digests the last is the absent one
		if d := string(r.Events[k].Digest); unused[d] > 0 {
			unused[d]--
			absent = append([]reference.Event{r.Events[k]}, absent...)
		}
	}
	if len(unknown) == 0 && len(absent) == 0 {
		j.differ(r, "boot-order", pcrName(i), hex.EncodeToString(r.Value), hex.EncodeToString(j.bank.Value(i)))
		return
	}
	for _, e := range unknown {
		slot, observed := e.Slot(), hex.EncodeToString(e.Digest(alg))
		expected, was := takeSlot(&absent, slot)
		if expected == nil {
			j.differ(r, "boot-event-unknown", pcrName(i)+", "+e.Describe().String(), "", observed)
			continue
		}
		if slot == secureBootSlot {
			continue // told by secureBoot in better words
		}
		j.differ(r, "boot-event-changed", pcrName(i)+", "+was, hex.EncodeToString(expected), observed)
	}
	for _, e := range absent {
		j.differ(r, "boot-event-missing", pcrName(i)+", "+noteOr(e), hex.EncodeToString(e.Digest), "")
	}
}

const secureBootSlot = "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"

// takeSlot removes the first expected event of a slot.
func takeSlot(absent *[]reference.Event, slot string) (digest []byte, note string) {
	for k, e := range *absent {
		if e.Slot == slot {
			*absent = append((*absent)[:k:k], (*absent)[k+1:]...)
			return e.Digest, noteOr(e)
		}
	}
	return nil, ""
}

func noteOr(e reference.Event) string {
	if e.Note != "" {
		return e.Note
	}
	return e.Slot
}

// secureBoot applies the policy for Secure Boot.
func (j *bootJudge) secureBoot(c *reference.Compiled) {
	if !j.policy.wantsSecureBoot(c) {
		return
	}
	state := eventlog.SecureBootUnknown
	if j.verified != nil {
		state, _ = j.verified.SecureBoot()
	}
	const component = "EFI variable SecureBoot, PCR 7"
	switch state {
	case eventlog.SecureBootOff:
		j.find("secure-boot-off", component, "on", "off")
	case eventlog.SecureBootUnknown:
		j.find("secure-boot-unknown", component, "on", "not proved")
	}
}

// wantsSecureBoot reports whether Secure Boot must be on for a device that is compared with c, which may be nil.
func (p *Policy) wantsSecureBoot(c *reference.Compiled) bool {
	return p.SecureBoot == Required || p.SecureBoot == Reference && c != nil && c.Secure != nil && *c.Secure
}

// secureBootTold reports whether secureBoot finds that Secure Boot is not on as it must be.
func (j *bootJudge) secureBootTold(c *reference.Compiled) bool {
	state, _ := j.verified.SecureBoot()
	return j.policy.wantsSecureBoot(c) && state != eventlog.SecureBootOn
}

func decodeHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not a digest: %w", err)
	}
	return b, nil
}
