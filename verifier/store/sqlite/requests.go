package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/verifier/store"
)

// EventsAfter returns a tenant's events that are newer than after, oldest first. One connection writes, so that events
// are committed in the order of their Seq.
func (s *Store) EventsAfter(ctx context.Context, tenant string, after int64, limit int) ([]store.Event, error) {
	return readList(ctx, s, "read new events", `SELECT seq, at, tenant, device, kind, actor, detail
		FROM events INDEXED BY events_by_tenant WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?`,
		[]any{tenant, after, store.PageSize(limit)}, scanEvent)
}

// LastEvent returns the Seq of a tenant's newest event, 0 where there is none.
func (s *Store) LastEvent(ctx context.Context, tenant string) (seq int64, err error) {
	err = s.readRow(ctx, "read newest event", `SELECT coalesce(max(seq), 0) FROM events INDEXED BY events_by_tenant
		WHERE tenant = ?`, []any{tenant}, &seq)
	return seq, err
}

// forgetAtOnce is how many expired requests one write removes at most: more than it adds, and quick.
const forgetAtOnce = 20

// BeginRequest remembers a request that is about to be done, unless one with the same key is remembered.
func (s *Store) BeginRequest(ctx context.Context, r store.Request) (earlier store.Request, begun bool, err error) {
	err = s.write(ctx, "begin request", func(t *tx) error {
		earlier, begun = store.Request{}, false
		if _, err := t.exec(`DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests INDEXED BY requests_by_expiry
			WHERE expires <= ? ORDER BY expires LIMIT ?)`, micros(r.Began), forgetAtOnce); err != nil {
			return err
		}
		// The one that is asked for may be expired and behind those.
		if _, err := t.exec(`DELETE FROM requests WHERE tenant = ? AND principal = ? AND key = ? AND expires <= ?`,
			r.Tenant, r.Principal, r.Key[:], micros(r.Began)); err != nil {
			return err
		}
		var digest, answer []byte
		err := t.row(`SELECT digest, began, expires, done, answer FROM requests WHERE tenant = ? AND principal = ? AND key = ?`,
			[]any{r.Tenant, r.Principal, r.Key[:]}, &digest, clock{&earlier.Began}, clock{&earlier.Expires}, &earlier.Done, &answer)
		if err == nil {
			earlier.Tenant, earlier.Principal, earlier.Key, earlier.Answer = r.Tenant, r.Principal, r.Key, answer
			if copy(earlier.Digest[:], digest) != len(digest) || len(digest) != len(earlier.Digest) {
				return fmt.Errorf("stored digest of a request has %d bytes", len(digest))
			}
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var kept int
		if err := t.row(`SELECT count(*) FROM (SELECT 1 FROM requests WHERE tenant = ? AND principal = ? LIMIT ?)`,
			[]any{r.Tenant, r.Principal, store.MaxRequests}, &kept); err != nil {
			return err
		}
		if kept >= store.MaxRequests {
			return store.ErrTooMany
		}
		begun = true
		return t.exec1(`INSERT INTO requests (tenant, principal, key, digest, began, expires, done) VALUES (?, ?, ?, ?, ?, ?, 0)`,
			r.Tenant, r.Principal, r.Key[:], r.Digest[:], micros(r.Began), micros(r.Expires))
	})
	if err != nil {
		return store.Request{}, false, err
	}
	return earlier, begun, nil
}

// FinishRequest keeps the answer to a request that was begun.
func (s *Store) FinishRequest(ctx context.Context, tenant, principal string, key [32]byte, answer []byte) error {
	return s.write(ctx, "finish request", func(t *tx) error {
		return t.execOr(store.ErrNotFound, `UPDATE requests SET done = 1, answer = ?
			WHERE tenant = ? AND principal = ? AND key = ? AND done = 0`, answer, tenant, principal, key[:])
	})
}

// ForgetRequest forgets a request that was begun and had no effect.
func (s *Store) ForgetRequest(ctx context.Context, tenant, principal string, key [32]byte) error {
	return s.write(ctx, "forget request", func(t *tx) error {
		_, err := t.exec(`DELETE FROM requests WHERE tenant = ? AND principal = ? AND key = ? AND done = 0`,
			tenant, principal, key[:])
		return err
	})
}
