// Package result is the outcome of an appraisal: a device's state, its findings and the Attestation Result (EAR) that
// carries them, signed, to Relying Parties.
//
// Terms are those of RFC 9334; trustworthiness tiers and claims those of AR4SI (draft-ietf-rats-ar4si-08); the token is
// an EAR (draft-ietf-rats-ear-04) as a signed JWT. Package appraise decides; this package only says it.
package result

import "time"

// State is what a device is shown as. The states are never merged.
type State string

// States.
const (
	Trusted       State = "trusted"
	Warning       State = "warning"
	Untrusted     State = "untrusted"
	Stale         State = "stale"          // silent for too long, whatever was known before
	NeverAttested State = "never-attested" // enrolled or pending, without accepted evidence
	Unsupported   State = "unsupported"    // authentic evidence, but nothing to compare it with
)

// Level is how well a device's identity is known, strongest first.
type Level string

// Identity levels.
const (
	Certified Level = "certified" // EK certificate chains to a TPM maker's root
	Pinned    Level = "pinned"    // EK approved by an operator
	FirstUse  Level = "first-use" // EK trusted when first seen
	Software  Level = "software"  // no TPM: a key on disk, approved by an operator; never better than warning
)

// Severity says how much a finding weighs.
type Severity string

// Severities, least first.
const (
	Info     Severity = "info"     // noted; does not change the state
	Warn     Severity = "warning"  // state at best warning
	Critical Severity = "critical" // state untrusted
)

// Submod is the part of a device that a finding is about, a submodule of the EAR.
type Submod string

// Submodules.
const (
	Identity Submod = "identity"
	Boot     Submod = "boot"
	Runtime  Submod = "runtime"
	Flash    Submod = "flash"
	Platform Submod = "platform" // hardware inventory and enclosure
)

// Finding is one thing that an appraisal noticed, told so that a person can act on it.
type Finding struct {
	Code      string    `json:"code" cbor:"1,keyasint"` // stable, such as "boot-event-unknown"
	Severity  Severity  `json:"severity" cbor:"2,keyasint"`
	Submod    Submod    `json:"submod" cbor:"3,keyasint"`
	Component string    `json:"component" cbor:"4,keyasint"`                    // what, for people: "PCR 4, boot application \EFI\BOOT\BOOTX64.EFI"
	Expected  string    `json:"expected,omitempty" cbor:"5,keyasint,omitempty"` // reference value
	Observed  string    `json:"observed,omitempty" cbor:"6,keyasint,omitempty"` // what was measured
	Nearest   string    `json:"nearest,omitempty" cbor:"7,keyasint,omitempty"`  // reference that knows the observed value
	Meaning   string    `json:"meaning" cbor:"8,keyasint"`                      // one sentence
	Action    string    `json:"action" cbor:"9,keyasint"`                       // what to do
	FirstSeen time.Time `json:"first_seen" cbor:"10,keyasint"`
	Waiver    *Waiver   `json:"waived,omitempty" cbor:"11,keyasint,omitempty"` // set: the finding does not count, Severity is Info
}

// Line returns the finding in one line.
func (f Finding) Line() string {
	s := f.Component + ": " + f.Meaning
	if f.Expected != "" {
		s += "; expected " + f.Expected
	}
	if f.Observed != "" {
		s += "; observed " + f.Observed
	}
	return s
}

// Result is the outcome of appraising one piece of evidence. It is immutable.
type Result struct {
	Tenant     string            `json:"tenant" cbor:"1,keyasint"`
	Device     string            `json:"device" cbor:"2,keyasint"`
	Evidence   string            `json:"evidence" cbor:"3,keyasint"` // SHA-256 of the evidence message, hexadecimal
	IssuedAt   time.Time         `json:"nonce_issued_at" cbor:"4,keyasint"`
	At         time.Time         `json:"appraised_at" cbor:"5,keyasint"`
	StaleAt    time.Time         `json:"stale_at" cbor:"6,keyasint"` // state becomes stale without newer evidence
	State      State             `json:"state" cbor:"7,keyasint"`
	Level      Level             `json:"identity_level" cbor:"8,keyasint"`
	Submods    map[Submod]Vector `json:"submods" cbor:"9,keyasint"`
	Findings   []Finding         `json:"findings" cbor:"10,keyasint"` // most important first
	Policy     string            `json:"policy" cbor:"11,keyasint"`
	References []string          `json:"references" cbor:"12,keyasint"` // names of the reference values used
	BootID     string            `json:"boot_id" cbor:"13,keyasint"`
	Resets     uint32            `json:"reset_count" cbor:"14,keyasint"`
	Restarts   uint32            `json:"restart_count" cbor:"15,keyasint"`
	BootLog    string            `json:"boot_log,omitempty" cbor:"16,keyasint,omitempty"` // SHA-256 of the boot log
	IMAEntries uint64            `json:"ima_entries" cbor:"17,keyasint"`                  // appraised since boot
	Bank       string            `json:"bank,omitempty" cbor:"18,keyasint,omitempty"`
	PCRs       map[string]string `json:"pcrs,omitempty" cbor:"19,keyasint,omitempty"` // decimal index: hexadecimal value
	Vendor     string            `json:"vendor,omitempty" cbor:"20,keyasint,omitempty"`
	Model      string            `json:"model,omitempty" cbor:"21,keyasint,omitempty"`
	Strength   Strengths         `json:"strength,omitzero" cbor:"22,keyasint,omitzero"`
	Regions    []Region          `json:"flash_regions,omitempty" cbor:"23,keyasint,omitempty"`     // by name; at most MaxRegions
	FlashAge   uint32            `json:"flash_age_seconds,omitempty" cbor:"24,keyasint,omitempty"` // of the oldest digest in them
}

// Tier is a trustworthiness tier of AR4SI, section 2.3.
type Tier int8

// Tiers (AR4SI, section 2.3.2: the lowest value of each).
const (
	TierNone            Tier = 0
	TierAffirming       Tier = 2
	TierWarning         Tier = 32
	TierContraindicated Tier = 96
)

// Vector is an AR4SI trustworthiness vector (section 2.3.4): a claim that is 0 was not appraised.
type Vector struct {
	InstanceIdentity int8 `json:"instance-identity,omitempty" cbor:"1,keyasint,omitempty"`
	Configuration    int8 `json:"configuration,omitempty" cbor:"2,keyasint,omitempty"`
	Executables      int8 `json:"executables,omitempty" cbor:"3,keyasint,omitempty"`
	FileSystem       int8 `json:"file-system,omitempty" cbor:"4,keyasint,omitempty"`
	Hardware         int8 `json:"hardware,omitempty" cbor:"5,keyasint,omitempty"`
	RuntimeOpaque    int8 `json:"runtime-opaque,omitempty" cbor:"6,keyasint,omitempty"`
	StorageOpaque    int8 `json:"storage-opaque,omitempty" cbor:"7,keyasint,omitempty"`
	SourcedData      int8 `json:"sourced-data,omitempty" cbor:"8,keyasint,omitempty"`
}
