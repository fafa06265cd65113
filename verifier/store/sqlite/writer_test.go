package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func openTest(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newTest(t testing.TB) *Store { return openTest(t, filepath.Join(t.TempDir(), "test.db")) }

// hold occupies the writer until the returned function is called, so that operations pile up behind it.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	running, free, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- s.writer.do(context.Background(), func(*tx) error {
			close(running)
			<-free
			return nil
		})
	}()
	<-running
	return func() {
		close(free)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestGroupCommit queues writes of which every third fails after it has changed something: the failing ones leave nothing,
// the others are all there, and all share one transaction.
func TestGroupCommit(t *testing.T) {
	s := newTest(t)
	release := hold(t, s)
	const n = 30
	failure := errors.New("operation failed")
	errs := make([]error, n)
	var wg sync.WaitGroup
	var mu sync.Mutex
	transactions := make(map[int64]int)
	for i := range n {
		wg.Go(func() {
			errs[i] = s.writer.do(t.Context(), func(tx *tx) error {
				if err := tx.exec1(`INSERT INTO settings (key, value) VALUES (?, x'00')`, fmt.Sprint(i)); err != nil {
					return err
				}
				var version int64
				if err := tx.row(`PRAGMA data_version`, nil, &version); err != nil {
					return err
				}
				mu.Lock()
				transactions[version]++
				mu.Unlock()
				if i%3 == 0 {
					return failure
				}
				return nil
			})
		})
	}
	awaitQueued(t, s, n)
	release()
	wg.Wait()
	for i, err := range errs {
		_, stored := s.Setting(t.Context(), fmt.Sprint(i), nil)
		if i%3 == 0 && (!errors.Is(err, failure) || !errors.Is(stored, store.ErrNotFound)) {
			t.Errorf("operation %d = %v, setting %v; want it undone", i, err, stored)
		}
		if i%3 != 0 && (err != nil || stored != nil) {
			t.Errorf("operation %d = %v, setting %v; want it done", i, err, stored)
		}
	}
	if len(transactions) != 1 {
		t.Errorf("%d transactions, want one", len(transactions))
	}
}

// awaitQueued waits until n operations are queued.
func awaitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	tick, deadline := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for len(s.writer.queue) < n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d operations are queued, want %d", len(s.writer.queue), n)
		}
	}
}

// TestAbandoned ends the context of an operation that is queued: its caller returns at once, and it never runs.
func TestAbandoned(t *testing.T) {
	s := newTest(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	answered := make(chan error)
	go func() {
		answered <- s.writer.do(ctx, func(*tx) error {
			ran = true
			return nil
		})
	}()
	awaitQueued(t, s, 1)
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("do() = %v, want context.Canceled while the writer is busy", err)
	}
	release()
	if err := s.Ping(t.Context()); err != nil { // comes after it in the queue
		t.Fatal(err)
	}
	if ran {
		t.Error("an operation ran after its caller had gone")
	}

	// Once an operation runs, its caller learns what became of it.
	ctx, cancel = context.WithCancel(t.Context())
	if err := s.writer.do(ctx, func(tx *tx) error {
		cancel()
		return tx.exec1(`INSERT INTO settings (key, value) VALUES ('k', x'01')`)
	}); err != nil {
		t.Errorf("do() with a context that ended meanwhile = %v, want nil: it was committed", err)
	}
	if _, err := s.Setting(t.Context(), "k", nil); err != nil {
		t.Error(err)
	}
}

// TestCloseWaits closes while writes are queued: all that were accepted are done.
func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s := openTest(t, path)
	errs := make([]error, 50)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.Setting(context.Background(), fmt.Sprint(i), []byte{1}) })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = openTest(t, path)
	for i, err := range errs {
		_, stored := s.Setting(t.Context(), fmt.Sprint(i), nil)
		if (err == nil) != (stored == nil) {
			t.Errorf("setting %d: write %v, read after reopening %v", i, err, stored)
		}
	}
}

// TestCountsMatchDevices compares the counters that triggers keep with the devices themselves after many changes, at times
// around the borders of minutes.
func TestCountsMatchDevices(t *testing.T) {
	s := newTest(t)
	ctx := t.Context()
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	states := []result.State{result.Trusted, result.Warning, result.Untrusted, result.NeverAttested, result.Unsupported}
	for i := range 400 {
		d := store.Device{Tenant: fmt.Sprint("t", i%2), ID: fmt.Sprintf("%04d", i%37), Status: store.Active, State: states[i%len(states)]}
		if old, err := s.Device(ctx, d.Tenant, d.ID); err == nil {
			d.Version = old.Version
		}
		if i%11 != 0 {
			d.StaleAt = base.Add(time.Duration(i*i%7919) * 17 * time.Millisecond)
		}
		if i%13 == 0 && d.Version > 0 {
			if err := s.RemoveDevice(ctx, d.Tenant, d.ID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := s.SaveDevice(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []string{"", "t0", "t1"} {
		list, err := s.Devices(ctx, store.Filter{Tenant: tenant, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, after := range []time.Duration{-time.Hour, 0, 1, 59_999_999 * time.Microsecond, time.Minute, 61 * time.Second, 100 * time.Second, time.Hour} {
			now := base.Add(after)
			want := make(map[result.State]int)
			for _, d := range list {
				want[d.Current(now)]++
			}
			got, err := s.Counts(ctx, tenant, now)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("Counts(%q, %v) = %v, %v, want %v", tenant, now, got, err, want)
			}
		}
	}
}

func explainPlan(s *Store, query string, args ...any) (string, error) {
	rows, err := s.readers.Query(`EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var a, b, c int
		var detail string
		if err := rows.Scan(&a, &b, &c, &detail); err != nil {
			return "", err
		}
		plan.WriteString(detail + "\n")
	}
	return plan.String(), rows.Err()
}

// TestPragmas checks the settings that durability and integrity rest on.
func TestPragmas(t *testing.T) {
	s := newTest(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "trusted_schema": "0"} {
		var got string
		if err := s.writer.do(t.Context(), func(tx *tx) error { return tx.row(`PRAGMA `+pragma, nil, &got) }); err != nil || got != want {
			t.Errorf("PRAGMA %s = %q, %v, want %q", pragma, got, err, want)
		}
	}
	if _, err := s.readers.Exec(`DELETE FROM devices`); err == nil {
		t.Error("a reader's connection can write")
	}
}
