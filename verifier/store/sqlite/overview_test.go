package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// derived are tables that triggers keep, each with the query that says from devices what must be in it.
var derived = map[string][2]string{
	"classes": {
		`SELECT tenant, status, level, vendor, model, firmware, grouping FROM classes`,
		`SELECT DISTINCT tenant, status, level, vendor, model, firmware, grouping FROM devices`,
	},
	"class of devices": {
		`SELECT d.row, c.tenant, c.status, c.level, c.vendor, c.model, c.firmware, c.grouping FROM devices d JOIN classes c ON c.row = d.class`,
		`SELECT row, tenant, status, level, vendor, model, firmware, grouping FROM devices`,
	},
	"class counts": {
		`SELECT mark, class, shown, n FROM class_counts`,
		`SELECT 0, class, shown, count(*) FROM devices GROUP BY 2, 3
			UNION ALL SELECT m.mark, d.class, d.shown, count(*) FROM device_marks m JOIN devices d ON d.row = m.device GROUP BY 1, 2, 3
			UNION ALL SELECT m.mark, 0, d.shown, count(*) FROM device_marks m JOIN devices d ON d.row = m.device GROUP BY 1, 3`,
	},
	"facets": {
		`SELECT tenant, kind, value, n FROM facets`,
		`SELECT tenant, 'vendor', vendor, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'model', model, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'firmware', firmware, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'group', grouping, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'shown', shown, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'level', level || ' ' || shown, count(*) FROM devices GROUP BY 1, 3
			UNION ALL SELECT tenant, 'status', status || ' ' || shown, count(*) FROM devices GROUP BY 1, 3`,
	},
	"marks": {
		`SELECT row, n FROM marks`,
		`SELECT mark, count(*) FROM device_marks GROUP BY 1`,
	},
	"labels": {
		`SELECT d.device, m.name, m.value FROM device_marks d JOIN marks m ON m.row = d.mark WHERE m.kind = 'label'`,
		`SELECT d.row, j.key, j.value FROM devices d, json_each(d.labels) j`,
	},
	"clusters": {
		`SELECT mark FROM clusters`,
		`SELECT row FROM marks WHERE kind = 'cluster'`,
	},
	"findings": { // 17 bytes of finding_keys each
		`SELECT d.device, count(*) FROM device_marks d JOIN marks m ON m.row = d.mark WHERE m.kind = 'cluster' GROUP BY 1`,
		`SELECT device, length(keys) / 17 FROM finding_keys WHERE keys <> x''`,
	},
	"reports": {
		`SELECT tenant, span, at, newest FROM reports WHERE newest <> 0`,
		`SELECT d.tenant, s.column1, d.last_seen / 1000000 / s.column1, count(*) FROM devices d, (VALUES (60), (3600)) s
			WHERE d.last_seen > 0 GROUP BY 1, 2, 3`,
	},
	"moves": { // what came into a state less what left it
		`SELECT tenant, span, state, sum(n) FROM (
			SELECT tenant, span, became AS state, n FROM moves UNION ALL SELECT tenant, span, was, -n FROM moves
		) WHERE state <> '' GROUP BY 1, 2, 3 HAVING sum(n) <> 0`,
		`SELECT tenant, s.column1, shown, count(*) FROM devices, (VALUES (60), (600), (3600), (86400)) s GROUP BY 1, 2, 3`,
	},
}

// checkDerived compares what triggers keep with what it is derived from.
func checkDerived(t *testing.T, s *Store) {
	t.Helper()
	for name, q := range derived {
		for what, text := range map[string]string{
			"has what should not be there": `SELECT count(*) FROM (SELECT * FROM (` + q[0] + `) EXCEPT SELECT * FROM (` + q[1] + `))`,
			"lacks what should be there":   `SELECT count(*) FROM (SELECT * FROM (` + q[1] + `) EXCEPT SELECT * FROM (` + q[0] + `))`,
		} {
			var n int
			if err := s.readers.QueryRowContext(t.Context(), text).Scan(&n); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n > 0 {
				t.Errorf("%s %s: %d rows", name, what, n)
			}
		}
	}
}

