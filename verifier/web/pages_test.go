package web_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// shell are the pages that every test of all pages looks at: those of this part of the dashboard.
var shell = []string{"/", "/devices", "/devices?state=untrusted&cluster=" + webtest.BadCluster, "/password", "/nowhere"}

func filled(t *testing.T, roles ...v1.Role) *site {
	t.Helper()
	s := newSite(t, web.Config{Version: "1.5.0"}, roles...)
	s.api.AddDevices(3, result.Trusted, "R7")
	s.api.AddDevices(2, result.Untrusted, "R7")
	s.api.AddDevices(1, result.Unsupported, "R9")
	return s
}

// What the Content-Security-Policy forbids in tags, and what would load from elsewhere.
var (
	tags    = regexp.MustCompile(`<[a-zA-Z](?:[^<>"]|"[^"]*")*>`)
	values  = regexp.MustCompile(`"[^"]*"`)
	inline  = regexp.MustCompile(`(?i)\s(?:style|on[a-z]+)=|^<(?:style|base|iframe|object|embed)\b`)
	foreign = regexp.MustCompile(`(?i)(?:src|href|action|hx-get)="(?:[a-z]+:|//)`)
	scripts = regexp.MustCompile(`(?i)<script[^>]*>[^<]`)
)

// forbidden returns the first thing in a page that its policy forbids or that leads to another host, empty for none.
func forbidden(page string) string {
	for _, tag := range tags.FindAllString(page, -1) {
		if inline.MatchString(values.ReplaceAllString(tag, `""`)) || foreign.MatchString(tag) {
			return tag
		}
	}
	return scripts.FindString(page)
}

func TestForbidden(t *testing.T) {
	for _, bad := range []string{
		`<p style="x">`, `<a onclick="x">`, `<script>alert(1)</script>`, `<img src="//evil">`, `<a href="javascript:x">`, `<base href="/">`,
	} {
		if forbidden("<p>"+bad) == "" {
			t.Errorf("forbidden(%q) = none", bad)
		}
	}
	if got := forbidden(`<p title=" onclick=1">&lt;a onclick=1&gt;</p><script src="/a.js" defer></script>`); got != "" {
		t.Errorf("forbidden() = %q, want none", got)
	}
}

func TestHeadersAndMarkup(t *testing.T) {
	s := filled(t, v1.Admin)
	in, out := s.visitor(t, "admin"), s.visitor(t, "")
	pages := map[string]answer{"/signin": out.get("/signin")}
	for _, path := range shell {
		pages[path] = in.get(path)
	}
	for path, a := range pages {
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Content-Type": "text/html; charset=utf-8", "Probity-Version": "1.5.0",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", path, name, got, want)
			}
		}
		if bad := forbidden(a.body); bad != "" {
			t.Errorf("%s has what the policy forbids: %q", path, bad)
		}
		if n := strings.Count(a.body, "<h1"); n != 1 {
			t.Errorf("%s has %d headings of the first level, want 1", path, n)
		}
		if !strings.Contains(a.body, `<html lang="en"`) || !strings.Contains(a.body, `<a class="skip" href="#main">`) {
			t.Errorf("%s has no language or no way past its navigation", path)
		}
		if strings.Contains(a.body, `focusable="false"></svg>`) {
			t.Errorf("%s has an empty picture: an icon that does not exist", path)
		}
	}
}

func TestAssets(t *testing.T) {
	s := filled(t, v1.Admin)
	v := s.visitor(t, "")
	page := s.visitor(t, "admin").get("/").body
	found := regexp.MustCompile(`/static/[^"]+`).FindAllString(page, -1)
	if len(found) < 6 {
		t.Fatalf("the fleet page refers to %d files, want at least 6", len(found))
	}
	kinds := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	for _, path := range found {
		a := v.get(path)
		a.want(t, http.StatusOK)
		ext := path[strings.LastIndex(path, "."):]
		if got := a.header.Get("Content-Type"); got != kinds[ext] {
			t.Errorf("%s: Content-Type = %q, want %q", path, got, kinds[ext])
		}
		if got := a.header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control = %q", path, got)
		}
	}
	gone := v.get("/static/0123456789abcdef/app.css")
	gone.want(t, http.StatusNotFound)
	if got := gone.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a file of another version: Cache-Control = %q, want no-store", got)
	}
}

