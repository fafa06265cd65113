package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestAlertsOfOldDatabase: devices of a database that was written before there were alerts are compared with the first
// rule, although none of them reports.
func TestAlertsOfOldDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	raw, err := encodeResult(result.Result{
		Tenant: "t", Device: "bad", State: result.Untrusted, Findings: []result.Finding{{Code: "boot-event-unknown", Severity: result.Critical}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		query string
		args  []any
	}{
		{oldDevice, []any{"good", "trusted"}},
		{oldDevice, []any{"bad", "untrusted"}},
		{`INSERT INTO results (device, result, ear) SELECT row, ?, 'ear' FROM devices WHERE id = 'bad'`, []any{raw}},
	} {
		if _, err := db.Exec(q.query, q.args...); err != nil {
			t.Fatalf("%s: %v", q.query, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rule := store.AlertRule{Tenant: "t", ID: "r", Name: "r", Severity: result.Warn, Wait: time.Second, Repeat: time.Hour}
	if err := s.SaveAlertRule(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = s.ScanAlerts(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	work, err := s.AlertWork(t.Context(), 10)
	if err != nil || len(work) != 1 || work[0].Device.ID != "bad" || len(work[0].Findings) != 1 {
		t.Errorf("AlertWork() = %+v, %v, want the bad device with its finding", work, err)
	}
}

const oldDevice = `INSERT INTO devices (tenant, id, version, state, stale_at, since, silenced, last_seen, profile, status, level, label,
	grouping, vendor, model, firmware, agent, ek_issuer, cert_serial, cert_expires, enrolled_at, search, shared)
	VALUES ('t', ?, 1, ?, 0, 0, 0, 0, x'', 'active', 'pinned', '', '', 'Acme', 'R7', '', '', '', '', 0, 0, '', 0)`

// TestScanReadsItsPart: one step of a scan reads its devices, not all of the tenant.
func TestScanReadsItsPart(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var plan []string
	err = s.readRows(t.Context(), "plan", `EXPLAIN QUERY PLAN `+scanned, []any{1, 2, "t"}, func(rows *sql.Rows) error {
		var id, parent, unused int
		var detail string
		err := rows.Scan(&id, &parent, &unused, &detail)
		plan = append(plan, detail)
		return err
	})
	const want = "SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
	if err != nil || len(plan) == 0 || plan[0] != want {
		t.Errorf("plan = %q, %v, want %q first", plan, err, want)
	}
}

// TestAlertQueriesUseIndexes: what pages and the notifier ask often never reads a whole table, however many alerts,
// deliveries and devices there are.
func TestAlertQueriesUseIndexes(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, now := context.Background(), time.Now()
	for what, ask := range map[string]func() error{
		"alerts":     func() error { _, err := s.Alerts(ctx, "t", "", 0, 10); return err },
		"firing":     func() error { _, err := s.Alerts(ctx, "t", store.AlertFiring, 5, 10); return err },
		"alert":      func() error { _, err := s.Alert(ctx, "t", "a"); return unlessAbsent(err) },
		"show":       func() error { return s.show(ctx, &store.Alert{Seq: 1}) },
		"due":        func() error { _, err := s.DueAlerts(ctx, now, 10); return err },
		"told":       func() error { _, err := s.ToldChannels(ctx, "t", "a"); return err },
		"deliveries": func() error { _, err := s.Deliveries(ctx, "t", store.DeliveryFilter{}, 0, 10); return err },
		"dead": func() error {
			_, err := s.Deliveries(ctx, "t", store.DeliveryFilter{State: store.DeliveryDead}, 5, 10)
			return err
		},
		"of one alert": func() error { _, err := s.Deliveries(ctx, "t", store.DeliveryFilter{Alert: "a"}, 5, 10); return err },
		"due to send":  func() error { _, err := s.DueDeliveries(ctx, now, 10); return err },
		"changed":      func() error { _, err := s.AlertWork(ctx, 10); return err },
		"counts":       func() error { _, err := s.AlertCounts(ctx); return err },
		"rules":        func() error { _, err := s.AlertRules(ctx, "t"); return err },
		"channels":     func() error { _, err := s.AlertChannels(ctx, "t"); return err },
		"one channel":  func() error { _, err := s.AlertChannel(ctx, "t", "c"); return unlessAbsent(err) },
		"current scan": func() error { _, err := s.ScanAlerts(ctx, 10); return err },
	} {
		if err := ask(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	small := []string{"alert_rules", "alert_channels", "alert_scans", "USING INDEX", "USING COVERING INDEX", "alert_work", "w"}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for query := range s.prepared {
		rows, err := s.readers.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if rest, scans := strings.CutPrefix(detail, "SCAN "); scans && !containsAny(rest, small) {
				t.Errorf("%s: %s", query, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if s == p || strings.Contains(s, p) && len(p) > 1 {
			return true
		}
	}
	return false
}

// unlessAbsent drops the error of something that is not there: the query is what matters.
func unlessAbsent(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
