package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/browsertest"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// clean checks that no page complained and that none asked another host.
func (s *site) clean(t *testing.T, b *browsertest.Browser) {
	t.Helper()
	for _, c := range b.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
	for _, f := range b.Foreign(s.url) {
		t.Errorf("a page asked another host: %s", f)
	}
}

func TestBrowserFirstRun(t *testing.T) {
	s := newSite(t, web.Config{Version: "1"})
	b := openBrowser(t, browsertest.Config{})
	must(t,
		b.Open(s.url), b.UntilText("h1", "Make the first account"),
		b.Type("input[name=code]", webtest.SetupCode), b.Type("input[name=name]", "ada"),
		b.Type("input[name=password]", webtest.Password), b.Type("input[name=again]", webtest.Password+"\r"),
		b.UntilText("h1", "Enrol the first device"),
		b.Click("form[action='/welcome'] button"), b.UntilText(".command", "--token probity-device-t1-secret"),
		b.Until("document.querySelector('button.copy').offsetParent"), // a script shows it
		b.UntilText("#live", "Live"),
	)
	s.api.AddDevices(1, result.Unsupported, "R7")
	s.api.Publish("device", map[string]any{"seq": 1})
	must(t, b.UntilText("h1", "Fleet"), b.UntilText("main", "1 device sent authentic evidence"))
	if got := b.Address(); got != "/" {
		t.Errorf("the page is at %s, want /", got)
	}
	s.clean(t, b)
}

func TestBrowserSignIn(t *testing.T) {
	s := filled(t, v1.Operator)
	b := openBrowser(t, browsertest.Config{})
	must(t,
		b.Open(s.url+"/devices?state=untrusted"), b.UntilText("h1", "Sign in"),
		b.Type("input[name=name]", "operator"), b.Type("input[name=password]", "wrong\r"),
		b.UntilText("[role=alert]", "Name or password is wrong."),
		b.Type("input[name=password]", webtest.Password+"\r"),
		b.UntilText("h1", "Devices"), b.UntilText("main", "2 of 6"),
		b.Click(".user summary"), b.Click("form[action='/signout'] button"), b.UntilText("h1", "Sign in"),
		b.Open(s.url+"/devices"), b.UntilText("h1", "Sign in"),
	)
	s.clean(t, b)
}

// TestBrowserDeviceTurnsUntrusted: the page says so while it is open, without being loaded again.
func TestBrowserDeviceTurnsUntrusted(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	s.api.AddDevices(3, result.Trusted, "R7")
	b := s.signedIn(t, "viewer", browsertest.Config{})
	must(t, b.Open(s.url+"/"), b.UntilText(".tile.trusted", "3"), b.UntilText("main", "No failures"), b.UntilText("#live", "Live"))
	_, err := browsertest.Eval[bool](b, "window.stays = true")
	must(t, err)
	s.api.SetState(1, result.Untrusted)
	s.api.Publish("device", map[string]any{"seq": 1, "state": "untrusted"})
	must(t,
		b.UntilText(".tile.untrusted", "1"), b.UntilText(".tile.trusted", "2"),
		b.UntilText(".cluster", "The boot loader is not one that the vendor published"),
		b.Until("window.stays"),
		b.Until("document.querySelector('#chart canvas')"), // the chart is drawn again
		b.Click(".cluster .size"), b.UntilText("h1", "Devices"), b.UntilText("main", "site-001"),
	)
	if text := b.Text("main"); strings.Contains(text, "site-000") {
		t.Errorf("the list of the cluster has other devices: %s", text)
	}
	// The list follows too.
	must(t, b.UntilText("#live", "Live"))
	s.api.SetState(2, result.Untrusted)
	s.api.Publish("device", map[string]any{"seq": 2})
	must(t, b.UntilText("#list", "site-002"))
	s.clean(t, b)
}