// TestOverviewFollows changes devices in every way, many times, and checks that counts and marks follow.
func TestOverviewFollows(t *testing.T) {
	s, now := newTest(t), time.Now().UTC().Truncate(time.Microsecond)
	ctx, random := t.Context(), rand.New(rand.NewPCG(1, 2))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	findings := func() (out []result.Finding) {
		for range random.IntN(4) {
			out = append(out, result.Finding{
				Code: one("a", "b"), Component: one("x", "y"), Observed: one("1", "2"), FirstSeen: now,
				Severity: result.Severity(one("info", "warning", "critical")),
			})
		}
		return out
	}
	change := func(d *store.Device) {
		d.Group, d.Model, d.Vendor, d.Firmware = one("", "north", "south"), one("R7", "R8"), one("Acme", "Bolt"), one("1", "2")
		d.Status, d.Level = store.Status(one("active", "pending")), result.Level(one("certified", "software"))
		d.Labels = nil
		for _, name := range []string{"site", "jurisdiction"} {
			if random.IntN(2) == 0 {
				d.Labels = map[string]string{name: one("a", "b", "c")}
			}
		}
	}
	for i := range 600 {
		now = now.Add(time.Duration(random.IntN(100)) * time.Second)
		tenant, id := one("t", "u"), fmt.Sprintf("%064x", random.IntN(20))
		d, err := s.Device(ctx, tenant, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			d = store.Device{Tenant: tenant, ID: id, State: result.NeverAttested, Since: now}
			change(&d)
			_, err = s.SaveDevice(ctx, d)
		case err != nil:
		case i%4 == 0: // evidence, which may come after silence that nobody wrote down
			o := benchOutcome(d, int64(i))
			o.Device.State, o.Device.StaleAt, o.Device.LastSeen = result.State(one("trusted", "untrusted")), now.Add(time.Minute), now
			if o.Device.State != d.Current(now) {
				o.Device.Since = now
			}
			o.Device.Silenced, o.Result.Findings = false, findings()
			if random.IntN(2) == 0 {
				change(&o.Device)
			}
			err = s.Record(ctx, o)
		case i%4 == 1 && d.Current(now) == result.Stale:
			d.Silenced, d.Since = true, d.StaleAt
			_, err = s.SaveDevice(ctx, d)
		case i%16 == 2:
			err = s.RemoveDevice(ctx, tenant, id)
		default:
			change(&d)
			_, err = s.SaveDevice(ctx, d)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			checkDerived(t, s)
		}
	}
}

// TestOverviewMigration: a database of the version before gets counts, marks and history of what it has, the findings
// of newest results included.
func TestOverviewMigration(t *testing.T) {
	device := func(row int, state, label, labels string, silenced int) string {
		return fmt.Sprintf(`INSERT INTO devices (row, tenant, id, version, state, stale_at, since, silenced, last_seen, profile, status, level,
			label, grouping, labels, vendor, model, firmware, agent, ek_issuer, cert_serial, cert_expires, enrolled_at, search, shared)
			VALUES (%d, 't', '%064x', 1, '%s', 7200000000, 60000000, %d, 3600000000, x'00', 'active', 'pinned', '%s', 'north', %s, 'Acme', 'R7', '1',
			'', '', '', 0, 30000000, '%s', 0)`, row, row, state, silenced, label, labels, label)
	}
	finding := result.Finding{Code: "flash-changed", Severity: result.Critical, Component: "bios", Observed: "bb", FirstSeen: time.Unix(9, 0).UTC()}
	encode := func(findings ...result.Finding) string {
		b, err := encodeResult(result.Result{Findings: findings})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("x'%x'", b)
	}
	key := store.FindingKey(&finding)
	path := versionFour(
		t,
		device(1, "trusted", "one", `'{"site":"a","rack":"1"}'`, 0), device(2, "untrusted", "two", `'{"site":"a"}'`, 0), device(3, "trusted", "three", "NULL", 1),
		`INSERT INTO results (device, result, ear) VALUES (2, `+encode()+`, ''), (2, `+encode(finding)+`, ''), (1, `+encode(finding)+`, ''), (1, `+encode()+`, '')`,
		fmt.Sprintf(`INSERT INTO finding_keys (device, keys) VALUES (2, x'%x')`, key),
		fmt.Sprintf(`INSERT INTO findings (device, key) VALUES (2, x'%x')`, key),
		fmt.Sprintf(`INSERT INTO events (at, tenant, device, kind, actor, detail) VALUES
			(3600000000, 't', '%064x', 'state-changed', 'verifier', 'never-attested -> trusted'),
			(3600000000, 't', '%064x', 'state-changed', 'verifier', 'never-attested -> untrusted: bios: was replaced'),
			(3600000000, 't', '%064x', 'state-changed', 'verifier', 'never-attested -> trusted'),
			(7200000000, 't', '%064x', 'state-changed', 'verifier', 'trusted -> stale: device: it stopped'),
			(7200000000, 't', 'gone', 'state-changed', 'verifier', 'trusted -> stale')`, 1, 2, 3, 3),
	)
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkDerived(t, s)
	clusters, err := s.Clusters(t.Context(), "t", result.Info, 0)
	if err != nil || len(clusters) != 1 || clusters[0].Devices != 1 || clusters[0].ID != store.ClusterID(&finding) {
		t.Errorf("Clusters = %+v, %v, want the one of device 2's newest result", clusters, err)
	}
	var before, after, stale int
	history, err := s.History(t.Context(), "t", time.Unix(7260, 0), time.Unix(7000, 0), time.Hour, 3)
	if err == nil {
		before, after, stale = history.States[result.NeverAttested][0], history.States[result.Trusted][1], history.States[result.Stale][2]
	}
	if err != nil || before != 3 || after != 2 || stale != 1 {
		t.Errorf("History = %+v, %v, want 3 never attested, then 2 trusted, then 1 stale", history, err)
	}
	if changes, err := s.Changes(t.Context(), "t", 0, 2); err != nil || len(changes) != 2 || changes[1].Why != "device: it stopped" ||
		changes[1].Label != "three" || changes[0].Label != "" {
		t.Errorf("Changes = %+v, %v", changes, err)
	}
	if n, _, err := s.Total(t.Context(), store.Filter{Tenant: "t", Labels: map[string]string{"site": "a"}}, 0); n != 2 || err != nil {
		t.Errorf("Total of a label = %d, %v, want 2", n, err)
	}
	s.Close()
	if s, err = Open(t.Context(), Config{Path: path}); err != nil { // what was done is not done again
		t.Fatal(err)
	}
	defer s.Close()
	checkDerived(t, s)
}

