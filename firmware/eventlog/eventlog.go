// Package eventlog reads the measured boot log of a machine (the TCG event log) and verifies it against PCR values
// that a TPM has quoted.
//
// Parse turns the bytes into a Log: claims, nothing verified, nothing hashed. (*Log).Verify replays the log, compares
// it with the quoted PCRs and checks the rules that a replay alone does not cover; it is the only way to get a
// Verified. Describe, Slot and View decode events for people, lazily, and never fail: what has no known form is shown
// as hexadecimal.
//
// What a verified log proves: which digests extended each PCR, and in which order, in the bank that was quoted. What it
// does not prove: the order of events of different PCRs, event types, event data and digests of other banks. Data is
// bound only where DataMatches says so, and events of type EV_NO_ACTION are never bound.
//
// Two formats are read: the crypto-agile format ("Spec ID Event03") and the SHA-1 format of TPM 1.2. The latter, like
// every SHA-1 bank, is read to be explained; Verify refuses it.
//
// Limits: see limits.go. A Log shares memory with the bytes that it was parsed from; do not change either.
//
// Sources: TCG PC Client Platform Firmware Profile 1.06 (PFP), sections 9 and 10; TCG EFI Protocol Specification,
// section 5; UEFI 2.10, sections 3, 5, 10 and 32.
package eventlog

import (
	"encoding/binary"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Format is the encoding of a log.
type Format string

// Formats of logs.
const (
	// FormatTCG2 is the crypto-agile format: TCG_PCR_EVENT2 records after a Spec ID header (PFP section 10.2.2).
	FormatTCG2 Format = "tcg2"
	// FormatTCG12 is the format of TPM 1.2: TCG_PCR_EVENT records with one SHA-1 digest each (PFP section 10.2.1).
	FormatTCG12 Format = "tcg1.2"
)

// Log is a parsed log: what a machine claims about its boot. Nothing in it is verified.
type Log struct {
	// Format tells how the log was encoded.
	Format Format
	// Banks are the digest algorithms that the log declares, in its order.
	Banks []pcr.Algorithm
	// Spec is the Spec ID header, nil in a log of FormatTCG12.
	Spec *Spec
	// Events are all records after the Spec ID header, in order, those of type EV_NO_ACTION included.
	Events []Event
	// Padding is the number of zero bytes after the last event. Some firmware hands over its whole buffer.
	Padding int

	sizes [MaxAlgorithms]uint16 // digest sizes of Banks
}

// Spec is the content of a Spec ID header, TCG_EfiSpecIDEvent (PFP section 10.4.5.1).
type Spec struct {
	Class      uint32 // platform class: 0 client, 1 server
	Major      uint8  // version of the specification
	Minor      uint8
	Errata     uint8
	UintnSize  uint8  // size of a UINTN in 32-bit words
	VendorInfo []byte // no known form
}

// Event is one record of a log. Only a Verified tells which of its parts are more than a claim.
type Event struct {
	// Number is the record's position in the log, where a Spec ID header counts as 0 (as tpm2_eventlog prints it).
	Number int
	// Offset is where the record starts in the log, in bytes.
	Offset int
	// PCR is the register that was extended: below pcr.Count, except in EV_NO_ACTION events, where anything may stand.
	PCR uint32
	// Type says what was measured. It is not covered by any digest.
	Type EventType
	// Data describes what was measured and, for some types, is what was measured.
	Data []byte

	digests []byte // TPML_DIGEST_VALUES without its count, or one SHA-1 digest
	log     *Log
}

// Digest returns the digest that the event extended in the bank of algorithm a, nil if the event has none of it.
func (e *Event) Digest(a pcr.Algorithm) []byte {
	if e.log == nil {
		return nil
	}
	if e.log.Format == FormatTCG12 {
		if a == pcr.SHA1 {
			return e.digests
		}
		return nil
	}
	for d := e.digests; len(d) > 2; {
		id := pcr.Algorithm(binary.LittleEndian.Uint16(d))
		n := 2 + e.log.size(id)
		if id == a {
			return d[2:n:n]
		}
		d = d[n:]
	}
	return nil
}

// Extends reports whether the event changed a PCR: all do, except those of type EV_NO_ACTION (PFP section 10.4.5).
func (e *Event) Extends() bool { return e.Type != NoAction }

// size returns the digest size of a declared algorithm in bytes, 0 if the log does not declare it.
func (l *Log) size(a pcr.Algorithm) int {
	for i, b := range l.Banks {
		if a == b {
			return int(l.sizes[i])
		}
	}
	return 0
}