// TestCredentials: the API sees the browser's own cookie and address, and that our page asks.
func TestCredentials(t *testing.T) {
	s := filled(t, v1.Admin)
	v := s.visitor(t, "admin")
	v.header.Set("Authorization", "Bearer stolen")
	v.header.Set("X-Forwarded-For", "10.9.8.7")
	v.get("/devices").want(t, http.StatusOK)
	asked := s.asked(http.MethodGet, "/v1/devices")
	if len(asked) != 1 {
		t.Fatalf("the API was asked %d times, want once", len(asked))
	}
	got := asked[0]
	if !strings.Contains(got.Header.Get("Cookie"), v.cookies[webtest.SessionCookie]) || got.Remote != "192.0.2.1:1234" {
		t.Errorf("the API saw cookie %q from %s", got.Header.Get("Cookie"), got.Remote)
	}
	if got.Header.Get("Sec-Fetch-Site") != "same-origin" {
		t.Errorf("Sec-Fetch-Site = %q, want same-origin", got.Header.Get("Sec-Fetch-Site"))
	}
	for _, name := range []string{"Authorization", "X-Forwarded-For"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s of the browser reached the API", name)
		}
	}
}

// TestOtherSites: a form that another site sends does nothing, whoever is signed in.
func TestOtherSites(t *testing.T) {
	s := filled(t, v1.Admin)
	for _, h := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Sec-Fetch-Site": nil, "Origin": {"https://evil.example"}},
	} {
		v := s.visitor(t, "admin")
		v.header = h
		v.post("/bulk/run", "action", "remove", "scope", "all").want(t, http.StatusForbidden, "sent from another site")
		v.post("/signout").want(t, http.StatusForbidden)
		v.post("/signin", "name", "admin", "password", webtest.Password).want(t, http.StatusForbidden)
	}
	for _, r := range s.api.Requests() {
		if r.Method != http.MethodGet {
			t.Errorf("the API was asked %s %s", r.Method, r.Path)
		}
	}
}

// hostile is a text of every kind that pages, terminals and readers might act on.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\x1b[31mred\x1b[0m\u202etxt.exe\u2066\u200b\u0085\U000e0041'`{{.Me}}"

func TestHostileText(t *testing.T) {
	s := filled(t, v1.Admin)
	s.api.SetDevice(0, func(d *v1.Device) {
		d.Label, d.Vendor, d.Model, d.Firmware, d.Group = hostile, hostile, hostile, hostile, hostile
		d.Labels, d.Level, d.State = map[string]string{hostile: hostile}, result.Level(hostile), result.State(hostile)
	})
	s.api.Answer("GET /v1/fleet/changes", v1.Changes{Changes: []v1.Change{
		{Device: hostile, Label: hostile, Model: hostile, From: result.State(hostile), To: result.State(hostile), Why: hostile},
	}})
	s.api.Answer("GET /v1/fleet/clusters/x", v1.Cluster{ID: "x", Component: hostile, Meaning: hostile, Action: hostile, Observed: hostile})
	s.api.Answer("GET /v1/fleet/clusters", v1.Clusters{Clusters: []v1.Cluster{{
		ID: hostile, Code: hostile, Severity: result.Severity(hostile), Component: hostile, Meaning: hostile, Action: hostile,
		Nearest: hostile, Models: []v1.ValueCount{{Value: hostile}}, Groups: []v1.ValueCount{{Value: hostile}},
	}}})
	v := s.visitor(t, "admin")
	for _, path := range []string{
		"/", "/devices", "/devices?cluster=x", "/devices?digest=%22%3E%3Cscript%3E%E2%80%AE", "/devices?q=%22%3E%3Cscript%3Ealert(1)%E2%80%AE",
		"/nowhere%3Cscript%3E%E2%80%AE",
	} {
		a := v.get(path)
		page := main(a.body)
		if bad := forbidden(page); bad != "" {
			t.Errorf("%s: hostile text became markup: %q", path, bad)
		}
		if strings.Contains(page, "<script") || strings.Contains(page, "<img src=x") {
			t.Errorf("%s: hostile text became an element", path)
		}
		for _, r := range a.body {
			if r != '\n' && r != '\t' && r != '\r' && !v1.Prints(r) {
				t.Errorf("%s: the page has %U as it is", path, r)
				break
			}
		}
	}
	v.get("/devices").want(t, http.StatusOK, `\u001b[31mred`, `\u202etxt.exe\u2066\u200b\u0085\U000e0041`, `&lt;script&gt;alert(1)`)
}

