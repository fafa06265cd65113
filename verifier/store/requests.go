package store

import (
	"context"
	"errors"
	"time"
)

// Feed reads events as they are committed.
type Feed interface {
	// EventsAfter returns a tenant's events that are newer than after, oldest first. limit is as in PageSize. What it
	// returns for an after never changes, save that more follows.
	EventsAfter(ctx context.Context, tenant string, after int64, limit int) ([]Event, error)
	// LastEvent returns the Seq of a tenant's newest event, 0 where there is none.
	LastEvent(ctx context.Context, tenant string) (int64, error)
}

// Request is a write of a client that may send it again: what it asked for and, once it is done, what it was answered.
// Tenant, Principal and Key are its key.
type Request struct {
	Tenant    string
	Principal string   // who sent it
	Key       [32]byte // digest of the client's idempotency key, which itself is not stored
	Digest    [32]byte // of what was asked for
	Began     time.Time
	Expires   time.Time // when it is forgotten
	Done      bool      // it was answered
	Answer    []byte    // sealed under the client's key; nil: too large to keep
}

// ErrTooMany is returned where somebody keeps more of something than is allowed.
var ErrTooMany = errors.New("too many are kept")

// MaxRequests is the most requests that are remembered for one principal.
const MaxRequests = 10_000

// Requests remembers writes, so that one that a client sends again is done once.
type Requests interface {
	// BeginRequest remembers a request that is about to be done. If one with the same key is remembered that has not
	// expired at r.Began, that one is returned, with begun false, and nothing is changed. More than MaxRequests of a
	// principal are ErrTooMany.
	BeginRequest(ctx context.Context, r Request) (earlier Request, begun bool, err error)
	// FinishRequest keeps the answer to a request that was begun.
	FinishRequest(ctx context.Context, tenant, principal string, key [32]byte, answer []byte) error
	// ForgetRequest forgets a request that was begun and had no effect. One that is not there is no error.
	ForgetRequest(ctx context.Context, tenant, principal string, key [32]byte) error
}
