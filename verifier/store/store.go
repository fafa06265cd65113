// Package store keeps what a verifier must not forget: devices, their evidence and results, content by digest,
// reference values, tokens and security events.
//
// Store is the interface; package sqlite below it is the embedded implementation, storetest the conformance suite that
// every implementation passes. A method that returns nil has its effect on stable storage (committed and synced); one
// that returns an error had none. Times are UTC with microsecond precision. Methods are safe for concurrent use.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Errors on which callers branch.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("changed meanwhile") // another writer was first: read again and retry
	ErrAmbiguous = errors.New("id prefix is ambiguous")
	ErrUsed      = errors.New("token is used up")
	ErrExpired   = errors.New("token has expired")
)

// Status is where a device stands between asking to be let in and being removed.
type Status string

// Statuses.
const (
	Approved Status = "approved" // approved by an operator before it was ever seen
	Pending  Status = "pending"  // seen, waits for an operator
	Active   Status = "active"   // enrolled
)

// Device is what is known of one device. Tenant and ID are its key.
type Device struct {
	Tenant, ID string
	Status     Status
	Level      result.Level
	Label      string            // operator's name for it
	Group      string            // operator's grouping
	Labels     map[string]string // further labels, such as jurisdiction
	Vendor     string            // self-asserted
	Model      string            // self-asserted
	Firmware   string            // self-asserted firmware version
	Agent      string            // version of its agent

	EKPublic    []byte // TPMT_PUBLIC; nil without a TPM
	EKIssuer    string // who certified the EK, for people
	AKPublic    []byte // TPMT_PUBLIC, or the software key's SubjectPublicKeyInfo
	TLSPublic   []byte // SubjectPublicKeyInfo of the TLS key
	CertSerial  string // hexadecimal serial of the newest client certificate
	CertExpires time.Time

	EnrolledAt time.Time
	LastSeen   time.Time    // when the newest accepted evidence came; zero: never
	State      result.State // verdict of the newest result, or NeverAttested; Stale only through Current
	StaleAt    time.Time    // when State becomes Stale; zero: never attested
	Since      time.Time    // since when the state is what it is
	Silenced   bool         // that it became stale at StaleAt was written down; newer evidence resets it
	Record     []byte       // appraise.Record, encoded
	Result     []byte       // newest result.Result as signed EAR (JWT)
	Version    int64        // raised by every write; a write with an old one is ErrConflict
}

// Current returns the state at now: silence makes every verdict stale.
func (d *Device) Current(now time.Time) result.State {
	if d.State != result.NeverAttested && !d.StaleAt.IsZero() && !now.Before(d.StaleAt) {
		return result.Stale
	}
	return d.State
}

// Outcome is everything that one appraisal changes, written as one transaction.
type Outcome struct {
	Device   Device        // next device; Version is the one that was read
	Evidence []byte        // the evidence message as received
	Result   result.Result // what was concluded
	EAR      string        // the same, signed
	Seen     []Seen        // what the evidence refers to; kinds that it does not speak of are left out
}

// StoredResult is a result as kept.
type StoredResult struct {
	Seq    int64 // ascending with time
	Result result.Result
	EAR    string
}

// Event is something that an operator should know or an auditor may ask for. Events are append-only.
type Event struct {
	Seq    int64
	At     time.Time
	Tenant string
	Device string // empty: not about one device
	Kind   string // such as "identity-changed", "state-changed", "evidence-rejected", "operator"
	Actor  string // who caused it: device, operator's name, "verifier"
	Detail string
}

// Token lets devices ask for enrolment.
type Token struct {
	ID       string // public part
	Tenant   string
	Hash     []byte // SHA-256 of the secret part
	Uses     int    // how many devices it may still let in
	Created  time.Time
	Expires  time.Time
	Revoked  bool
	Devices  []string // ids that it let in: these may use it again until it expires
	Operator bool     // a token for the API, not for enrolment
	Role     string   // of a token for the API: what it may do, see api/v1.Role; of others empty
	Vendors  []string // of the role vendor: patterns of the vendors that it may speak for
	Name     string   // of a token for the API: what its maker calls it; may be empty
}

// Reference is a signed document of reference values.
type Reference struct {
	Tenant   string
	Name     string // unique within the tenant
	Kind     string // "baseline"
	Document []byte // COSE_Sign1
	Created  time.Time
	Retired  time.Time // zero: in force
}

