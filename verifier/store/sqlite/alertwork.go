package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// RescanAlerts has all devices compared with all rules again.
func (s *Store) RescanAlerts(ctx context.Context) error {
	return s.write(ctx, "rescan alerts", func(t *tx) error {
		_, err := t.exec(`INSERT INTO alert_scans (tenant, after) SELECT DISTINCT tenant, 0 FROM alert_rules
			WHERE TRUE ON CONFLICT DO UPDATE SET after = 0`)
		return err
	})
}

// scanned are devices with rows between two, in one tenant, that rules may select. The sign keeps the index of the tenant
// out: it has all devices.
const scanned = `SELECT d.row FROM devices d WHERE d.row > ? AND d.row <= ? AND +d.tenant = ?
	AND (d.state <> 'trusted' OR d.silenced = 1
		OR EXISTS (SELECT 1 FROM finding_keys k WHERE k.device = d.row AND k.keys <> x'')
		OR EXISTS (SELECT 1 FROM alert_members m WHERE m.device = d.row))`

// ScanAlerts marks the next devices that have to be compared with rules that were saved. A device that is trusted, without
// any finding and in no alert is in none by any rule.
func (s *Store) ScanAlerts(ctx context.Context, limit int) (more bool, err error) {
	limit = store.PageSize(limit)
	var tenant string
	var after int64
	err = s.readRow(ctx, "read alert scan", `SELECT tenant, after FROM alert_scans ORDER BY tenant LIMIT 1`, nil, &tenant, &after)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = s.write(ctx, "scan for alerts", func(t *tx) error {
		// Read again: a rule that was saved meanwhile began it anew.
		err := t.row(`SELECT after FROM alert_scans WHERE tenant = ?`, []any{tenant}, &after)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		var last sql.NullInt64
		if err := t.row(`SELECT max(row) FROM (SELECT row FROM devices WHERE row > ? ORDER BY row LIMIT ?)`,
			[]any{after, limit}, &last); err != nil {
			return err
		}
		if !last.Valid {
			_, err := t.exec(`DELETE FROM alert_scans WHERE tenant = ?`, tenant)
			return err
		}
		if _, err := t.exec(`INSERT OR REPLACE INTO alert_work (device) `+scanned, after, last.Int64, tenant); err != nil {
			return err
		}
		return t.exec1(`UPDATE alert_scans SET after = ? WHERE tenant = ?`, last.Int64, tenant)
	})
	return true, err
}

// AlertWork returns devices that changed, longest ago first.
func (s *Store) AlertWork(ctx context.Context, limit int) ([]store.AlertWork, error) {
	return readList(ctx, s, "read devices that changed", `SELECT w.seq, d.tenant, d.id, d.state, d.stale_at, d.since, d.silenced, d.last_seen,
			d.status, d.level, d.label, d.grouping, d.labels, d.vendor, d.model, d.firmware,
			(SELECT r.result FROM results r WHERE r.device = d.row ORDER BY r.seq DESC LIMIT 1)
		FROM alert_work w JOIN devices d ON d.row = w.device ORDER BY w.seq LIMIT ?`, []any{store.PageSize(limit)},
		func(rows *sql.Rows, w *store.AlertWork) error {
			var raw sql.RawBytes
			d := &w.Device
			if err := rows.Scan(&w.Seq, &d.Tenant, &d.ID, &d.State, clock{&d.StaleAt}, clock{&d.Since}, &d.Silenced, clock{&d.LastSeen},
				&d.Status, &d.Level, &d.Label, &d.Group, document{&d.Labels}, &d.Vendor, &d.Model, &d.Firmware, &raw); err != nil {
				return err
			}
			if raw != nil {
				r, err := decodeResult(raw)
				w.Findings, w.Damaged = r.Findings, err
			}
			return nil
		})
}

