package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

var (
	all         = flag.Bool("all", false, "also run what takes minutes: lists and charts of a million devices")
	millionSize = flag.Int("devices", 1_000_000, "with -all: devices of TestMillion")
	millionOnly = flag.String("only", "", "with -all: what of TestMillion has a name that begins so; empty: all")
	millionFile = flag.String("million", "", "with -all: database of TestMillion, made where it is not there; empty: one that is removed")
)

// million describes the fleet of TestMillion: half of what people filter by goes with each other, as sites have groups
// and labels begin with them, and half does not. The last fiftieth of all in the order of labels has a label, a finding
// and a text that no other device has.
type million struct {
	n   int
	now time.Time
}

func (m million) device(i int) store.Device {
	sum := sha256.Sum256(fmt.Append(nil, "device ", i))
	site := i / 40
	group := site % 200
	model := (i*31 + i/977) % 97 % 40
	d := store.Device{
		Tenant: "t", ID: hex.EncodeToString(sum[:]), Status: store.Active, Level: result.Certified,
		Label: fmt.Sprintf("region%03d-site%05d-%02d", group, site, i%40), Group: fmt.Sprintf("region %d", group),
		Vendor: []string{"Acme", "Bolt", "Cirrus", "Delta", "Echo"}[model%5], Model: fmt.Sprintf("R%d", model),
		Firmware: fmt.Sprintf("2.%d.%d", model%7, (i*13)%3), Agent: "1.0.0", State: result.Trusted,
		Labels:   map[string]string{"jurisdiction": fmt.Sprintf("J%d", group%12), "site": fmt.Sprint(site)},
		EKPublic: make([]byte, 122), AKPublic: make([]byte, 122), TLSPublic: make([]byte, 91), Record: make([]byte, 300),
		EnrolledAt: m.now.Add(-40 * 24 * time.Hour), Since: m.now.Add(-time.Duration(i%(30*24*60)) * time.Minute),
		LastSeen: m.now.Add(-time.Duration(i*7919%3600) * time.Second),
	}
	if m.last(i) {
		d.Labels["zone"], d.Label = "last", d.Label+"-last"
	}
	d.StaleAt = d.LastSeen.Add(3 * time.Hour)
	switch r := (i*7919 + i/1000) % 1000; {
	case r < 10:
		d.State = result.Untrusted
	case r < 30:
		d.State = result.Warning
	case r < 45:
		d.LastSeen = m.now.Add(-time.Duration(4*60+i%40_000) * time.Minute)
		d.StaleAt, d.Silenced = d.LastSeen.Add(3*time.Hour), true
	case r < 48:
		d.State, d.Status, d.LastSeen, d.StaleAt = result.NeverAttested, store.Pending, time.Time{}, time.Time{}
	case r < 50:
		d.State = result.Unsupported
	}
	if i%50_000 == 17 { // silence that is not written down yet
		d.StaleAt = m.now.Add(-time.Second)
	}
	return d
}

func (m million) last(i int) bool { return i/40%200 >= 196 }

// findings returns those of the newest result: one bad release, many small clusters and devices of their own.
func (m million) findings(i int, d *store.Device) (out []result.Finding) {
	add := func(code, component, observed string, severity result.Severity) {
		out = append(out, result.Finding{
			Code: code, Component: component, Observed: observed, Expected: strings.Repeat("ab", 32), Severity: severity, Submod: result.Boot,
			Meaning: "was replaced: its measurement is not the reference value", Action: "isolate the device", FirstSeen: d.Since,
		})
	}
	switch d.State {
	case result.Untrusted:
		if i%3 > 0 {
			add("boot-event-changed", "PCR 4, boot application", "bad release", result.Critical)
		} else {
			add("flash-changed", fmt.Sprintf("flash region %d", i%7), fmt.Sprint("variant ", i%1001), result.Critical)
		}
		if i%50 == 0 {
			add("file-unknown", "file /usr/bin/x", d.ID, result.Critical)
		}
	case result.Warning:
		add("no-reference", "boot", "", result.Warn)
	}
	if i%2 == 0 {
		add("boot-difference", "PCR 1", fmt.Sprint(i%5), result.Info)
	}
	if m.last(i) {
		add("boot-difference", "PCR 2", "last", result.Info)
	}
	return out
}

