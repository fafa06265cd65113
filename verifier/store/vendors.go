package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// VendorKey is a public key that may sign manifests, and what it may sign them for. Tenant and ID are its key.
type VendorKey struct {
	Tenant string
	ID     string // SHA-256 of the SubjectPublicKeyInfo, hexadecimal
	Name   string // who holds it, as the operator calls them; a holder may have several keys
	Role   string // "vendor", "lab" or "builder"; all keys of a holder have the same
	Public []byte // SubjectPublicKeyInfo, DER

	Vendors []string // patterns of vendors that it may speak for, at least one
	Models  []string // patterns of their models, at least one

	From  time.Time // nothing that it signs is accepted before; zero: no bound
	Until time.Time // nor from then on; zero: no bound

	Added   time.Time
	Revoked time.Time // signatures made or submitted from then on are void; zero: not revoked
	Reason  string    // why it was revoked
}

// Vendors keeps the keys that may sign manifests.
type Vendors interface {
	// VendorKeys returns all keys of a tenant, revoked ones included, in ascending name, then in the order of addition.
	VendorKeys(ctx context.Context, tenant string) ([]VendorKey, error)
	// AddVendorKey adds one; one that exists is ErrConflict.
	AddVendorKey(ctx context.Context, k VendorKey, events ...Event) error
	// ScopeVendorKey replaces Vendors, Models, From and Until.
	ScopeVendorKey(ctx context.Context, k VendorKey, events ...Event) error
	// RevokeVendorKey sets Revoked and Reason. A key is revoked for ever: a later time than the one that it has is
	// ErrConflict.
	RevokeVendorKey(ctx context.Context, tenant, id string, at time.Time, reason string, events ...Event) error
}

// Check reports what keeps k from being stored.
func (k *VendorKey) Check() error {
	switch {
	case k.Tenant == "" || k.ID == "" || k.Name == "" || k.Role == "":
		return fmt.Errorf("%w vendor key: want tenant, id, name and role, got %q, %q, %q and %q", ErrInvalid, k.Tenant, k.ID, k.Name, k.Role)
	case len(k.Public) == 0:
		return fmt.Errorf("%w vendor key: no public key", ErrInvalid)
	case len(k.Vendors) == 0 || len(k.Models) == 0:
		return fmt.Errorf("%w vendor key: a scope without vendors or models is for nothing", ErrInvalid)
	}
	for _, s := range append(append([]string{k.Tenant, k.ID, k.Name, k.Role, k.Reason}, k.Vendors...), k.Models...) {
		if err := checkText("vendor key", s); err != nil {
			return err
		}
	}
	return nil
}

// Manifest is a vendor's manifest or deny-list that was accepted: what it is of, who endorses it and since when it
// counts. Its content is in the signed documents of its endorsements. Tenant and Digest are its key; Vendor and Name
// are unique too.
type Manifest struct {
	Tenant string
	Digest string // SHA-256 of the unsigned CoRIM, hexadecimal

	Name     string // id of the manifest, as it says itself
	Vendor   string // may be empty in a deny-list, as Model
	Model    string
	Version  string    // of the firmware; empty in a deny-list
	Advisory string    // set: it is a deny-list
	Begins   time.Time // validity that it states; zero: no bound
	Ends     time.Time
	Size     int // of the unsigned CoRIM, in bytes

	Submitted    time.Time // when it was first accepted
	From         time.Time // since when it counts
	Until        time.Time // until when; zero: until its own end
	SupersededBy string    // name of the manifest that takes its place
	Withdrawn    time.Time // zero: it was not
	Reason       string    // why it was withdrawn
	Proof        []byte    // proof of inclusion in a transparency log, as submitted; nil: none

	Needs    int            // how many people, other than who submitted it, must consent before it counts
	Approved int            // how many have; given by the store
	Overlap  *time.Duration // what its submitter wanted of what it supersedes; nil: what it says itself

	Endorsements []Endorsement // in the order of submission
}

// ManifestState is where a manifest stands.
type ManifestState string

// States of manifests.
const (
	ManifestSubmitted  ManifestState = "submitted"  // accepted, counts from a later time on, or once people consented
	ManifestActive     ManifestState = "active"     // counts
	ManifestSuperseded ManifestState = "superseded" // another one took its place; while they overlap, Until is to come
	ManifestWithdrawn  ManifestState = "withdrawn"  // it was wrong: nothing of it counts
)

// Awaits reports whether the manifest waits for people's consent.
func (m *Manifest) Awaits() bool { return m.Approved < m.Needs }

// State returns where the manifest stands at now.
func (m *Manifest) State(now time.Time) ManifestState {
	switch {
	case !m.Withdrawn.IsZero():
		return ManifestWithdrawn
	case m.SupersededBy != "":
		return ManifestSuperseded
	case m.Awaits(), now.Before(m.From):
		return ManifestSubmitted
	}
	return ManifestActive
}

