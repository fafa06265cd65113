package api_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

var flashChanged = result.Finding{
	Code: "flash-changed", Severity: result.Critical, Submod: result.Flash, Component: "flash region bios", Expected: "aa", Observed: "bb",
	Nearest: "r7-2.4.1", Meaning: "was changed", Action: "compare it",
}

// overviewFleet stores four devices: two fail alike, one is stale, one waits.
func overviewFleet(t *testing.T, h *harness, now time.Time) []string {
	t.Helper()
	var ids []string
	for i := range 4 {
		d := store.Device{
			ID: apitest.ID(fmt.Sprint("device ", i)), Label: fmt.Sprint("edge-", i), Vendor: "Acme", Model: "R7", Firmware: "2.4.1", Group: "north",
			Labels: map[string]string{"jurisdiction": []string{"NG", "DE"}[i%2]}, Since: now.Add(-time.Duration(i) * time.Hour),
		}
		if i == 3 {
			d.Status = store.Pending
		}
		apitest.AddDevice(t, h.store, d)
		ids = append(ids, d.ID)
	}
	record := func(i int, r result.Result) {
		t.Helper()
		if err := h.fleet.Record(context.Background(), apitest.Tenant, ids[i], r); err != nil {
			t.Fatal(err)
		}
	}
	f := flashChanged
	f.FirstSeen = now.Add(-time.Hour)
	record(0, result.Result{At: now.Add(-time.Minute), State: result.Untrusted, Findings: []result.Finding{f}})
	f.FirstSeen = now.Add(-2 * time.Hour)
	record(1, result.Result{At: now.Add(-time.Minute), State: result.Untrusted, Findings: []result.Finding{f}})
	record(2, result.Result{At: now.Add(-8 * time.Hour), StaleAt: now.Add(-7 * time.Hour), State: result.Trusted})
	return ids
}

func TestFleetOverview(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now().UTC().Truncate(time.Second)
	all := overviewFleet(t, h, now)
	s := decode[v1.Summary](t, h.do("GET", "/v1/fleet/summary", ""), http.StatusOK)
	if s.Total != 4 || s.Pending != 1 || s.Clusters != 1 || s.States[result.Untrusted] != 2 || s.States[result.Stale] != 1 ||
		s.States[result.NeverAttested] != 1 || s.States[result.Trusted] != 0 {
		t.Errorf("summary = %+v", s)
	}
	if len(s.Ages) != 8 || s.Ages[0] != (v1.AgeBucket{UpTo: 900, Devices: 2}) || s.Ages[4] != (v1.AgeBucket{UpTo: 12 * 3600, Devices: 1}) ||
		s.Ages[7] != (v1.AgeBucket{}) {
		t.Errorf("ages = %+v", s.Ages)
	}
	if len(s.Notices) != 1 || s.Notices[0].Kind != "pending" || s.Notices[0].At != nil {
		t.Errorf("notices = %+v", s.Notices)
	}
	list := decode[v1.Clusters](t, h.do("GET", "/v1/fleet/clusters", ""), http.StatusOK)
	if len(list.Clusters) != 1 || list.More {
		t.Fatalf("clusters = %+v, want one", list)
	}
	want := v1.Cluster{
		ID: store.ClusterID(&flashChanged), Code: "flash-changed", Severity: result.Critical, Submod: result.Flash, Component: "flash region bios",
		Expected: "aa", Observed: "bb", Nearest: "r7-2.4.1", Meaning: "was changed", Action: "compare it", Devices: 2,
		Since: now.Add(-2 * time.Hour), Models: []v1.ValueCount{{Value: "Acme R7", Devices: 2}}, Groups: []v1.ValueCount{{Value: "north", Devices: 2}},
	}
	if diff := cmp.Diff(want, list.Clusters[0]); diff != "" {
		t.Errorf("cluster -want +got:\n%s", diff)
	}
	one := decode[v1.Cluster](t, h.do("GET", "/v1/fleet/clusters/"+want.ID, ""), http.StatusOK)
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("cluster by its id -want +got:\n%s", diff)
	}
	wantProblem(t, h.do("GET", "/v1/fleet/clusters/"+strings.Repeat("0", 32), ""), http.StatusNotFound, "no device shows this")
	page := decode[v1.Devices](t, h.do("GET", "/v1/devices?sort=label&cluster="+want.ID, ""), http.StatusOK)
	if diff := cmp.Diff(all[:2], ids(page)); diff != "" || page.Total != 2 {
		t.Errorf("devices of the cluster: total %d, -want +got:\n%s", page.Total, diff)
	}
	facets := decode[v1.Facets](t, h.do("GET", "/v1/fleet/facets", ""), http.StatusOK)
	if diff := cmp.Diff(v1.Facets{
		Vendors: []v1.ValueCount{{Value: "Acme", Devices: 4}}, Models: []v1.ValueCount{{Value: "R7", Devices: 4}},
		Firmwares: []v1.ValueCount{{Value: "2.4.1", Devices: 4}}, Groups: []v1.ValueCount{{Value: "north", Devices: 4}},
		Codes:  []v1.ValueCount{{Value: "flash-changed", Devices: 2}},
		Labels: map[string][]v1.ValueCount{"jurisdiction": {{Value: "DE", Devices: 2}, {Value: "NG", Devices: 2}}},
	}, facets); diff != "" {
		t.Errorf("facets -want +got:\n%s", diff)
	}
}