// fill makes the fleet.
func (m million) fill(t *testing.T, s *Store) {
	t.Helper()
	start := time.Now()
	if _, err := s.writer.conn.ExecContext(t.Context(), `PRAGMA synchronous = OFF`); err != nil { // it may be lost
		t.Fatal(err)
	}
	var next atomic.Int64
	parallel(1024, func(int) {
		for i := next.Add(1) - 1; i < int64(m.n); i = next.Add(1) - 1 {
			if err := s.write(t.Context(), "add", func(tx *tx) error { return m.add(tx, int(i)) }); err != nil {
				t.Error(err)
				return
			}
			if i%20_000 == 0 {
				t.Logf("%d devices after %s", i, time.Since(start).Round(time.Second))
			}
		}
	})
	for day := range int64(90) {
		if err := s.write(t.Context(), "add", func(tx *tx) error { return m.past(tx, day+1) }); err != nil {
			t.Fatal(err)
		}
	}
}

func (m million) add(tx *tx, i int) error {
	d := m.device(i)
	p, err := profileOf(&d)
	if err != nil {
		return err
	}
	if _, err := tx.insertDevice(&d, p); err != nil {
		return err
	}
	found := findingKeys(m.findings(i, &d))
	var row int64
	if err := tx.row(`SELECT row FROM devices WHERE tenant = 't' AND id = ?`, []any{d.ID}, &row); err != nil {
		return err
	}
	raw, err := encodeResult(result.Result{
		Tenant: d.Tenant, Device: d.ID, State: d.State, Findings: m.findings(i, &d), IssuedAt: d.LastSeen, At: d.LastSeen, StaleAt: d.StaleAt,
	})
	if err != nil {
		return err
	}
	if _, err := tx.exec(`INSERT INTO results (device, result, ear) VALUES (?, ?, ?)`, row, raw, strings.Repeat("e", 900)); err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE devices SET shared = 1 WHERE row = ?`, row); err != nil {
		return err
	}
	content := sha256.Sum256([]byte(d.Model + d.Firmware))
	return firstOf(
		func() error { return tx.setFindings("t", row, found) },
		func() error {
			changed := &sightings{came: []*store.Seen{{
				Content: content, Kind: store.SeenBoot, Group: d.Model,
				Digests: []store.SeenDigest{{Digest: content[:], Place: "PCR 4"}, {Digest: make([]byte, 32), Place: "PCR 7"}},
			}}, at: micros(d.LastSeen)}
			return tx.see(&d, changed)
		},
		func() error {
			if i%5 > 0 {
				return nil
			}
			return tx.addEvents([]store.Event{{
				At: d.Since, Tenant: "t", Device: d.ID, Kind: "state-changed", Actor: "verifier", Detail: "warning -> " + string(d.State) + ": why",
			}})
		},
	)
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// past adds 90 days of reports and changes of state, every minute some, from one day on.
func (m million) past(tx *tx, day int64) error {
	first := m.now.Unix()/60 - day*24*60
	for minute := first; minute < first+24*60; minute++ {
		if _, err := tx.exec(`INSERT INTO reports (tenant, span, at, newest, total) VALUES ('t', 60, ?1, 0, 900), ('t', 3600, ?1 / 60, 0, 900)
			ON CONFLICT DO UPDATE SET total = total + 900`, minute); err != nil {
			return err
		}
		for _, was := range []string{"trusted", "stale", "untrusted"} {
			if _, err := tx.exec(`INSERT INTO move (tenant, time, was, became) VALUES ('t', ?1, ?2, 'warning'), ('t', ?1, 'warning', ?2)`,
				minute*60_000_000, was); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestMillion prints how long what pages ask for takes on a fleet of a million devices, and demands that no median is
// 100 ms, also while all are silent and nothing of it is written down, as after a verifier was down for hours. Counts to
// the end, which precede actions with many devices, are no pages; how long the slowest takes is printed.
func TestMillion(t *testing.T) {
	if !*all {
		t.Skip("takes minutes: run with -args -all")
	}
	path := *millionFile
	if path == "" {
		path = filepath.Join(t.TempDir(), "million.db")
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := million{*millionSize, time.Now().UTC().Truncate(time.Microsecond)}
	ctx := t.Context()
	newest, err := s.Devices(ctx, store.Filter{Tenant: "t", Now: m.now, Sort: store.ByLastSeen, Desc: true, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(newest) == 0 {
		m.fill(t, s)
	} else {
		m.now = newest[0].LastSeen // it was filled then
	}
	var slowest, slowestCount time.Duration
	took := func(name string, took time.Duration, pages int, err error) {
		note := ""
		if pages > 1 {
			note = fmt.Sprintf(", the longest of %d", pages)
		}
		t.Logf("%-60s %8.1f ms%s", name, float64(took.Microseconds())/1000, note)
		if slowest = max(slowest, took); err != nil || took >= 100*time.Millisecond {
			t.Errorf("%s takes %s, %v, want less than 100 ms", name, took, err)
		}
	}
	silent := million{m.n, m.now.Add(4 * time.Hour)}
	for _, list := range slices.Concat(m.lists("list: "), silent.lists("all silent: ")) {
		if !strings.HasPrefix(list.name, *millionOnly) {
			continue
		}
		longest, pages, err := m.follow(ctx, s, list.f)
		took(list.name, longest, pages, err)
		if list.f.Sort == store.ByID && !list.f.Desc && list.f.After == "" {
			quick, whole, err := m.count(ctx, s, list.f)
			took("count of "+list.name, quick, 1, err)
			t.Logf("%-60s %8.1f ms", "count to the end of "+list.name, float64(whole.Microseconds())/1000)
			slowestCount = max(slowestCount, whole)
		}
	}
	for _, page := range slices.Concat(m.overview(s, ""), m.details(s), silent.overview(s, "all silent: ")) {
		if !strings.HasPrefix(page.name, *millionOnly) {
			continue
		}
		median, err := m.measure(ctx, s, page.run)
		took(page.name, median, 1, err)
	}
	t.Logf("slowest: %s, of counts to the end: %s", slowest, slowestCount)
}

// measure returns the median of five runs. Something is written before each, as it always is while devices report: what
// connections keep of the file counts no longer then. What the system reads of the disk for the first of them is outside
// the median.
func (m million) measure(ctx context.Context, s *Store, run func(context.Context) error) (time.Duration, error) {
	var took [5]time.Duration
	for i := range took {
		if err := s.Ping(ctx); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := run(ctx); err != nil {
			return 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took[:])
	return took[len(took)/2], nil
}

// millionPage is what a page asks for.
type millionPage struct {
	name string
	run  func(context.Context) error
}

// overview is what the fleet's page asks for.
func (m million) overview(s *Store, prefix string) []millionPage {
	bad := result.Finding{Code: "boot-event-changed", Component: "PCR 4, boot application", Observed: "bad release", Severity: result.Critical}
	history := func(step time.Duration, points int) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.History(ctx, "t", m.now, m.now, step, points)
			return err
		}
	}
	pages := []millionPage{
		{"counts", func(ctx context.Context) error { _, err := s.Counts(ctx, "t", m.now); return err }},
		{"ages", func(ctx context.Context) error {
			_, err := s.Ages(ctx, "t", m.now, []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour})
			return err
		}},
		{"moves of a day", func(ctx context.Context) error { _, err := s.Moves(ctx, "t", m.now.Add(-24*time.Hour)); return err }},
		{"clusters", func(ctx context.Context) error { _, err := s.Clusters(ctx, "t", result.Warn, 50); return err }},
		{"clusters, notes too", func(ctx context.Context) error { _, err := s.Clusters(ctx, "t", result.Info, 100); return err }},
		{"cluster", func(ctx context.Context) error { _, err := s.Cluster(ctx, "t", store.ClusterID(&bad)); return err }},
		{"number of clusters", func(ctx context.Context) error { _, err := s.CountClusters(ctx, "t", result.Warn, 10_000); return err }},
		{"facets", func(ctx context.Context) error { _, err := s.Facets(ctx, "t"); return err }},
		{"changes", func(ctx context.Context) error { _, err := s.Changes(ctx, "t", 0, 100); return err }},
		{"history of an hour", history(time.Minute, 60)},
		{"history of a day", history(5*time.Minute, 288)},
		{"history of a week", history(30*time.Minute, 336)},
		{"history of 90 days", history(6*time.Hour, 360)},
		{"overdue", func(ctx context.Context) error { _, err := s.Overdue(ctx, m.now, 100); return err }},
	}
	for i := range pages {
		pages[i].name = prefix + pages[i].name
	}
	return pages
}
