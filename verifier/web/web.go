// Package web is the verifier's dashboard: pages for people, rendered on the server, that show what the HTTP API says
// and ask it for what people want done.
//
// The dashboard is a client of the API within the same process. Each page asks the API with the browser's own cookie,
// address and client certificate, so that what a person may see and do is decided at one place, which is not here.
// Pages can be read without JavaScript; with it they follow the fleet as it changes (GET /v1/stream). Nothing is loaded
// from another host, and the Content-Security-Policy allows neither inline scripts nor inline styles.
//
// Limits: see limits.go. Every character that does not print is shown as its code, such as \u202e, wherever it comes
// from: the whole page goes through one filter on its way out (see visible).
//
// # Adding a page
//
// Write a template templates/NAME.html that defines "main" (and, where wanted, "head"), and a handler in a file of its
// own with a method that registers it, which New calls:
//
//	func (s *server) manifestPages() {
//		// With the id of an operation of the API: who may use it sees the page.
//		s.get("GET /manifests", "list-manifests", (*page).manifests)
//		// Forms answer with p.done or p.redirect.
//		s.post("POST /manifests/{name}/withdraw", (*page).withdrawManifest)
//	}
//
//	func (p *page) manifests() error {
//		var list v1.Manifests
//		if err := p.api(http.MethodGet, "/v1/manifests", nil, &list); err != nil {
//			return err // *v1.Problem becomes a page that says it plainly; 401 leads to the sign-in page
//		}
//		return p.show("manifests", "Manifests", list) // the template sees it as .Data
//	}
//
//	func (p *page) withdrawManifest() error {
//		in := v1.Withdrawal{Reason: p.r.PostFormValue("reason")}
//		path := pathTo("v1", "manifests", p.r.PathValue("name"), "withdraw")
//		if err := p.api(http.MethodPost, path, in, nil); err != nil {
//			return err // of a form: the page it came from is shown again with the words of the problem
//		}
//		return p.done("/manifests", "Manifest withdrawn.")
//	}
//
// Templates have the values of view (.Data, .Me, .Can "operation", .With "parameter" "value") and the functions of
// funcs.go (badge, icon, ago, when, num, count, short, digest, bytes, span, dict, formkey ...). Components that are
// templates stand in _components.html, and the classes to use in static/app.css. Forms have method="post", the button's
// class, and {{formkey}} inside, which makes them safe to send twice. Elements with hx-get, hx-select and
// hx-trigger="live:device from:body" are fetched again when something of the kind happens (device, fleet, manifest,
// alert, audit; "live" alone for all): see the fleet page.
package web

import (
	"cmp"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"time"
)

// Config is what the dashboard stands on.
type Config struct {
	// API is the verifier's HTTP API. Required.
	API http.Handler
	// Enrolment returns what a device needs to know of the verifier before it has a token; nil: nothing is known.
	Enrolment func() Enrolment
	Version   string           // the verifier's version: a page of another one asks to be loaded again
	Log       *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
}

// Enrolment is what the line that enrols a device consists of, beside its token.
type Enrolment struct {
	Verifier    string // URL for devices, such as mqtts://verifier.example:8883
	Fingerprint string // of the CA, such as sha256:ab...
	// Token is one that the verifier made for its first devices; empty: there is none. It is shown to those who may make
	// tokens themselves, and to nobody else.
	Token   string
	Uses    int // how many devices Token lets in
	Expires time.Time
}

// server is the handler that New returns.
type server struct {
	Config
	mux       *http.ServeMux
	origins   *http.CrossOriginProtection
	templates map[string]*template.Template
	assets    *assets
	lines     *lines
	uploads   *uploads
}

// New returns the dashboard as a handler. It serves every path but those of the API: /v1/, /auth/, /healthz and
// /metrics.
func New(c Config) (http.Handler, error) {
	if c.API == nil {
		return nil, errors.New("web: want an API")
	}
	if c.Enrolment == nil {
		c.Enrolment = func() Enrolment { return Enrolment{} }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Version = cmp.Or(c.Version, "unknown")
	s := &server{Config: c, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection(), lines: newLines(c.Now)}
	s.uploads = newUploads(c.Now)
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.templates, err = s.parse(); err != nil {
		return nil, err
	}
	s.mux.Handle("GET /static/", s.assets)
	s.sessionPages()
	s.welcomePages()
	s.fleetPages()
	s.devicesPages()
	s.devicePages()
	s.manifestPages()
	s.vendorPages()
	s.policyPages()
	s.searchPages()
	s.auditPages()
	s.alertPages()
	s.accountPages()
	s.tokenPages()
	s.mux.HandleFunc("/", s.open(http.MethodGet, (*page).notFound))
	return s, nil
}
