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

// ruleSpec is what of a rule is read as a whole only.
type ruleSpec struct {
	States   []result.State    `json:"states,omitempty"`
	Codes    []string          `json:"codes,omitempty"`
	Severity result.Severity   `json:"severity"`
	Groups   []string          `json:"groups,omitempty"`
	Models   []string          `json:"models,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Channels []string          `json:"channels,omitempty"`
	Wait     time.Duration     `json:"wait"`
	Repeat   time.Duration     `json:"repeat"`
}

// channelSpec is what of a channel is read as a whole only.
type channelSpec struct {
	Kind   string   `json:"kind"`
	Target string   `json:"target"`
	To     []string `json:"to,omitempty"`
	From   string   `json:"from,omitempty"`
	User   string   `json:"user,omitempty"`
	Secret string   `json:"secret,omitempty"`
}

// AlertRules returns a tenant's rules in ascending name; with "" those of all tenants.
func (s *Store) AlertRules(ctx context.Context, tenant string) ([]store.AlertRule, error) {
	query, args := `SELECT tenant, id, name, disabled, created, spec FROM alert_rules`, []any(nil)
	if tenant != "" {
		query, args = query+` WHERE tenant = ?`, []any{tenant}
	}
	return readList(ctx, s, "list alert rules", query+` ORDER BY tenant, name`, args, func(rows *sql.Rows, r *store.AlertRule) error {
		var raw []byte
		var x ruleSpec
		if err := rows.Scan(&r.Tenant, &r.ID, &r.Name, &r.Disabled, clock{&r.Created}, &raw); err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			return fmt.Errorf("stored alert rule: %w", err)
		}
		r.States, r.Codes, r.Severity, r.Groups, r.Models, r.Labels = x.States, x.Codes, x.Severity, x.Groups, x.Models, x.Labels
		r.Channels, r.Wait, r.Repeat = x.Channels, x.Wait, x.Repeat
		return nil
	})
}

// SaveAlertRule creates or replaces a rule, and has all devices of the tenant compared with it.
func (s *Store) SaveAlertRule(ctx context.Context, r store.AlertRule, events ...store.Event) error {
	if err := r.Check(); err != nil {
		return err
	}
	spec, err := json.Marshal(ruleSpec{
		States: r.States, Codes: r.Codes, Severity: r.Severity, Groups: r.Groups, Models: r.Models, Labels: r.Labels,
		Channels: r.Channels, Wait: r.Wait, Repeat: r.Repeat,
	})
	if err != nil {
		return fmt.Errorf("encode alert rule: %w", err)
	}
	return s.writeWithEvents(ctx, "save alert rule", r.Tenant, events, func(t *tx) error {
		err := t.exec1(`INSERT INTO alert_rules (tenant, id, name, disabled, created, spec) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, disabled = excluded.disabled, spec = excluded.spec`,
			r.Tenant, r.ID, r.Name, r.Disabled, micros(r.Created), string(spec))
		if constraint(err) {
			return fmt.Errorf("another alert rule is called %q: %w", r.Name, store.ErrConflict)
		}
		if err != nil {
			return err
		}
		var row int64
		if err := t.row(`SELECT row FROM alert_rules WHERE tenant = ? AND id = ?`, []any{r.Tenant, r.ID}, &row); err != nil {
			return err
		}
		if err := t.linkChannels(row, &r); err != nil {
			return err
		}
		if err := t.rescan(r.Tenant); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE alerts SET due = 0, changed = changed + 1 WHERE tenant = ? AND rule = ? AND resolved = 0`, r.Tenant, r.ID)
		return err
	})
}

