package sqlite

import (
	"context"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Session returns one, expired or not.
func (s *Store) Session(ctx context.Context, digest [32]byte) (store.Session, error) {
	out := store.Session{Digest: digest}
	err := s.readRow(ctx, "read session", `SELECT tenant, account, epoch, created, seen, expires FROM sessions WHERE digest = ?`,
		[]any{digest[:]}, &out.Tenant, &out.Account, &out.Epoch, clock{&out.Created}, clock{&out.Seen}, clock{&out.Expires})
	if err != nil {
		return store.Session{}, err
	}
	return out, nil
}

// AddSession adds one and removes those that have expired when it begins.
func (s *Store) AddSession(ctx context.Context, session store.Session) error {
	return s.write(ctx, "add session", func(t *tx) error {
		if _, err := t.exec(`DELETE FROM sessions WHERE expires <= ?`, micros(session.Created)); err != nil {
			return err
		}
		err := t.exec1(`INSERT INTO sessions (digest, tenant, account, epoch, created, seen, expires) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			session.Digest[:], session.Tenant, session.Account, session.Epoch, micros(session.Created), micros(session.Seen),
			micros(session.Expires))
		if constraint(err) {
			err = store.ErrConflict
		}
		return err
	})
}

// TouchSession sets Seen of one.
func (s *Store) TouchSession(ctx context.Context, digest [32]byte, seen time.Time) error {
	return s.write(ctx, "touch session", func(t *tx) error {
		_, err := t.exec(`UPDATE sessions SET seen = ? WHERE digest = ?`, micros(seen), digest[:])
		return err
	})
}

// RemoveSession removes one.
func (s *Store) RemoveSession(ctx context.Context, digest [32]byte) error {
	return s.write(ctx, "remove session", func(t *tx) error {
		_, err := t.exec(`DELETE FROM sessions WHERE digest = ?`, digest[:])
		return err
	})
}
