package appraise

import (
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// BootExplanation is what an appraisal of a boot stands on, for those who show it.
type BootExplanation struct {
	Document *reference.Compiled   // that the boot was compared with; nil: there was none
	Files    []*reference.Compiled // documents that say which files may run, the one that the boot fits first
	Verified *eventlog.Verified    // nil: there is no log, or it is not that of the quoted values
	Failed   pcr.Selection         // PCRs that the log fails to explain
	Findings []result.Finding
}

// ExplainBoot judges a boot as Boot does and tells what it stands on. Without a log, un says why.
func ExplainBoot(quotedPCRs *pcr.Bank, log []byte, un *proto.Unavailable, m *reference.View, p *Policy) BootExplanation {
	j, best := runBoot(quotedPCRs, log, un, m, p)
	return BootExplanation{
		Document: best, Files: withFiles(m, best, p), Verified: j.verified, Failed: j.failed, Findings: j.findings,
	}
}

// BootPCRs returns the PCRs that a boot is judged by: all of the policy's but IMA's.
func (p *Policy) BootPCRs() pcr.Selection { return p.bootPCRs() }

// Recognises reports whether an event of a manifest is the one that was measured, if their digests are the same: by the
// type, or the whole slot.
func Recognises(k *manifest.Event, e *eventlog.Event) bool {
	return typeOf(k.Slot) == e.Type.String() || inSlot(k.Slot, e.Slot())
}

// InSlot reports whether an observed slot is the one that a manifest names, in which * stands for any characters.
func InSlot(pattern, slot string) bool { return inSlot(pattern, slot) }

// PCRName names a PCR with what is measured into it.
func PCRName(i int) string { return pcrName(i) }

// PCRContent says what is measured into a PCR, such as "boot loader"; empty where no standard says it.
func PCRContent(i int) string {
	if i < 0 || i >= pcr.Count {
		return ""
	}
	return componentNames[i]
}

// Printable returns a text of a device that is safe to show: bounded, what does not print escaped.
func Printable(s string) string { return printable(s) }
