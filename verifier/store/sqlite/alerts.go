package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// shows is what an alert shows of its devices.
type shows struct {
	Sample []store.AlertDevice `json:"sample,omitempty"`
	Models []store.AlertValue  `json:"models,omitempty"`
	Groups []store.AlertValue  `json:"groups,omitempty"`
}

const alertColumns = `SELECT row, tenant, id, rule, rule_name, cluster, finding, state, devices, peak, shows, since, updated, emptied,
	resolved, actor, told, told_devices, tellings, refreshed, due, changed FROM alerts `

func scanAlert(rows *sql.Rows, a *store.Alert) error {
	var finding, rest []byte
	if err := rows.Scan(&a.Seq, &a.Tenant, &a.ID, &a.Rule, &a.RuleName, &a.Cluster, &finding, &a.State, &a.Devices, &a.Peak, &rest,
		clock{&a.Since}, clock{&a.Updated}, clock{&a.Emptied}, clock{&a.Resolved}, &a.Actor, clock{&a.Told}, &a.ToldDevices, &a.Tellings,
		clock{&a.Refreshed}, clock{&a.Due}, &a.Changed); err != nil {
		return err
	}
	var x shows
	if err := errors.Join(json.Unmarshal(finding, &a.Finding), json.Unmarshal(rest, &x)); err != nil {
		return fmt.Errorf("stored alert: %w", err)
	}
	a.Sample, a.Models, a.Groups = x.Sample, x.Models, x.Groups
	return nil
}

func (s *Store) readAlerts(ctx context.Context, condition string, args ...any) ([]store.Alert, error) {
	return readList(ctx, s, "read alerts", alertColumns+condition, args, scanAlert)
}

// Alerts returns a tenant's alerts in a state (empty: all), newest first, older than before (0: from the newest).
func (s *Store) Alerts(ctx context.Context, tenant string, state store.AlertState, before int64, limit int) ([]store.Alert, error) {
	if state != "" {
		return s.readAlerts(ctx, `WHERE tenant = ? AND state = ? AND row < ? ORDER BY row DESC LIMIT ?`,
			tenant, state, upTo(before), store.PageSize(limit))
	}
	return s.readAlerts(ctx, `WHERE tenant = ? AND row < ? ORDER BY row DESC LIMIT ?`, tenant, upTo(before), store.PageSize(limit))
}

// Alert returns one.
func (s *Store) Alert(ctx context.Context, tenant, id string) (store.Alert, error) {
	found, err := s.readAlerts(ctx, `WHERE tenant = ? AND id = ?`, tenant, id)
	if err != nil {
		return store.Alert{}, err
	}
	if len(found) == 0 {
		return store.Alert{}, fmt.Errorf("read alert: %w", store.ErrNotFound)
	}
	return found[0], nil
}

// AcknowledgeAlert notes who takes care of an open alert.
func (s *Store) AcknowledgeAlert(ctx context.Context, tenant, id, actor string, at time.Time, events ...store.Event) error {
	return s.writeWithEvents(ctx, "acknowledge alert", tenant, events, func(t *tx) error {
		n, err := t.exec(`UPDATE alerts SET state = 'acknowledged', actor = ?, updated = ?, changed = changed + 1, due = 0
			WHERE tenant = ? AND id = ? AND state IN ('gathering', 'firing')`, actor, micros(at), tenant, id)
		if err != nil || n > 0 {
			return err
		}
		var state string
		if err := t.rowOr(store.ErrNotFound, `SELECT state FROM alerts WHERE tenant = ? AND id = ?`, []any{tenant, id}, &state); err != nil {
			return err
		}
		return fmt.Errorf("it is %s: %w", state, store.ErrConflict)
	})
}

