package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/verifier/store"
)

// deviceColumns are in the order in which scanDevice reads them. d is the alias of devices.
const deviceColumns = `d.tenant, d.id, d.version, d.state, d.stale_at, d.since, d.silenced, d.last_seen, d.status, d.level, d.label, d.grouping,
	d.labels, d.vendor, d.model, d.firmware, d.agent, d.ek_public, d.ek_issuer, d.ak_public, d.tls_public, d.cert_serial,
	d.cert_expires, d.enrolled_at, d.record, CASE WHEN d.shared
		THEN (SELECT CAST(r.ear AS BLOB) FROM results r WHERE r.device = d.row ORDER BY r.seq DESC LIMIT 1)
		ELSE d.result END`

func deviceFields(d *store.Device) []any {
	return []any{
		&d.Tenant, &d.ID, &d.Version, &d.State,
		clock{&d.StaleAt},
		clock{&d.Since},
		&d.Silenced,
		clock{&d.LastSeen},
		&d.Status,
		&d.Level, &d.Label, &d.Group,
		document{&d.Labels},
		&d.Vendor, &d.Model, &d.Firmware, &d.Agent, &d.EKPublic, &d.EKIssuer,
		&d.AKPublic, &d.TLSPublic, &d.CertSerial,
		clock{&d.CertExpires},
		clock{&d.EnrolledAt},
		&d.Record, &d.Result,
	}
}

func scanDevice(rows *sql.Rows, d *store.Device) error { return rows.Scan(deviceFields(d)...) }

// Device returns one device by full id.
func (s *Store) Device(ctx context.Context, tenant, id string) (d store.Device, err error) {
	err = s.readRow(ctx, "read device", `SELECT `+deviceColumns+` FROM devices d WHERE d.tenant = ? AND d.id = ?`,
		[]any{tenant, id}, deviceFields(&d)...)
	return d, err
}

// minPrefix is the shortest id prefix that Resolve accepts, in bytes.
const minPrefix = 4

// Resolve returns the device whose id starts with prefix or whose label is it. A full id wins over everything else.
func (s *Store) Resolve(ctx context.Context, tenant, prefix string) (store.Device, error) {
	found := make(map[string]bool)
	collect := func(query string, args ...any) error {
		return s.readRows(ctx, "resolve device", query, args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			found[id] = true
			return err
		})
	}
	err := collect(`SELECT id FROM devices WHERE tenant = ? AND label = ? AND label <> '' LIMIT 2`, tenant, prefix)
	if err == nil && len(prefix) >= minPrefix {
		// Ids are compared as bytes, so what starts with prefix lies between it and it with the last code point. A range
		// instead of LIKE: it uses the index, and no character of prefix is special.
		err = collect(`SELECT id FROM devices WHERE tenant = ? AND id >= ? AND id < ? ORDER BY id LIMIT 2`,
			tenant, prefix, prefix+"\U0010ffff")
	}
	if err != nil {
		return store.Device{}, err
	}
	if found[prefix] {
		return s.Device(ctx, tenant, prefix)
	}
	if len(found) > 1 {
		return store.Device{}, fmt.Errorf("resolve device %q: %w", prefix, store.ErrAmbiguous)
	}
	for id := range found {
		return s.Device(ctx, tenant, id)
	}
	return store.Device{}, fmt.Errorf("resolve device %q: %w", prefix, store.ErrNotFound)
}

// profile is what of a device seldom changes, with its digest: a report that leaves it alone need not write it again.
type profile struct {
	digest []byte
	labels any
	search string
}

func profileOf(d *store.Device) (p profile, err error) {
	if p.labels, err = labels(d.Labels); err != nil {
		return p, fmt.Errorf("encode labels: %w", err)
	}
	b, err := json.Marshal([]any{
		d.Status, d.Level, d.Label, d.Group, p.labels, d.Vendor, d.Model, d.Firmware, d.Agent, d.EKPublic, d.EKIssuer,
		d.AKPublic, d.TLSPublic, d.CertSerial, micros(d.CertExpires), micros(d.EnrolledAt),
	})
	sum := sha256.Sum256(b)
	p.digest = sum[:16]
	p.search = strings.ToLower(strings.Join([]string{d.Label, d.Model, d.Vendor, d.ID}, "\n"))
	return p, err
}

