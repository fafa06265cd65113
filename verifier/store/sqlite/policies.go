package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/probity-attest/probity/verifier/store"
)

// Policy returns one version of a tenant's policy, the newest for 0.
func (s *Store) Policy(ctx context.Context, tenant string, version int64) (p store.Policy, err error) {
	const columns = `SELECT tenant, version, name, document, digest, author, created FROM policies WHERE tenant = ? `
	query, args := columns+`ORDER BY version DESC LIMIT 1`, []any{tenant}
	if version != 0 {
		query, args = columns+`AND version = ?`, append(args, version)
	}
	err = s.readRow(ctx, "read policy", query, args,
		&p.Tenant, &p.Version, &p.Name, &p.Document, &p.Digest, &p.Author, clock{&p.Created})
	return p, err
}

// Policies returns versions without their documents, newest first.
func (s *Store) Policies(ctx context.Context, tenant string, before int64, limit int) ([]store.Policy, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	return readList(ctx, s, "list policies",
		`SELECT tenant, version, name, digest, author, created FROM policies WHERE tenant = ? AND version < ?
			ORDER BY version DESC LIMIT ?`, []any{tenant, before, store.PageSize(limit)}, func(rows *sql.Rows, p *store.Policy) error {
			return rows.Scan(&p.Tenant, &p.Version, &p.Name, &p.Digest, &p.Author, clock{&p.Created})
		})
}

// AddPolicy adds the version that follows the newest; another one is store.ErrConflict.
func (s *Store) AddPolicy(ctx context.Context, p store.Policy, events ...store.Event) error {
	if err := p.Check(); err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add policy", p.Tenant, events, func(t *tx) error {
		var newest int64
		if err := t.row(`SELECT coalesce(max(version), 0) FROM policies WHERE tenant = ?`, []any{p.Tenant}, &newest); err != nil {
			return err
		}
		if p.Version != newest+1 {
			return fmt.Errorf("the newest version is %d, so the next is not %d: %w", newest, p.Version, store.ErrConflict)
		}
		return t.exec1(`INSERT INTO policies (tenant, version, name, document, digest, author, created) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			p.Tenant, p.Version, p.Name, p.Document, p.Digest, p.Author, micros(p.Created))
	})
}
