package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/probity-attest/probity/verifier/store"
)

// Approvals returns who consented to a manifest, oldest first.
func (s *Store) Approvals(ctx context.Context, tenant, digest string) ([]store.Approval, error) {
	return readList(ctx, s, "read approvals", `SELECT a.actor, a.at, a.note FROM manifests m JOIN approvals a ON a.manifest = m.row
		WHERE m.tenant = ? AND m.digest = ? ORDER BY a.row`, []any{tenant, digest}, func(rows *sql.Rows, a *store.Approval) error {
		return rows.Scan(&a.Actor, clock{&a.At}, &a.Note)
	})
}

// Approve adds an approval. With the one that was still missing the manifest counts, and changes and completed are
// written.
func (s *Store) Approve(
	ctx context.Context, tenant, digest string, a store.Approval, changes []store.ManifestChange, completed []store.Event,
	events ...store.Event,
) error {
	if err := a.Check(); err != nil {
		return err
	}
	events, err := store.EventsOf(tenant, events)
	if err == nil {
		completed, err = store.EventsOf(tenant, completed)
	}
	if err != nil {
		return err
	}
	return s.write(ctx, "approve manifest", func(t *tx) error {
		var row, needs, have, withdrawn int64
		err := t.rowOr(store.ErrNotFound, `SELECT m.row, m.needs, m.withdrawn, (SELECT count(*) FROM approvals a WHERE a.manifest = m.row)
			FROM manifests m WHERE m.tenant = ? AND m.digest = ?`, []any{tenant, digest}, &row, &needs, &withdrawn, &have)
		if err != nil {
			return err
		}
		if have >= needs || withdrawn != 0 {
			return fmt.Errorf("the manifest awaits no approval: %w", store.ErrConflict)
		}
		err = t.exec1(`INSERT INTO approvals (manifest, actor, at, note) VALUES (?, ?, ?, ?)`, row, a.Actor, micros(a.At), a.Note)
		if constraint(err) {
			return fmt.Errorf("%s has approved it already: %w", a.Actor, store.ErrConflict)
		}
		if err != nil {
			return err
		}
		if have+1 == needs {
			if err := t.exec1(`UPDATE manifests SET counts_from = max(counts_from, ?) WHERE row = ?`, micros(a.At), row); err != nil {
				return err
			}
			if err := t.changeManifests(tenant, changes); err != nil {
				return err
			}
			events = append(events, completed...)
		}
		return t.addEvents(events)
	})
}