func TestRefusalsAreSaidPlainly(t *testing.T) {
	s := filled(t, v1.Admin, v1.Vendor, v1.Viewer)
	s.visitor(t, "vendor").get("/devices").want(t, http.StatusForbidden, "The role vendor may not see this page")
	s.visitor(t, "vendor").get("/").wantTo(t, "/manifests") // the first page that it may see
	s.visitor(t, "admin").get("/nowhere").want(t, http.StatusNotFound, "There is nothing at this address")
	viewer := s.visitor(t, "viewer").get("/devices")
	viewer.want(t, http.StatusOK)
	for _, not := range []string{`action="/bulk"`, `type="checkbox"`, `href="/accounts"`, `href="/audit"`} {
		if strings.Contains(viewer.body, not) {
			t.Errorf("a viewer is offered %s", not)
		}
	}
	s.api.Refuse("POST /v1/devices/bulk", http.StatusForbidden, "the role viewer may not do this")
	s.visitor(t, "viewer").post("/bulk", "action", "attest", "scope", "all").want(t, http.StatusForbidden, "The role viewer may not do this")

	s.api.Refuse("GET /v1/devices", http.StatusTooManyRequests, "too many requests: wait 3 s")
	s.visitor(t, "admin").get("/devices").want(t, http.StatusTooManyRequests, "Too many requests: wait 3 s")
	s.api.SetDown(true)
	s.visitor(t, "admin").get("/devices").want(t, http.StatusServiceUnavailable, "The part behind this is gone")
}

func TestFailuresShowNoInside(t *testing.T) {
	s := filled(t, v1.Admin)
	v := s.visitor(t, "admin")
	s.api.Answer("GET /v1/devices", []byte("{not json: secret"))
	a := v.get("/devices")
	a.want(t, http.StatusInternalServerError, "the verifier&#39;s log says why")
	if strings.Contains(a.body, "secret") {
		t.Error("the page shows what failed inside")
	}
	s.api.Handle("GET /v1/counts", func(*http.Request, []byte) (int, any) { panic("secret") })
	s.api.Answer("GET /v1/devices", v1.Devices{})
	a = v.get("/devices")
	a.want(t, http.StatusInternalServerError, "log says why")
	if strings.Contains(a.body, "secret") {
		t.Error("the page shows a panic")
	}
}

// TestNoticeIsOurs: a cookie that is not one of ours shows nothing.
func TestNoticeIsOurs(t *testing.T) {
	s := filled(t, v1.Admin)
	v := s.visitor(t, "admin")
	for _, bad := range []string{"%%%", "bm90IGpzb24", ""} {
		v.cookies["__Host-probity-notice"] = bad
		if a := v.get("/devices"); strings.Contains(main(a.body), `class="notice good"`) || a.status != http.StatusOK {
			t.Errorf("cookie %q: status %d, and a notice", bad, a.status)
		}
	}
}

func TestPing(t *testing.T) {
	s := filled(t, v1.Viewer)
	s.visitor(t, "viewer").get("/ping").want(t, http.StatusNoContent)
	s.visitor(t, "").get("/ping").want(t, http.StatusUnauthorized)
	s.api.SetDown(true)
	s.visitor(t, "viewer").get("/ping").want(t, http.StatusServiceUnavailable)
}