// SaveDevice creates (Version 0) or replaces a device and returns its new version. Replacing a device that was removed is
// store.ErrNotFound.
func (s *Store) SaveDevice(ctx context.Context, d store.Device, events ...store.Event) (int64, error) {
	if err := d.Check(); err != nil {
		return 0, err
	}
	p, err := profileOf(&d)
	if err != nil {
		return 0, err
	}
	var version int64
	err = s.writeWithEvents(ctx, "save device", d.Tenant, events, func(t *tx) (err error) {
		if d.Version == 0 {
			version, err = t.insertDevice(&d, p)
		} else {
			version, err = d.Version+1, t.replaceDevice(&d, p, nil)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

func (t *tx) insertDevice(d *store.Device, p profile) (version int64, err error) {
	err = t.row(`SELECT version FROM removed WHERE tenant = ? AND id = ?`, []any{d.Tenant, d.ID}, &version)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	version++
	err = t.exec1(`INSERT INTO devices (tenant, id, version, state, stale_at, since, silenced, last_seen, profile, status, level, label,
			grouping, labels, vendor, model, firmware, agent, ek_public, ek_issuer, ak_public, tls_public, cert_serial,
			cert_expires, enrolled_at, search, shared, record, result)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
		d.Tenant, d.ID, version, d.State, micros(d.StaleAt), micros(d.Since), d.Silenced, micros(d.LastSeen), p.digest, d.Status,
		d.Level, d.Label, d.Group, p.labels, d.Vendor, d.Model, d.Firmware, d.Agent, d.EKPublic, d.EKIssuer, d.AKPublic, d.TLSPublic,
		d.CertSerial, micros(d.CertExpires), micros(d.EnrolledAt), p.search, d.Record, d.Result)
	if constraint(err) {
		return 0, fmt.Errorf("device exists already: %w", store.ErrConflict)
	}
	return version, err
}

// replaceDevice writes all columns. ear is the EAR of the result that is about to be recorded with it, nil if none is.
func (t *tx) replaceDevice(d *store.Device, p profile, ear []byte) error {
	shared, kept := share(d, ear)
	n, err := t.exec(`UPDATE devices SET version = version + 1, state = ?, stale_at = ?, since = ?, silenced = ?, last_seen = ?,
			profile = ?, status = ?, level = ?, label = ?, grouping = ?, labels = ?, vendor = ?, model = ?, firmware = ?, agent = ?,
			ek_public = ?, ek_issuer = ?, ak_public = ?, tls_public = ?, cert_serial = ?, cert_expires = ?, enrolled_at = ?,
			search = ?, record = ?, shared = ?, result = ?
		WHERE tenant = ? AND id = ? AND version = ?`,
		d.State, micros(d.StaleAt), micros(d.Since), d.Silenced, micros(d.LastSeen), p.digest, d.Status, d.Level, d.Label, d.Group,
		p.labels, d.Vendor, d.Model, d.Firmware, d.Agent, d.EKPublic, d.EKIssuer, d.AKPublic, d.TLSPublic, d.CertSerial,
		micros(d.CertExpires), micros(d.EnrolledAt), p.search, d.Record, shared, kept, d.Tenant, d.ID, d.Version)
	if err == nil && n == 0 {
		err = t.whyUnchanged(d)
	}
	return err
}

// share decides whether the device's result is kept with it: not if it is the EAR that becomes its newest result anyway.
func share(d *store.Device, ear []byte) (shared int, kept []byte) {
	if ear != nil && string(ear) == string(d.Result) {
		return 1, nil
	}
	return 0, d.Result
}

// whyUnchanged tells a removed device from one that another writer changed.
func (t *tx) whyUnchanged(d *store.Device) error {
	var version int64
	if err := t.rowOr(store.ErrNotFound, `SELECT version FROM devices WHERE tenant = ? AND id = ?`, []any{d.Tenant, d.ID}, &version); err != nil {
		return err
	}
	return fmt.Errorf("device is at version %d, not %d: %w", version, d.Version, store.ErrConflict)
}

// RemoveDevice deletes a device with its results and evidence; its events stay.
func (s *Store) RemoveDevice(ctx context.Context, tenant, id string, events ...store.Event) error {
	return s.writeWithEvents(ctx, "remove device", tenant, events, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO removed (tenant, id, version) SELECT tenant, id, version FROM devices
			WHERE tenant = ? AND id = ? ON CONFLICT DO UPDATE SET version = excluded.version`, tenant, id); err != nil {
			return err
		}
		return t.execOr(store.ErrNotFound, `DELETE FROM devices WHERE tenant = ? AND id = ?`, tenant, id)
	})
}
