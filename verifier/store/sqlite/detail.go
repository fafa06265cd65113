package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Result returns one result of a device, the newest for 0.
func (s *Store) Result(ctx context.Context, tenant, device string, seq int64) (store.StoredResult, error) {
	if seq == 0 {
		newest, err := s.Results(ctx, tenant, device, 0, 1)
		if err == nil && len(newest) == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return store.StoredResult{}, err
		}
		return newest[0], nil
	}
	r := store.StoredResult{Seq: seq}
	var raw []byte
	err := s.readRow(ctx, "read result", `SELECT result, ear FROM results
		WHERE seq = ? AND device = (SELECT row FROM devices WHERE tenant = ? AND id = ?)`,
		[]any{seq, tenant, device}, &raw, &r.EAR)
	if err != nil {
		return store.StoredResult{}, err
	}
	r.Result, err = decodeResult(raw)
	return r, err
}

// ResultsOnly is Results without signed tokens.
func (s *Store) ResultsOnly(ctx context.Context, tenant, device string, before int64, limit int) ([]store.StoredResult, error) {
	return readList(ctx, s, "read results", `SELECT seq, result FROM results
		WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?) AND seq < ? ORDER BY seq DESC LIMIT ?`,
		[]any{tenant, device, upTo(before), store.PageSize(limit)}, func(rows *sql.Rows, r *store.StoredResult) error {
			var raw sql.RawBytes
			err := rows.Scan(&r.Seq, &raw)
			if err == nil {
				r.Result, err = decodeResult(raw)
			}
			return err
		})
}

// EventsWithin returns a device's events of a time, newest first.
func (s *Store) EventsWithin(ctx context.Context, tenant, device string, from, to time.Time, limit int) ([]store.Event, error) {
	end := int64(math.MaxInt64)
	if !to.IsZero() {
		end = to.UnixMicro()
	}
	return readList(ctx, s, "read events", `SELECT seq, at, tenant, device, kind, actor, detail FROM events
		WHERE tenant = ? AND device = ? AND at >= ? AND at < ? ORDER BY seq DESC LIMIT ?`,
		[]any{tenant, device, micros(from), end, store.PageSize(limit)}, scanEvent)
}

// ModelCounts returns all vendors and models of a tenant's devices.
func (s *Store) ModelCounts(ctx context.Context, tenant string) ([]store.ModelCount, error) {
	return readList(ctx, s, "count models", `SELECT vendor, model, n FROM model_counts WHERE tenant = ? ORDER BY vendor, model`,
		[]any{tenant}, func(rows *sql.Rows, c *store.ModelCount) error { return rows.Scan(&c.Vendor, &c.Model, &c.Devices) })
}

// Relying returns how many devices, of which the newest result used the reference values of this name, are in each state.
func (s *Store) Relying(ctx context.Context, tenant, name string) (map[result.State]int, error) {
	out := make(map[result.State]int)
	err := s.readRows(ctx, "count devices", `SELECT state, n FROM relying_counts WHERE tenant = ? AND name = ?`,
		[]any{tenant, name}, func(rows *sql.Rows) error {
			var state result.State
			var n int
			err := rows.Scan(&state, &n)
			out[state] = n
			return err
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// relies returns the names of the reference values that an outcome used, nil if they are those of the result before. As
// compare, it reads outside of the transaction.
func (s *Store) relies(ctx context.Context, o *store.Outcome) ([]string, error) {
	before, err := readList(ctx, s, "read references used", `SELECT name FROM relying
		WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?) ORDER BY name`,
		[]any{o.Device.Tenant, o.Device.ID}, scanOne[string])
	if err != nil {
		return nil, err
	}
	names := distinct(o.Result.References)
	if slices.Equal(before, names) {
		return nil, nil
	}
	return names, nil
}

// distinct returns names in ascending order, each once, never nil.
func distinct(names []string) []string {
	out := append([]string{}, names...)
	slices.Sort(out)
	return slices.Compact(out)
}

// rely writes down which reference values a device's newest result used; nil: the same as before.
func (t *tx) rely(tenant, device string, names []string) error {
	if names == nil {
		return nil
	}
	if _, err := t.exec(`DELETE FROM relying WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?)`, tenant, device); err != nil {
		return err
	}
	for _, name := range names {
		if err := t.exec1(`INSERT INTO relying (device, name) SELECT row, ? FROM devices WHERE tenant = ? AND id = ?`,
			name, tenant, device); err != nil {
			return err
		}
	}
	return nil
}