func TestFleetHistory(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now().UTC()
	overviewFleet(t, h, now)
	query := url.Values{"from": {now.Add(-10 * time.Hour).Format(time.RFC3339)}, "to": {now.Format(time.RFC3339)}, "points": {"30"}}
	got := decode[v1.History](t, h.do("GET", "/v1/fleet/history?"+query.Encode(), ""), http.StatusOK)
	if got.Step != 1800 || len(got.At) > 30 || len(got.At) < 20 || len(got.Reports) != len(got.At) || got.From.Unix() != got.At[0] {
		t.Fatalf("history = %+v, want steps of half an hour", got)
	}
	last := len(got.At) - 1
	reports := 0
	for _, n := range got.Reports {
		reports += n
	}
	if got.States[result.Untrusted][last] != 2 || got.States[result.Stale][last] != 1 || reports != 3 {
		t.Errorf("history ends with %+v and %d reports, want 2 untrusted, 1 stale and 3", got.States, reports)
	}
	for i := 1; i <= last; i++ {
		if got.At[i]-got.At[i-1] != got.Step {
			t.Errorf("points %d and %d are %d s apart", i-1, i, got.At[i]-got.At[i-1])
		}
	}
	decode[v1.History](t, h.do("GET", "/v1/fleet/history", ""), http.StatusOK)
	for _, bad := range []string{
		"from=2020-01-01T00:00:00Z", "to=2999-01-01T00:00:00Z", "from=yesterday", "points=1", "points=501",
		"from=" + now.Format(time.RFC3339) + "&to=" + now.Add(-time.Hour).Format(time.RFC3339),
	} {
		if w := h.do("GET", "/v1/fleet/history?"+bad, ""); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("GET history?%s = %d %s, want 422", bad, w.Code, w.Body)
		}
	}
}

