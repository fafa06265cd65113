package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// References returns all of a tenant, retired ones included, in ascending name.
func (s *Store) References(ctx context.Context, tenant string) ([]store.Reference, error) {
	return readList(ctx, s, "read references",
		`SELECT tenant, name, kind, document, created, retired FROM reference_values WHERE tenant = ? ORDER BY name`,
		[]any{tenant}, func(rows *sql.Rows, r *store.Reference) error {
			return rows.Scan(&r.Tenant, &r.Name, &r.Kind, &r.Document, clock{&r.Created}, clock{&r.Retired})
		})
}

// AddReference adds one; a name that exists is store.ErrConflict.
func (s *Store) AddReference(ctx context.Context, r store.Reference, events ...store.Event) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add reference", r.Tenant, events, func(t *tx) error {
		err := t.exec1(`INSERT INTO reference_values (tenant, name, kind, document, created, retired) VALUES (?, ?, ?, ?, ?, ?)`,
			r.Tenant, r.Name, r.Kind, nonNil(r.Document), micros(r.Created), micros(r.Retired))
		if constraint(err) {
			return fmt.Errorf("%q exists already: %w", r.Name, store.ErrConflict)
		}
		return err
	})
}

// RetireReference takes one out of force. One that is retired already is store.ErrConflict and keeps its time.
func (s *Store) RetireReference(ctx context.Context, tenant, name string, at time.Time, events ...store.Event) error {
	if at.IsZero() {
		return fmt.Errorf("%w reference: no time of retirement", store.ErrInvalid)
	}
	return s.writeWithEvents(ctx, "retire reference", tenant, events, func(t *tx) error {
		n, err := t.exec(`UPDATE reference_values SET retired = ? WHERE tenant = ? AND name = ? AND retired = 0`, micros(at), tenant, name)
		if err == nil && n == 0 {
			err = t.whyNotRetired(tenant, name)
		}
		return err
	})
}

func (t *tx) whyNotRetired(tenant, name string) error {
	var n int
	if err := t.row(`SELECT count(*) FROM reference_values WHERE tenant = ? AND name = ?`, []any{tenant, name}, &n); err != nil {
		return err
	}
	if n == 0 {
		return store.ErrNotFound
	}
	return fmt.Errorf("%q is retired already: %w", name, store.ErrConflict)
}