// ApplyAlerts lets devices join the alerts of what they show, beginning them where there are none, and leave all others.
func (s *Store) ApplyAlerts(ctx context.Context, tenant string, changes []store.AlertChange, at time.Time) error {
	return s.write(ctx, "apply alerts", func(t *tx) error {
		for i := range changes {
			if err := t.applyAlerts(tenant, &changes[i], at); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) applyAlerts(tenant string, c *store.AlertChange, at time.Time) error {
	var device int64
	var m member
	err := t.row(`SELECT row, trim(vendor || ' ' || model), grouping FROM devices WHERE tenant = ? AND id = ?`, []any{tenant, c.Device},
		&device, &m.model, &m.group)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Keep {
		_, err := t.exec(`DELETE FROM alert_work WHERE seq = ? AND device = ?`, c.Work, device)
		return err
	}
	kept := []int64{} // not nil: JSON's null is a list of one that equals nothing
	for i := range c.Matches {
		var rule int64
		var name string
		err := t.row(`SELECT row, name FROM alert_rules WHERE tenant = ? AND id = ?`, []any{tenant, c.Matches[i].Rule}, &rule, &name)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		alert, err := t.openAlert(tenant, name, &c.Matches[i], at)
		if err != nil {
			return err
		}
		if err := t.join(device, rule, alert, m); err != nil {
			return err
		}
		kept = append(kept, rule)
	}
	list, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM alert_members WHERE device = ? AND rule NOT IN (SELECT value FROM json_each(?))`,
		device, string(list)); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM alert_work WHERE seq = ? AND device = ?`, c.Work, device)
	return err
}

// member is what a device is while it is in an alert.
type member struct{ model, group string }

// join puts a device into an alert of a rule, out of another one of the same rule.
func (t *tx) join(device, rule, alert int64, m member) error {
	var now int64
	var was member
	err := t.row(`SELECT alert, model, grouping FROM alert_members WHERE device = ? AND rule = ?`, []any{device, rule},
		&now, &was.model, &was.group)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	case now == alert && was == m:
		return nil
	default:
		if err := t.exec1(`DELETE FROM alert_members WHERE device = ? AND rule = ?`, device, rule); err != nil {
			return err
		}
	}
	return t.exec1(`INSERT INTO alert_members (device, rule, alert, model, grouping) VALUES (?, ?, ?, ?, ?)`,
		device, rule, alert, m.model, m.group)
}

// openAlert returns the open alert of a match, beginning it if there is none. Where a rule has too many of a code, one
// more gathers the rest.
func (t *tx) openAlert(tenant, ruleName string, m *store.AlertMatch, at time.Time) (int64, error) {
	f := m.Finding
	key, cluster := m.Key, ""
	if m.Cluster {
		cluster = hex.EncodeToString(key[:])
	}
	row, err := t.alertOf(tenant, m.Rule, key, f.Severity)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return row, err
	}
	var n int
	err = t.row(`SELECT count(*) FROM alerts WHERE tenant = ? AND rule = ? AND code = ? AND resolved = 0`,
		[]any{tenant, m.Rule, f.Code}, &n)
	if err != nil {
		return 0, err
	}
	if n >= store.MaxAlertsOfCode {
		f = result.Finding{
			Code: f.Code, Severity: f.Severity, Submod: f.Submod, Component: "several components", Meaning: f.Meaning, Action: f.Action,
			FirstSeen: f.FirstSeen,
		}
		key, cluster = store.FindingKey(&result.Finding{Code: f.Code}), ""
		row, err = t.alertOf(tenant, m.Rule, key, f.Severity)
		if err == nil || !errors.Is(err, sql.ErrNoRows) {
			return row, err
		}
	}
	finding, err := json.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("encode finding: %w", err)
	}
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	if err := t.exec1(`INSERT INTO alerts (tenant, id, rule, rule_name, key, cluster, code, severity, finding, state, devices, peak, shows,
			since, updated, emptied, resolved, actor, told, told_devices, tellings, refreshed, due, changed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'gathering', 0, 0, '{}', ?, ?, 0, 0, '', 0, 0, 0, 0, 0, 1)`,
		tenant, hex.EncodeToString(id[:]), m.Rule, ruleName, key[:], cluster, f.Code, f.Severity, string(finding),
		micros(at), micros(at)); err != nil {
		return 0, err
	}
	return t.alertOf(tenant, m.Rule, key, f.Severity)
}

func (t *tx) alertOf(tenant, rule string, key [16]byte, severity result.Severity) (row int64, err error) {
	err = t.row(`SELECT row FROM alerts WHERE tenant = ? AND rule = ? AND key = ? AND severity = ? AND resolved = 0`,
		[]any{tenant, rule, key[:], severity}, &row)
	return row, err
}