// Counts reports whether the manifest is in force at now, as far as it was neither withdrawn nor its time is over.
func (m *Manifest) Counts(now time.Time) bool {
	return m.Withdrawn.IsZero() && !m.Awaits() && !now.Before(m.From) && (m.Until.IsZero() || now.Before(m.Until))
}

// Endorsement is one signature of a manifest.
type Endorsement struct {
	Key       string    // id of the VendorKey that signed
	Issuer    string    // who the signer says to be
	Submitted time.Time // when it came
	Judged    time.Time // time at which its periods were found to be in force: Submitted, or when the manifest begins
	Begins    time.Time // period that the signature states; zero: no bound
	Ends      time.Time
	Actor     string // who submitted it
}

// ManifestChange changes one manifest. Zero fields leave what is there.
type ManifestChange struct {
	Digest       string
	SupersededBy string
	Until        time.Time
	Withdrawn    time.Time // of one that is withdrawn already, the earlier time and reason stay
	Reason       string
}

// Manifests keeps what vendors, labs and builders sign.
type Manifests interface {
	// Manifests returns all of a tenant in ascending vendor and name.
	Manifests(ctx context.Context, tenant string) ([]Manifest, error)
	// ManifestDocument returns the COSE_Sign1 of one endorsement.
	ManifestDocument(ctx context.Context, tenant, digest, key string) ([]byte, error)
	// AddManifest adds a manifest with its one endorsement, or the endorsement to the manifest that has this digest,
	// replacing an older one by the same key; then it applies changes to other manifests. Another digest under a vendor
	// and name that exist is ErrConflict.
	AddManifest(ctx context.Context, m Manifest, document []byte, changes []ManifestChange, events ...Event) error
	// ChangeManifests applies changes, all or none.
	ChangeManifests(ctx context.Context, tenant string, changes []ManifestChange, events ...Event) error
}

// Check reports what keeps m from being stored by AddManifest.
func (m *Manifest) Check() error {
	switch {
	case m.Tenant == "" || m.Digest == "" || m.Name == "":
		return fmt.Errorf("%w manifest: want tenant, digest and name, got %q, %q and %q", ErrInvalid, m.Tenant, m.Digest, m.Name)
	case len(m.Endorsements) != 1 || m.Endorsements[0].Key == "":
		return fmt.Errorf("%w manifest: want one endorsement by a key", ErrInvalid)
	case m.Needs < 0 || m.Approved != 0 || m.Overlap != nil && *m.Overlap < 0:
		return fmt.Errorf("%w manifest: want no approval yet, and nothing negative", ErrInvalid)
	case m.From.IsZero() || m.Submitted.IsZero():
		return fmt.Errorf("%w manifest: want the times of submission and from which it counts", ErrInvalid)
	}
	for _, s := range []string{
		m.Tenant, m.Digest, m.Name, m.Vendor, m.Model, m.Version, m.Advisory, m.Endorsements[0].Issuer, m.Endorsements[0].Actor,
	} {
		if err := checkText("manifest", s); err != nil {
			return err
		}
	}
	return nil
}

// Denial is a digest that an operator declared to be bad. Tenant and Digest are its key.
type Denial struct {
	Tenant   string
	Digest   []byte // SHA-256, SHA-384 or SHA-512, as its size says
	Advisory string // such as "CVE-2026-12345"
	Note     string
	Actor    string // who added it
	Added    time.Time
	Removed  time.Time // zero: in force
}

// Check reports what keeps d from being stored.
func (d *Denial) Check() error {
	if d.Tenant == "" || d.Advisory == "" {
		return fmt.Errorf("%w denial: want tenant and advisory, got %q and %q", ErrInvalid, d.Tenant, d.Advisory)
	}
	switch len(d.Digest) {
	case 32, 48, 64:
	default:
		return fmt.Errorf("%w denial: digest of %d bytes, want 32, 48 or 64", ErrInvalid, len(d.Digest))
	}
	return errors.Join(checkText("denial", d.Tenant), checkText("denial", d.Advisory), checkText("denial", d.Note),
		checkText("denial", d.Actor))
}

// Denials keeps operators' own entries of the deny-list; signed deny-lists are Manifests.
type Denials interface {
	// Denials returns all of a tenant, removed ones included, in the order of addition.
	Denials(ctx context.Context, tenant string) ([]Denial, error)
	// AddDenial adds one, in the place of a removed one of the same digest; one that is in force is ErrConflict.
	AddDenial(ctx context.Context, d Denial, events ...Event) error
	// RemoveDenial takes one out of force. One that is not in force is ErrNotFound.
	RemoveDenial(ctx context.Context, tenant string, digest []byte, at time.Time, events ...Event) error
}

// Choices keeps what a tenant's operators chose for it, by name.
type Choices interface {
	// Choice returns the value of a name, empty where nothing was chosen.
	Choice(ctx context.Context, tenant, name string) (string, error)
	// Choose sets it.
	Choose(ctx context.Context, tenant, name, value string, events ...Event) error
}
