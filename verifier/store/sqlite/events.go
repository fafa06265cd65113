package sqlite

import (
	"context"
	"database/sql"

	"github.com/probity-attest/probity/verifier/store"
)

func (t *tx) addEvents(events []store.Event) error {
	for _, e := range events {
		if err := t.exec1(`INSERT INTO events (at, tenant, device, kind, actor, detail) VALUES (?, ?, ?, ?, ?, ?)`,
			micros(e.At), e.Tenant, e.Device, e.Kind, e.Actor, e.Detail); err != nil {
			return err
		}
	}
	return nil
}

func scanEvent(rows *sql.Rows, e *store.Event) error {
	return rows.Scan(&e.Seq, clock{&e.At}, &e.Tenant, &e.Device, &e.Kind, &e.Actor, &e.Detail)
}

// AddEvent appends.
func (s *Store) AddEvent(ctx context.Context, e store.Event) error {
	events, err := store.EventsOf(e.Tenant, []store.Event{e})
	if err != nil {
		return err
	}
	return s.write(ctx, "add event", func(t *tx) error { return t.addEvents(events) })
}

// Events returns events newest first, older than before (0: from the newest), of one device or, with "", of all of the
// tenant. limit is as in store.PageSize.
func (s *Store) Events(ctx context.Context, tenant, device string, before int64, limit int) ([]store.Event, error) {
	query := `SELECT seq, at, tenant, device, kind, actor, detail FROM events WHERE tenant = ?`
	args := []any{tenant}
	if device != "" {
		query += ` AND device = ?`
		args = append(args, device)
	}
	return readList(ctx, s, "read events", query+` AND seq < ? ORDER BY seq DESC LIMIT ?`,
		append(args, upTo(before), store.PageSize(limit)), scanEvent)
}