func TestChanges(t *testing.T) {
	h, now := newHarness(t), time.Now()
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "edge", Vendor: "Acme", Model: "R7"})
	for _, detail := range []string{"trusted -> stale", "stale -> untrusted: bios: was changed"} {
		e := store.Event{At: now, Tenant: apitest.Tenant, Device: d.ID, Kind: "state-changed", Actor: "verifier", Detail: detail}
		if err := h.store.AddEvent(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.store.AddEvent(context.Background(), store.Event{At: now, Tenant: "other", Kind: "state-changed", Detail: "trusted -> stale"}); err != nil {
		t.Fatal(err)
	}
	first := decode[v1.Changes](t, h.do("GET", "/v1/fleet/changes?limit=1", ""), http.StatusOK)
	if len(first.Changes) != 1 || first.Next == 0 || first.Changes[0].Label != "edge" || first.Changes[0].Model != "Acme R7" ||
		first.Changes[0].From != result.Stale || first.Changes[0].To != result.Untrusted || first.Changes[0].Why != "bios: was changed" {
		t.Errorf("changes = %+v", first)
	}
	rest := decode[v1.Changes](t, h.do("GET", fmt.Sprintf("/v1/fleet/changes?before=%d", first.Next), ""), http.StatusOK)
	if len(rest.Changes) != 1 || rest.Next != 0 || rest.Changes[0].To != result.Stale {
		t.Errorf("changes before = %+v", rest)
	}
}

func TestListParameters(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now()
	all := overviewFleet(t, h, now)
	for query, want := range map[string][]string{
		"state=untrusted&state=stale&sort=label":           {all[0], all[1], all[2]},
		"state=untrusted&sort=label":                       {all[0], all[1]},
		"label=jurisdiction%3DNG&sort=label":               {all[0], all[2]},
		"label=jurisdiction%3DNG&state=stale":              {all[2]},
		"vendor=Acme&firmware=2.4.1&sort=label&order=desc": {all[3], all[2], all[1], all[0]},
		"level=software":                                   {},
		"finding=flash-changed&sort=label":                 {all[0], all[1]},
		"digest=" + strings.Repeat("ab", 32):               {},
		"digest=sha384:" + strings.Repeat("a", 96):         {},
		"sort=state&status=active&q=edge-2":                {all[2]},
		"sort=since&limit=500":                             {all[0], all[1], all[3], all[2]}, // newest first; Record sets it
	} {
		page := decode[v1.Devices](t, h.do("GET", "/v1/devices?"+query, ""), http.StatusOK)
		got := ids(page)
		if strings.HasPrefix(query, "sort=since") {
			slices.Sort(got[:2]) // at the same time
			want = append(slices.Sorted(slices.Values(want[:2])), want[2:]...)
		}
		if diff := cmp.Diff(want, got); diff != "" || page.Total != len(want) || page.TotalMore {
			t.Errorf("GET /v1/devices?%s: total %d, -want +got:\n%s", query, page.Total, diff)
		}
	}
	for query, says := range map[string]string{
		"state=good":                    "query.state",
		"label=NG":                      "want NAME=VALUE",
		"label=%3DNG":                   "want NAME=VALUE",
		"label=a%3D1&label=a%3D2":       "give each name once",
		"digest=abc":                    "digest",
		"sort=name":                     "query.sort",
		"sort=label&after=" + all[0]:    "want next of the page before",
		"sort=since&after=bGFiZWwKYQph": "want next of the page before",
		"q=%ff":                         "UTF-8",
		"order=up":                      "query.order",
		"level=best":                    "query.level",
		"label=" + strings.Repeat("a%3D&label=", 9): "query.label",
	} {
		wantProblem(t, h.do("GET", "/v1/devices?"+query, ""), http.StatusUnprocessableEntity, says)
	}
}

// TestListPagesInEveryOrder follows next through pages of one.
func TestListPagesInEveryOrder(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now()
	all := overviewFleet(t, h, now)
	for _, sort := range []string{"id", "label", "state", "last_seen", "since"} {
		for _, order := range []string{"", "&order=asc", "&order=desc"} {
			var got []string
			query := "/v1/devices?limit=1&sort=" + sort + order
			for next := query; len(got) < 10; {
				page := decode[v1.Devices](t, h.do("GET", next, ""), http.StatusOK)
				got = append(got, ids(page)...)
				if page.Total != 4 {
					t.Errorf("%s: total = %d, want 4", next, page.Total)
				}
				if page.Next == "" {
					break
				}
				next = query + "&after=" + url.QueryEscape(page.Next)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(got))); diff != "" {
				t.Errorf("%s: devices on all pages -want +got:\n%s", query, diff)
			}
		}
	}
}

