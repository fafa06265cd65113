package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// rare is the number of matching devices below which they are collected through an index and sorted. At or above it, a scan
// in ascending id meets enough of them soon, even among a million.
const rare = 5000

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

// addState adds the condition that a device's current state at f.Now is f.State: stored states become stale.
func (c *clause) addState(f store.Filter) {
	now := f.Now.UnixMicro()
	switch f.State {
	case "":
	case result.Stale:
		c.add(`d.state IN (?, ?, ?, ?) AND d.stale_at > 0 AND d.stale_at <= ?`,
			result.Trusted, result.Warning, result.Untrusted, result.Unsupported, now)
	case result.NeverAttested:
		c.add(`d.state = ?`, f.State)
	default:
		c.add(`d.state = ? AND (d.stale_at > ? OR d.stale_at = 0)`, f.State, now)
	}
}

// where translates a filter, except After.
func where(f store.Filter) *clause {
	c := &clause{}
	if f.Tenant != "" {
		c.add(`d.tenant = ?`, f.Tenant)
	}
	c.addState(f)
	if f.Status != "" {
		c.add(`d.status = ?`, f.Status)
	}
	if f.Model != "" {
		c.add(`d.model = ?`, f.Model)
	}
	if f.Group != "" {
		c.add(`d.grouping = ?`, f.Group)
	}
	if f.Query != "" {
		// instr, unlike LIKE, has no special characters.
		c.add(`instr(d.search, ?)`, strings.ToLower(f.Query))
	}
	return c
}

// Devices lists devices in ascending id. Without a tenant, devices of several tenants may have the same id: those that
// share the last id of a page are all on it, so that paging with After misses none.
//
// A query of less than three characters that matches few devices reads the texts of all.
func (s *Store) Devices(ctx context.Context, f store.Filter) ([]store.Device, error) {
	limit := store.PageSize(f.Limit)
	from, page, err := s.plan(ctx, f, limit)
	if err != nil {
		return nil, err
	}
	out, err := s.listDevices(ctx, from, page, limit)
	if err != nil || f.Tenant != "" || len(out) < limit {
		return out, err
	}
	last := out[limit-1]
	rest := where(f)
	rest.add(`d.id = ? AND d.tenant > ?`, last.ID, last.Tenant)
	more, err := s.listDevices(ctx, indexed, rest, -1)
	return append(out, more...), err
}

// How a list reads the table devices. SQLite's planner cannot know what is best: whether a state is rare depends on the
// time, and whether a text is, on the text.
const (
	indexed = `devices d`             // in the order of an index
	byRow   = `devices d NOT INDEXED` // the rows that a condition on d.row names
)

// plan decides how to read a page. If there are few devices in the state, or with the text, these are collected.
func (s *Store) plan(ctx context.Context, f store.Filter, limit int) (from string, page *clause, err error) {
	page = where(f)
	if f.After != "" {
		page.add(`d.id > ?`, f.After)
	}
	for _, c := range candidates(f) {
		var n int
		err := s.readRow(ctx, "count candidates", `SELECT count(*) FROM (`+c.String()+` LIMIT ?)`, append(c.args, rare), &n)
		if err != nil {
			return "", nil, err
		}
		if n < rare {
			page.add(`d.row IN (`+c.String()+`)`, c.args...)
			return byRow, page, nil
		}
	}
	if f.Query != "" && f.Tenant != "" && f.State == "" && f.Status == "" && f.Model == "" && f.Group == "" {
		// The index holds the text: a device that does not match costs no look at its row.
		texts := *page
		page.add(`d.row IN (SELECT d.row FROM devices d INDEXED BY devices_by_text WHERE `+texts.String()+` ORDER BY d.id LIMIT ?)`,
			append(texts.args, limit)...)
		return byRow, page, nil
	}
	return indexed, page, nil
}