// DueAlerts returns open alerts of all tenants that have to be looked at, with the Sample, Models and Groups that they
// have now.
func (s *Store) DueAlerts(ctx context.Context, now time.Time, limit int) ([]store.Alert, error) {
	out, err := s.readAlerts(ctx, `WHERE resolved = 0 AND due <= ? ORDER BY due, row LIMIT ?`, micros(now), store.PageSize(limit))
	for i := 0; err == nil && i < len(out); i++ {
		if out[i].Devices > 0 { // otherwise it shows what it had last
			err = s.show(ctx, &out[i])
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// show reads which devices an alert has.
func (s *Store) show(ctx context.Context, a *store.Alert) error {
	a.Sample, a.Models, a.Groups = nil, nil, nil
	err := s.readRows(ctx, "read devices of an alert", `SELECT d.id, d.label FROM alert_members m JOIN devices d ON d.row = m.device
		WHERE m.alert = ? ORDER BY m.device LIMIT ?`, []any{a.Seq, store.AlertSample},
		appendTo(&a.Sample, func(rows *sql.Rows, d *store.AlertDevice) error { return rows.Scan(&d.ID, &d.Label) }))
	if err != nil {
		return err
	}
	for kind, into := range map[string]*[]store.AlertValue{"model": &a.Models, "group": &a.Groups} {
		err := s.readRows(ctx, "read what devices of an alert are", `SELECT value, n FROM alert_scopes
			WHERE alert = ? AND kind = ? ORDER BY n DESC, value LIMIT ?`, []any{a.Seq, kind, store.AlertSample},
			appendTo(into, func(rows *sql.Rows, v *store.AlertValue) error { return rows.Scan(&v.Value, &v.Devices) }))
		if err != nil {
			return err
		}
	}
	return nil
}

// TellAlert replaces what of an alert is not counted by the store, and adds deliveries.
func (s *Store) TellAlert(ctx context.Context, a store.Alert, deliveries []store.Delivery, events ...store.Event) error {
	events, err := store.EventsOf(a.Tenant, events)
	if err != nil {
		return err
	}
	for i := range deliveries {
		if err := deliveries[i].Check(); err != nil {
			return err
		}
		if deliveries[i].Tenant != a.Tenant {
			return fmt.Errorf("%w delivery: of tenant %q with an alert of tenant %q", store.ErrInvalid, deliveries[i].Tenant, a.Tenant)
		}
	}
	rest, err := json.Marshal(shows{a.Sample, a.Models, a.Groups})
	if err != nil {
		return fmt.Errorf("encode alert: %w", err)
	}
	return s.write(ctx, "tell alert", func(t *tx) error {
		err := t.execOr(store.ErrConflict, `UPDATE alerts SET state = ?, shows = ?, updated = ?, emptied = ?, resolved = ?, actor = ?, told = ?,
				told_devices = ?, tellings = ?, refreshed = ?, due = ?, changed = changed + 1
			WHERE tenant = ? AND id = ? AND changed = ? AND resolved = 0`,
			a.State, string(rest), micros(a.Updated), micros(a.Emptied), micros(a.Resolved), a.Actor, micros(a.Told), a.ToldDevices,
			a.Tellings, micros(a.Refreshed), micros(a.Due), a.Tenant, a.ID, a.Changed)
		for i := 0; err == nil && i < len(deliveries); i++ {
			_, err = t.addDelivery(&deliveries[i])
		}
		if err != nil {
			return err
		}
		return t.addEvents(events)
	})
}

// ToldChannels returns the ids of the channels through which an alert was told, or is going to be.
func (s *Store) ToldChannels(ctx context.Context, tenant, id string) ([]string, error) {
	return readList(ctx, s, "read channels of an alert", `SELECT DISTINCT channel FROM deliveries
		WHERE alert = ? AND alert <> '' AND tenant = ? ORDER BY channel`, []any{id, tenant}, scanOne[string])
}

// AlertCounts counts alerts, deliveries and devices that wait, of all tenants.
func (s *Store) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	out := store.AlertCounts{
		Open:       make(map[result.Severity]map[store.AlertState]int),
		Deliveries: make(map[store.DeliveryState]int),
	}
	err := s.readRows(ctx, "count alerts", `SELECT severity, state, count(*) FROM alerts WHERE resolved = 0 GROUP BY severity, state`, nil,
		func(rows *sql.Rows) error {
			var severity result.Severity
			var state store.AlertState
			var n int
			if err := rows.Scan(&severity, &state, &n); err != nil {
				return err
			}
			if out.Open[severity] == nil {
				out.Open[severity] = make(map[store.AlertState]int)
			}
			out.Open[severity][state] = n
			return nil
		})
	if err != nil {
		return store.AlertCounts{}, err
	}
	for state, query := range map[store.DeliveryState]string{
		store.DeliveryWaiting: `SELECT count(*) FROM deliveries WHERE state = 'waiting'`,
		store.DeliveryDead:    `SELECT count(*) FROM deliveries INDEXED BY deliveries_dead WHERE state = 'dead'`,
	} {
		var n int
		if err := s.readRow(ctx, "count deliveries", query, nil, &n); err != nil {
			return store.AlertCounts{}, err
		}
		out.Deliveries[state] = n
	}
	return out, s.readRow(ctx, "count devices that changed", `SELECT count(*) FROM alert_work`, nil, &out.Backlog)
}

// PruneAlerts deletes resolved alerts and final deliveries that are older than before, of all tenants.
func (s *Store) PruneAlerts(ctx context.Context, before time.Time) error {
	return s.write(ctx, "prune alerts", func(t *tx) error {
		if _, err := t.exec(`DELETE FROM deliveries WHERE state <> 'waiting' AND created < ?`, micros(before)); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM alerts WHERE resolved > 0 AND resolved < ?`, micros(before))
		return err
	})
}
