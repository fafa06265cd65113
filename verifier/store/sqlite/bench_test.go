package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func benchOutcome(d store.Device, n int64) store.Outcome {
	evidence := make([]byte, 560)
	copy(evidence, fmt.Sprintf("%s %d", d.ID, n))
	sum := sha256.Sum256(evidence)
	ear := make([]byte, 900)
	for i := range ear {
		ear[i] = 'a' + byte(i%26)
	}
	now := time.Now()
	d.State, d.StaleAt, d.LastSeen, d.Result, d.Record = result.Trusted, now.Add(time.Hour), now, ear, make([]byte, 300)
	return store.Outcome{Device: d, Evidence: evidence, EAR: string(ear), Result: result.Result{
		Tenant: d.Tenant, Device: d.ID, Evidence: hex.EncodeToString(sum[:]), At: now, StaleAt: d.StaleAt, State: result.Trusted,
	}}
}

// BenchmarkRecord measures outcomes on stable storage per second: 64 concurrent writers that share commits, and the same
// with one commit for each.
func BenchmarkRecord(b *testing.B) {
	for _, bench := range []struct {
		name           string
		writers, batch int
	}{{"64 writers, group commit", 64, 0}, {"64 writers, one by one", 64, 1}, {"1 writer", 1, 0}} {
		b.Run(bench.name, func(b *testing.B) {
			s, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "bench.db"), Batch: bench.batch})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			benchmarkRecord(b, s, bench.writers)
		})
	}
}

func benchmarkRecord(b *testing.B, s *Store, writers int) {
	ctx := context.Background()
	const fleet = 2048
	devices := make([]store.Device, fleet)
	var next atomic.Int64
	parallel(writers, func(int) {
		for i := next.Add(1) - 1; i < fleet; i = next.Add(1) - 1 {
			d := store.Device{Tenant: "bench", ID: fmt.Sprintf("%064x", i), Status: store.Active, State: result.NeverAttested}
			var err error
			if d.Version, err = s.SaveDevice(ctx, d); err != nil {
				b.Error(err)
			}
			devices[i] = d
		}
	})
	b.ResetTimer()
	next.Store(0)
	parallel(writers, func(w int) {
		for mine := w; ; mine += writers {
			n := next.Add(1)
			if n > int64(b.N) {
				return
			}
			d := &devices[mine%fleet]
			if err := s.Record(ctx, benchOutcome(*d, n)); err != nil {
				b.Error(err)
				return
			}
			d.Version++
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "outcomes/s")
}

func parallel(n int, run func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { run(i) })
	}
	wg.Wait()
}

var fleetSize = flag.Int("fleet", 20_000, "devices of BenchmarkFleet")

// BenchmarkFleet measures what the pages of a dashboard ask for, in the worst cases: nothing or little matches.
func BenchmarkFleet(b *testing.B) {
	ctx := context.Background()
	s, err := Open(ctx, Config{Path: filepath.Join(b.TempDir(), "fleet.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	var next atomic.Int64
	parallel(64, func(int) {
		for i := next.Add(1); i <= int64(*fleetSize); i = next.Add(1) {
			sum := sha256.Sum256([]byte(fmt.Sprint(i)))
			d := store.Device{
				Tenant: "bench", ID: hex.EncodeToString(sum[:]), Status: store.Active, Level: result.Certified,
				Label: fmt.Sprintf("site %d rack %d", i/40, i%40), Group: fmt.Sprintf("region %d", i%50), Vendor: "Acme",
				Model: fmt.Sprintf("R%d", i%9), Firmware: "2.4.1", State: result.Trusted, StaleAt: now.Add(time.Hour),
				LastSeen: now, Since: now, EKPublic: make([]byte, 122), AKPublic: make([]byte, 122), TLSPublic: make([]byte, 91),
				Record: make([]byte, 300), Result: make([]byte, 900),
			}
			switch {
			case i%10_000 == 7:
				d.State = result.Untrusted
			case i%10_000 == 8:
				d.StaleAt = now.Add(-time.Hour)
			case i%3 == 0:
				d.StaleAt = now.Add(3 * time.Hour)
			}
			if _, err := s.SaveDevice(ctx, d); err != nil {
				b.Error(err)
				return
			}
		}
	})
	list := func(f store.Filter) func() error {
		f.Tenant = "bench"
		if f.Now.IsZero() {
			f.Now = now
		}
		return func() error { _, err := s.Devices(ctx, f); return err }
	}
	for _, page := range []struct {
		name string
		run  func() error
	}{
		{"counts", func() error { _, err := s.Counts(ctx, "bench", now); return err }},
		{"counts, two thirds stale", func() error { _, err := s.Counts(ctx, "bench", now.Add(2*time.Hour)); return err }},
		{"all", list(store.Filter{})},
		{"all, near the end", list(store.Filter{After: "ff"})},
		{"trusted", list(store.Filter{State: result.Trusted})},
		{"untrusted, few", list(store.Filter{State: result.Untrusted})},
		{"warning, none", list(store.Filter{State: result.Warning})},
		{"stale, few", list(store.Filter{State: result.Stale})},
		{"stale, two thirds", list(store.Filter{State: result.Stale, Now: now.Add(2 * time.Hour)})},
		{"model", list(store.Filter{Model: "R3"})},
		{"model and state, few", list(store.Filter{Model: "R3", State: result.Untrusted})},
		{"group", list(store.Filter{Group: "region 7"})},
		{"pending, none", list(store.Filter{Status: store.Pending})},
		{"query, many", list(store.Filter{Query: "SITE"})},
		{"query, few", list(store.Filter{Query: "site 17 "})},
		{"query, none", list(store.Filter{Query: "nowhere"})},
		{"query and state, few", list(store.Filter{Query: "rack 7", State: result.Untrusted})},
		{"overdue", func() error { _, err := s.Overdue(ctx, now, 100); return err }},
	} {
		b.Run(page.name, func(b *testing.B) {
			for b.Loop() {
				if err := page.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
