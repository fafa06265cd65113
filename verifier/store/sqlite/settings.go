package sqlite

import (
	"context"
	"errors"

	"github.com/probity-attest/probity/verifier/store"
)

// Setting returns the value of key, storing initial first if there is none. With a nil initial nothing is stored and a
// missing value is store.ErrNotFound.
func (s *Store) Setting(ctx context.Context, key string, initial []byte) (value []byte, err error) {
	const query = `SELECT value FROM settings WHERE key = ?`
	err = s.readRow(ctx, "read setting", query, []any{key}, &value)
	if !errors.Is(err, store.ErrNotFound) || initial == nil {
		return value, err
	}
	err = s.write(ctx, "store setting", func(t *tx) error {
		if _, err := t.exec(`INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, key, initial); err != nil {
			return err
		}
		return t.row(query, []any{key}, &value)
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}