// candidates returns queries for the rows that have a filter's state and text, as far as an index finds them.
func candidates(f store.Filter) (out []*clause) {
	if f.State != "" {
		c := &clause{}
		if f.Tenant != "" {
			c.add(`d.tenant = ?`, f.Tenant)
		} else {
			c.add(`d.tenant IN (SELECT tenant FROM device_counts)`)
		}
		c.addState(f)
		out = append(out, &clause{[]string{`SELECT d.row FROM devices d INDEXED BY devices_by_state WHERE ` + c.String()}, c.args})
	}
	if match := trigrams(strings.ToLower(f.Query)); match != "" {
		out = append(out, &clause{[]string{`SELECT rowid FROM devices_text WHERE devices_text MATCH ?`}, []any{match}})
	}
	return out
}

// maxTrigrams bounds the full-text query; what it lets through is compared with the whole text anyway.
const maxTrigrams = 16

// trigrams returns the full-text query for rows with all three-character parts of text, or "" if text is too short to have
// any (sqlite.org/fts5.html, section 4.3.4 and, for strings, 3.1).
func trigrams(text string) string {
	runes := []rune(strings.ToValidUTF8(text, ""))
	if len(runes) < 3 || strings.ContainsRune(text, 0) {
		return ""
	}
	var parts []string
	for i := 0; i+3 <= len(runes) && len(parts) < maxTrigrams; i++ {
		parts = append(parts, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	return strings.Join(parts, " AND ")
}

func (s *Store) listDevices(ctx context.Context, from string, c *clause, limit int) ([]store.Device, error) {
	return s.scanDevices(ctx, from+` WHERE `+c.String()+` ORDER BY d.id, d.tenant LIMIT ?`, append(c.args, limit)...)
}

// Overdue returns devices of all tenants that are stale at now and not yet Silenced, longest silent first.
func (s *Store) Overdue(ctx context.Context, now time.Time, limit int) ([]store.Device, error) {
	return s.scanDevices(ctx, indexed+` WHERE d.silenced = 0 AND d.stale_at > 0 AND d.state <> 'never-attested' AND d.stale_at <= ?
		ORDER BY d.stale_at, d.id, d.tenant LIMIT ?`, now.UnixMicro(), store.PageSize(limit))
}

// scanDevices reads devices; from, which is all that follows FROM, is fixed text.
func (s *Store) scanDevices(ctx context.Context, from string, args ...any) ([]store.Device, error) {
	var out []store.Device
	err := s.readRows(ctx, "list devices", `SELECT `+deviceColumns+` FROM `+from, args, func(rows *sql.Rows) error {
		var d store.Device
		err := rows.Scan(deviceFields(&d)...)
		out = append(out, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Counts returns how many devices are in each current state; states without devices are absent. An empty tenant counts
// all. Whole minutes come from device_counts; only the devices that become stale in the minute of now are looked at.
func (s *Store) Counts(ctx context.Context, tenant string, now time.Time) (map[result.State]int, error) {
	counts := make(map[result.State]int)
	micro := now.UnixMicro()
	minute := micro / time.Minute.Microseconds()
	// SQLite computes the subquery for the one row of the current minute only.
	const query = `SELECT c.state, c.n, CASE
			WHEN c.minute < 0 OR c.minute > ?1 THEN 0
			WHEN c.minute < ?1 THEN c.n
			ELSE (SELECT count(*) FROM devices d INDEXED BY devices_by_state
				WHERE d.tenant = c.tenant AND d.state = c.state AND d.stale_at >= ?2 AND d.stale_at <= ?3) END
		FROM device_counts c WHERE `
	condition, args := `TRUE`, []any{minute, minute * time.Minute.Microseconds(), micro}
	if tenant != "" {
		condition, args = `c.tenant = ?4`, append(args, tenant)
	}
	err := s.readRows(ctx, "count devices", query+condition, args, func(rows *sql.Rows) error {
		var state result.State
		var n, stale int
		if err := rows.Scan(&state, &n, &stale); err != nil {
			return err
		}
		counts[state] += n - stale
		counts[result.Stale] += stale
		return nil
	})
	if err != nil {
		return nil, err
	}
	for state, n := range counts {
		if n == 0 {
			delete(counts, state)
		}
	}
	return counts, nil
}
