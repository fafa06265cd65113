package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Deliveries returns a tenant's deliveries, newest first, without their messages.
func (s *Store) Deliveries(ctx context.Context, tenant string, f store.DeliveryFilter, before int64, limit int) (
	[]store.Delivery, error,
) {
	query := `SELECT row, tenant, key, alert, channel, name, recipient, subject, state, attempts, error, created, next, expires, sent, NULL
		FROM deliveries WHERE tenant = ? AND `
	args := []any{tenant}
	if f.State != "" {
		query, args = query+`state = ? AND `, append(args, f.State)
	}
	if f.Alert != "" {
		query, args = query+`alert = ? AND alert <> '' AND `, append(args, f.Alert)
	}
	return s.readDeliveries(ctx, query+`row < ? ORDER BY row DESC LIMIT ?`, append(args, upTo(before), store.PageSize(limit))...)
}

func (s *Store) readDeliveries(ctx context.Context, query string, args ...any) ([]store.Delivery, error) {
	return readList(ctx, s, "read deliveries", query, args, func(rows *sql.Rows, d *store.Delivery) error {
		return rows.Scan(
			&d.ID, &d.Tenant, &d.Key, &d.Alert, &d.Channel, &d.Name, &d.Recipient, &d.Subject, &d.State, &d.Attempts, &d.Error,
			clock{&d.Created}, clock{&d.Next}, clock{&d.Expires}, clock{&d.Sent}, &d.Message)
	})
}

// AddDelivery adds one outside of an alert and returns its id.
func (s *Store) AddDelivery(ctx context.Context, d store.Delivery, events ...store.Event) (id int64, err error) {
	if err := d.Check(); err != nil {
		return 0, err
	}
	err = s.writeWithEvents(ctx, "add delivery", d.Tenant, events, func(t *tx) (err error) {
		id, err = t.addDelivery(&d)
		return err
	})
	if err != nil {
		return 0, err
	}
	return id, nil
}

func (t *tx) addDelivery(d *store.Delivery) (id int64, err error) {
	err = t.exec1(`INSERT INTO deliveries
			(tenant, key, alert, channel, name, recipient, subject, message, state, attempts, error, created, next, expires, sent)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.Tenant, d.Key, d.Alert, d.Channel, d.Name, d.Recipient, d.Subject, d.Message, d.State, d.Attempts, d.Error,
		micros(d.Created), micros(d.Next), micros(d.Expires), micros(d.Sent))
	if constraint(err) {
		return 0, fmt.Errorf("delivery %q exists: %w", d.Key, store.ErrConflict)
	}
	if err == nil {
		err = t.row(`SELECT row FROM deliveries WHERE key = ?`, []any{d.Key}, &id)
	}
	return id, err
}

// DueDeliveries returns what waits to be sent, of all tenants, oldest first. Channels are asked one by one: one for which
// thousands wait does not hide the others.
func (s *Store) DueDeliveries(ctx context.Context, now time.Time, limit int) ([]store.Delivery, error) {
	type channel struct{ tenant, id string }
	channels, err := readList(ctx, s, "read alert channels", `SELECT tenant, id FROM alert_channels WHERE disabled = 0 ORDER BY row`, nil,
		func(rows *sql.Rows, c *channel) error { return rows.Scan(&c.tenant, &c.id) })
	if err != nil {
		return nil, err
	}
	var out []store.Delivery
	for _, c := range channels {
		found, err := s.readDeliveries(ctx, `SELECT d.row, d.tenant, d.key, d.alert, d.channel, d.name, d.recipient, d.subject, d.state, d.attempts, d.error,
				d.created, d.next, d.expires, d.sent, d.message FROM deliveries d INDEXED BY deliveries_waiting
			WHERE d.tenant = ? AND d.channel = ? AND d.state = 'waiting' AND d.next <= ? AND NOT EXISTS (
				SELECT 1 FROM deliveries e INDEXED BY deliveries_in_turn WHERE e.alert = d.alert AND e.alert <> '' AND e.channel = d.channel
					AND e.recipient = d.recipient AND e.row < d.row AND e.state = 'waiting')
			ORDER BY d.row LIMIT ?`, c.tenant, c.id, micros(now), store.PageSize(limit))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// SettleDelivery replaces State, Attempts, Error, Next and Sent of one that waits, and notes with its channel how it went.
func (s *Store) SettleDelivery(ctx context.Context, d store.Delivery) error {
	if err := d.Check(); err != nil {
		return err
	}
	return s.write(ctx, "settle delivery", func(t *tx) error {
		if err := t.execOr(store.ErrConflict, `UPDATE deliveries SET state = ?, attempts = ?, error = ?, next = ?, sent = ?
			WHERE row = ? AND tenant = ? AND state = 'waiting'`,
			d.State, d.Attempts, d.Error, micros(d.Next), micros(d.Sent), d.ID, d.Tenant); err != nil {
			return err
		}
		return t.noteChannel(&d)
	})
}

// failing is why the newest attempt failed for a recipient of a channel who waits for something; empty: none does.
const failing = `coalesce((SELECT d.error FROM deliveries d INDEXED BY deliveries_waiting WHERE d.tenant = alert_channels.tenant
	AND d.channel = alert_channels.id AND d.state = 'waiting' AND d.error <> '' AND d.recipient <> '' ORDER BY d.row DESC LIMIT 1), '')`

// noteChannel notes with a channel how a delivery went.
func (t *tx) noteChannel(d *store.Delivery) (err error) {
	if d.State == store.DeliverySent {
		_, err = t.exec(`UPDATE alert_channels SET last = ?, failing = `+failing+` WHERE tenant = ? AND id = ?`, micros(d.Sent), d.Tenant, d.Channel)
	} else {
		_, err = t.exec(`UPDATE alert_channels SET failing = ? WHERE tenant = ? AND id = ?`, d.Error, d.Tenant, d.Channel)
	}
	return err
}

// RetryDelivery lets a dead one wait again.
func (s *Store) RetryDelivery(ctx context.Context, tenant string, id int64, now, expires time.Time, events ...store.Event) error {
	return s.writeWithEvents(ctx, "retry delivery", tenant, events, func(t *tx) error {
		n, err := t.exec(`UPDATE deliveries SET state = 'waiting', attempts = 0, next = ?, expires = ?
			WHERE tenant = ? AND row = ? AND state = 'dead' AND EXISTS (SELECT 1 FROM alert_channels c
				WHERE c.tenant = deliveries.tenant AND c.id = deliveries.channel
					AND (recipient = '' OR recipient IN (SELECT value FROM json_each(c.spec, '$.to'))))`,
			micros(now), micros(expires), tenant, id)
		if err != nil || n > 0 {
			return err
		}
		var state string
		if err := t.rowOr(store.ErrNotFound, `SELECT state FROM deliveries WHERE tenant = ? AND row = ?`, []any{tenant, id}, &state); err != nil {
			return err
		}
		return fmt.Errorf("it is %s, or its channel or recipient is gone: %w", state, store.ErrConflict)
	})
}

// ExpireDeliveries gives up what is waiting although its time is over.
func (s *Store) ExpireDeliveries(ctx context.Context, now time.Time) error {
	return s.write(ctx, "expire deliveries", func(t *tx) error {
		_, err := t.exec(`UPDATE deliveries SET state = 'dead', error = CASE error WHEN '' THEN 'it was not sent in time' ELSE error END
			WHERE state = 'waiting' AND expires <= ?`, micros(now))
		return err
	})
}
