package reference

import (
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
)

// Role is what an endorser vouches as.
type Role string

// Roles.
const (
	RoleVendor  Role = "vendor"  // publishes the firmware
	RoleLab     Role = "lab"     // examined it
	RoleBuilder Role = "builder" // built the same from its source
)

// Endorser is somebody whose signature on a manifest was verified, and who may speak for its model.
type Endorser struct {
	Issuer string
	Role   Role
	KeyID  string
}

// Release is a manifest that was verified.
type Release struct {
	Manifest *manifest.Manifest
	// Content stands instead of Manifest where it was prepared before.
	Content   *Content
	Endorsers []Endorser
	// From and Until say when this verifier lets it count, beside the manifest's own period: from its submission, to the
	// end of an overlap or its withdrawal. Until is the first instant at which it no longer does. Zero: unbounded.
	From, Until time.Time
	State       string // "active", "superseded", "withdrawn"; empty: active
}

// DenyList is known-bad digests.
type DenyList struct {
	Advisory string
	Issuer   string
	// Vendor and Model say whose devices it is for. Empty: anybody's.
	Vendor, Model string
	Entries       []manifest.Denial
}

// Documents are all reference values of a tenant. All must have been verified.
type Documents struct {
	Baselines []Baseline
	Retired   []Baseline // no longer in force: only named
	Releases  []Release
	// Past are releases that were superseded or withdrawn. They make nothing good. They are named where a device runs them,
	// and tell a rollback.
	Past   []Release
	Denied []DenyList
	// Table keeps the files; sets that are built one after the other should share one. Nil: one of its own.
	Table *Table
}
