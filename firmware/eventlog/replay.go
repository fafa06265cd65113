package eventlog

import (
	"bytes"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// localitySignature starts the data of a TCG_EfiStartupLocalityEvent (PFP section 10.4.5.3); one byte, the locality,
// follows.
var localitySignature = []byte("StartupLocality\x00")

// localityHCRTM is the locality that PCR 0 starts with after a hardware-measured root of trust (H-CRTM) ran before
// TPM2_Startup (TPM 2.0 Library, Part 1, section 34.3).
const localityHCRTM = 4

// StartupLocality returns the locality that PCR 0 starts with on the machine of this log, as its last byte: 0, or what a
// StartupLocality event says, or 4 if the first measurement is that of a H-CRTM. It is a claim that the quoted PCR 0
// confirms or not.
func (l *Log) StartupLocality() byte {
	locality, hcrtm := l.start()
	if hcrtm {
		return localityHCRTM
	}
	return locality
}

// start returns the locality that a StartupLocality event says, 0 without one, and whether the first measurement into
// PCR 0 is that of a H-CRTM.
func (l *Log) start() (locality byte, hcrtm bool) {
	for i := range l.Events {
		e := &l.Events[i]
		switch {
		case e.Extends() && e.PCR == 0:
			return locality, e.Type == EFIHCRTMEvent
		case isLocality(e) && len(e.Data) == len(localitySignature)+1:
			locality = e.Data[len(localitySignature)]
		}
	}
	return locality, false
}

func isLocality(e *Event) bool {
	return e.Type == NoAction && bytes.HasPrefix(e.Data, localitySignature)
}

// Replay computes the values that the log claims for the PCRs of one bank. PCRs without events are absent from
// Present(). PCR 0 starts with what a StartupLocality event says, else with 0: a log that holds a H-CRTM's event instead
// leaves open whether its TPM started PCR 0 with 4, see ReplayHCRTM. The error is a *RuleError with RuleBank if the log
// has no bank of this algorithm, an event lacks its digest, or the algorithm has no implementation here (SM3).
func (l *Log) Replay(a pcr.Algorithm) (*pcr.Bank, error) {
	locality, _ := l.start()
	return l.replay(a, locality, pcr.All)
}

// ReplayHCRTM returns the value of PCR 0 if a H-CRTM ran before TPM2_Startup, which starts it with 4. It is nil for logs
// without the event of a H-CRTM, and for banks that Replay refuses.
func (l *Log) ReplayHCRTM(a pcr.Algorithm) []byte {
	if _, hcrtm := l.start(); !hcrtm {
		return nil
	}
	bank, err := l.replay(a, localityHCRTM, pcr.Select(0))
	if err != nil {
		return nil
	}
	return bank.Value(0)
}

func (l *Log) replay(a pcr.Algorithm, locality byte, pcrs pcr.Selection) (*pcr.Bank, error) {
	if l.size(a) == 0 {
		return nil, ruleError(RuleBank, -1, nil, fmt.Sprintf("the log has no %s bank, only %v", a, l.Banks))
	}
	if a.Hash() == 0 {
		return nil, ruleError(RuleBank, -1, nil, fmt.Sprintf("%s cannot be computed here", a))
	}
	bank := pcr.NewBank(a)
	for i := range l.Events {
		e := &l.Events[i]
		if !e.Extends() || pcrs != pcr.All && !pcrs.Has(int(e.PCR)) {
			continue
		}
		d := e.Digest(a)
		if d == nil {
			return nil, ruleError(RuleBank, int(e.PCR), e, fmt.Sprintf("the event has no %s digest", a))
		}
		if e.PCR == 0 && !bank.Present().Has(0) {
			var start [pcr.MaxDigest]byte
			start[a.Size()-1] = locality
			if err := bank.Set(0, start[:a.Size()]); err != nil {
				return nil, fmt.Errorf("replay: %w", err)
			}
		}
		if err := bank.Extend(int(e.PCR), d); err != nil {
			return nil, fmt.Errorf("replay event %d: %w", e.Number, err)
		}
	}
	return bank, nil
}
