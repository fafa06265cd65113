package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

// link scans and stores a digest of the chain.
type link struct{ *audit.Digest }

// Scan implements sql.Scanner.
func (l link) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(l.Digest) {
		return fmt.Errorf("stored chain: want %d bytes, got %T", len(l.Digest), v)
	}
	copy(l.Digest[:], b)
	return nil
}

// AddAudit appends entries to a tenant's log. The one goroutine that writes gives them their places.
func (s *Store) AddAudit(ctx context.Context, tenant string, entries ...audit.Entry) error {
	for i := range entries {
		if err := store.CheckAudit(tenant, &entries[i]); err != nil {
			return err
		}
	}
	return s.write(ctx, "add audit entry", func(t *tx) error {
		for _, e := range entries { // copies: an operation that fails with others of its batch is run again
			var last time.Time
			err := t.row(`SELECT seq, at, chain FROM audit WHERE tenant = ? ORDER BY seq DESC LIMIT 1`, []any{tenant},
				&e.Seq, clock{&last}, link{&e.Before})
			if errors.Is(err, sql.ErrNoRows) {
				e.Seq, e.Before, err = 0, audit.Digest{}, nil
			}
			if err != nil {
				return err
			}
			e.Seq++
			if e.At = store.Micro(e.At); e.At.Before(last) {
				e.At = last
			}
			e.Chain = e.Link()
			if err := t.exec1(`INSERT INTO audit (tenant, seq, at, actor, role, action, object, outcome, status, remote, request, detail,
				times, before, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, tenant, e.Seq, micros(e.At), e.Actor, e.Role,
				e.Action, e.Object, e.Outcome, e.Status, e.Remote, e.Request, e.Detail, e.Times, e.Before[:], e.Chain[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Audit returns entries as f says. Conditions that few entries meet are looked up through their index.
func (s *Store) Audit(ctx context.Context, f store.AuditFilter) ([]audit.Entry, error) {
	c, err := s.auditClause(ctx, f)
	if err != nil {
		return nil, err
	}
	query := `SELECT a.seq, a.at, a.actor, a.role, a.action, a.object, a.outcome, a.status, a.remote, a.request, a.detail, a.times,
		a.before, a.chain FROM audit a WHERE ` + c.String() + ` ORDER BY a.seq DESC LIMIT ?`
	if f.Ascending {
		query = query[:len(query)-len(`DESC LIMIT ?`)] + `LIMIT ?`
	}
	return readList(ctx, s, "read audit log", query, append(c.args, store.PageSize(f.Limit)), func(rows *sql.Rows, e *audit.Entry) error {
		return rows.Scan(&e.Seq, clock{&e.At}, &e.Actor, &e.Role, &e.Action, &e.Object, &e.Outcome, &e.Status, &e.Remote, &e.Request,
			&e.Detail, &e.Times, link{&e.Before}, link{&e.Chain})
	})
}

// auditClause translates a filter. Times become sequence numbers, as entries never go back in time; a condition that few
// entries meet becomes a list of these. So a page is read in the order of the primary key.
func (s *Store) auditClause(ctx context.Context, f store.AuditFilter) (*clause, error) {
	c := &clause{}
	c.add(`a.tenant = ?`, f.Tenant)
	c.add(`a.seq < ?`, upTo(f.Before))
	if f.Ascending {
		c.add(`a.seq > ?`, f.After)
	}
	for _, bound := range []struct {
		at        time.Time
		condition string
	}{{f.From, `a.seq >= ?`}, {f.To, `a.seq < ?`}} {
		if bound.at.IsZero() {
			continue
		}
		var seq int64
		err := s.readRow(ctx, "read audit log", `SELECT seq FROM audit WHERE tenant = ? AND at >= ? ORDER BY at, seq LIMIT 1`,
			[]any{f.Tenant, micros(bound.at)}, &seq)
		if errors.Is(err, store.ErrNotFound) {
			seq, err = upTo(0), nil
		}
		if err != nil {
			return nil, err
		}
		c.add(bound.condition, seq)
	}
	for _, by := range []struct {
		condition string // on the row, and on an index of its own
		args      []any
	}{
		{`actor = ?`, []any{f.Actor}},
		{`action = ?`, []any{f.Action}},
		{`object >= ? AND object < ? || char(1114111)`, []any{f.Object, f.Object}},
	} {
		if by.args[0] == "" {
			continue
		}
		rows, args := `SELECT seq FROM audit WHERE tenant = ? AND `+by.condition, append([]any{f.Tenant}, by.args...)
		var n int
		if err := s.readRow(ctx, "read audit log", `SELECT count(*) FROM (`+rows+` LIMIT ?)`, append(args, rare), &n); err != nil {
			return nil, err
		}
		if n < rare {
			c.add(`a.seq IN (`+rows+`)`, args...)
		} else {
			c.add(by.condition, by.args...)
		}
	}
	return c, nil
}
