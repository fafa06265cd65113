package web_test

import (
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/browsertest"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// shots is a folder for pictures of the pages with the fake API behind them:
// go test ./verifier/web -run Pictures -args -shots DIR
var shots = flag.String("shots", "", "write pictures of the pages into this folder")

// site is the dashboard on a fake API, served as in production: TLS and HTTP/2.
type site struct {
	api     *webtest.API
	url     string
	handler http.Handler // the same without a network
}

type requestOf = webtest.Request

func newSite(t *testing.T, c web.Config, roles ...v1.Role) *site {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	api := webtest.New(roles...)
	c.API = api
	if c.Enrolment == nil {
		c.Enrolment = func() web.Enrolment {
			return web.Enrolment{Verifier: "mqtts://verifier.example:8883", Fingerprint: "sha256:" + strings.Repeat("5c", 32)}
		}
	}
	pages, err := web.New(c)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	handler := webtest.Mux(api, pages)
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(api.EndSessions) // streams would hold the server up
	return &site{api: api, url: server.URL, handler: handler}
}

func openBrowser(t *testing.T, c browsertest.Config) *browsertest.Browser {
	t.Helper()
	b, end, err := browsertest.Open(t.Context(), c)
	if errors.Is(err, browsertest.ErrNoBrowser) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return b
}

// must ends the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// signedIn opens a browser with a session.
func (s *site) signedIn(t *testing.T, name string, c browsertest.Config) *browsertest.Browser {
	t.Helper()
	b := openBrowser(t, c)
	must(t, b.SetCookie(s.url, s.api.Session(name)))
	return b
}

func TestPictures(t *testing.T) {
	if *shots == "" {
		t.Skip("no -args -shots DIR")
	}
	s := newSite(t, web.Config{Version: "1.5.0"}, v1.Admin)
	s.api.AddDevices(41, result.Trusted, "R7")
	s.api.AddDevices(6, result.Warning, "R9")
	s.api.AddDevices(9, result.Untrusted, "R7")
	s.api.AddDevices(3, result.Stale, "R7")
	s.api.AddDevices(2, result.NeverAttested, "R9")
	s.api.AddDevices(4, result.Unsupported, "CPE-2")
	empty := newSite(t, web.Config{Version: "1.5.0"}, v1.Admin)
	first := newSite(t, web.Config{Version: "1.5.0"})
	for _, c := range []struct {
		name string
		browsertest.Config
	}{
		{"desktop-light", browsertest.Config{}},
		{"desktop-dark", browsertest.Config{Dark: true}},
		{"phone-light", browsertest.Config{Width: 390, Height: 844, Phone: true}},
		{"phone-dark", browsertest.Config{Width: 390, Height: 844, Phone: true, Dark: true}},
	} {
		b := openBrowser(t, c.Config)
		keep := func(name string) {
			for suffix, whole := range map[string]bool{"": false, "-whole": true} {
				png, err := b.Screenshot(whole)
				must(t, err, os.WriteFile(filepath.Join(*shots, name+"-"+c.name+suffix+".png"), png, 0o600))
			}
		}
		take := func(name, address string) {
			must(t, b.Open(address))
			keep(name)
		}
		take("signin", s.url+"/signin")
		take("setup", first.url+"/setup")
		must(t, b.SetCookie(empty.url, empty.api.Session("admin")), b.Open(empty.url+"/welcome"))
		if b.Text("main form button") != "" {
			must(t, b.Click("main form button"), b.UntilText("main", "--ca-fingerprint"))
		}
		keep("welcome")
		must(t, b.SetCookie(s.url, s.api.Session("admin")))
		take("fleet", s.url+"/")
		take("devices", s.url+"/devices")
		take("devices-cluster", s.url+"/devices?cluster="+webtest.BadCluster+"&state=untrusted")
		must(t, b.Open(s.url+"/devices?state=untrusted"), b.Click("input[name=device]"), b.Click("button[value=remove]"),
			b.UntilText("h1", "Remove"))
		keep("bulk")
		take("missing", s.url+"/nowhere")
		for _, complaint := range b.Complaints() {
			t.Errorf("%s: the browser complains: %s", c.name, complaint)
		}
	}
}
