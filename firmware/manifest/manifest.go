// Package manifest is Probity's profile of Concise Reference Integrity Manifests (CoRIM, draft-ietf-rats-corim-11):
// what a vendor, lab or other Endorser publishes and signs about one version of the firmware of one model, and
// deny-lists of what is known to be bad.
//
// A Manifest is a plain value. Encode and Decode convert it to and from an unsigned CoRIM, in exactly one encoding for
// each content; Sign and Open to and from the same signed with COSE_Sign1. README.md in this folder specifies the
// encoding. Lint and Diff help people to read manifests.
//
// The package knows neither devices nor policy: whether a signer may speak for a model, and which manifests are in
// force, others decide. Limits on what is read are in limits.go; package corim below reads CoRIMs of any profile.
package manifest

import (
	"encoding/hex"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Profile is the profile identifier (draft, section 4.1.4) of the CoRIMs that this package reads and writes.
const Profile = "tag:probity-attest.org,2026:corim-profile:1"

// Manifest is the reference values of one version of a model's firmware or, if Advisory is set, a deny-list.
type Manifest struct {
	ID string // unique among the manifests of its signer, such as "acme/r7/2.5.0"

	Vendor  string // a deny-list may leave out Model, or both: then it is for all
	Model   string
	Version string // of the firmware; not in deny-lists

	SVN    uint64 // security version number of this version; 0: none is stated
	MinSVN uint64 // lowest one that is safe: what is below must not run any more; 0: none is stated

	NotBefore time.Time // whole seconds, UTC; zero: no bound. Needs NotAfter
	NotAfter  time.Time // first instant at which it is no longer valid

	PCRs    []PCR    // in ascending order of index
	Regions []Region // names are unique
	Files   []File   // decoded ones are in the order of SortFiles

	Supersedes []Supersession // older manifests that retire
	Withdraws  []Withdrawal   // manifests that were wrong: nothing of them counts any more

	Advisory string // such as "CVE-2026-12345"; set: the manifest is a deny-list
	Denied   []Denial
}

// Coverage is how much the manifest knows of a PCR.
type Coverage uint8

// Degrees of coverage.
const (
	// Complete: nothing but Events may be measured into the PCR.
	Complete Coverage = iota
	// Partial: events in slots that Events doesn't name may also be measured; they are told, but don't change the
	// verdict.
	Partial
	// Informative: a difference is told, but doesn't change the verdict.
	Informative
)

// String returns "complete", "partial" or "informative".
func (c Coverage) String() string {
	switch c {
	case Complete:
		return "complete"
	case Partial:
		return "partial"
	case Informative:
		return "informative"
	}
	return "unknown"
}

// PCR is the reference of one Platform Configuration Register.
type PCR struct {
	Index    int
	Coverage Coverage
	Note     string    // why coverage is what it is, for people
	Values   []Digests // alternatives, each with one value per bank; none: Events decide
	Events   []Event   // a set; none: Values decide
}

// Event is something that this firmware measures.
type Event struct {
	Slot     string  // which thing is measured, as package eventlog names it; events of one slot are alternatives
	Digests  Digests // one per bank
	Note     string  // what it is, for people
	Required bool    // of the events of a slot one must occur if any of them is required
}

// Region is a region of flash memory.
type Region struct {
	Name     string
	Offset   uint64  // in the flash image, in bytes
	Length   uint64  // in bytes
	Digests  Digests // of the region, in which excluded bytes count as 0xff
	Excluded []Range // in ascending order, apart from each other
	Note     string
}

// ExcludedLength returns how many bytes of the region are excluded.
func (r *Region) ExcludedLength() (n uint64) {
	for _, x := range r.Excluded {
		n += x.Length
	}
	return n
}

// Range is a range of bytes in a region that differs between devices, and so is not measured.
type Range struct {
	Offset uint64 // in the region
	Length uint64
	Reason string // "NVRAM variables", "MAC addresses"
}

// File is a file that the model runs or maps, as IMA measures it. Several files of one path are alternatives, or
// digests by different algorithms.
type File struct {
	Path   string // absolute and clean
	Digest Digest // of the content
}

// Supersession retires an older manifest.
type Supersession struct {
	ID    string    // of the older manifest
	Until time.Time // both are valid until then; zero: the older one stays valid until its own end
}

// Withdrawal declares that a manifest was wrong.
type Withdrawal struct {
	ID     string
	Reason string
}

// Component is what a denied digest is the digest of.
type Component uint8

// Components.
const (
	AnyComponent Component = iota // whatever has this digest
	DeniedEvent
	DeniedPCR
	DeniedRegion
	DeniedFile
)

// String returns the component for people.
func (c Component) String() string {
	switch c {
	case AnyComponent:
		return "any component"
	case DeniedEvent:
		return "boot event"
	case DeniedPCR:
		return "PCR value"
	case DeniedRegion:
		return "flash region"
	case DeniedFile:
		return "file"
	}
	return "unknown"
}

// Denial is something known to be bad, wherever it occurs and under whatever name.
type Denial struct {
	Component Component
	Digests   Digests // of one content
	Note      string
}

// Digest is a digest with its algorithm: SHA-256, SHA-384 or SHA-512.
type Digest struct {
	Algorithm pcr.Algorithm
	Value     []byte
}

// String returns "sha256:" and the hexadecimal value.
func (d Digest) String() string { return d.Algorithm.String() + ":" + hex.EncodeToString(d.Value) }

// Digests are of one content by different algorithms, in ascending order of algorithm.
type Digests []Digest

// Get returns the digest by algorithm a, nil if there is none.
func (d Digests) Get(a pcr.Algorithm) []byte {
	for i := range d {
		if d[i].Algorithm == a {
			return d[i].Value
		}
	}
	return nil
}

// IsDenyList reports whether m is a deny-list.
func (m *Manifest) IsDenyList() bool { return m.Advisory != "" }
