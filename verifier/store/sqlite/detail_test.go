package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// versionFour makes a database as the version before searches left it, and fills it with statements.
func versionFour(t *testing.T, statements ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "old.db")
	db, err := sql.Open("sqlite", source(Config{Path: path}, url.Values{}, "foreign_keys(1)"))
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
	if _, err := p.UpTo(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return path
}

// TestDetailMigration: an old database gets what can be computed of what it has, and a list of what is to be looked at.
func TestDetailMigration(t *testing.T) {
	device := func(row int, tenant, vendor, model, state string) string {
		return fmt.Sprintf(`INSERT INTO devices (row, tenant, id, version, state, stale_at, since, silenced, last_seen, profile, status, level,
			label, grouping, vendor, model, firmware, agent, ek_issuer, cert_serial, cert_expires, enrolled_at, search, shared)
			VALUES (%d, '%s', '%064x', 1, '%s', 0, 0, 0, 0, x'00', 'active', 'pinned', '', '', '%s', '%s', '', '', '', '', 0, 0, '', 0)`,
			row, tenant, row, state, vendor, model)
	}
	content := sha256.Sum256([]byte("log"))
	path := versionFour(
		t,
		device(1, "t", "Acme", "R7", "trusted"), device(2, "t", "Acme", "R7", "never-attested"), device(3, "u", "Acme", "R8", "warning"),
		fmt.Sprintf(`INSERT INTO indexed (row, content, kind, grouping) VALUES (1, x'%x', 'boot', 'acme'), (2, x'%x', 'flash', 'acme')`,
			content, sha256.Sum256([]byte("flash"))),
		fmt.Sprintf(`INSERT INTO indexed_digests (digest, indexed, lacks, place) VALUES (x'%s', 1, 0, 'PCR 4, Grub'), (x'%s', 1, 0, 'PCR 4, Grub')`,
			strings.Repeat("aa", 32), strings.Repeat("bb", 32)),
		`INSERT INTO seen (device, indexed, boot, first, until) VALUES (1, 1, 'b', 1000000, 0)`,
		`INSERT INTO manifests (row, tenant, digest, vendor, name, model, version, advisory, begins, ends, size, submitted, counts_from,
			counts_until, superseded_by, withdrawn, reason) VALUES (1, 't', 'd', 'Acme', 'r7/1', 'R7', '1', '', 0, 0, 7, 1, 1, 0, '', 0, '')`,
		`INSERT INTO endorsements (manifest, key, issuer, submitted, judged, begins, ends, actor, document)
			VALUES (1, 'k', 'acme', 1, 1, 0, 0, 'bob', x'00')`,
	)
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	models, err := s.ModelCounts(ctx, "t")
	if diff := cmp.Diff([]store.ModelCount{{Vendor: "Acme", Model: "R7", Devices: 2}}, models); err != nil || diff != "" {
		t.Errorf("ModelCounts() = %v (-want +got):\n%s", err, diff)
	}
	page, err := s.FindSeen(ctx, "t", store.SeenQuery{Place: "grub"}, "", 10)
	if err != nil || len(page.Found) != 1 || page.Found[0].Place != "PCR 4, Grub" || page.Found[0].Others != 1 {
		t.Errorf("FindSeen() = %+v, %v, want what was indexed before", page, err)
	}
	manifests, err := s.Manifests(ctx, "t")
	if err != nil || len(manifests) != 1 || manifests[0].Awaits() || manifests[0].Overlap != nil || !manifests[0].Counts(time.Now()) {
		t.Errorf("Manifests() = %+v, %v, want one that counts as before", manifests, err)
	}
	unseen, err := s.Unseen(ctx, 10)
	if err != nil || len(unseen) != 2 || unseen[0].Tenant != "t" || unseen[1].Tenant != "u" {
		t.Errorf("Unseen() = %+v, %v, want the devices that attested", unseen, err)
	}
	logs, err := s.Unindexed(ctx, 10)
	if err != nil || len(logs) != 1 || logs[0] != content {
		t.Errorf("Unindexed() = %x, %v, want the boot log", logs, err)
	}
	if err := s.SeePast(ctx, unseen[0], nil, []string{"r7/1"}); err != nil {
		t.Fatal(err)
	}
	states, err := s.Relying(ctx, "t", "r7/1")
	if err != nil || states[result.Trusted] != 1 {
		t.Errorf("Relying() = %v, %v", states, err)
	}
}