func TestBrowserFilter(t *testing.T) {
	s := filled(t, v1.Viewer)
	b := s.signedIn(t, "viewer", browsertest.Config{})
	must(t, b.Open(s.url+"/devices"), b.UntilText("main", "site-005"), b.Click(".chips a[href*='state=untrusted']"),
		b.UntilText("main", "2 of 6"))
	if got := b.Address(); got != "/devices?state=untrusted" {
		t.Errorf("the filter is at %s, want /devices?state=untrusted", got)
	}
	// Choosing a model keeps the state, and empty fields stay out of the address.
	_, err := browsertest.Eval[bool](b, `(() => { const s = document.querySelector("select[name=model]"); s.value = "R7";
		s.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`)
	must(t, err, b.Until("location.search.includes('model=R7')"))
	if got := b.Address(); got != "/devices?model=R7&state=untrusted" {
		t.Errorf("both filters are at %s", got)
	}
	must(t, b.Type("input[name=q][aria-label]", "003\r"), b.UntilText("#total", "1 of 6"), b.Click(".chips a[href='/devices']"),
		b.UntilText("#total", "6"))
	s.clean(t, b)
}

func TestBrowserBulk(t *testing.T) {
	s := filled(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{})
	must(t, b.Open(s.url+"/devices?state=untrusted"), b.Click("input[data-all]"), b.UntilText("[data-selected]", "2 selected"))
	// A list in which somebody has chosen devices does not change under their hands.
	s.api.AddDevices(1, result.Untrusted, "R7")
	before := len(s.asked(http.MethodGet, "/v1/devices"))
	s.api.Publish("device", map[string]any{"seq": 1})
	must(t, b.Click("button[value=label]"), b.UntilText("h1", "Label: 2 devices"))
	if after := len(s.asked(http.MethodGet, "/v1/devices")); after != before {
		t.Errorf("the list was fetched again %d times while devices were chosen", after-before)
	}
	must(t, b.Type("input[name=group]", "quarantine"), b.Click("button.primary"),
		b.UntilText("main", "Done with 2 devices"), b.Click(".actions a"), b.UntilText("#list", "quarantine"))
	if got := s.api.LastBulk(); len(got.Devices) != 2 || got.Group == nil || *got.Group != "quarantine" {
		t.Errorf("done was %+v, want two devices in quarantine", got)
	}
	s.clean(t, b)
}

// TestBrowserRoleMayNot: who may not is offered nothing, and told plainly where they go all the same.
func TestBrowserRoleMayNot(t *testing.T) {
	s := filled(t, v1.Viewer)
	b := s.signedIn(t, "viewer", browsertest.Config{})
	must(t, b.Open(s.url+"/devices"), b.UntilText("main", "site-000"))
	if text := b.Text("body"); strings.Contains(text, "Remove") || strings.Contains(text, "Accounts") {
		t.Errorf("a viewer is offered what it may not: %s", text)
	}
	must(t, b.Open(s.url+"/accounts"), b.UntilText("main", "may not see this page"))
	s.clean(t, b)
}

// TestBrowserNoScript: everything can be read, and forms work.
func TestBrowserNoScript(t *testing.T) {
	s := filled(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{NoScript: true})
	must(t, b.Open(s.url+"/"))
	fleet := b.Text("main")
	for _, want := range []string{"Fleet", "6 devices", "Untrusted", "The boot loader is not one", "Latest changes"} {
		if !strings.Contains(fleet, want) {
			t.Errorf("the fleet page without scripts does not say %q: %s", want, fleet)
		}
	}
	must(t, b.Until("document.querySelectorAll('#chart polygon').length === 3"), b.Click(".tile.untrusted"), b.UntilText("#total", "2 of 6"),
		b.Follow(".filters button"), b.UntilText("#total", "2 of 6"), b.Click("#list input[name=device]"), b.Click("button[value=attest]"),
		b.UntilText("h1", "Ask for evidence now: 1 device"), b.Click("button.primary"), b.UntilText("main", "Done with 1 device"))
	s.clean(t, b)
}

func TestBrowserSessionEnds(t *testing.T) {
	s := filled(t, v1.Viewer)
	b := s.signedIn(t, "viewer", browsertest.Config{})
	must(t, b.Open(s.url+"/devices?state=stale"), b.UntilText("#live", "Live"))
	s.api.EndSessions()
	must(t, b.UntilText("#state", "Your session has ended"))
	got, err := browsertest.Eval[string](b, "document.querySelector('#state a').getAttribute('href')")
	if want := "/signin?next=%2Fdevices%3Fstate%3Dstale"; err != nil || got != want {
		t.Errorf("the page leads to %q (%v), want %q", got, err, want)
	}
	s.clean(t, b)
}

