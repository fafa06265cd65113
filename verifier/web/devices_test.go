package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/browsertest"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

func TestFleetPage(t *testing.T) {
	s := filled(t, v1.Admin)
	a := s.visitor(t, "admin").get("/?range=7d")
	a.want(t, http.StatusOK, "6 devices", "Identical failures", "all in group <bdi>north</bdi>",
		`href="/devices?cluster=`+webtest.BadCluster+`"`, "measured what <bdi>Acme R7 2.4.1</bdi> has",
		"1 device sent authentic evidence", `href="/manifests/acme%2Fr7%2F2.5.0"`, "Age of the newest evidence",
		`href="/?range=7d" aria-current="true"`)
	for _, state := range []string{"trusted", "warning", "untrusted", "stale", "never-attested", "unsupported"} {
		if !strings.Contains(a.body, `href="/devices?state=`+state+`"`) {
			t.Errorf("the page has no tile of state %s", state)
		}
	}
	asked := s.asked(http.MethodGet, "/v1/fleet/history")
	query, err := url.ParseQuery(asked[len(asked)-1].Query)
	if err != nil || query.Get("points") != "84" {
		t.Errorf("history was asked with %v, want 84 points", query)
	}
	s.visitor(t, "admin").get("/?range=evil").want(t, http.StatusOK, `href="/?range=24h" aria-current="true"`)
}

func TestFirstRun(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Admin, v1.Viewer)
	s.visitor(t, "viewer").get("/").want(t, http.StatusOK, "No devices yet")
	s.visitor(t, "viewer").get("/welcome").want(t, http.StatusOK, "Your role may not make tokens")
	v := s.visitor(t, "admin")
	v.get("/").wantTo(t, "/welcome")
	v.get("/welcome").want(t, http.StatusOK, "Make the line")
	v.post("/welcome", "_key", "k1").wantTo(t, "/welcome")
	line := "probity-agent run --verifier mqtts://verifier.example:8883 --ca-fingerprint sha256:" + strings.Repeat("5c", 32) +
		" --token probity-device-t1-secret"
	for range 2 { // it is still there when the page is loaded again
		v.get("/welcome").want(t, http.StatusOK, line, "lets in 100 devices")
	}
	if got := s.asked(http.MethodPost, "/v1/tokens"); len(got) != 1 || got[0].Header.Get("Idempotency-Key") != "k1-1" {
		t.Errorf("asked for tokens: %v", got)
	}
	if a := s.visitor(t, "viewer").get("/welcome"); strings.Contains(a.body, "probity-device-t1-secret") {
		t.Error("another account sees the token")
	}
	s.api.AddDevices(1, result.NeverAttested, "R7")
	v.get("/welcome").wantTo(t, "/")
	v.header.Set("Hx-Request", "true")
	if a := v.get("/welcome"); a.header.Get("Hx-Redirect") != "/" {
		t.Errorf("a page that waits is told %v, want a redirect to /", a.header)
	}
}

func TestDeviceList(t *testing.T) {
	s := filled(t, v1.Admin)
	v := s.visitor(t, "admin")
	v.get("/devices?state=untrusted&state=unsupported&sort=label&evil=1").want(t, http.StatusOK, "3 of 6", "site-003", "site-005",
		`href="/devices?evil=1&amp;sort=label&amp;state=unsupported"`)
	got := s.asked(http.MethodGet, "/v1/devices")
	if want := "sort=label&state=untrusted&state=unsupported"; got[len(got)-1].Query != want {
		t.Errorf("the API was asked %q, want %q", got[len(got)-1].Query, want)
	}
	v.get("/devices?cluster="+webtest.BadCluster).want(t, http.StatusOK, "The boot loader is not one that the vendor published",
		"Take the device out of service", "failure</span> <bdi>PCR 4, boot application")
	v.get("/devices?cluster=gone").want(t, http.StatusOK, "No device matches")
	v.get("/devices?group=nowhere").want(t, http.StatusOK, "No device matches", `<option value="nowhere" selected>`)

	v.get("/devices?sort=label").want(t, http.StatusOK, `aria-sort="ascending"`, `href="/devices?order=desc&amp;sort=label"`,
		`href="/devices?sort=since"`)
	v.get("/devices?sort=since").want(t, http.StatusOK, `aria-sort="descending"`, `href="/devices?order=asc&amp;sort=since"`)
	v.get("/devices?sort=since&order=asc").want(t, http.StatusOK, `aria-sort="ascending"`)

	s.api.AddDevices(60, result.Trusted, "R7")
	first := v.get("/devices?state=trusted")
	first.want(t, http.StatusOK, "63 of 66", `rel="next" href="/devices?after=50&amp;state=trusted"`)
	v.get("/devices?after=50&state=trusted").want(t, http.StatusOK, "site-", `href="/devices?state=trusted">`)
	s.api.SetDevice(0, func(d *v1.Device) { d.Status = "pending" })
	v.get("/devices?status=pending").want(t, http.StatusOK, "waits for approval", "site-000")
}

