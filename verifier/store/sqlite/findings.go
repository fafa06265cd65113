package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// keySize is the size of a store.FindingKey in bytes.
const keySize = 16

// findingKeys returns the keys of findings, ascending and each once, one after the other.
func findingKeys(findings []result.Finding) []byte {
	keys := make([][]byte, len(findings))
	for i := range findings {
		k := store.FindingKey(&findings[i])
		keys[i] = k[:]
	}
	slices.SortFunc(keys, bytes.Compare)
	return bytes.Join(slices.CompactFunc(keys, bytes.Equal), nil)
}

// indexFindings notes what a device's newest result found. A report that finds the same as the one before writes nothing.
func (t *tx) indexFindings(tenant, device string, keys []byte) error {
	var row int64
	var before []byte
	err := t.row(`SELECT d.row, k.keys FROM devices d LEFT JOIN finding_keys k ON k.device = d.row WHERE d.tenant = ? AND d.id = ?`,
		[]any{tenant, device}, &row, &before)
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	if err != nil || bytes.Equal(before, keys) {
		return err
	}
	if _, err := t.exec(`DELETE FROM findings WHERE device = ?`, row); err != nil {
		return err
	}
	for key := range slices.Chunk(keys, keySize) {
		if err := t.exec1(`INSERT INTO findings (device, key) VALUES (?, ?)`, row, key); err != nil {
			return err
		}
	}
	_, err = t.exec(`INSERT INTO finding_keys (device, keys) VALUES (?, ?) ON CONFLICT (device) DO UPDATE SET keys = excluded.keys`,
		row, nonNil(keys))
	return err
}

// Similar returns for each finding on how many other devices of the tenant the newest result has the same.
func (s *Store) Similar(ctx context.Context, tenant, device string, findings []result.Finding) ([]store.Similar, error) {
	out := make([]store.Similar, len(findings))
	for i := range findings {
		key := store.FindingKey(&findings[i])
		const others = ` FROM findings f JOIN devices d ON d.row = f.device WHERE f.key = ? AND d.tenant = ? AND d.id <> ? `
		args := []any{key[:], tenant, device}
		var n int
		err := s.readRow(ctx, "count similar findings", `SELECT count(*) FROM (SELECT 1`+others+`LIMIT ?)`,
			append(args, store.MaxSimilar+1), &n)
		if err != nil {
			return nil, err
		}
		out[i].Others, out[i].More = min(n, store.MaxSimilar), n > store.MaxSimilar
		if n == 0 {
			continue
		}
		err = s.readRows(ctx, "read similar findings", `SELECT d.id`+others+`ORDER BY f.device LIMIT ?`,
			append(args, store.SimilarDevices), func(rows *sql.Rows) error {
				var id string
				err := rows.Scan(&id)
				out[i].Devices = append(out[i].Devices, id)
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
