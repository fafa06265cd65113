package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

const tokenColumns = `row, id, tenant, hash, uses, created, expires, revoked, operator, role, vendors, name`

func tokenFields(row *int64, t *store.Token) []any {
	return []any{
		row, &t.ID, &t.Tenant, &t.Hash, &t.Uses,
		clock{&t.Created},
		clock{&t.Expires},
		&t.Revoked, &t.Operator, &t.Role,
		list{&t.Vendors},
		&t.Name,
	}
}

// Token returns one by its public id.
func (s *Store) Token(ctx context.Context, id string) (store.Token, error) {
	var row int64
	var t store.Token
	if err := s.readRow(ctx, "read token", `SELECT `+tokenColumns+` FROM tokens WHERE id = ?`, []any{id}, tokenFields(&row, &t)...); err != nil {
		return store.Token{}, err
	}
	err := s.tokenDevices(ctx, row, &t)
	return t, err
}

// tokenDevices reads the devices that a token let in, in ascending id.
func (s *Store) tokenDevices(ctx context.Context, row int64, t *store.Token) error {
	return s.readRows(ctx, "read token", `SELECT device FROM token_devices WHERE token = ? ORDER BY device`, []any{row},
		appendTo(&t.Devices, scanOne))
}

// Tokens lists a tenant's tokens, newest first.
func (s *Store) Tokens(ctx context.Context, tenant string) ([]store.Token, error) {
	var out []store.Token
	var keys []int64
	err := s.readRows(ctx, "read tokens", `SELECT `+tokenColumns+` FROM tokens WHERE tenant = ? ORDER BY created DESC, row DESC`,
		[]any{tenant}, func(rows *sql.Rows) error {
			var row int64
			var t store.Token
			err := rows.Scan(tokenFields(&row, &t)...)
			out, keys = append(out, t), append(keys, row)
			return err
		})
	if err != nil {
		return nil, err
	}
	for i := range out {
		if err := s.tokenDevices(ctx, keys[i], &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AddToken adds one; an id that exists is store.ErrConflict.
func (s *Store) AddToken(ctx context.Context, token store.Token) error {
	if err := token.Check(); err != nil {
		return err
	}
	vendors, err := listText(token.Vendors)
	if err != nil {
		return err
	}
	return s.write(ctx, "add token", func(t *tx) error {
		err := t.exec1(`INSERT INTO tokens (id, tenant, hash, uses, created, expires, revoked, operator, role, vendors, name)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, token.ID, token.Tenant, token.Hash, token.Uses, micros(token.Created),
			micros(token.Expires), token.Revoked, token.Operator, token.Role, vendors, token.Name)
		if constraint(err) {
			return fmt.Errorf("token exists already: %w", store.ErrConflict)
		}
		if err != nil {
			return err
		}
		for _, device := range token.Devices {
			if _, err := t.exec(`INSERT INTO token_devices (token, device) SELECT row, ? FROM tokens WHERE id = ? ON CONFLICT DO NOTHING`,
				device, token.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// UseToken counts device against the token, once per device. An operator's token lets no device in: it is
// store.ErrNotFound here. A zero Expires means that the token does not expire.
func (s *Store) UseToken(ctx context.Context, id, device string, now time.Time) error {
	return s.write(ctx, "use token", func(t *tx) error {
		var row int64
		var token store.Token
		err := t.row(`SELECT `+tokenColumns+` FROM tokens WHERE id = ?`, []any{id}, tokenFields(&row, &token)...)
		switch {
		case errors.Is(err, sql.ErrNoRows) || err == nil && token.Operator:
			return store.ErrNotFound
		case err != nil:
			return err
		case token.Revoked, !token.Expires.IsZero() && !now.Before(token.Expires):
			return store.ErrExpired
		}
		if n, err := t.exec(`INSERT INTO token_devices (token, device) VALUES (?, ?) ON CONFLICT DO NOTHING`, row, device); err != nil || n == 0 {
			return err // nil: the token has let this device in before
		}
		if n, err := t.exec(`UPDATE tokens SET uses = uses - 1 WHERE row = ? AND uses > 0`, row); err != nil || n == 1 {
			return err
		}
		return store.ErrUsed
	})
}

// RevokeToken ends a token. Revoking it again is no error.
func (s *Store) RevokeToken(ctx context.Context, id string) error {
	return s.write(ctx, "revoke token", func(t *tx) error {
		return t.execOr(store.ErrNotFound, `UPDATE tokens SET revoked = 1 WHERE id = ?`, id)
	})
}
