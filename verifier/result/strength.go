package result

// Strength is what the evidence on a submodule rests on.
type Strength string

// Strengths, best first.
const (
	Hardware      Strength = "hardware"       // bound by a TPM's quote
	MeasuredAgent Strength = "measured-agent" // the device says so itself, by an agent that its TPM vouches for
	SelfAsserted  Strength = "self-asserted"  // the device says so itself
	None          Strength = "none"           // nothing of it was appraised
)

// Meaning says a strength in words.
func (s Strength) Meaning() string {
	switch s {
	case Hardware:
		return "hardware: bound by the TPM's signature"
	case MeasuredAgent:
		return "measured agent: the device says so itself, no TPM vouches for it, but the TPM vouches for the agent that says so"
	case SelfAsserted:
		return "self-asserted: the device says so itself, no TPM vouches for it"
	case None:
		return "none: nothing of it was appraised"
	}
	return string(s)
}

// Strengths is the strength of each submodule. The zero value is that of results which are not about evidence.
type Strengths struct {
	Identity Strength `json:"identity" cbor:"1,keyasint"`
	Boot     Strength `json:"boot" cbor:"2,keyasint"`
	Runtime  Strength `json:"runtime" cbor:"3,keyasint"`
	Flash    Strength `json:"flash" cbor:"4,keyasint"`
	Platform Strength `json:"platform" cbor:"5,keyasint"`
}

// Of returns the strength of a submodule.
func (s Strengths) Of(m Submod) Strength {
	switch m {
	case Identity:
		return s.Identity
	case Boot:
		return s.Boot
	case Runtime:
		return s.Runtime
	case Flash:
		return s.Flash
	case Platform:
		return s.Platform
	}
	return None
}

// MaxRegions is the most flash regions that a result shows.
const MaxRegions = 64

// RegionStatus is how a flash region compares with the reference values.
type RegionStatus string

// Region statuses.
const (
	RegionSame        RegionStatus = "same"        // as the reference values have it
	RegionChanged     RegionStatus = "changed"     // content, place or excluded ranges are not those of the reference
	RegionReported    RegionStatus = "reported"    // differs, and the reference says only to report it
	RegionUnknown     RegionStatus = "unknown"     // no reference covers it
	RegionUnavailable RegionStatus = "unavailable" // could not be read
	RegionMissing     RegionStatus = "missing"     // the reference has it, the device does not speak of it
)

// Region is a flash region as the device reported it, for display. Everything but Status is self-asserted.
type Region struct {
	Name     string       `json:"name" cbor:"1,keyasint"`
	Source   string       `json:"source,omitempty" cbor:"2,keyasint,omitempty"`
	Offset   uint64       `json:"offset" cbor:"3,keyasint,omitempty"`           // in the source, in bytes
	Length   uint64       `json:"length" cbor:"4,keyasint,omitempty"`           // in bytes
	Digest   string       `json:"digest,omitempty" cbor:"5,keyasint,omitempty"` // SHA-256, hexadecimal
	Excluded []Span       `json:"excluded,omitempty" cbor:"6,keyasint,omitempty"`
	Left     uint64       `json:"excluded_bytes,omitempty" cbor:"7,keyasint,omitempty"` // that Digest says nothing of, in all ranges
	Status   RegionStatus `json:"status" cbor:"8,keyasint"`
	Reason   string       `json:"reason,omitempty" cbor:"9,keyasint,omitempty"` // why it could not be read
}

// Span is a range of bytes that a region's digest does not cover. A region shows the first MaxSpans.
type Span struct {
	Offset uint64 `json:"offset" cbor:"1,keyasint,omitempty"` // in the region
	Length uint64 `json:"length" cbor:"2,keyasint"`
}

// MaxSpans is the most excluded ranges that one region shows.
const MaxSpans = 4
