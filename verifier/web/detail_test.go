package web_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

func TestDetailPages(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	for name, path := range detailPages(ids) {
		t.Run(name, func(t *testing.T) {
			if got := admin.get(path); got.status != http.StatusOK {
				t.Errorf("GET %s = %d: %s", path, got.status, main(got.body))
			}
		})
	}
}

// Every text that devices, vendors or people chose is shown escaped: no script, no terminal's sequence, nothing that
// turns the direction of text or is not seen.
func TestHostileTextsAreEscaped(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	s.api.MakeHostile()
	admin := s.visitor(t, "admin")
	shown := 0
	for name, path := range detailPages(ids) {
		if name == "account" { // is named by a hostile text itself
			path = "/accounts/" + url.PathEscape("vendor"+webtest.Hostile)
		}
		t.Run(name, func(t *testing.T) {
			got := admin.get(path)
			if got.status != http.StatusOK {
				t.Fatalf("GET %s = %d: %s", path, got.status, main(got.body))
			}
			for _, bad := range []string{"<script>alert", "<img src=x", "\x1b", "\u202e", "\u2066", "\u200b"} {
				if at := strings.Index(got.body, bad); at >= 0 {
					t.Errorf("the page has %q: ...%q...", bad, got.body[max(0, at-80):at+20])
				}
			}
			if strings.Contains(got.body, `\u202egnp.exe`) {
				shown++
			}
		})
	}
	for name, got := range map[string]answer{
		"tested policy": admin.post("/policy/edit", "document", webtest.Hostile), "made token": admin.post("/tokens",
			"kind", "enrolment", "uses", "1", "hours", "1"),
	} {
		got.want(t, http.StatusOK)
		for _, bad := range []string{"<script>alert", "<img src=x", "\x1b", "\u202e"} {
			if strings.Contains(got.body, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
	if shown < 30 {
		t.Errorf("%d pages show the hostile text, want at least 30: the test does not reach them", shown)
	}
}

// Somebody who never saw Probity reads on one page what is wrong, what was expected, what was found, and what to do.
func TestBadDeviceExplainsItself(t *testing.T) {
	s, ids := fullSite(t, v1.Viewer)
	got := s.visitor(t, "viewer").get("/devices/" + ids[badDevice])
	got.want(
		t, http.StatusOK, "Do not rely on this device",
		`PCR 4, boot application \EFI\BOOT\BOOTX64.EFI was replaced: its measurement is not the reference value.`,
		"PCR 4 holds the boot loader and what it starts", "What starts a machine controls everything",
		webtest.Digest("shim 15.8"), webtest.Digest("bootkit"), "3,103 other devices", "Isolate the device",
		"Boot chain, PCR 4",
		"/search?q="+webtest.Digest("bootkit"), "What was observed is known from acme-r7-2.4.1", "10 MiB at 0x600000 of mtd0",
		"nothing of it was appraised", "alice@acme.example",
	)
	if verdict, finding := strings.Index(got.body, "Do not rely"), strings.Index(got.body, "Finding 1"); verdict < 0 ||
		verdict > finding {
		t.Error("the verdict does not stand before the findings")
	}
	for _, button := range []string{"/attest", "/remove", "/label", "/baseline"} {
		if strings.Contains(got.body, `action="/devices/`+ids[badDevice]+button) {
			t.Errorf("a viewer is offered %s", button)
		}
	}
}

func TestStatesInWords(t *testing.T) {
	s, ids := fullSite(t, v1.Operator)
	s.api.SetDevice(6, func(d *v1.Device) { d.Status = "pending" })
	operator := s.visitor(t, "operator")
	for number, want := range map[int]string{
		goodDevice: "Everything that was appraised matches acme-r7-2.5.0.", 4: "there is no IMA list, so it is not " +
			"known which files ran",
		5: "Its last verdict was stale", 6: "waits for somebody to let it in", 7: "nothing to compare it with",
	} {
		operator.get("/devices/"+ids[number]).want(t, http.StatusOK, want)
	}
	operator.get("/devices/"+ids[6]).want(t, http.StatusOK, `action="/devices/`+ids[6]+`/approve"`)
}

// TestNavigation: every page says to which entry of the navigation it belongs.
func TestNavigation(t *testing.T) {
	s, _ := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	for page, entry := range map[string]string{
		"/": "/", "/devices": "/devices", "/baselines": "/manifests", "/denylist": "/manifests", "/dry-runs/job1": "/manifests",
		"/alerts/rules": "/alerts", "/accounts/new": "/accounts",
	} {
		admin.get(page).want(t, http.StatusOK, `href="`+entry+`" aria-current="page"`)
	}
}

// TestAlertPage: what an alert in the list and in a message leads to says what happened, what to do and who was told.
func TestAlertPage(t *testing.T) {
	s, _ := fullSite(t, v1.Admin, v1.Viewer)
	admin := s.visitor(t, "admin")
	admin.get("/alerts").want(t, http.StatusOK, `href="/alerts/a3"`, `href="/alerts/a1"`)
	admin.get("/alerts/deliveries").want(t, http.StatusOK, `<a href="/alerts/a3">firing: 3,104 devices`, `<a href="/alerts/a2"><code>a2</code>`)
	admin.get("/alerts/a3").want(t, http.StatusOK, "the boot loader is not one that the vendor published", "Isolate the devices and keep their evidence",
		webtest.Digest("bootkit"), webtest.Digest("good loader"), "Acme R7 2.4.1", `class="device" href="/devices/`,
		`href="/devices?cluster=`+webtest.BadCluster+`"`, "3,104 devices now", `href="/alerts/rules/r1"`, "Take it on", "Who was told", "Send again")
	if asked := s.asked(http.MethodGet, "/v1/deliveries"); len(asked) != 2 || asked[1].Query != "alert=a3" {
		t.Errorf("the API was asked %+v, want for the deliveries of the alert", asked)
	}
	admin.get("/alerts/a2").want(t, http.StatusOK, `href="/devices?state=stale"`, "account:bob")
	admin.get("/alerts/a1").want(t, http.StatusOK, "Devices that showed it last", "0 devices now")
	admin.get("/alerts/a9").want(t, http.StatusNotFound, "No such alert")
	got := s.visitor(t, "viewer").get("/alerts/a3")
	got.want(t, http.StatusOK, "What to do")
	for _, not := range []string{"Who was told", "Take it on", `href="/alerts/rules/r1"`} {
		if strings.Contains(got.body, not) {
			t.Errorf("a viewer is shown %q", not)
		}
	}
}

func TestDeviceByName(t *testing.T) {
	s, ids := fullSite(t, v1.Viewer)
	viewer := s.visitor(t, "viewer")
	viewer.get("/devices/site-003").wantTo(t, "/devices/"+ids[badDevice])
	viewer.get("/devices/site-003/boot?result=8011").wantTo(t, "/devices/"+ids[badDevice]+"/boot?result=8011")
	viewer.get("/devices/nobody").want(t, http.StatusNotFound, "No device nobody")
}

func TestOlderResult(t *testing.T) {
	s, ids := fullSite(t, v1.Viewer)
	path := "/devices/" + ids[badDevice] + "/boot"
	s.visitor(t, "viewer").get(path+"?result=8011").want(t, http.StatusOK, "result number 8011, not the newest",
		"/flash?result=8011")
	asked := s.asked(http.MethodGet, "/v1"+path)
	if len(asked) != 1 || asked[0].Query != "result=8011" {
		t.Errorf("the API was asked %+v, want once for result 8011", asked)
	}
}

// A role that may not see a page is told so, and is not offered what it may not do.
func TestDetailRoles(t *testing.T) {
	s, ids := fullSite(t, v1.Viewer, v1.Vendor)
	viewer, vendor := s.visitor(t, "viewer"), s.visitor(t, "vendor")
	for _, path := range []string{
		"/accounts", "/audit", "/tokens", "/manifests/submit", "/policy/edit",
		"/alerts/channels",
	} {
		viewer.get(path).want(t, http.StatusForbidden, "may not see this page")
	}
	for _, path := range []string{"/devices/" + ids[badDevice], "/search", "/vendors", "/policy"} {
		vendor.get(path).want(t, http.StatusForbidden, "may not see this page")
	}
	got := vendor.get("/manifests")
	got.want(t, http.StatusOK, "Submit a manifest")
	if strings.Contains(got.body, "/denylist") {
		t.Error("a vendor is offered the deny-list")
	}
	if page := viewer.get("/manifests").body; strings.Contains(page, "/manifests/submit") {
		t.Error("a viewer is offered to submit")
	}
}

// upload sends a file as a browser does.
func (v *visitor) upload(path, field string, file []byte) answer {
	v.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	part, err := m.CreateFormFile(field, "file.bin")
	must(v.t, err)
	_, err = part.Write(file)
	must(v.t, err, m.Close())
	r := httptest.NewRequestWithContext(v.t.Context(), http.MethodPost, v.site.url+path, &body)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, values := range v.header {
		r.Header[name] = values
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.site.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name] = c.Value
	}
	b, err := io.ReadAll(w.Result().Body)
	must(v.t, err)
	return answer{w.Code, w.Header(), string(b)}
}

// A manifest is tried out first; what is submitted then is what was tried out, byte for byte.
func TestSubmitManifest(t *testing.T) {
	s, _ := fullSite(t, v1.Admin, v1.Vendor)
	admin := s.visitor(t, "admin")
	file := []byte("\xd2signed manifest")
	admin.upload("/manifests/submit", "manifest", file).wantTo(t, "/dry-runs/job1")
	if asked := s.asked(http.MethodPost, "/v1/dry-runs"); len(asked) != 1 || !bytes.Equal(asked[0].Body, file) {
		t.Fatalf("the API was asked for dry runs %+v, want one of the file", asked)
	}
	running := admin.get("/dry-runs/job1")
	running.want(t, http.StatusOK, "512 done", "3,411")
	if running.header.Get("Refresh") == "" {
		t.Error("without JavaScript the page does not follow the dry run")
	}
	admin.get("/dry-runs/job1").want(
		t, http.StatusOK, "At least 1 device that is trusted now would not be afterwards", "nothing is switched yet",
		"site-001", "security version number is below",
		"12 devices have no evidence", `action="/dry-runs/job1"`,
	)
	if len(s.asked(http.MethodPost, "/v1/manifests")) > 0 {
		t.Fatal("a manifest was submitted before anybody said so")
	}
	s.visitor(t, "vendor").get("/dry-runs/job1").want(t, http.StatusOK, "does not hold the manifest any more")
	admin.post("/dry-runs/job1", "overlap", "30").wantTo(t, "/manifests/"+webtest.Digest(webtest.WaitingManifest))
	asked := s.asked(http.MethodPost, "/v1/manifests")
	if len(asked) != 1 || !bytes.Equal(asked[0].Body, file) || asked[0].Query != "overlap_seconds=2592000" ||
		asked[0].Header.Get("Content-Type") != "application/cose" {
		t.Errorf("the API was asked %+v, want the file with 30 days", asked)
	}
	admin.header.Set("Referer", s.url+"/dry-runs/job1")
	admin.post("/dry-runs/job1").wantTo(t, "/dry-runs/job1")
	admin.get("/dry-runs/job1").want(t, http.StatusOK, "upload it again")
	admin.header.Set("Referer", s.url+"/manifests/submit")
	admin.upload("/manifests/submit", "manifest", nil).wantTo(t, "/manifests/submit")
	admin.get("/manifests/submit").want(t, http.StatusOK, "the file is empty")
}

// A policy is tested first, a wrong one is shown with its lines, and what was written is never lost.
func TestChangePolicy(t *testing.T) {
	s, _ := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	admin.get("/policy").want(t, http.StatusOK, "alice@acme.example", "2027-03-31", "Version 7 of")
	changed := strings.Replace(webtest.PolicyDocument, "15m", "5m", 1)
	admin.post("/policy/edit", "document", changed).want(
		t, http.StatusOK, "1 device that is trusted now would not be", "flash-unavailable: flash region me",
		"&#43;  stale-after: 5m", "-  stale-after: 15m",
		`name="based_on" value="7"`, "Put it in force",
	)
	wrong := strings.Replace(webtest.PolicyDocument, "stale-after", "stail-after", 1)
	admin.post("/policy/edit", "document", wrong).want(t, http.StatusUnprocessableEntity, "line 5", "did you mean",
		"stail-after: 15m")
	s.api.Refuse("PUT /v1/policy", http.StatusConflict, "version 7 is not the one in force any more")
	admin.post("/policy", "document", changed, "based_on", "7").want(t, http.StatusConflict,
		"not the one in force any more", "stale-after: 5m")
}

// The secret of a token is on the page that answers the form, and on no other.
func TestTokenIsShownOnce(t *testing.T) {
	s, _ := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	admin.post("/tokens", "kind", "enrolment", "uses", "100", "hours", "24").want(
		t, http.StatusOK, "probity-agent run --verifier mqtts://verifier.example:8883 --ca-fingerprint sha256:",
		"--token probity-device-t1-secret", "up to 100 devices",
	)
	if page := admin.get("/tokens").body; strings.Contains(page, "probity-device-t1-secret") {
		t.Error("the secret is still shown")
	}
	admin.post("/tokens", "kind", "api", "name", "grafana", "role", "viewer", "hours", "720")
	asked := s.asked(http.MethodPost, "/v1/tokens")
	want := decoded(t, `{"kind":"api","name":"grafana","role":"viewer","ttl_seconds":2592000}`)
	if diff := cmp.Diff(want, decoded(t, string(asked[len(asked)-1].Body))); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestDownloads(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	base := "/devices/" + ids[badDevice]
	for _, path := range []string{
		"/download/boot-log?result=8011", "/download/ima-list",
		"/download/evidence?digest=" + webtest.Digest("e"),
	} {
		if got := admin.get(base + path); got.status != http.StatusOK || got.body != "raw bytes" {
			t.Errorf("GET %s = %d %q, want the raw bytes", path, got.status, got.body)
		}
	}
	got := admin.get(base + "/captures/7/raw")
	if got.body != "first second" || got.header.Get("Content-Length") != "12" {
		t.Errorf("capture = %q of %s bytes, want both pieces", got.body, got.header.Get("Content-Length"))
	}
	if d := got.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment; filename=") {
		t.Errorf("Content-Disposition = %q", d)
	}
	admin.get(base+"/download/secrets").want(t, http.StatusNotFound)
	if got := admin.get("/audit/export?actor=alice&from=2026-01-02&to=2026-01-03"); got.body != "{\"seq\":99}\n" {
		t.Errorf("audit export = %q", got.body)
	}
	if asked := s.asked(http.MethodGet, "/v1/audit/export"); len(asked) != 1 ||
		asked[0].Query != "actor=alice&from=2026-01-02T00%3A00%3A00Z&to=2026-01-04T00%3A00%3A00Z" {
		t.Errorf("the API was asked %+v", asked)
	}
}

func TestSearch(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	admin.get("/search?q="+webtest.Digest("bootkit")).want(
		t, http.StatusOK, "2 devices have it now, 1 device had it before", "It is on the deny-list", "/devices/"+ids[0],
		"/devices?digest="+webtest.Digest("bootkit"),
	)
	admin.get("/search?q=nothing").want(t, http.StatusOK, "It occurs nowhere")
	s.api.Answer("GET /v1/search", v1.Search{Kind: "digest", Hits: []v1.Hit{}})
	admin.get("/search?q="+webtest.Digest("clean")).want(t, http.StatusOK, `action="/denylist"`)
	s.api.Answer("GET /v1/search", v1.Search{Kind: "file", Hits: []v1.Hit{{Kind: "baseline", Object: "golden-r7", Name: "active"}}})
	admin.get("/search?q=grubx64.efi").want(t, http.StatusOK, "<bdi>golden-r7</bdi>", ">active<")
}

func TestChannelTest(t *testing.T) {
	s, _ := fullSite(t, v1.Admin)
	admin := s.visitor(t, "admin")
	admin.post("/alerts/channels/c1/test").wantTo(t, "/alerts/channels")
	admin.get("/alerts/channels").want(t, http.StatusOK, "The test arrived at night shift.")
	admin.post("/alerts/channels/c2/test").wantTo(t, "/alerts/channels")
	admin.get("/alerts/channels").want(t, http.StatusOK, "did not arrive at siem: connection refused",
		`class="notice bad"`)
}
