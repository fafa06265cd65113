package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// keySize is the size of a store.FindingKey in bytes.
const keySize = 16

// Weights of findings, as marks have them.
const (
	weighsNothing = iota
	weighsWarning
	weighsCritical
)

func weight(s result.Severity) byte {
	switch s {
	case result.Critical:
		return weighsCritical
	case result.Warn:
		return weighsWarning
	}
	return weighsNothing
}

// found is what one result found: each finding once, in ascending key.
type found struct {
	keys     []byte // key and weight of each, one after the other
	findings []result.Finding
}

// findingKeys returns the findings by their keys. Of those that have the same the one that weighs most counts.
func findingKeys(findings []result.Finding) (out found) {
	type keyed struct {
		key     [keySize]byte
		finding *result.Finding
	}
	list := make([]keyed, len(findings))
	for i := range findings {
		list[i] = keyed{store.FindingKey(&findings[i]), &findings[i]}
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(weight(b.finding.Severity), weight(a.finding.Severity)))
	})
	for _, k := range slices.CompactFunc(list, func(a, b keyed) bool { return a.key == b.key }) {
		out.keys = append(append(out.keys, k.key[:]...), weight(k.finding.Severity))
		out.findings = append(out.findings, *k.finding)
	}
	return out
}

// indexFindings notes what a device's newest result found. A report that finds the same as the one before writes
// nothing.
func (t *tx) indexFindings(tenant, device string, now found) error {
	var row, marked int64
	var before []byte
	err := t.rowOr(store.ErrNotFound, `SELECT d.row, k.keys, coalesce(k.marked, 0) FROM devices d LEFT JOIN finding_keys k ON k.device = d.row
		WHERE d.tenant = ? AND d.id = ?`, []any{tenant, device}, &row, &before, &marked)
	if err != nil || marked == 1 && bytes.Equal(before, now.keys) {
		return err
	}
	return t.setFindings(tenant, row, now)
}

// setFindings replaces what a device's newest result found.
func (t *tx) setFindings(tenant string, device int64, now found) error {
	if _, err := t.exec(`DELETE FROM findings WHERE device = ?`, device); err != nil {
		return err
	}
	for entry := range slices.Chunk(now.keys, keySize+1) {
		if err := t.exec1(`INSERT INTO findings (device, key) VALUES (?, ?)`, device, entry[:keySize]); err != nil {
			return err
		}
	}
	if err := t.markFindings(tenant, device, now.findings); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO finding_keys (device, keys, marked) VALUES (?, ?, 1)
		ON CONFLICT (device) DO UPDATE SET keys = excluded.keys, marked = 1`, device, nonNil(now.keys))
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
		out[i].Devices, err = readList(ctx, s, "read similar findings", `SELECT d.id`+others+`ORDER BY f.device LIMIT ?`,
			append(args, store.SimilarDevices), scanOne[string])
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
