package eventlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Rule names a rule that a log broke. The codes are stable.
type Rule string

// Rules that Verify checks.
const (
	RuleBank               Rule = "bank"                // no complete or no trusted bank of the quoted algorithm
	RuleNoEvents           Rule = "no-events"           // nothing that extends a PCR
	RuleStartupLocality    Rule = "startup-locality"    // repeated, late, or malformed
	RuleHCRTM              Rule = "hcrtm"               // a H-CRTM event that is not the first of PCR 0
	RuleSeparatorMissing   Rule = "separator-missing"   // a PCR of 0 to 7 without EV_SEPARATOR
	RuleSeparatorRepeated  Rule = "separator-repeated"  // a PCR of 0 to 7 with more than one
	RuleSeparatorValue     Rule = "separator-value"     // neither 00000000 nor ffffffff, or not what its digest says
	RuleSeparatorError     Rule = "separator-error"     // 00000001: the firmware reports an error
	RuleSeparatorDisguised Rule = "separator-disguised" // a separator's digest under another event type
)

// RuleError tells which rule a log breaks although, or before, its replay is compared.
type RuleError struct {
	Rule   Rule
	PCR    int // -1 if the rule is not about one PCR
	Event  int // Event.Number, -1 if the rule is not about one event
	Detail string
}

func (e *RuleError) Error() string {
	var b strings.Builder
	b.WriteString("boot event log breaks rule " + string(e.Rule))
	if e.PCR >= 0 {
		b.WriteString(", PCR " + strconv.Itoa(e.PCR))
	}
	if e.Event >= 0 {
		b.WriteString(", event " + strconv.Itoa(e.Event))
	}
	b.WriteString(": " + e.Detail)
	return b.String()
}

func ruleError(r Rule, index int, e *Event, detail string) *RuleError {
	err := &RuleError{Rule: r, PCR: index, Event: -1, Detail: detail}
	if e != nil {
		err.Event = e.Number
	}
	return err
}

// Mismatch is a PCR whose quoted value is not what the log replays to.
type Mismatch struct {
	PCR      int
	Replayed []byte
	Quoted   []byte // nil if the PCR was not quoted
}

// MismatchError tells that a log is not the log of the quoted PCRs: altered, incomplete, or of another boot.
type MismatchError struct {
	Mismatches []Mismatch // in ascending order of PCRs, at least one
}

func (e *MismatchError) Error() string {
	parts := make([]string, len(e.Mismatches))
	for i, m := range e.Mismatches {
		quoted := "is not quoted"
		if m.Quoted != nil {
			quoted = fmt.Sprintf("is quoted as %x", m.Quoted)
		}
		parts[i] = fmt.Sprintf("PCR %d replays to %x but %s", m.PCR, m.Replayed, quoted)
	}
	return "boot event log does not match the quoted PCRs: " + strings.Join(parts, "; ")
}
