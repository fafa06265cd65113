package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// References returns all of a tenant, retired ones included, in ascending name.
func (s *Store) References(ctx context.Context, tenant string) (out []store.Reference, err error) {
	err = s.readRows(ctx, "read references",
		`SELECT tenant, name, kind, document, created, retired FROM reference_values WHERE tenant = ? ORDER BY name`,
		[]any{tenant}, func(rows *sql.Rows) error {
			var r store.Reference
			err := rows.Scan(&r.Tenant, &r.Name, &r.Kind, &r.Document, clock{&r.Created}, clock{&r.Retired})
			out = append(out, r)
			return err
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AddReference adds one; a name that exists is store.ErrConflict.
func (s *Store) AddReference(ctx context.Context, r store.Reference, events ...store.Event) error {
	if err := r.Check(); err != nil {
		return err
	}
	events, err := store.EventsOf(r.Tenant, events)
	if err != nil {
		return err
	}
	return s.write(ctx, "add reference", func(t *tx) error {
		err := t.exec1(`INSERT INTO reference_values (tenant, name, kind, document, created, retired) VALUES (?, ?, ?, ?, ?, ?)`,
			r.Tenant, r.Name, r.Kind, nonNil(r.Document), micros(r.Created), micros(r.Retired))
		if constraint(err) {
			return fmt.Errorf("%q exists already: %w", r.Name, store.ErrConflict)
		}
		if err != nil {
			return err
		}
		return t.addEvents(events)
	})
}

// RetireReference takes one out of force. One that is retired already is store.ErrConflict and keeps its time.
func (s *Store) RetireReference(ctx context.Context, tenant, name string, at time.Time, events ...store.Event) error {
	if at.IsZero() {
		return fmt.Errorf("%w reference: no time of retirement", store.ErrInvalid)
	}
	events, err := store.EventsOf(tenant, events)
	if err != nil {
		return err
	}
	return s.write(ctx, "retire reference", func(t *tx) error {
		n, err := t.exec(`UPDATE reference_values SET retired = ? WHERE tenant = ? AND name = ? AND retired = 0`, micros(at), tenant, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.whyNotRetired(tenant, name)
		}
		return t.addEvents(events)
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
