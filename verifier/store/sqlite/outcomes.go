package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/probity-attest/probity/verifier/store"
)

// Record writes an outcome: device, evidence, result and events, or nothing.
func (s *Store) Record(ctx context.Context, o store.Outcome, events ...store.Event) error {
	if err := o.Check(); err != nil {
		return err
	}
	events, err := store.EventsOf(o.Device.Tenant, events)
	if err != nil {
		return err
	}
	p, err := profileOf(&o.Device)
	if err != nil {
		return err
	}
	res, err := encodeResult(o.Result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	digest, err := hex.DecodeString(o.Digest())
	if err != nil {
		return err
	}
	changed, err := s.compare(ctx, &o)
	if err != nil {
		return err
	}
	names, err := s.relies(ctx, &o)
	if err != nil {
		return err
	}
	keys := findingKeys(o.Result.Findings)
	return s.write(ctx, "record outcome", func(t *tx) error {
		if err := t.record(&o, p, digest, res, events); err != nil {
			return err
		}
		if err := t.indexFindings(o.Device.Tenant, o.Device.ID, keys); err != nil {
			return err
		}
		if err := t.rely(o.Device.Tenant, o.Device.ID, names); err != nil {
			return err
		}
		return t.see(&o.Device, changed)
	})
}

func (t *tx) record(o *store.Outcome, p profile, digest, res []byte, events []store.Event) error {
	d := &o.Device
	shared, kept := share(d, []byte(o.EAR))
	n, err := t.exec(`UPDATE devices SET version = version + 1, state = ?, stale_at = ?, since = ?, silenced = ?, last_seen = ?,
			record = ?, shared = ?, result = ? WHERE tenant = ? AND id = ? AND version = ? AND profile = ?`,
		d.State, micros(d.StaleAt), micros(d.Since), d.Silenced, micros(d.LastSeen), d.Record, shared, kept, d.Tenant, d.ID,
		d.Version, p.digest)
	if err == nil && n == 0 {
		err = t.replaceDevice(d, p, []byte(o.EAR))
	}
	if err != nil {
		return err
	}
	if err := t.exec1(`INSERT INTO results (device, result, ear) SELECT row, ?, ? FROM devices WHERE tenant = ? AND id = ?`,
		res, o.EAR, d.Tenant, d.ID); err != nil {
		return err
	}
	if _, err := t.exec(`INSERT INTO evidence (device, digest, message) SELECT row, ?, ? FROM devices WHERE tenant = ? AND id = ?
		ON CONFLICT DO NOTHING`, digest, nonNil(o.Evidence), d.Tenant, d.ID); err != nil {
		return err
	}
	return t.addEvents(events)
}

// nonNil keeps an empty value from being stored as NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Results returns a device's results, newest first, older than before (0: from the newest). limit is as in
// store.PageSize. An unknown device has none.
func (s *Store) Results(ctx context.Context, tenant, device string, before int64, limit int) ([]store.StoredResult, error) {
	return readList(ctx, s, "read results", `SELECT seq, result, ear FROM results
		WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?) AND seq < ? ORDER BY seq DESC LIMIT ?`,
		[]any{tenant, device, upTo(before), store.PageSize(limit)}, func(rows *sql.Rows, r *store.StoredResult) error {
			var raw sql.RawBytes
			err := rows.Scan(&r.Seq, &raw, &r.EAR)
			if err == nil {
				r.Result, err = decodeResult(raw)
			}
			return err
		})
}

func upTo(before int64) int64 {
	if before <= 0 {
		return math.MaxInt64
	}
	return before
}

// Evidence returns the evidence message with this digest (hexadecimal SHA-256) of a device.
func (s *Store) Evidence(ctx context.Context, tenant, device, digest string) (message []byte, err error) {
	raw, err := hex.DecodeString(digest)
	if err != nil {
		return nil, fmt.Errorf("read evidence %q: not a hexadecimal digest: %w", digest, store.ErrNotFound)
	}
	err = s.readRow(ctx, "read evidence", `SELECT message FROM evidence
		WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?) AND digest = ?`,
		[]any{tenant, device, raw}, &message)
	return message, err
}