// TestDetailPlans: what many rows fit is found by an index, page by page.
func TestDetailPlans(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "plans.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, c := range map[string]struct {
		query string
		args  []any
	}{
		"sightings of a content": {`SELECT s.row FROM seen s INDEXED BY seen_of CROSS JOIN devices d ON d.row = s.device
			WHERE s.indexed = ? AND s.tenant = ? AND s.row > ? ORDER BY s.row LIMIT ?`, []any{1, "t", 0, 10}},
		"digests of a place": {`SELECT indexed, digest FROM indexed_digests WHERE place = ? AND lacks = 0 LIMIT ?`, []any{"x", 1}},
		"GUID":               {`SELECT indexed, place FROM indexed_guids WHERE guid = ? ORDER BY indexed LIMIT ?`, []any{[]byte{1}, 1}},
		"relying":            {`SELECT state, n FROM relying_counts WHERE tenant = ? AND name = ?`, []any{"t", "n"}},
		"relying of a device": {`SELECT name FROM relying WHERE device = (SELECT row FROM devices WHERE tenant = ? AND id = ?)
			ORDER BY name`, []any{"t", "i"}},
	} {
		var plan []string
		err := s.readRows(t.Context(), "plan", `EXPLAIN QUERY PLAN `+c.query, c.args, func(rows *sql.Rows) error {
			var a, b, d int
			var detail string
			err := rows.Scan(&a, &b, &d, &detail)
			plan = append(plan, detail)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "; ")
		if strings.Contains(text, "SCAN") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s: plan = %s, want neither a scan nor a sort", name, text)
		}
	}
}

// TestSearchManyDevices: what all of many devices have is found page by page, in the time that a page takes.
func TestSearchManyDevices(t *testing.T) {
	const devices = 3000
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "many.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	grub := sha256.Sum256([]byte("grub"))
	seen := []store.Seen{{
		Content: sha256.Sum256([]byte("log")), Kind: store.SeenBoot, Digests: []store.SeenDigest{{Digest: grub[:], Place: "PCR 4, grub"}},
	}}
	parallel(32, func(w int) {
		for n := w; n < devices; n += 32 {
			if err := s.record1(t.Context(), fmt.Sprintf("%064x", n), seen); err != nil {
				t.Error(err)
				return
			}
		}
	})
	found := make(map[string]bool)
	for after := ""; ; {
		page, err := s.FindSeen(t.Context(), "t", store.SeenQuery{Digests: [][]byte{grub[:]}}, after, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Found {
			found[o.Device] = true
		}
		if after = page.Next; after == "" {
			break
		}
	}
	n, err := s.CountSeen(t.Context(), "t", store.SeenQuery{Place: "grub"})
	if len(found) != devices || err != nil || n.Devices != devices || n.Now != devices || n.Partial {
		t.Errorf("found %d devices, count %+v, %v, want %d", len(found), n, err, devices)
	}
}

// record1 stores a device and a first outcome of it.
func (s *Store) record1(ctx context.Context, id string, seen []store.Seen) error {
	d := store.Device{Tenant: "t", ID: id, Status: store.Active, State: result.NeverAttested, Level: result.Pinned}
	var err error
	if d.Version, err = s.SaveDevice(ctx, d); err != nil {
		return err
	}
	evidence := []byte("evidence of " + id)
	sum := sha256.Sum256(evidence)
	at := time.Unix(1_700_000_000, 0)
	d.State, d.StaleAt, d.LastSeen = result.Trusted, at.Add(time.Hour), at
	return s.Record(ctx, store.Outcome{Device: d, Evidence: evidence, EAR: "x", Seen: seen, Result: result.Result{
		Tenant: "t", Device: id, Evidence: hex.EncodeToString(sum[:]), At: at, StaleAt: d.StaleAt, State: result.Trusted,
	}})
}

// details are what the pages of searches and coverage ask for, part of TestMillion.
func (m million) details(s *Store) (out []millionPage) {
	some := m.device(m.n / 2)
	content := sha256.Sum256([]byte(some.Model + some.Firmware))
	for name, q := range map[string]store.SeenQuery{
		"a model's digest": {Digests: [][]byte{content[:]}}, "a digest that all have": {Digests: [][]byte{make([]byte, 32)}},
		"a place that all have": {Place: "PCR 7"}, "a place that nobody has": {Place: "nowhere"},
	} {
		out = append(
			out,
			millionPage{"search: " + name, func(ctx context.Context) error {
				_, err := s.FindSeen(ctx, "t", q, "", 100)
				return err
			}},
			millionPage{"search: " + name + ", from the middle", func(ctx context.Context) error {
				_, err := s.FindSeen(ctx, "t", q, "2s.2s", 100)
				return err
			}},
			millionPage{"search: " + name + ", of another tenant", func(ctx context.Context) error {
				_, err := s.FindSeen(ctx, "u", q, "", 100)
				return err
			}},
			millionPage{"search: devices with " + name, func(ctx context.Context) error {
				_, err := s.CountSeen(ctx, "t", q)
				return err
			}},
		)
	}
	return append(
		out,
		millionPage{"coverage: models", func(ctx context.Context) error { _, err := s.ModelCounts(ctx, "t"); return err }},
		millionPage{"coverage: a manifest", func(ctx context.Context) error { _, err := s.Relying(ctx, "t", "r7/1"); return err }},
	)
}