func TestExport(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now()
	all := overviewFleet(t, h, now)
	hostile := apitest.AddDevice(t, h.store, store.Device{
		ID: apitest.ID("hostile"), Label: `=HYPERLINK("http://evil","x")`, Group: "+1", Vendor: "@SUM(A1)", Model: "-1\x1b[31m\u202e", Firmware: `a,"b"`,
		Labels: map[string]string{"site": "<script>", "=x": "1"},
	})
	w := h.do("GET", "/v1/devices/export", "")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") ||
		!strings.HasPrefix(w.Header().Get("Content-Disposition"), `attachment; filename="devices-`) {
		t.Fatalf("export = %d %v", w.Code, w.Header())
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 6 {
		t.Fatalf("CSV = %d rows, %v, want a header and 5", len(rows), err)
	}
	cell := func(row []string, name string) string { return row[slices.Index(rows[0], name)] }
	for _, row := range rows[1:] {
		for i, c := range row {
			if strings.ContainsAny(c[:min(1, len(c))], "=+-@") {
				t.Errorf("cell %s = %q: a spreadsheet takes it for a formula", rows[0][i], c)
			}
		}
		if row[0] != hostile.ID {
			continue
		}
		for name, want := range map[string]string{
			"label": `'=HYPERLINK("http://evil","x")`, "group": "'+1", "vendor": "'@SUM(A1)", "model": `'-1\u{1B}[31m\u{202E}`,
			"firmware": `a,"b"`, "labels": "'=x=1\nsite=<script>", "state": "never-attested", "last_seen": "",
		} {
			if got := cell(row, name); got != want {
				t.Errorf("cell %s = %q, want %q", name, got, want)
			}
		}
	}
	w = h.do("GET", "/v1/devices/export?format=json&state=untrusted", "")
	var got v1.Devices
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Total != 2 || len(got.Devices) != 2 {
		t.Fatalf("JSON = %s, %v, want two devices", w.Body, err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(all[:2])), ids(got)); diff != "" {
		t.Errorf("exported ids -want +got:\n%s", diff)
	}
	for _, format := range []string{"csv", "json"} {
		w = h.do("GET", "/v1/devices/export?model=none&format="+format, "")
		if empty := w.Body.String(); w.Code != http.StatusOK || format == "json" && !json.Valid([]byte(empty)) || format == "csv" && !strings.HasPrefix(empty, "id,label,") {
			t.Errorf("export of nothing as %s = %d %q", format, w.Code, empty)
		}
	}
	wantProblem(t, h.do("GET", "/v1/devices/export?digest=x", ""), http.StatusUnprocessableEntity, "digest")
}

// TestExportOfManyPages: every device comes once.
func TestExportOfManyPages(t *testing.T) {
	h := newHarness(t)
	const n = 2100
	for i := range n {
		apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID(fmt.Sprint(i))})
	}
	var got v1.Devices
	if err := json.Unmarshal(h.do("GET", "/v1/devices/export?format=json", "").Body.Bytes(), &got); err != nil || got.Total != n {
		t.Fatalf("export = %d devices, %v, want %d", got.Total, err, n)
	}
	list := ids(got)
	if !slices.IsSorted(list) || len(slices.Compact(list)) != n {
		t.Errorf("export has %d different devices in ascending id: %v", len(slices.Compact(list)), slices.IsSorted(list))
	}
}