// TestHistoryOfSilence: more devices fell silent than are looked at one by one. The chart ends with as many that are stale
// as there are.
func TestHistoryOfSilence(t *testing.T) {
	s, now := newTest(t), time.Unix(7200, 0)
	s.effort.late = 2
	for i, state := range []result.State{result.Trusted, result.Trusted, result.Trusted, result.Untrusted, result.Untrusted, result.NeverAttested} {
		d := store.Device{
			Tenant: "t", ID: fmt.Sprintf("%064x", i), Status: store.Active, State: state,
			Since: time.Unix(3000, 0), LastSeen: time.Unix(3000, 0), StaleAt: time.Unix(4000+int64(i)*1000, 0),
		}
		if _, err := s.SaveDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[int64]map[result.State][]int{
		7200: {result.Trusted: {2, 1, 0}, result.Untrusted: {2, 2, 1}, result.Stale: {1, 2, 4}, result.NeverAttested: {1, 1, 1}},
		6000: {result.Trusted: {3, 2, 1}, result.Untrusted: {2, 2, 2}, result.Stale: {0, 1, 2}, result.NeverAttested: {1, 1, 1}},
	} {
		history, err := s.History(t.Context(), "t", time.Unix(at, 0), now, 20*time.Minute, 3)
		if diff := cmp.Diff(want, history.States); err != nil || diff != "" {
			t.Errorf("History to %d: %v, -want +got:\n%s", at, err, diff)
		}
	}
}

// TestSpellings: a part of a text of less than three characters is found wherever it is, whatever it is made of.
func TestSpellings(t *testing.T) {
	s := newTest(t)
	s.effort.collect = 1000
	labels := []string{"a-b", "~", "Ünï", "x'y", "zz top", "%", `"`, "山", "tail~"}
	for i, label := range labels {
		d := store.Device{Tenant: "t", ID: fmt.Sprintf("%064x", i), Label: label, Status: store.Active, State: result.Trusted}
		if _, err := s.SaveDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string][]string{
		"-": {"a-b"}, "~": {"~", "tail~"}, "ü": {"Ünï"}, "Ün": {"Ünï"}, "'": {"x'y"}, "ZZ": {"zz top"}, "%": {"%"}, `"`: {`"`},
		"山": {"山"}, "l~": {"tail~"}, "!": nil, "\U0010ffff": nil, "\xff": nil, "\x00": nil, "p": {"zz top"},
	} {
		list, err := s.Devices(t.Context(), store.Filter{Tenant: "t", Query: query})
		var got []string
		for i := range list {
			got = append(got, list[i].Label)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Devices(%q): %v, -want +got:\n%s", query, err, diff)
		}
		n, more, err := s.Total(t.Context(), store.Filter{Tenant: "t", Query: query}, 100)
		if n != len(want) || more || err != nil {
			t.Errorf("Total(%q) = %d, %v, %v, want %d", query, n, more, err, len(want))
		}
	}
}

func TestParseChange(t *testing.T) {
	for detail, want := range map[string]string{
		"trusted -> stale":                       "trusted|stale|",
		"trusted -> untrusted: PCR 4: x -> y: z": "trusted|untrusted|PCR 4: x -> y: z",
		"never-attested -> trusted":              "never-attested|trusted|",
		"something else":                         "||something else",
		"good -> bad: <script>":                  "||good -> bad: <script>",
		"":                                       "||",
	} {
		was, is, why := parseChange(detail)
		if got := strings.Join([]string{string(was), string(is), why}, "|"); got != want {
			t.Errorf("parseChange(%q) = %q, want %q", detail, got, want)
		}
	}
}
