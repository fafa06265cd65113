package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// form is one form with what it must ask the API for.
type form struct {
	name, path string
	fields     []string
	to         string // address that the answer leads to
	method     string
	asks       string // path at the API
	body       string // as JSON; empty: none
}

func TestForms(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	bad, deny, key := ids[badDevice], webtest.Digest("bootkit"), webtest.Digest("acme")
	active := webtest.Digest(webtest.ActiveManifest)
	for _, f := range []form{
		{"attest", "/devices/" + bad + "/attest", nil, "/devices/" + bad, "POST", "/v1/devices/" + bad + "/attest", ""},
		{"approve", "/devices/" + bad + "/approve", nil, "/devices/" + bad, "POST", "/v1/devices/" + bad + "/approve", ""},
		{
			"label", "/devices/" + bad + "/label",
			[]string{
				"label", " north 7 ", "group", "", "labels",
				"site=a\r\njurisdiction=US\r\n", "was", "rack", "was", "site",
			},
			"/devices/" + bad, "PATCH", "/v1/devices/" +
				bad, `{"label":"north 7","group":"","labels":{"jurisdiction":"US","rack":"","site":"a"}}`,
		},
		{"remove", "/devices/" + bad + "/remove", []string{"sure", "yes"}, "/devices", "DELETE", "/v1/devices/" + bad, ""},
		{
			"capture", "/devices/" + bad + "/captures",
			[]string{
				"region", "bios", "offset", "0x1000", "length",
				"4096",
			},
			"/devices/" + bad + "/evidence#captures",
			"POST", "/v1/devices/" + bad + "/captures", `{"region":"bios","offset":4096,"length":4096}`,
		},
		{
			"baseline", "/devices/" + bad + "/baseline",
			[]string{"name", "r7-lab"},
			"/devices/" + bad, "POST",
			"/v1/baselines", `{"device":"` + bad + `","name":"r7-lab"}`,
		},
		{"retire", "/baselines/cpe-2-lab/retire", nil, "/baselines", "DELETE", "/v1/baselines/cpe-2-lab", ""},
		{
			"deny", "/denylist",
			[]string{
				"digest", " SHA256:" + strings.ToUpper(deny), "advisory", "CVE-1", "note",
				"",
			},
			"/search?q=" + deny, "POST", "/v1/denylist",
			`{"digest":"` + deny + `","advisory":"CVE-1"}`,
		},
		{"undeny", "/denylist/" + deny + "/remove", nil, "/denylist", "DELETE", "/v1/denylist/" + deny, ""},
		{
			"withdraw", "/manifests/" + active + "/withdraw",
			[]string{"reason", "wrong"},
			"/manifests/" + active, "POST",
			"/v1/manifests/" + active + "/withdraw", `{"reason":"wrong"}`,
		},
		{
			"supersede", "/manifests/" + active + "/supersede",
			[]string{
				"by", "acme-r7-2.6.0", "overlap",
				"30",
			},
			"/manifests/" + active, "POST",
			"/v1/manifests/" + active + "/supersede", `{"by":"acme-r7-2.6.0","overlap_seconds":2592000}`,
		},
		{
			"approve manifest", "/manifests/" + active + "/approve",
			[]string{"note", "tested"},
			"/manifests/" + active,
			"POST", "/v1/manifests/" + active + "/approvals", `{"note":"tested"}`,
		},
		{
			"refuse manifest", "/manifests/" + active + "/approve",
			[]string{"refuse", "yes"},
			"/manifests/" + active, "POST",
			"/v1/manifests/" + active + "/approvals", `{"refuse":true}`,
		},
		{
			"add key", "/vendors",
			[]string{
				"name", "Acme", "role", "vendor", "public_key", "PEM", "vendors", "Acme*, Bcme",
				"models", "", "until", "2027-01-31T10:00:00",
			},
			"/vendors", "POST", "/v1/vendors", `{"name":"Acme","role":"vendor","public_key":"PEM","scope":{"vendors":["Acme*","Bcme"],"until":"2027-01-31T10:00:00Z"}}`,
		},
		{
			"scope key", "/vendors/" + key + "/scope",
			[]string{"vendors", "Acme"},
			"/vendors", "PUT",
			"/v1/vendors/" + key + "/scope", `{"vendors":["Acme"]}`,
		},
		{
			"revoke key", "/vendors/" + key + "/revoke",
			[]string{
				"at", "2026-01-02T03:04", "reason",
				"stolen",
			},
			"/vendors", "POST", "/v1/vendors/" + key + "/revoke",
			`{"at":"2026-01-02T03:04:00Z","reason":"stolen"}`,
		},
		{
			"policy", "/policy",
			[]string{"document", "version: 1\r\n", "based_on", "7"},
			"/policy", "PUT", "/v1/policy",
			`{"document":"version: 1\n","based_on":7}`,
		},
		{
			"settings", "/settings",
			[]string{"approvals", "1"},
			"/policy", "PATCH", "/v1/settings",
			`{"manifest_approvals":1,"require_log_proof":false}`,
		},
		{"acknowledge", "/alerts", []string{"alert", "a3"}, "/alerts", "POST", "/v1/alerts/a3/acknowledge", ""},
		{
			"retry", "/alerts/deliveries",
			[]string{"delivery", "3"},
			"/alerts/deliveries", "POST", "/v1/deliveries/3/retry",
			"",
		},
		{
			"new rule", "/alerts/rules",
			[]string{
				"name", "core", "severity", "critical", "state", "stale", "state",
				"untrusted", "groups", "core, edge-*", "channel", "c1", "wait", "60", "repeat", "2",
			},
			"/alerts/rules", "POST", "/v1/alert-rules",
			`{"name":"core","states":["stale","untrusted"],"severity":"critical","groups":["core","edge-*"],"channels":["c1"],"wait_seconds":60,"repeat_seconds":7200}`,
		},
		{
			"change rule", "/alerts/rules/r2",
			[]string{"name", "core", "severity", "info", "disabled", "yes"},
			"/alerts/rules", "PUT", "/v1/alert-rules/r2", `{"name":"core","severity":"info","channels":[],"disabled":true}`,
		},
		{"remove rule", "/alerts/rules/r2/remove", nil, "/alerts/rules", "DELETE", "/v1/alert-rules/r2", ""},
		{
			"new channel", "/alerts/channels",
			[]string{
				"name", "noc", "kind", "email", "target", "smtps://mail:465", "to",
				"a@b, c@d", "secret", "s",
			},
			"/alerts/channels", "POST",
			"/v1/alert-channels", `{"name":"noc","kind":"email","target":"smtps://mail:465","to":["a@b","c@d"],"secret":"s"}`,
		},
		{"keep secret", "/alerts/channels/c1", []string{
			"name", "noc", "kind", "webhook", "target", "https://a", "secret",
			"",
		}, "/alerts/channels", "PUT", "/v1/alert-channels/c1", `{"name":"noc","kind":"webhook","target":"https://a"}`},
		{"test channel", "/alerts/channels/c1/test", nil, "/alerts/channels", "POST", "/v1/alert-channels/c1/test", ""},
		{"remove channel", "/alerts/channels/c1/remove", nil, "/alerts/channels", "DELETE", "/v1/alert-channels/c1", ""},
		{
			"new account", "/accounts",
			[]string{
				"name", "eve", "role", "viewer", "password", "a long password", "again",
				"a long password",
			},
			"/accounts", "POST", "/v1/accounts",
			`{"name":"eve","role":"viewer","password":"a long password"}`,
		},
		{
			"change account", "/accounts/vendor",
			[]string{
				"role", "vendor", "vendors", "Acme", "disabled",
				"yes",
			},
			"/accounts", "PATCH", "/v1/accounts/vendor",
			`{"role":"vendor","vendors":["Acme"],"subject":"","certificates":[],"disabled":true}`,
		},
		{
			"password", "/accounts/vendor/password",
			[]string{"password", "another password", "again", "another password"},
			"/accounts", "PATCH", "/v1/accounts/vendor", `{"password":"another password"}`,
		},
		{"remove account", "/accounts/vendor/remove", nil, "/accounts", "DELETE", "/v1/accounts/vendor", ""},
		{"revoke token", "/tokens/k3x9/revoke", nil, "/tokens", "DELETE", "/v1/tokens/k3x9", ""},
	} {
		t.Run(f.name, func(t *testing.T) { s.checkForm(t, f) })
	}
}

