package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

// TestAuditLogIsAppendOnly: not even who writes SQL changes what is in it without dropping the triggers first.
func TestAuditLogIsAppendOnly(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := audit.Entry{At: time.Now(), Actor: "alice", Action: "search", Outcome: audit.OK, Status: 200}
	if err := s.AddAudit(t.Context(), "t", e, e, e); err != nil {
		t.Fatal(err)
	}
	columns := `tenant, seq, at, actor, role, action, object, outcome, status, remote, request, detail, times, before, chain`
	for _, change := range []string{
		`UPDATE audit SET actor = 'mallory' WHERE seq = 2`,
		`UPDATE audit SET times = 9`,
		`DELETE FROM audit WHERE seq = 3`,
		`DELETE FROM audit`,
		`INSERT OR REPLACE INTO audit (` + columns + `) SELECT ` + columns + ` FROM audit WHERE seq = 2`,
		`INSERT INTO audit (` + columns + `) SELECT ` + strings.Replace(columns, "seq", "seq + 5", 1) + ` FROM audit WHERE seq = 3`,
	} {
		err := s.write(t.Context(), "change", func(t *tx) error {
			_, err := t.exec(change)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "entries of the audit log are") {
			t.Errorf("%s = %v, want that it is refused", change, err)
		}
	}
	log, err := s.Audit(t.Context(), store.AuditFilter{Tenant: "t"})
	if err != nil || len(log) != 3 {
		t.Errorf("%d entries left, %v; want 3", len(log), err)
	}
}

// TestAuditLogOfMany: pages of a long log come at once, whatever is looked for.
func TestAuditLogOfMany(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const n = 20_000
	var batch []audit.Entry
	for i := range n {
		batch = append(batch, audit.Entry{
			At: at.Add(time.Duration(i) * time.Second), Actor: fmt.Sprint("user", i%3), Action: "get-device",
			Object: fmt.Sprintf("/v1/devices/%05d", i%7000), Outcome: audit.OK, Status: 200,
		})
	}
	if err := s.AddAudit(t.Context(), "t", batch...); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]store.AuditFilter{
		"newest":      {},
		"old page":    {Before: 500},
		"actor":       {Actor: "user1"},
		"object":      {Object: "/v1/devices/06999"},
		"all objects": {Object: "/v1/"},
		"span":        {From: at.Add(time.Hour), To: at.Add(time.Hour + time.Minute)},
		"nobody":      {Actor: "nobody"},
	} {
		f.Tenant, f.Limit = "t", 50
		c, err := s.auditClause(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		err = s.readRows(t.Context(), "explain", `EXPLAIN QUERY PLAN SELECT * FROM audit a WHERE `+c.String()+` ORDER BY a.seq DESC LIMIT 50`,
			c.args, func(rows *sql.Rows) error {
				var id, parent, unused int
				var detail string
				err := rows.Scan(&id, &parent, &unused, &detail)
				plan = append(plan, detail)
				return err
			})
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "; "); strings.Contains(text, "SCAN") || strings.Contains(text, "TEMP B-TREE FOR ORDER BY") {
			t.Errorf("%s: plan %q, want indexes only", name, text)
		}
		start := time.Now()
		if _, err := s.Audit(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", name, time.Since(start))
	}
}

// TestMigrationOfTokens: what could do everything before there were roles can do so after.
func TestMigrationOfTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probity.db")
	old(t, path, 4, `INSERT INTO tokens (id, tenant, hash, uses, created, expires, revoked, operator)
		VALUES ('op', 't', zeroblob(32), 0, 1, 2, 0, 1), ('dev', 't', zeroblob(32), 5, 1, 2, 0, 0)`)
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for id, want := range map[string]string{"op": "admin", "dev": ""} {
		got, err := s.Token(t.Context(), id)
		if err != nil || got.Role != want || got.Vendors != nil || got.Name != "" || got.Check() != nil {
			t.Errorf("token %s of before = %+v, %v; want role %q", id, got, err, want)
		}
	}
	if has, err := s.HasAccounts(t.Context(), "t"); err != nil || has {
		t.Errorf("HasAccounts() = %t, %v, want none", has, err)
	}
}

// old makes a database with the schema of a version and some rows.
func old(t *testing.T, path string, version int64, insert string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(context.Background(), version); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(insert); err != nil {
		t.Fatal(err)
	}
}
