package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// rare is the number of rows that are collected through an index and sorted; where there are more, they are met soon in
// the order of another.
const rare = 5000

// byRow reads the devices that a condition on d.row names.
const byRow = `devices d NOT INDEXED`

// clause collects the conditions of a WHERE clause with their parameters. Conditions are fixed text.
type clause struct {
	conditions []string
	args       []any
}

func (c *clause) add(condition string, args ...any) {
	c.conditions = append(c.conditions, condition)
	c.args = append(c.args, args...)
}

func (c *clause) String() string {
	if len(c.conditions) == 0 {
		return "TRUE"
	}
	return strings.Join(c.conditions, " AND ")
}

// addStates adds the condition that a device's current state at now is one of states; stored states become stale.
func (c *clause) addStates(states []result.State, now int64) {
	var any []string
	for _, state := range states {
		switch state {
		case result.Stale:
			any = append(any, `d.state IN ('trusted', 'warning', 'untrusted', 'unsupported')
				AND d.stale_at > 0 AND d.stale_at <= ?`)
			c.args = append(c.args, now)
		case result.NeverAttested:
			any = append(any, `d.state = 'never-attested'`)
		default:
			any = append(any, `d.state = ? AND (d.stale_at > ? OR d.stale_at = 0)`)
			c.args = append(c.args, state, now)
		}
	}
	if len(any) > 0 {
		c.conditions = append(c.conditions, `(`+strings.Join(any, ` OR `)+`)`)
	}
}

// addAll adds the conditions of other, and returns c.
func (c *clause) addAll(other *clause) *clause {
	c.conditions, c.args = append(c.conditions, other.conditions...), append(c.args, other.args...)
	return c
}

// Devices lists devices in the order of the filter. Without a tenant, devices of several tenants may have the same id:
// those that share the last id of a page are all on it, so that paging with After misses none.
func (s *Store) Devices(ctx context.Context, f store.Filter) ([]store.Device, error) {
	if f.Tenant == "" {
		return s.allDevices(ctx, f, store.PageSize(f.Limit))
	}
	var out store.List
	err := s.list(ctx, f, false, &out, func(*selection) error { return nil })
	return out.Devices, err
}

// allDevices lists devices of all tenants in ascending id.
func (s *Store) allDevices(ctx context.Context, f store.Filter, limit int) ([]store.Device, error) {
	where := func() *clause {
		c := &clause{}
		c.addStates(statesOf(f), f.Now.UnixMicro())
		for condition, value := range map[string]string{
			`d.status = ?`: string(f.Status), `d.model = ?`: f.Model, `d.grouping = ?`: f.Group,
		} {
			if value != "" {
				c.add(condition, value)
			}
		}
		if f.Query != "" {
			c.add(`instr(d.search, ?)`, strings.ToLower(f.Query))
		}
		return c
	}
	read := func(c *clause, limit int) (out []store.Device, err error) {
		err = s.snapshot(ctx, "list devices", func(r *reader) (err error) {
			from := `devices d INDEXED BY devices_by_id WHERE ` + c.String() + ` ORDER BY d.id, d.tenant LIMIT ?`
			out, err = r.devices(from, append(c.args, limit)...)
			return err
		})
		return out, err
	}
	page := where()
	page.add(`d.id > ?`, f.After)
	out, err := read(page, limit)
	if err != nil || len(out) < limit {
		return out, err
	}
	last := out[limit-1]
	rest := where()
	rest.add(`d.id = ? AND d.tenant > ?`, last.ID, last.Tenant)
	more, err := read(rest, -1)
	return append(out, more...), err
}

// devices reads devices; from, which is all that follows FROM, is fixed text.
func (r *reader) devices(from string, args ...any) (out []store.Device, err error) {
	err = r.rows(`SELECT `+deviceColumns+` FROM `+from, args, appendTo(&out, scanDevice))
	return out, err
}

// maxTrigrams bounds the full-text query; what it lets through is compared with the whole text anyway.
const maxTrigrams = 16

// trigrams returns the three-character parts of text for a full-text query, none if it is too short to have any
// (sqlite.org/fts5.html, section 4.3.4 and, for strings, 3.1).
func trigrams(text string) (parts []string) {
	runes := []rune(strings.ToValidUTF8(text, ""))
	if strings.ContainsRune(text, 0) {
		return nil
	}
	for i := 0; i+3 <= len(runes) && len(parts) < maxTrigrams; i++ {
		parts = append(parts, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	return parts
}

// allOf returns the full-text query for rows that have all parts.
func allOf(trigrams []string) string { return strings.Join(trigrams, " AND ") }

// Overdue returns devices of all tenants that are stale at now and not yet Silenced, longest silent first.
func (s *Store) Overdue(ctx context.Context, now time.Time, limit int) ([]store.Device, error) {
	return s.scanDevices(ctx, `devices d INDEXED BY devices_overdue
		WHERE d.silenced = 0 AND d.stale_at > 0 AND d.state <> 'never-attested' AND d.stale_at <= ?
		ORDER BY d.stale_at, d.id, d.tenant LIMIT ?`, now.UnixMicro(), store.PageSize(limit))
}

// scanDevices reads devices; from, which is all that follows FROM, is fixed text.
func (s *Store) scanDevices(ctx context.Context, from string, args ...any) ([]store.Device, error) {
	return readList(ctx, s, "list devices", `SELECT `+deviceColumns+` FROM `+from, args, scanDevice)
}

// Counts returns how many devices are in each current state; states without devices are absent. An empty tenant counts
// all. Whole minutes come from device_counts; only the devices that become stale in the minute of now are looked at.
func (s *Store) Counts(ctx context.Context, tenant string, now time.Time) (counts map[result.State]int, err error) {
	err = s.snapshot(ctx, "count devices", func(r *reader) (err error) {
		counts, err = r.current(tenant, now.UnixMicro())
		return err
	})
	return counts, err
}

// current returns the counts at a time in microseconds.
func (r *reader) current(tenant string, now int64) (map[result.State]int, error) {
	// SQLite computes the subquery for the one row of the current minute only.
	const query = `SELECT c.state, sum(c.n), sum(CASE
			WHEN c.minute < 0 OR c.minute > ?1 THEN 0
			WHEN c.minute < ?1 THEN c.n
			ELSE (SELECT count(*) FROM devices d INDEXED BY devices_by_state
				WHERE d.tenant = c.tenant AND d.state = c.state AND d.stale_at >= ?2 AND d.stale_at <= ?3) END)
		FROM device_counts c WHERE `
	span := time.Minute.Microseconds()
	condition, args := `TRUE`, []any{now / span, now / span * span, now}
	if tenant != "" {
		condition, args = `c.tenant = ?4`, append(args, tenant)
	}
	counts := make(map[result.State]int)
	err := r.rows(query+condition+` GROUP BY c.state`, args, func(rows *sql.Rows) error {
		var state result.State
		var n, stale int
		err := rows.Scan(&state, &n, &stale)
		counts[state] += n - stale
		counts[result.Stale] += stale
		return err
	})
	for state, n := range counts {
		if n == 0 {
			delete(counts, state)
		}
	}
	return counts, err
}
