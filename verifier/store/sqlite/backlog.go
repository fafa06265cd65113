package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/probity-attest/probity/verifier/store"
)

// Unseen returns devices of all tenants of which older results were not indexed.
func (s *Store) Unseen(ctx context.Context, limit int) ([]store.Device, error) {
	return s.scanDevices(ctx, byRow+` WHERE d.row IN (SELECT device FROM unseen ORDER BY device LIMIT ?) ORDER BY d.row`,
		store.PageSize(limit))
}

// SeePast indexes what a device was seen with before the store kept sightings.
func (s *Store) SeePast(ctx context.Context, d store.Device, seen []store.PastSeen, references []string) error {
	return s.write(ctx, "index older results", func(t *tx) error {
		var row, version int64
		err := t.rowOr(store.ErrNotFound, `SELECT row, version FROM devices WHERE tenant = ? AND id = ?`, []any{d.Tenant, d.ID}, &row, &version)
		if err != nil {
			return err
		}
		if version != d.Version {
			return fmt.Errorf("device is at version %d, not %d: %w", version, d.Version, store.ErrConflict)
		}
		for i := range seen {
			p := &seen[i]
			indexed, err := t.index(&p.Seen)
			if err != nil {
				return err
			}
			if err := t.exec1(`INSERT INTO seen (device, indexed, boot, first, until, tenant) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET first = min(first, excluded.first)`,
				row, indexed, p.Boot, micros(p.First), micros(p.Until), d.Tenant); err != nil {
				return err
			}
		}
		if err := t.rely(d.Tenant, d.ID, distinct(references)); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM unseen WHERE device = ?`, row)
		return err
	})
}

// Unindexed returns boot logs of which the GUIDs are not indexed.
func (s *Store) Unindexed(ctx context.Context, limit int) ([][32]byte, error) {
	return readList(ctx, s, "read contents", `SELECT i.content FROM unindexed u JOIN indexed i ON i.row = u.indexed
		ORDER BY u.indexed LIMIT ?`, []any{store.PageSize(limit)}, func(rows *sql.Rows, content *[32]byte) error {
		return rows.Scan(sum{content})
	})
}

// IndexGUIDs indexes the GUIDs of a boot log.
func (s *Store) IndexGUIDs(ctx context.Context, content [32]byte, guids []store.SeenDigest) error {
	return s.write(ctx, "index GUIDs", func(t *tx) error {
		var row int64
		if err := t.rowOr(store.ErrNotFound, `SELECT row FROM indexed WHERE content = ?`, []any{content[:]}, &row); err != nil {
			return err
		}
		if err := t.indexGUIDs(row, guids); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM unindexed WHERE indexed = ?`, row)
		return err
	})
}

func (t *tx) indexGUIDs(row int64, guids []store.SeenDigest) error {
	for _, g := range guids {
		if _, err := t.exec(`INSERT INTO indexed_guids (guid, indexed, place) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			g.Digest, row, g.Place); err != nil {
			return err
		}
	}
	return nil
}
