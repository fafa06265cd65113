package eventlog

import (
	"bytes"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Verified is a log whose replay equals quoted PCR values and that keeps the rules. Only Verify and VerifyWeak make one.
type Verified struct {
	log    *Log
	quoted *pcr.Bank
	logged pcr.Selection
}

// Verify checks the log against PCR values of one bank. They must come from a quote whose signature, freshness and
// selection the caller has checked. In this order:
//
//  1. The bank's algorithm may carry a verdict (SHA-1 may not), the log has it, and every extending event has its
//     digest.
//  2. At least one event extends a PCR: a log of nothing matches everything.
//  3. For every PCR with events, the replayed value equals the quoted one. A PCR with events that was not quoted is a
//     mismatch.
//  4. There is at most one StartupLocality event; it has its form, is of PCR 0, and precedes the first measurement into
//     PCR 0.
//  5. There is at most one H-CRTM event, and it is the first measurement into PCR 0.
//  6. Each of PCRs 0 to 7 has exactly one EV_SEPARATOR, its data is 00000000 or ffffffff and hashes to its digest, and
//     in PCRs 2, 4 and 7 no event of another type carries a separator's digest.
//
// PCRs that were quoted but have no events are not judged here: see Unlogged. The error is a *RuleError or
// *MismatchError. Cost: one hash of two digests for each event.
func (l *Log) Verify(quoted *pcr.Bank) (*Verified, error) {
	a := quoted.Algorithm()
	if !a.Trusted() {
		return nil, ruleError(RuleBank, -1, nil, fmt.Sprintf("%s is no bank to build trust on: quote sha256 or sha384", a))
	}
	return l.verify(quoted)
}

// VerifyWeak is Verify for PCR values of the SHA-1 bank, which is all that some old TPMs have, and for no other. What it
// returns explains what the machine says that it booted and is Weak: two logs that lead to the same values can be made,
// so it is no basis of trust.
func (l *Log) VerifyWeak(quoted *pcr.Bank) (*Verified, error) {
	if a := quoted.Algorithm(); a != pcr.SHA1 {
		return nil, ruleError(RuleBank, -1, nil, fmt.Sprintf("%s is not the sha1 bank: verify it without this allowance", a))
	}
	return l.verify(quoted)
}

// verify makes all checks of Verify but that of the algorithm's strength.
func (l *Log) verify(quoted *pcr.Bank) (*Verified, error) {
	a := quoted.Algorithm()
	replayed, err := l.Replay(a)
	if err != nil {
		return nil, err
	}
	if replayed.Present() == 0 {
		return nil, ruleError(RuleNoEvents, -1, nil, "no event extends a PCR")
	}
	var wrong []Mismatch
	for i := range pcr.Count {
		if want := replayed.Value(i); want != nil && !bytes.Equal(want, quoted.Value(i)) {
			if i == 0 && quoted.Value(0) != nil && bytes.Equal(l.ReplayHCRTM(a), quoted.Value(0)) {
				continue
			}
			wrong = append(wrong, Mismatch{PCR: i, Replayed: want, Quoted: quoted.Value(i)})
		}
	}
	if wrong != nil {
		return nil, &MismatchError{Mismatches: wrong}
	}
	if err := l.checkStart(); err != nil {
		return nil, err
	}
	if err := l.checkSeparators(a); err != nil {
		return nil, err
	}
	return &Verified{log: l, quoted: quoted.Clone(), logged: replayed.Present()}, nil
}

// Weak reports whether the log was verified against SHA-1 values only: it explains, and proves nothing.
func (v *Verified) Weak() bool { return !v.quoted.Algorithm().Trusted() }

// Log returns the log, including the events that are not bound by any PCR.
func (v *Verified) Log() *Log { return v.log }

// Bank returns the quoted values that the log was verified against.
func (v *Verified) Bank() *pcr.Bank { return v.quoted }

// Events returns the events that extended a PCR, in order. Their PCR and their digest in the bank of Bank are proven.
func (v *Verified) Events() []Event {
	all := v.log.Events
	n := 0
	for i := range all {
		if all[i].Extends() {
			n++
		}
	}
	if n == len(all) {
		return all
	}
	out := make([]Event, 0, n)
	for i := range all {
		if all[i].Extends() {
			out = append(out, all[i])
		}
	}
	return out
}

// Unlogged returns the quoted PCRs that have no event in the log and yet not the value of a fresh TPM. PCR 10 is one on
// every machine that runs IMA, PCRs 16 and 23 can be; on others it means that the log is incomplete.
func (v *Verified) Unlogged() pcr.Selection {
	fresh := pcr.Reset(v.quoted.Algorithm())
	var s pcr.Selection
	for i := range pcr.Count {
		if value := v.quoted.Value(i); value != nil && !v.logged.Has(i) && !bytes.Equal(value, fresh.Value(i)) {
			s |= 1 << i
		}
	}
	return s
}