// Filter selects devices. Zero fields select all.
type Filter struct {
	Tenant   string
	State    result.State   // Current state at Now
	States   []result.State // any of these Current states at Now
	Status   Status
	Vendor   string
	Model    string
	Firmware string
	Group    string
	Level    result.Level
	Finding  string            // code of a finding of the newest result
	Cluster  string            // id of a Cluster
	Digest   []byte            // what the device has now, as Sightings knows it
	Labels   map[string]string // all of these
	Query    string            // substring of label, model, vendor or id, case-insensitive
	Now      time.Time

	Sort  Sort   // empty: ByID
	Desc  bool   // the other way round, ids too
	After string // id of the device after which to start
	// AfterKey is the SortKey of that device; by id there is none.
	AfterKey string
	Limit    int // 0: 100; at most 1,000
}

// Devices reads and writes devices.
type Devices interface {
	// Device returns one device by full id.
	Device(ctx context.Context, tenant, id string) (Device, error)
	// Resolve returns the device whose id starts with prefix (at least 4 characters) or whose label is it.
	Resolve(ctx context.Context, tenant, prefix string) (Device, error)
	// Devices lists devices in the order of the filter. Without a tenant it lists those of all: then only State, Status, Model,
	// Group and Query select, and the order is that of ids.
	Devices(ctx context.Context, f Filter) ([]Device, error)
	// Overdue returns devices of all tenants that are stale at now and not yet Silenced, longest silent first.
	Overdue(ctx context.Context, now time.Time, limit int) ([]Device, error)
	// Counts returns how many devices are in each current state.
	Counts(ctx context.Context, tenant string, now time.Time) (map[result.State]int, error)
	// SaveDevice creates (Version 0) or replaces a device and returns its new version.
	SaveDevice(ctx context.Context, d Device, events ...Event) (int64, error)
	// RemoveDevice deletes a device and its results; its events stay.
	RemoveDevice(ctx context.Context, tenant, id string, events ...Event) error
}

// Outcomes records and reads appraisals.
type Outcomes interface {
	// Record writes an outcome: device, evidence, result and events, or nothing.
	Record(ctx context.Context, o Outcome, events ...Event) error
	// Results returns a device's results, newest first, older than before (0: from the newest).
	Results(ctx context.Context, tenant, device string, before int64, limit int) ([]StoredResult, error)
	// Evidence returns the evidence message with this digest (hexadecimal SHA-256) of a device.
	Evidence(ctx context.Context, tenant, device, digest string) ([]byte, error)
}

// Contents keeps boot logs, IMA segments and platform descriptions by digest, once for all devices.
type Contents interface {
	// Content returns the bytes with this digest, ErrNotFound where they were never stored.
	Content(ctx context.Context, digest [32]byte) ([]byte, error)
	// PutContent stores bytes under their digest; storing them again is no error.
	PutContent(ctx context.Context, digest [32]byte, content []byte) error
}

// References keeps signed reference values.
type References interface {
	// References returns all of a tenant, retired ones included, in ascending name.
	References(ctx context.Context, tenant string) ([]Reference, error)
	// AddReference adds one; a name that exists is ErrConflict.
	AddReference(ctx context.Context, r Reference, events ...Event) error
	// RetireReference takes one out of force.
	RetireReference(ctx context.Context, tenant, name string, at time.Time, events ...Event) error
}

// Tokens keeps enrolment and operator tokens.
type Tokens interface {
	// Token returns one by its public id.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens lists a tenant's tokens, newest first.
	Tokens(ctx context.Context, tenant string) ([]Token, error)
	// AddToken adds one.
	AddToken(ctx context.Context, t Token) error
	// UseToken counts device against the token, once per device: ErrUsed, ErrExpired (also when revoked) or nil.
	UseToken(ctx context.Context, id, device string, now time.Time) error
	// RevokeToken ends a token.
	RevokeToken(ctx context.Context, id string) error
}

// Events keeps what happened.
type Events interface {
	// AddEvent appends.
	AddEvent(ctx context.Context, e Event) error
	// Events returns events newest first, older than before (0: from the newest), of one device or, with "", of all.
	Events(ctx context.Context, tenant, device string, before int64, limit int) ([]Event, error)
}

// Settings keeps small secrets and values that replicas share, such as the nonce key.
type Settings interface {
	// Setting returns the value of key, storing initial first if there is none.
	Setting(ctx context.Context, key string, initial []byte) ([]byte, error)
}

// Store is all of it.
type Store interface {
	Devices
	Outcomes
	Contents
	References
	Tokens
	Events
	Feed
	Requests
	Settings
	Policies
	Captures
	Comparison
	Vendors
	Manifests
	Denials
	Choices
	Sightings
	Totals
	Trends
	Clusters
	Pasts
	Searches
	Coverage
	Approvals
	Backlog
	Alerts
	Accounts
	Sessions
	AuditLog
	// Ping reports whether the store can commit.
	Ping(ctx context.Context) error
	// Close waits for running writes and closes.
	Close() error
}