// TestListThatGoesOn looks for few of many devices: pages that the verifier ends before they are full go on by themselves
// until something is found.
func TestListThatGoesOn(t *testing.T) {
	s := filled(t, v1.Operator)
	s.api.Handle("GET /v1/devices", func(r *http.Request, _ []byte) (int, any) {
		some := v1.Device{ID: strings.Repeat("ab", 32), Label: "site-last", State: result.Untrusted}
		switch r.URL.Query().Get("after") {
		case "":
			return http.StatusOK, v1.Devices{Devices: []v1.Device{}, Next: "a", Partial: true, TotalMore: true}
		case "a":
			return http.StatusOK, v1.Devices{Devices: []v1.Device{}, Next: "b", Partial: true, TotalMore: true}
		case "b":
			return http.StatusOK, v1.Devices{Devices: []v1.Device{some}, Next: "c", Partial: true, Total: 1, TotalMore: true}
		}
		return http.StatusOK, v1.Devices{Devices: []v1.Device{}, Total: 1}
	})
	v := s.visitor(t, "operator")
	v.get("/devices?q=last").want(t, http.StatusOK, "few or none of 6", "None found so far", "all that match",
		`hx-get="/devices?after=a&amp;q=last"`, `rel="next" href="/devices?after=a&amp;q=last">Go on searching`)
	found := v.get("/devices?after=b&q=last")
	found.want(t, http.StatusOK, "at least 1 of 6", "site-last", `href="/devices?after=c&amp;q=last">Go on searching`, "First page")
	if strings.Contains(found.body, `hx-trigger="load`) {
		t.Error("a page that has devices goes on by itself")
	}
	v.get("/devices?after=c&q=last").want(t, http.StatusOK, "No more devices match")

	b := s.signedIn(t, "operator", browsertest.Config{})
	must(t, b.Open(s.url+"/devices?q=last"), b.UntilText("#list", "site-last"), b.Until(`location.search === "?after=b&q=last"`),
		b.Click("#list input[name=device]"), b.Click("button[value=attest]"), b.UntilText("h1", "Ask for evidence now: 1 device"))
	for _, complaint := range b.Complaints() {
		t.Errorf("the browser complains: %s", complaint)
	}
}

func TestExport(t *testing.T) {
	s := filled(t, v1.Admin, v1.Vendor)
	v := s.visitor(t, "admin")
	a := v.get("/devices/export?state=untrusted&format=csv")
	a.want(t, http.StatusOK, "id,label,state\n")
	if n := strings.Count(a.body, "untrusted"); n != 2 || strings.Contains(a.body, "<html") {
		t.Errorf("export has %d devices, want 2: %s", n, a.body)
	}
	if got := s.asked(http.MethodGet, "/v1/devices/export"); got[0].Query != "format=csv&state=untrusted" {
		t.Errorf("the API was asked %q", got[0].Query)
	}
	s.api.Refuse("GET /v1/devices/export", http.StatusTooManyRequests, "one export at a time")
	v.get("/devices/export?format=json").want(t, http.StatusTooManyRequests, "<html", "One export at a time")
	s.visitor(t, "vendor").get("/devices/export").want(t, http.StatusForbidden, "<html")
}

func TestBulk(t *testing.T) {
	s := filled(t, v1.Operator)
	v := s.visitor(t, "operator")
	v.header.Set("Referer", s.url+"/devices?state=untrusted")
	list := v.get("/devices?state=untrusted")
	list.want(t, http.StatusOK, "all 2 that match", `name="filter" value="state=untrusted"`)

	v.post("/bulk", "action", "attest", "scope", "checked").wantTo(t, "/devices?state=untrusted")
	v.get("/devices?state=untrusted").want(t, http.StatusOK, "No device is selected")
	v.post("/bulk", "action", "explode", "scope", "all").wantTo(t, "/devices?state=untrusted")
	v.get("/devices").want(t, http.StatusOK, "Choose what to do")
	v.post("/bulk", "action", "attest", "scope", "all", "filter", "%zz").wantTo(t, "/devices?state=untrusted")

	v.post("/bulk", "action", "label", "scope", "all", "filter", "state=untrusted", "device", "ignored").
		want(t, http.StatusOK, "Label: 2 devices", `name="expect" value="2"`, `name="scope" value="all"`)
	if got := s.api.LastBulk(); got.Action != "" {
		t.Errorf("the question alone did %+v", got)
	}
	fields := []string{"action", "label", "scope", "all", "filter", "state=untrusted", "_key", "k7"}
	v.post("/bulk/run", fields...).wantTo(t, "/devices?state=untrusted")
	v.get("/devices").want(t, http.StatusOK, "Say which group or which label")
	v.post("/bulk/run", append(fields, "group", "a", "no-group", "1")...).wantTo(t, "/devices?state=untrusted")
	v.get("/devices").want(t, http.StatusOK, "Name a group, or none")
	fields = append(fields, "group", " quarantine ", "label-name", "site", "label-value", "oslo")
	v.post("/bulk/run", append(fields, "expect", "2")...).wantTo(t, "/bulk/1?action=label&filter=state%3Duntrusted")
	got, group, two := s.api.LastBulk(), "quarantine", 2
	want := v1.BulkAction{
		Action: "label", Group: &group, Labels: map[string]string{"site": "oslo"}, Expect: &two,
		Filter: &v1.DeviceFilter{State: []result.State{result.Untrusted}}, Devices: got.Devices,
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got.Devices) != 2 {
		t.Errorf("bulk action (-want +got):\n%s", diff)
	}
	v.get("/bulk/1?action=label&filter=state%3Duntrusted").want(t, http.StatusOK, "Done with 2 devices", `href="/devices?state=untrusted"`)

	s.api.AddDevices(1, result.Untrusted, "R7") // somebody else's device joins between question and answer
	v.post("/bulk/run", "action", "remove", "scope", "all", "filter", "state=untrusted", "expect", "2").wantTo(t, "/devices?state=untrusted")
	v.get("/devices").want(t, http.StatusOK, "Nothing was done", "7")
}

