package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// list scans a JSON array of strings.
type list struct{ of *[]string }

// Scan implements sql.Scanner.
func (l list) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("stored list: want text, got %T", v)
	}
	*l.of = nil
	return json.Unmarshal([]byte(s), l.of)
}

func listText(of []string) (string, error) {
	b, err := json.Marshal(of)
	return string(b), err
}

// VendorKeys returns all keys of a tenant, revoked ones included, in ascending name, then in the order of addition.
func (s *Store) VendorKeys(ctx context.Context, tenant string) ([]store.VendorKey, error) {
	return readList(ctx, s, "read vendor keys", `SELECT tenant, id, name, role, public, vendors, models, begins, ends, added, revoked, reason
		FROM vendor_keys WHERE tenant = ? ORDER BY name, row`, []any{tenant}, func(rows *sql.Rows, k *store.VendorKey) error {
		return rows.Scan(&k.Tenant, &k.ID, &k.Name, &k.Role, &k.Public, list{&k.Vendors}, list{&k.Models}, clock{&k.From},
			clock{&k.Until}, clock{&k.Added}, clock{&k.Revoked}, &k.Reason)
	})
}

// AddVendorKey adds one; one that exists is store.ErrConflict.
func (s *Store) AddVendorKey(ctx context.Context, k store.VendorKey, events ...store.Event) error {
	if err := k.Check(); err != nil {
		return err
	}
	vendors, models, err := scopeText(&k)
	if err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add vendor key", k.Tenant, events, func(t *tx) error {
		err := t.exec1(`INSERT INTO vendor_keys (tenant, id, name, role, public, vendors, models, begins, ends, added, revoked, reason)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.Tenant, k.ID, k.Name, k.Role, k.Public, vendors, models,
			micros(k.From), micros(k.Until), micros(k.Added), micros(k.Revoked), k.Reason)
		if constraint(err) {
			return fmt.Errorf("key %s exists already: %w", k.ID, store.ErrConflict)
		}
		return err
	})
}

func scopeText(k *store.VendorKey) (vendors, models string, err error) {
	if vendors, err = listText(k.Vendors); err != nil {
		return "", "", err
	}
	models, err = listText(k.Models)
	return vendors, models, err
}

// ScopeVendorKey replaces Vendors, Models, From and Until.
func (s *Store) ScopeVendorKey(ctx context.Context, k store.VendorKey, events ...store.Event) error {
	if err := k.Check(); err != nil {
		return err
	}
	vendors, models, err := scopeText(&k)
	if err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "scope vendor key", k.Tenant, events, func(t *tx) error {
		return t.execOr(store.ErrNotFound, `UPDATE vendor_keys SET vendors = ?, models = ?, begins = ?, ends = ?
			WHERE tenant = ? AND id = ?`, vendors, models, micros(k.From), micros(k.Until), k.Tenant, k.ID)
	})
}

// RevokeVendorKey sets when and why a key was revoked. A later time than the one that it has is store.ErrConflict.
func (s *Store) RevokeVendorKey(ctx context.Context, tenant, id string, at time.Time, reason string, events ...store.Event) error {
	if at.IsZero() {
		return fmt.Errorf("%w vendor key: no time of revocation", store.ErrInvalid)
	}
	return s.writeWithEvents(ctx, "revoke vendor key", tenant, events, func(t *tx) error {
		var was int64
		err := t.rowOr(store.ErrNotFound, `SELECT revoked FROM vendor_keys WHERE tenant = ? AND id = ?`, []any{tenant, id}, &was)
		if err != nil {
			return err
		}
		if was != 0 && micros(at) >= was {
			return fmt.Errorf("key %s is revoked already: %w", id, store.ErrConflict)
		}
		return t.exec1(`UPDATE vendor_keys SET revoked = ?, reason = ? WHERE tenant = ? AND id = ?`, micros(at), reason, tenant, id)
	})
}

// Denials returns all of a tenant, removed ones included, in the order of addition.
func (s *Store) Denials(ctx context.Context, tenant string) ([]store.Denial, error) {
	return readList(ctx, s, "read denials", `SELECT tenant, digest, advisory, note, actor, added, removed FROM denials
		WHERE tenant = ? ORDER BY added, row`, []any{tenant}, func(rows *sql.Rows, d *store.Denial) error {
		return rows.Scan(&d.Tenant, &d.Digest, &d.Advisory, &d.Note, &d.Actor, clock{&d.Added}, clock{&d.Removed})
	})
}

// AddDenial adds one, in the place of a removed one of the same digest; one that is in force is store.ErrConflict.
func (s *Store) AddDenial(ctx context.Context, d store.Denial, events ...store.Event) error {
	if err := d.Check(); err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add denial", d.Tenant, events, func(t *tx) error {
		return t.execOr(fmt.Errorf("%x is on the deny-list already: %w", d.Digest, store.ErrConflict),
			`INSERT INTO denials (tenant, digest, advisory, note, actor, added, removed) VALUES (?, ?, ?, ?, ?, ?, 0)
			ON CONFLICT DO UPDATE SET advisory = excluded.advisory, note = excluded.note, actor = excluded.actor,
				added = excluded.added, removed = 0 WHERE removed <> 0`,
			d.Tenant, d.Digest, d.Advisory, d.Note, d.Actor, micros(d.Added))
	})
}

// RemoveDenial takes one out of force. One that is not in force is store.ErrNotFound.
func (s *Store) RemoveDenial(ctx context.Context, tenant string, digest []byte, at time.Time, events ...store.Event) error {
	if at.IsZero() {
		return fmt.Errorf("%w denial: no time of removal", store.ErrInvalid)
	}
	return s.writeWithEvents(ctx, "remove denial", tenant, events, func(t *tx) error {
		return t.execOr(store.ErrNotFound, `UPDATE denials SET removed = ? WHERE tenant = ? AND digest = ? AND removed = 0`,
			micros(at), tenant, digest)
	})
}

// Choice returns the value of a name, empty where nothing was chosen.
func (s *Store) Choice(ctx context.Context, tenant, name string) (value string, err error) {
	err = s.readRow(ctx, "read choice", `SELECT value FROM choices WHERE tenant = ? AND name = ?`, []any{tenant, name}, &value)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return value, err
}

// Choose sets the value of a name.
func (s *Store) Choose(ctx context.Context, tenant, name, value string, events ...store.Event) error {
	if tenant == "" || name == "" {
		return fmt.Errorf("%w choice: want tenant and name, got %q and %q", store.ErrInvalid, tenant, name)
	}
	return s.writeWithEvents(ctx, "choose", tenant, events, func(t *tx) error {
		return t.exec1(`INSERT INTO choices (tenant, name, value) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET value = excluded.value`, tenant, name, value)
	})
}
