package appraise

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// Requirement says what becomes of a property that reference values may or may not speak of.
type Requirement string

// Requirements.
const (
	Ignored   Requirement = "ignored"   // never looked at
	Reference Requirement = "reference" // as the reference values have it
	Required  Requirement = "required"  // whatever the reference values say
)

// Policy is the appraisal policy for evidence (RFC 9334, section 8.5).
type Policy struct {
	Name       string          `cbor:"1,keyasint"`
	Banks      []pcr.Algorithm `cbor:"2,keyasint"` // PCR banks to build trust on, preferred first; SHA-1 only if listed
	PCRs       pcr.Selection   `cbor:"3,keyasint"` // exactly what must be quoted
	Unlogged   pcr.Selection   `cbor:"4,keyasint"` // PCRs that may hold values which no boot log explains
	SecureBoot Requirement     `cbor:"5,keyasint"`
	IMA        Requirement     `cbor:"6,keyasint"`
	BootLog    Requirement     `cbor:"7,keyasint"` // Ignored: a device without a boot log may be trusted by PCR values alone
	// UnknownFile and Violation are the severities of a file that no reference knows and of an IMA violation.
	UnknownFile result.Severity `cbor:"8,keyasint"`
	Violation   result.Severity `cbor:"9,keyasint"`
	MinLevel    result.Level    `cbor:"10,keyasint"` // a weaker identity is at best warning
	StaleAfter  time.Duration   `cbor:"11,keyasint"` // silence after which a state is stale
	Flash       Requirement     `cbor:"12,keyasint"` // flash memory, as the device itself reads it
	FlashMaxAge time.Duration   `cbor:"13,keyasint"` // age of flash digests from which on they are told to be old
	// Endorsers is how many independent endorsers of each role a manifest needs. Nil: one of any role.
	Endorsers map[reference.Role]int `cbor:"14,keyasint,omitempty"`
	// RequiredPCRs are PCRs of which reference values must know everything that may be measured. IMA's is none of them.
	RequiredPCRs pcr.Selection `cbor:"15,keyasint,omitempty"`
	// RequiredRegions are names of flash regions that the device must read and reference values must cover.
	RequiredRegions []string `cbor:"16,keyasint,omitempty"`

	id string // set by Seal
}

// Seal returns a copy that knows its ID and must not be changed any more.
func (p Policy) Seal() *Policy {
	p.id = ""
	p.id = p.ID()
	return &p
}

// DefaultPolicy quotes PCRs 0 to 15 (16 and 23 are resettable, 17 to 22 belong to a dynamic launch) and follows the
// reference values.
func DefaultPolicy() Policy {
	return Policy{
		Name:        "default",
		Banks:       []pcr.Algorithm{pcr.SHA256, pcr.SHA384},
		PCRs:        0xffff,
		SecureBoot:  Reference,
		IMA:         Reference,
		BootLog:     Required,
		UnknownFile: result.Warn,
		Violation:   result.Warn,
		MinLevel:    result.FirstUse,
		StaleAfter:  15 * time.Minute,
		Flash:       Reference,
		FlashMaxAge: 24 * time.Hour,
	}
}

// ID names the policy and, by a digest, its exact content: "default/6b86b273ff34fce1".
func (p *Policy) ID() string {
	if p.id != "" {
		return p.id
	}
	b, err := encoding.Marshal(p)
	if err != nil { // a struct of plain values always encodes
		panic(err)
	}
	sum := sha256.Sum256(b)
	return p.Name + "/" + hex.EncodeToString(sum[:8])
}

// Offers returns the banks that a challenge offers, preferred first: the policy's and, as the last resort of a TPM that
// has no other, SHA-1. What comes of it explains; see bank-weak.
func (p *Policy) Offers() []uint16 {
	out := make([]uint16, 0, len(p.Banks)+1)
	for _, b := range p.Banks {
		out = append(out, uint16(b))
	}
	if !p.accepts(pcr.SHA1) {
		out = append(out, uint16(pcr.SHA1))
	}
	return out
}

// accepts reports whether trust may be built on a bank.
func (p *Policy) accepts(bank pcr.Algorithm) bool { return slices.Contains(p.Banks, bank) }

// prefers reports whether a device that has both banks should quote the first.
func (p *Policy) prefers(first, second pcr.Algorithm) bool {
	i, k := slices.Index(p.Banks, first), slices.Index(p.Banks, second)
	return i >= 0 && (k < 0 || i < k)
}

// bootPCRs are those of the quote whose values a boot log explains: all but IMA's.
func (p *Policy) bootPCRs() pcr.Selection { return p.PCRs &^ pcr.Select(ima.PCR) }

var levels = map[result.Level]int{result.Software: 0, result.FirstUse: 1, result.Pinned: 2, result.Certified: 3}