func TestBulkOfChosen(t *testing.T) {
	s := filled(t, v1.Operator)
	v := s.visitor(t, "operator")
	var ids []string
	var list v1.Devices
	if err := json.Unmarshal([]byte(s.apiGet(t, "operator", "/v1/devices")), &list); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Devices[:2] {
		ids = append(ids, d.ID)
	}
	fields := []string{"action", "remove", "scope", "checked", "device", ids[1], "device", ids[0], "device", ids[1]}
	v.post("/bulk", fields...).want(t, http.StatusOK, "Remove: 2 devices", "deleted", `name="device" value="`+ids[0]+`"`)
	v.post("/bulk/run", fields...).wantTo(t, "/bulk/1?action=remove")
	if got := s.api.LastBulk(); len(got.Devices) != 2 || got.Filter != nil || got.Expect != nil {
		t.Errorf("removed %+v, want the two chosen", got)
	}
	v.get("/devices").want(t, http.StatusOK, ">4<")
	many := []string{"action", "attest", "scope", "checked"}
	for i := range 1001 {
		many = append(many, "device", fmt.Sprint(i))
	}
	v.post("/bulk", many...).want(t, http.StatusUnprocessableEntity, "Select at most 1000 devices")
}

// TestBulkOfVeryMany asks about so many devices that they are not counted at once: the page counts them by itself, and no
// action is offered before.
func TestBulkOfVeryMany(t *testing.T) {
	s := filled(t, v1.Operator)
	s.api.Handle("POST /v1/devices/bulk", func(_ *http.Request, body []byte) (int, any) {
		var in v1.BulkAction
		if err := json.Unmarshal(body, &in); err != nil {
			t.Error(err)
		}
		out := v1.Bulk{JobProgress: v1.JobProgress{Total: 1658, Over: true}, TotalMore: true, Failures: []v1.BulkFailure{}}
		if !in.Quick {
			out.Total, out.TotalMore = 474990, false
		}
		return http.StatusAccepted, out
	})
	v := s.visitor(t, "operator")
	ask := []string{"action", "label", "scope", "all", "filter", "q=site"}
	first := v.post("/bulk", ask...)
	first.want(t, http.StatusOK, "At least 1,658 devices match", "Count them", `name="filter" value="q=site"`)
	if strings.Contains(first.body, "/bulk/run") {
		t.Error("an action is offered before all were counted")
	}
	v.post("/bulk", append(ask, "count", "all")...).want(t, http.StatusOK, "Label: 474,990 devices", `name="expect" value="474990"`)
	v.get("/bulk").wantTo(t, "/devices")

	b := s.signedIn(t, "operator", browsertest.Config{})
	must(t, b.Open(s.url+"/devices?q=site"), b.Click("select[name=scope]"))
	_, err := browsertest.Eval[string](b, `document.querySelector("select[name=scope]").value = "all"`)
	must(t, err, b.Click("button[value=remove]"), b.UntilText("h1", "Remove: 474,990 devices"), b.Click("button.danger"))
	for _, complaint := range b.Complaints() {
		t.Errorf("the browser complains: %s", complaint)
	}
}

func TestBulkFailures(t *testing.T) {
	s := filled(t, v1.Operator)
	s.api.Answer("GET /v1/bulk/{id}", v1.Bulk{
		ID: "9", JobProgress: v1.JobProgress{Over: true, Done: 5, Total: 8}, Left: 2,
		Failures: []v1.BulkFailure{{Device: strings.Repeat("a", 64), Why: "it is not connected"}},
	})
	v := s.visitor(t, "operator")
	v.get("/bulk/9").want(t, http.StatusOK, "Done with 5 devices; 3 could not be", "it is not connected", "and 2 more")
	s.api.Answer("GET /v1/bulk/{id}", v1.Bulk{ID: "9", JobProgress: v1.JobProgress{Done: 3, Total: 8}})
	v.get("/bulk/9").want(t, http.StatusOK, "3 of 8 devices", `hx-trigger="every 1s"`, `http-equiv="refresh"`)
}

// apiGet asks the fake itself.
func (s *site) apiGet(t *testing.T, name, path string) string {
	t.Helper()
	a := s.visitor(t, name).get(path)
	a.want(t, http.StatusOK)
	return a.body
}