func (s *site) checkForm(t *testing.T, f form) {
	t.Helper()
	before := len(s.api.Requests())
	s.visitor(t, "admin").post(f.path, append(f.fields, "_key", "form-"+f.name)...).wantTo(t, f.to)
	for _, r := range s.api.Requests()[before:] {
		if r.Method != f.method || r.Path != f.asks {
			continue
		}
		if r.Header.Get("Idempotency-Key") == "" {
			t.Error("the request has no Idempotency-Key")
		}
		if got := strings.TrimSpace(string(r.Body)); f.body == "" && got != "" {
			t.Errorf("body = %s, want none", got)
		} else if f.body != "" {
			if diff := cmp.Diff(decoded(t, f.body), decoded(t, got)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		}
		return
	}
	t.Errorf("the API was not asked %s %s", f.method, f.asks)
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%q: %v", text, err)
	}
	return v
}

// What no request can be made of is told on the page that the form came from, and the API is not asked.
func TestWrongForms(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	bad := "/devices/" + ids[badDevice]
	for _, c := range []struct {
		name, path, page string
		fields           []string
		says             string
	}{
		{"not sure", bad + "/remove", bad, nil, "tick the box"},
		{"label", bad + "/label", bad, []string{"labels", "no value"}, "is not NAME=VALUE"},
		{
			"offset", bad + "/captures", bad + "/evidence",
			[]string{"region", "bios", "offset", "first"},
			"want a number of bytes",
		},
		{
			"length", bad + "/captures", bad + "/evidence",
			[]string{"region", "bios", "length", "5000000000"},
			"want a number of bytes",
		},
		{"passwords", "/accounts", "/accounts/new", []string{
			"name", "eve", "role", "viewer", "password",
			"a long password", "again", "another",
		}, "passwords differ"},
		{"date", "/vendors", "/vendors", []string{"name", "a", "until", "tomorrow"}, "want a date"},
		{"overlap", "/manifests/x/supersede", "/manifests", []string{"by", "y", "overlap", "long"}, "want a number of days"},
		{"wait", "/alerts/rules", "/alerts/rules/new", []string{"name", "a", "wait", "-1"}, "want a number"},
		{"hours", "/tokens", "/tokens", []string{"kind", "enrolment", "hours", "9000"}, "want 1 to 8760 hours"},
		{"approvals", "/settings", "/policy", []string{"approvals", "many"}, "want a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := s.visitor(t, "admin")
			v.header.Set("Referer", s.url+c.page)
			before := len(s.api.Requests())
			v.post(c.path, c.fields...).wantTo(t, c.page)
			for _, r := range s.api.Requests()[before:] {
				if r.Method != http.MethodGet {
					t.Errorf("the API was asked %s %s", r.Method, r.Path)
				}
			}
			v.get(c.page).want(t, http.StatusOK, c.says)
		})
	}
}
