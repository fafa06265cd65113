package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Pasts reads what happened to one device.
type Pasts interface {
	// Result returns one result of a device, the newest for 0.
	Result(ctx context.Context, tenant, device string, seq int64) (StoredResult, error)
	// ResultsOnly is Results without signed tokens.
	ResultsOnly(ctx context.Context, tenant, device string, before int64, limit int) ([]StoredResult, error)
	// EventsWithin returns a device's events of a time, newest first: from is the first instant, to the first one after;
	// zero: unbounded. limit is as in PageSize.
	EventsWithin(ctx context.Context, tenant, device string, from, to time.Time, limit int) ([]Event, error)
}

// Bounds of searches among what devices were seen with.
const (
	MaxSeenDigests = 1000   // digests of one SeenQuery
	MinSeenPlace   = 3      // characters of SeenQuery.Place
	MaxSeenDevices = 10_000 // devices that CountSeen counts
)

// SeenQuery says what to look for among what devices were seen with. Exactly one field is set.
type SeenQuery struct {
	Digests [][]byte // any of them
	GUID    []byte   // 16 bytes in the order of its text
	Place   string   // part of the name of a place, in any case (of ASCII letters)
}

// Check reports what keeps q from being looked for.
func (q *SeenQuery) Check() error {
	set := 0
	for _, is := range []bool{len(q.Digests) > 0, len(q.GUID) > 0, q.Place != ""} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("%w search: want digests, a GUID or a place", ErrInvalid)
	case len(q.Digests) > MaxSeenDigests:
		return fmt.Errorf("%w search: %d digests, at most %d", ErrInvalid, len(q.Digests), MaxSeenDigests)
	case len(q.GUID) != 0 && len(q.GUID) != 16:
		return fmt.Errorf("%w search: GUID of %d bytes", ErrInvalid, len(q.GUID))
	case q.Place != "" && len([]rune(q.Place)) < MinSeenPlace:
		return fmt.Errorf("%w search: want at least %d characters of a place's name", ErrInvalid, MinSeenPlace)
	}
	return checkText("search", q.Place)
}

// SeenPage is a part of what FindSeen found.
type SeenPage struct {
	Found   []Occurrence
	Next    string // for the next page; empty: this is the last one
	Partial bool   // the query fits so many contents that only some were looked at
}

// Occurrence is something that was looked for, on a device.
type Occurrence struct {
	Sighting
	Digest []byte // of what was found at Place; nil where a GUID was looked for
	Others int    // how many more places of the same content fit the query
}

// SeenCount is on how many devices something was seen.
type SeenCount struct {
	Devices int  // that ever had it, at most MaxSeenDevices
	Now     int  // of them, those that have it now
	Partial bool // there are more
}

// Searches finds devices by what they were seen with.
type Searches interface {
	// FindSeen returns on which devices of a tenant something was seen, content by content. after is Next of the page
	// before; one of another form is ErrInvalid. limit is as in PageSize.
	FindSeen(ctx context.Context, tenant string, q SeenQuery, after string, limit int) (SeenPage, error)
	// CountSeen counts the devices.
	CountSeen(ctx context.Context, tenant string, q SeenQuery) (SeenCount, error)
}

// ModelCount is how many devices of a vendor and model there are.
type ModelCount struct {
	Vendor, Model string // as devices say
	Devices       int
}

// Coverage counts devices by what they are and by what they are compared with.
type Coverage interface {
	// ModelCounts returns all vendors and models of a tenant's devices.
	ModelCounts(ctx context.Context, tenant string) ([]ModelCount, error)
	// Relying returns how many devices, of which the newest result used the reference values of this name, are in each
	// state. A device is stale from when it is Silenced on.
	Relying(ctx context.Context, tenant, name string) (map[result.State]int, error)
}

// Approval is a person's consent to a manifest. A manifest has at most one of each.
type Approval struct {
	Actor string
	At    time.Time
	Note  string
}

// Approvals keeps who consented to manifests.
type Approvals interface {
	// Approvals returns those of a manifest, oldest first.
	Approvals(ctx context.Context, tenant, digest string) ([]Approval, error)
	// Approve adds one. The one with which there are as many as the manifest needs lets it count, not before a.At, and
	// applies changes to other manifests and records completed. ErrConflict: the manifest does not await any, or this actor
	// has consented already.
	Approve(ctx context.Context, tenant, digest string, a Approval, changes []ManifestChange, completed []Event, events ...Event) error
}

// Check reports what keeps a from being stored.
func (a *Approval) Check() error {
	if a.Actor == "" || a.At.IsZero() {
		return fmt.Errorf("%w approval: want an actor and a time", ErrInvalid)
	}
	return errors.Join(checkText("approval", a.Actor), checkText("approval", a.Note))
}

// PastSeen is something that a device was seen with before the store kept sightings.
type PastSeen struct {
	Seen
	Boot  string // id of the newest boot in which it was seen
	First time.Time
	Until time.Time // zero: the newest evidence that speaks of its kind has it
}

// Backlog is what was stored by versions that did not index it.
type Backlog interface {
	// Unseen returns devices of all tenants of which older results were not indexed.
	Unseen(ctx context.Context, limit int) ([]Device, error)
	// SeePast indexes what a device was seen with and the names of the reference values that its newest result used, and
	// takes it off Unseen. What was recorded since stays as it is, but for an earlier First. ErrConflict: the device was
	// changed since it was read.
	SeePast(ctx context.Context, d Device, seen []PastSeen, references []string) error
	// Unindexed returns boot logs of which the GUIDs are not indexed.
	Unindexed(ctx context.Context, limit int) ([][32]byte, error)
	// IndexGUIDs indexes the GUIDs of one of them.
	IndexGUIDs(ctx context.Context, content [32]byte, guids []SeenDigest) error
}
