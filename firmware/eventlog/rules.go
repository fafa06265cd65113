package eventlog

import (
	"bytes"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// firmwarePCRs is how many PCRs firmware closes with a separator: 0 to 7 (PFP section 3.3.4.2 and 10.4.1,
// EV_SEPARATOR).
const firmwarePCRs = 8

// checkStart checks what decides the start value of PCR 0 (PFP sections 10.4.5.3 and 3.3.4.1).
func (l *Log) checkStart() error {
	located, measured, hcrtm := false, false, false
	for i := range l.Events {
		e := &l.Events[i]
		switch {
		case isLocality(e):
			if err := checkLocality(e, located, measured); err != nil {
				return err
			}
			located = true
		case e.Type == EFIHCRTMEvent:
			if e.PCR != 0 || measured || hcrtm {
				return ruleError(RuleHCRTM, int(e.PCR), e, "a H-CRTM is measured once, as the first event of PCR 0")
			}
			hcrtm, measured = true, true
		case e.Extends() && e.PCR == 0:
			measured = true
		}
	}
	return nil
}

func checkLocality(e *Event, located, measured bool) error {
	switch n := len(localitySignature); {
	case located:
		return ruleError(RuleStartupLocality, 0, e, "a second StartupLocality event")
	case measured:
		return ruleError(RuleStartupLocality, 0, e, "StartupLocality after the first measurement into PCR 0")
	case e.PCR != 0:
		return ruleError(RuleStartupLocality, -1, e, fmt.Sprintf("StartupLocality event of PCR %d, want PCR 0", e.PCR))
	case len(e.Data) != n+1:
		return ruleError(RuleStartupLocality, 0, e, fmt.Sprintf("StartupLocality event of %d bytes, want %d", len(e.Data), n+1))
	case e.Data[n] != 0 && e.Data[n] != 3 && e.Data[n] != localityHCRTM:
		return ruleError(RuleStartupLocality, 0, e, fmt.Sprintf("locality %d, want 0, 3 or 4", e.Data[n]))
	}
	return nil
}

// Data of separators (PFP section 10.4.1, EV_SEPARATOR).
var (
	separatorZeros = []byte{0, 0, 0, 0}
	separatorOnes  = []byte{0xff, 0xff, 0xff, 0xff}
	separatorError = []byte{1, 0, 0, 0}
)

// separatorDigests are the digests of the three separators in one bank.
type separatorDigests struct {
	zeros, ones, failed [pcr.MaxDigest]byte
	n                   int
}

// separatorsOf are the separators' digests of the banks that Verify accepts.
var separatorsOf = map[pcr.Algorithm]*separatorDigests{
	pcr.SHA256: hashSeparators(pcr.SHA256), pcr.SHA384: hashSeparators(pcr.SHA384),
}

func hashSeparators(a pcr.Algorithm) *separatorDigests {
	d := &separatorDigests{n: a.Size()}
	h := a.New()
	for _, s := range []struct {
		to   *[pcr.MaxDigest]byte
		data []byte
	}{{&d.zeros, separatorZeros}, {&d.ones, separatorOnes}, {&d.failed, separatorError}} {
		h.Reset()
		h.Write(s.data)
		h.Sum(s.to[:0])
	}
	return d
}

// structuredPCRs are the PCRs of 0 to 7 in which nothing but a separator hashes to a separator's digest: images,
// actions and variables with their header are measured there. The others hold free content that real machines fill
// with 00000000 (Intel's FIT record of type 0x2D in PCR 0) or 01000000 (BootOrder 0001, 0000 in PCR 1 or 5).
const structuredPCRs = pcr.Selection(1<<2 | 1<<4 | 1<<secureBootPCR)

// checkSeparators checks the separators of PCRs 0 to 7 by recomputing their digests. Types are not bound: a log could
// show the true separator as another event and a later one, extended by any program, as the separator, and what lies
// between would pass for firmware's. So in the structured PCRs a separator's digest under another type is an error.
func (l *Log) checkSeparators(a pcr.Algorithm) error {
	known := separatorsOf[a]
	if known == nil { // Verify has refused other banks before
		known = hashSeparators(a)
	}
	var seen [firmwarePCRs]bool
	for i := range l.Events {
		e := &l.Events[i]
		if e.PCR >= firmwarePCRs || !e.Extends() {
			continue
		}
		if err := known.check(e, a); err != nil {
			return err
		}
		if e.Type != Separator {
			continue
		}
		if seen[e.PCR] {
			return ruleError(RuleSeparatorRepeated, int(e.PCR), e, "a second EV_SEPARATOR: what follows could pass for firmware")
		}
		seen[e.PCR] = true
	}
	for i, ok := range seen {
		if !ok {
			return ruleError(RuleSeparatorMissing, i, nil, "no EV_SEPARATOR: the log is incomplete or not of firmware that ends")
		}
	}
	return nil
}

// check checks one event of PCRs 0 to 7, separator or not.
func (d *separatorDigests) check(e *Event, a pcr.Algorithm) error {
	if e.Type != Separator && !structuredPCRs.Has(int(e.PCR)) {
		return nil
	}
	digest := e.Digest(a)
	zeros, ones := bytes.Equal(digest, d.zeros[:d.n]), bytes.Equal(digest, d.ones[:d.n])
	failed := bytes.Equal(digest, d.failed[:d.n])
	index := int(e.PCR)
	switch {
	case e.Type != Separator && (zeros || ones || failed):
		return ruleError(RuleSeparatorDisguised, index, e, fmt.Sprintf("%s with the digest of a separator", e.Type))
	case e.Type != Separator:
		return nil
	case failed || bytes.Equal(e.Data, separatorError):
		return ruleError(RuleSeparatorError, index, e, "the firmware reports an error in what it measured")
	case zeros && bytes.Equal(e.Data, separatorZeros), ones && bytes.Equal(e.Data, separatorOnes):
		return nil
	}
	return ruleError(RuleSeparatorValue, index, e, "separator is not 00000000 or ffffffff, or its digest is of other data")
}