func TestBulkAPI(t *testing.T) {
	h, now := newHarness(t).signed(t), time.Now()
	all := overviewFleet(t, h, now)
	for _, quick := range []string{"false", "true"} {
		count := decode[v1.Bulk](t, h.do("POST", "/v1/devices/bulk",
			`{"action":"label","filter":{"state":["untrusted"]},"dry_run":true,"quick":`+quick+`}`), http.StatusAccepted)
		if count.Total != 2 || count.TotalMore || !count.Over || count.ID != "" {
			t.Errorf("dry run = %+v, want 2 devices and no id", count)
		}
	}
	begun := decode[v1.Bulk](t, h.do("POST", "/v1/devices/bulk",
		`{"action":"label","filter":{"labels":{"jurisdiction":"NG"}},"group":"south","labels":{"site":"Lagos"},"expect":2}`), http.StatusAccepted)
	var done v1.Bulk
	for end := time.Now().Add(30 * time.Second); !done.Over && time.Now().Before(end); {
		done = decode[v1.Bulk](t, h.do("GET", "/v1/bulk/"+begun.ID, ""), http.StatusOK)
	}
	if !done.Over || done.Done != 2 || done.Total != 2 || len(done.Failures) != 0 {
		t.Errorf("bulk = %+v, want 2 of 2", done)
	}
	page := decode[v1.Devices](t, h.do("GET", "/v1/devices?group=south&label=site%3DLagos&sort=label", ""), http.StatusOK)
	if diff := cmp.Diff([]string{all[0], all[2]}, ids(page)); diff != "" {
		t.Errorf("changed devices -want +got:\n%s", diff)
	}
	events := decode[v1.Events](t, h.do("GET", "/v1/devices/"+all[0]+"/events?limit=1", ""), http.StatusOK)
	if len(events.Events) != 1 || events.Events[0].Actor != h.actor || !strings.Contains(events.Events[0].Detail, `group "south"`) {
		t.Errorf("events = %+v, want one that names who did what", events)
	}
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		`{"action":"remove","filter":{},"expect":3}`:                             {http.StatusConflict, "for 4 devices now, not 3"},
		`{"action":"attest","filter":{},"quick":true}`:                           {http.StatusUnprocessableEntity, "quick is of dry_run"},
		`{"action":"attest","filter":{},"dry_run":true,"quick":true,"expect":4}`: {http.StatusUnprocessableEntity, "counted in full"},
		`{"action":"remove"}`: {http.StatusUnprocessableEntity, "either devices or filter"},
		`{"action":"remove","filter":{},"devices":["` + all[0] + `"]}`:                          {http.StatusUnprocessableEntity, "either devices or filter"},
		`{"action":"remove","devices":["edge-1"]}`:                                              {http.StatusUnprocessableEntity, "full ids"},
		`{"action":"remove","filter":{},"group":"x"}`:                                           {http.StatusUnprocessableEntity, "of the action label"},
		`{"action":"label","filter":{}}`:                                                        {http.StatusUnprocessableEntity, "which group or labels"},
		`{"action":"label","filter":{},"group":"a\u202eb"}`:                                     {http.StatusUnprocessableEntity, "U+202E does not print"},
		`{"action":"label","filter":{},"labels":{"":"x"}}`:                                      {http.StatusUnprocessableEntity, "needs a name"},
		`{"action":"label","filter":{"digest":"zz"},"group":"x"}`:                               {http.StatusUnprocessableEntity, "digest"},
		`{"action":"explode","filter":{}}`:                                                      {http.StatusUnprocessableEntity, "body.action"},
		`{"action":"remove","filter":{"states":["stale"]}}`:                                     {http.StatusUnprocessableEntity, "body.filter"},
		`{"action":"remove","devices":["` + strings.Repeat(all[0]+`","`, 1000) + all[0] + `"]}`: {http.StatusUnprocessableEntity, "body.devices"},
	} {
		wantProblem(t, h.do("POST", "/v1/devices/bulk", body), want.status, want.says)
	}
	if n := decode[v1.Counts](t, h.do("GET", "/v1/counts", ""), http.StatusOK).Total; n != 4 {
		t.Errorf("%d devices after refused actions, want 4", n)
	}
	wantProblem(t, h.do("GET", "/v1/bulk/none", ""), http.StatusNotFound, "not found")
}
