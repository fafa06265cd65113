package web_test

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/browsertest"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// badDevice and goodDevice are the numbers of two devices of fullSite.
const (
	goodDevice = 0
	badDevice  = 3
)

// fullSite is a dashboard whose every page has something to show, and the ids of its devices.
func fullSite(t *testing.T, roles ...v1.Role) (*site, []string) {
	t.Helper()
	s := newSite(t, web.Config{Version: "1.5.0"}, roles...)
	s.api.AddDevices(3, result.Trusted, "R7")
	s.api.AddDevices(1, result.Untrusted, "R7")
	s.api.AddDevices(1, result.Warning, "R9")
	s.api.AddDevices(1, result.Stale, "R7")
	s.api.AddDevices(1, result.NeverAttested, "R9")
	s.api.AddDevices(1, result.Unsupported, "CPE-2")
	s.api.AddDetail()
	s.api.AddOffice()
	return s, s.api.DeviceIDs()
}

// detailPages are the addresses of all pages about devices, reference values, alerts and administration, by a name.
func detailPages(ids []string) map[string]string {
	bad := "/devices/" + ids[badDevice]
	return map[string]string{
		"device-bad": bad, "device-good": "/devices/" + ids[goodDevice], "device-warning": "/devices/" +
			ids[4], "device-stale": "/devices/" + ids[5],
		"device-new": "/devices/" + ids[6], "device-unsupported": "/devices/" + ids[7],
		"boot": bad + "/boot", "boot-good": "/devices/" + ids[goodDevice] + "/boot", "files": bad +
			"/files", "flash": bad + "/flash",
		"timeline": bad + "/timeline", "evidence": bad + "/evidence", "diff": bad + "/diff", "diff-two": bad +
			"/diff?with=site-000",
		"boot-older": bad + "/boot?result=8011", "boot-none": "/devices/" + ids[6] + "/boot",
		"manifests": "/manifests", "manifest": "/manifests/" + webtest.Digest(webtest.ActiveManifest),
		"manifest-waiting":   "/manifests/" + webtest.Digest(webtest.WaitingManifest),
		"manifest-deny":      "/manifests/acme-deny-7",
		"manifest-withdrawn": "/manifests/acme-r7-2.4.1",
		"submit":             "/manifests/submit", "dryrun": "/dry-runs/job1", "baselines": "/baselines",
		"denylist": "/denylist",
		"vendors":  "/vendors", "vendor": "/vendors/" +
			webtest.Digest("acme"), "search": "/search", "search-found": "/search?q=" +
			webtest.Digest("bootkit"), "search-text": "/search?q=sshd",
		"search-none": "/search?q=nothing", "audit": "/audit", "alerts": "/alerts", "alert": "/alerts/a3",
		"alert-silent": "/alerts/a2", "alertrules": "/alerts/rules",
		"alertrule":     "/alerts/rules/r2",
		"alertrule-new": "/alerts/rules/new", "alertchannels": "/alerts/channels", "alertchannel": "/alerts/channels/c1",
		"alertchannel-new": "/alerts/channels/new", "deliveries": "/alerts/deliveries", "accounts": "/accounts",
		"account":     "/accounts/vendor",
		"account-new": "/accounts/new", "tokens": "/tokens?all=yes", "policy": "/policy",
		"policyversions": "/policy/versions", "policyedit": "/policy/edit",
	}
}

// TestDetailPictures writes pictures of the pages: go test ./verifier/web -run DetailPictures -args -shots DIR
func TestDetailPictures(t *testing.T) {
	if *shots == "" {
		t.Skip("no -args -shots DIR")
	}
	s, ids := fullSite(t, v1.Admin)
	for _, c := range []struct {
		name string
		browsertest.Config
	}{
		{"desktop-light", browsertest.Config{}},
		{"desktop-dark", browsertest.Config{Dark: true}},
		{"phone-light", browsertest.Config{Width: 390, Height: 844, Phone: true}},
		{"phone-dark", browsertest.Config{Width: 390, Height: 844, Phone: true, Dark: true}},
	} {
		b := s.signedIn(t, "admin", c.Config)
		for name, path := range detailPages(ids) {
			must(t, b.Open(s.url+path))
			png, err := b.Screenshot(true)
			must(t, err, os.WriteFile(filepath.Join(*shots, name+"-"+c.name+".png"), png, 0o600))
			if wide, err := browsertest.Eval[int](b, "document.documentElement.scrollWidth - innerWidth"); err != nil ||
				wide > 0 {
				t.Errorf("%s %s: %d pixels wider than the window, %v", c.name, name, wide, err)
			}
		}
		for name, press := range map[string][2]string{
			"tokens-made": {"/tokens", `form[action="/tokens"] button.primary`}, "policy-tested": {
				"/policy/edit",
				`form[action="/policy/edit"] button`,
			},
		} {
			if name == "policy-tested" {
				must(t, b.Open(s.url+press[0]), b.Type("textarea.tallest", "# changed\r"))
			} else {
				must(t, b.Open(s.url+press[0]))
			}
			must(t, b.Click(press[1]), b.Until("document.querySelector('.made, .diff')"))
			png, err := b.Screenshot(true)
			must(t, err, os.WriteFile(filepath.Join(*shots, name+"-"+c.name+".png"), png, 0o600))
		}
		for _, complaint := range b.Complaints() {
			t.Errorf("%s: the browser complains: %s", c.name, complaint)
		}
	}
}