// TestBrowserVerifierGone: a page that is open says that the verifier is down, and follows by itself when it is back.
// A verifier that comes back as another version asks for the page to be loaded again.
func TestBrowserVerifierGone(t *testing.T) {
	api := webtest.New(v1.Viewer)
	api.AddDevices(2, result.Trusted, "R7")
	var handler atomic.Pointer[http.Handler]
	use := func(version string) {
		pages, err := web.New(web.Config{API: api, Version: version})
		if err != nil {
			t.Fatal(err)
		}
		h := webtest.Mux(api, pages)
		handler.Store(&h)
	}
	use("1.0.0")
	var down atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler) // as if nobody listened: the connection breaks
		}
		(*handler.Load()).ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer api.EndSessions()
	b := openBrowser(t, browsertest.Config{})
	must(t, b.SetCookie(server.URL, api.Session("viewer")), b.Open(server.URL+"/"), b.UntilText("#live", "Live"))
	down.Store(true)
	api.EndStreams()
	must(t, b.UntilText("#state", "The verifier does not answer"), b.UntilText("#live", "Not live"))
	down.Store(false)
	must(t, b.UntilText("#live", "Live"), b.Until("document.querySelector('#state').innerText === ''"))
	api.AddDevices(1, result.Untrusted, "R7")
	api.Publish("device", map[string]any{"seq": 3})
	must(t, b.UntilText(".tile.untrusted", "1"))

	use("1.1.0")
	api.Publish("fleet", map[string]any{"seq": 4})
	must(t, b.UntilText("#state", "The verifier was upgraded to 1.1.0"), b.Click("#state a"), b.UntilText("#live", "Live"),
		b.Until("document.querySelector('meta[name=probity-version]').content === '1.1.0'"))
	for _, c := range b.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

func TestBrowserKeys(t *testing.T) {
	s := filled(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{})
	focus := func(want string) {
		t.Helper()
		must(t, b.Until("document.activeElement.matches("+"'"+want+"')"))
	}
	must(t, b.Open(s.url+"/devices"), b.Press("\t"))
	focus(".skip")
	must(t, b.Press("\r"))
	focus("#main")
	must(t, b.Press("/"))
	focus("#find")
	must(t, b.Open(s.url+"/devices"), b.Click(".user summary"), b.Until("document.querySelector('.user').open"), b.Press("\x1b"),
		b.Until("!document.querySelector('.user').open"))
	focus("summary")
	// Everything that can be clicked can be reached, and says what it is.
	for _, path := range shell {
		must(t, b.Open(s.url+path))
		nameless, err := browsertest.Eval[[]string](b, nameless)
		if err != nil || len(nameless) > 0 {
			t.Errorf("%s has controls without a name: %v (%v)", path, nameless, err)
		}
	}
	s.clean(t, b)
}

// nameless is the controls of a page that have no name for who cannot see them, and ids that are there twice.
const nameless = `(() => {
	const bad = [];
	for (const e of document.querySelectorAll("a, button, summary, input:not([type=hidden]), select, textarea")) {
		const label = e.labels && [...e.labels].map((l) => l.textContent).join("") || e.getAttribute("aria-label") || e.textContent;
		if (!label.trim()) bad.push(e.outerHTML);
		if (e.tabIndex < 0) bad.push("not by keyboard: " + e.outerHTML);
	}
	for (const e of document.querySelectorAll("[id]")) if (document.querySelectorAll("#" + CSS.escape(e.id)).length > 1) bad.push("id twice: " + e.id);
	return bad;
})()`

// TestBrowserPhone: nothing is wider than a phone.
func TestBrowserPhone(t *testing.T) {
	s := filled(t, v1.Admin)
	s.api.SetDevice(0, func(d *v1.Device) {
		d.Label, d.Group, d.Firmware = strings.Repeat("very-long-name-", 8), strings.Repeat("x", 120), strings.Repeat("y", 200)
	})
	b := s.signedIn(t, "admin", browsertest.Config{Width: 390, Height: 844, Phone: true})
	for _, path := range shell {
		must(t, b.Open(s.url+path))
		wide, err := browsertest.Eval[int](b, "document.documentElement.scrollWidth")
		if err != nil || wide > 390 {
			t.Errorf("%s is %d pixels wide on a phone (%v)", path, wide, err)
		}
	}
	must(t, b.Click(".pages summary"), b.Click(".pages .sheet a[href='/devices']"), b.UntilText("h1", "Devices"))
	s.clean(t, b)
}