// linkChannels notes which channels a rule tells.
func (t *tx) linkChannels(rule int64, r *store.AlertRule) error {
	if _, err := t.exec(`DELETE FROM alert_rule_channels WHERE rule = ?`, rule); err != nil {
		return err
	}
	for _, id := range r.Channels {
		var channel int64
		if err := t.rowOr(fmt.Errorf("alert channel %q: %w", id, store.ErrNotFound),
			`SELECT row FROM alert_channels WHERE tenant = ? AND id = ?`, []any{r.Tenant, id}, &channel); err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO alert_rule_channels (rule, channel) VALUES (?, ?) ON CONFLICT DO NOTHING`, rule, channel); err != nil {
			return err
		}
	}
	return nil
}

// rescan has a tenant's devices marked from the first one on.
func (t *tx) rescan(tenant string) error {
	return t.exec1(`INSERT INTO alert_scans (tenant, after) VALUES (?, 0) ON CONFLICT DO UPDATE SET after = 0`, tenant)
}

// RemoveAlertRule deletes a rule; its alerts lose their devices.
func (s *Store) RemoveAlertRule(ctx context.Context, tenant, id string, events ...store.Event) error {
	return s.writeWithEvents(ctx, "remove alert rule", tenant, events, func(t *tx) error {
		// By hand, not by cascade: the alerts count what leaves them.
		if _, err := t.exec(`DELETE FROM alert_members WHERE rule = (SELECT row FROM alert_rules WHERE tenant = ? AND id = ?)`,
			tenant, id); err != nil {
			return err
		}
		return t.execOr(store.ErrNotFound, `DELETE FROM alert_rules WHERE tenant = ? AND id = ?`, tenant, id)
	})
}

const channelColumns = `SELECT tenant, id, name, disabled, created, last, failing, spec FROM alert_channels WHERE tenant = ?`

func scanChannel(rows *sql.Rows, c *store.AlertChannel) error {
	var raw []byte
	var x channelSpec
	if err := rows.Scan(&c.Tenant, &c.ID, &c.Name, &c.Disabled, clock{&c.Created}, clock{&c.Last}, &c.Failing, &raw); err != nil {
		return err
	}
	if json.Unmarshal(raw, &x) != nil {
		return errors.New("stored alert channel is not JSON") // without showing it: there is a secret in it
	}
	c.Kind, c.Target, c.To, c.From, c.User, c.Secret = x.Kind, x.Target, x.To, x.From, x.User, x.Secret
	return nil
}

// AlertChannels returns a tenant's channels in ascending name.
func (s *Store) AlertChannels(ctx context.Context, tenant string) ([]store.AlertChannel, error) {
	return readList(ctx, s, "list alert channels", channelColumns+` ORDER BY name`, []any{tenant}, scanChannel)
}

// AlertChannel returns one.
func (s *Store) AlertChannel(ctx context.Context, tenant, id string) (c store.AlertChannel, err error) {
	found := false
	err = s.readRows(ctx, "read alert channel", channelColumns+` AND id = ?`, []any{tenant, id}, func(rows *sql.Rows) error {
		found = true
		return scanChannel(rows, &c)
	})
	if err == nil && !found {
		err = fmt.Errorf("read alert channel: %w", store.ErrNotFound)
	}
	return c, err
}

// SaveAlertChannel creates or replaces a channel; what waits for a recipient that it has no more is dead.
func (s *Store) SaveAlertChannel(ctx context.Context, c store.AlertChannel, events ...store.Event) error {
	if err := c.Check(); err != nil {
		return err
	}
	recipients, err := json.Marshal(append([]string{}, c.To...))
	if err != nil {
		return fmt.Errorf("encode recipients: %w", err)
	}
	spec, err := json.Marshal(channelSpec{Kind: c.Kind, Target: c.Target, To: c.To, From: c.From, User: c.User, Secret: c.Secret})
	if err != nil {
		return errors.New("encode alert channel: not JSON")
	}
	return s.writeWithEvents(ctx, "save alert channel", c.Tenant, events, func(t *tx) error {
		err := t.exec1(`INSERT INTO alert_channels (tenant, id, name, disabled, created, last, failing, spec)
			VALUES (?, ?, ?, ?, ?, 0, '', ?)
			ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, disabled = excluded.disabled, spec = excluded.spec`,
			c.Tenant, c.ID, c.Name, c.Disabled, micros(c.Created), string(spec))
		if constraint(err) {
			return fmt.Errorf("another alert channel is called %q: %w", c.Name, store.ErrConflict)
		}
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE deliveries SET state = 'dead', error = 'the recipient was taken from the channel'
			WHERE tenant = ? AND channel = ? AND state = 'waiting' AND recipient <> '' AND recipient NOT IN (SELECT value FROM json_each(?))`,
			c.Tenant, c.ID, string(recipients))
		if err != nil || n == 0 {
			return err
		}
		_, err = t.exec(`UPDATE alert_channels SET failing = `+failing+` WHERE tenant = ? AND id = ?`, c.Tenant, c.ID)
		return err
	})
}

// RemoveAlertChannel deletes a channel; what waits for it is dead.
func (s *Store) RemoveAlertChannel(ctx context.Context, tenant, id string, events ...store.Event) error {
	return s.writeWithEvents(ctx, "remove alert channel", tenant, events, func(t *tx) error {
		var rules int
		err := t.row(`SELECT count(*) FROM alert_rule_channels r JOIN alert_channels c ON c.row = r.channel WHERE c.tenant = ? AND c.id = ?`,
			[]any{tenant, id}, &rules)
		if err != nil {
			return err
		}
		if rules > 0 {
			return fmt.Errorf("%d alert rules tell it: %w", rules, store.ErrConflict)
		}
		if err := t.execOr(store.ErrNotFound, `DELETE FROM alert_channels WHERE tenant = ? AND id = ?`, tenant, id); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE deliveries SET state = 'dead', error = 'the channel was removed'
			WHERE tenant = ? AND channel = ? AND state = 'waiting'`, tenant, id)
		return err
	})
}
