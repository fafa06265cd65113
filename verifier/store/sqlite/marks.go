package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// findingMark is a mark that a finding gives a device.
type findingMark struct {
	kind, value string
	weight      byte
	finding     *result.Finding // of a cluster
}

// findingMarks returns the marks that findings give: for each its cluster, for each code "code", and "finding" if one
// with this code weighs.
func findingMarks(findings []result.Finding) (out []findingMark) {
	codes := make(map[string]bool)
	once := func(kind, code string) {
		if !codes[kind+code] {
			codes[kind+code] = true
			out = append(out, findingMark{kind: kind, value: code})
		}
	}
	for i := range findings {
		f := &findings[i]
		out = append(out, findingMark{"cluster", store.ClusterID(f), weight(f.Severity), f})
		once("code", f.Code)
		if weight(f.Severity) > weighsNothing {
			once("finding", f.Code)
		}
	}
	return out
}

// markFindings gives a device the marks of its findings and takes those of former ones.
func (t *tx) markFindings(tenant string, device int64, findings []result.Finding) error {
	var before []int64
	err := t.each(`SELECT m.row FROM device_marks d JOIN marks m ON m.row = d.mark
		WHERE d.device = ? AND m.kind IN ('cluster', 'code', 'finding')`, []any{device}, appendTo(&before, scanOne))
	if err != nil {
		return err
	}
	var now []int64
	for _, m := range findingMarks(findings) {
		row, err := t.mark(tenant, m)
		if err != nil {
			return err
		}
		now = append(now, row)
		if slices.Contains(before, row) {
			continue
		}
		if err := t.exec1(`INSERT INTO device_marks (device, mark) VALUES (?, ?)`, device, row); err != nil {
			return err
		}
	}
	for _, row := range before {
		if slices.Contains(now, row) {
			continue
		}
		if err := t.exec1(`DELETE FROM device_marks WHERE device = ? AND mark = ?`, device, row); err != nil {
			return err
		}
	}
	return nil
}

// mark returns the row of a mark, which it adds where there is none.
func (t *tx) mark(tenant string, m findingMark) (row int64, err error) {
	err = t.row(`INSERT INTO marks (tenant, kind, name, value, weight, n) VALUES (?, ?, '', ?, ?, 0)
		ON CONFLICT DO UPDATE SET weight = max(weight, excluded.weight) RETURNING row`,
		[]any{tenant, m.kind, m.value, m.weight}, &row)
	if err != nil || m.finding == nil {
		return row, err
	}
	b, err := resultCoding.Marshal(m.finding)
	if err != nil {
		return 0, fmt.Errorf("encode finding: %w", err)
	}
	_, err = t.exec(`INSERT INTO clusters (mark, since, finding) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET since = min(since, excluded.since)`, row, micros(m.finding.FirstSeen), b)
	return row, err
}

// fillBatch is how many devices share a transaction when Open marks the findings of results that were stored before.
const fillBatch = 500

// fillMarks marks the findings of the newest results that were stored by a version that did not.
func (s *Store) fillMarks(ctx context.Context) error {
	for after := int64(0); ; {
		type pending struct {
			row    int64
			tenant string
			found  found
		}
		batch, err := readList(ctx, s, "read findings", `SELECT k.device, d.tenant, (SELECT r.result FROM results r
				WHERE r.device = k.device ORDER BY r.seq DESC LIMIT 1)
			FROM finding_keys k INDEXED BY finding_keys_unmarked JOIN devices d ON d.row = k.device
			WHERE k.marked = 0 AND k.device > ? ORDER BY k.device LIMIT ?`, []any{after, fillBatch}, func(rows *sql.Rows, p *pending) error {
			var encoded []byte
			if err := rows.Scan(&p.row, &p.tenant, &encoded); err != nil {
				return err
			}
			if encoded != nil {
				r, err := decodeResult(encoded)
				if err != nil {
					return err
				}
				p.found = findingKeys(r.Findings)
			}
			return nil
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		after = batch[len(batch)-1].row
		err = s.write(ctx, "mark findings", func(t *tx) error {
			for _, p := range batch {
				if err := t.setFindings(p.tenant, p.row, p.found); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func decodeFinding(b []byte) (f result.Finding, err error) {
	if err := cbor.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("stored finding: %w", err)
	}
	f.FirstSeen = store.Micro(f.FirstSeen)
	if w := f.Waiver; w != nil {
		w.Expires = store.Micro(w.Expires)
	}
	return f, nil
}
