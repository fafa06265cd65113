package web_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web/browsertest"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

// Somebody who never saw the product finds the bad device, reads why it is bad, and gets to the step that was
// replaced, by links alone.
func TestBrowserFindsTheBadDevice(t *testing.T) {
	s, ids := fullSite(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{})
	must(
		t, b.Open(s.url+"/"), b.Click(`a[href*="state=untrusted"]`), b.UntilText("#list",
			"site-003"), b.Click("#list a.device"),
		b.UntilText(".verdict", "Do not rely on this device"),
	)
	if got := b.Address(); got != "/devices/"+ids[badDevice] {
		t.Fatalf("the browser is at %s", got)
	}
	top, err := browsertest.Eval[bool](b, "document.querySelector('.verdict').getBoundingClientRect().bottom < "+
		"innerHeight")
	if must(t, err); !top {
		t.Error("the verdict is not in sight when the page opens")
	}
	must(
		t, b.Click(".finding .todo a[href*='/boot']"), b.UntilText("#chain", "Boot chain"),
		b.Until(`document.querySelector("#pcr-4 details").open`),
		b.Until(`document.querySelector("#pcr-4").getBoundingClientRect().top < innerHeight`),
		b.UntilText("#pcr-4 tr.weighs", "BOOTX64.EFI"),
		b.Until(`!document.querySelector("#pcr-2 details").open`), b.Click(`.picture.wide a[href="#pcr-2"]`),
		b.Until(`document.querySelector("#pcr-2 details").open`),
		b.Click(`#pcr-4 tr.weighs a[href^="/search"]`), b.UntilText("#radius", "2 devices have it now"),
	)
	s.clean(t, b)
}

// A device that turns untrusted does so on its open page, without anybody loading it again.
func TestBrowserDevicePageFollows(t *testing.T) {
	s, ids := fullSite(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{})
	must(t, b.Open(s.url+"/devices/"+ids[goodDevice]), b.UntilText(".verdict", "runs exactly what it should"),
		b.UntilText("#live", "Live"))
	s.api.SetState(goodDevice, result.Untrusted)
	s.api.Publish("device", map[string]any{"device": ids[goodDevice], "state": "untrusted", "seq": 1})
	must(t, b.UntilText(".verdict", "Do not rely on this device"), b.UntilText("#devicehead", "Untrusted"),
		b.UntilText(".finding", "was replaced"))
	must(t, b.Click(`form[action$="/attest"] button`), b.UntilText(".notice", "asked for evidence"))
	if asked := s.asked(http.MethodPost, "/v1/devices/"+ids[goodDevice]+"/attest"); len(asked) != 1 {
		t.Errorf("the device was asked %d times, want once", len(asked))
	}
	s.clean(t, b)
}

// A vendor's manifest is uploaded, tried out, looked at, and only then submitted.
func TestBrowserSubmitManifest(t *testing.T) {
	s, _ := fullSite(t, v1.Vendor)
	b := s.signedIn(t, "vendor", browsertest.Config{})
	must(t, b.Open(s.url+"/manifests"), b.Click(`a[href="/manifests/submit"]`), b.UntilText("h1", "Submit a manifest"))
	_, err := browsertest.Eval[bool](b, `(() => {
		const files = new DataTransfer();
		files.items.add(new File(["signed"], "acme.cose"));
		document.querySelector("input[type=file]").files = files.files;
		return true;
	})()`)
	must(
		t, err, b.Click(`form[action="/manifests/submit"] button`), b.UntilText("main",
			"would not be afterwards"), // by itself, when the dry run is over
		b.UntilText("table", "site-001"),
	)
	if n := len(s.asked(http.MethodPost, "/v1/manifests")); n != 0 {
		t.Fatalf("%d manifests were submitted before anybody said so", n)
	}
	_, err = browsertest.Eval[bool](b, "(window.confirm = (text) => { window.asked = text; return true; }, true)")
	must(t, err, b.Click(`form[action^="/dry-runs/"] button`), b.UntilText(".notice", "The manifest was submitted"))
	if n := len(s.asked(http.MethodPost, "/v1/manifests")); n != 1 {
		t.Errorf("%d manifests were submitted, want 1", n)
	}
	s.clean(t, b)
}

// Everything can be read and asked for without JavaScript.
func TestBrowserDetailNoScript(t *testing.T) {
	s, ids := fullSite(t, v1.Operator)
	b := s.signedIn(t, "operator", browsertest.Config{NoScript: true})
	page := s.url + "/devices/" + ids[badDevice]
	must(t, b.Open(page), b.UntilText(".verdict", "Do not rely on this device"), b.Click(`.tabs a[href$="/boot"]`),
		b.UntilText("#pcr-4 tr.weighs", "BOOTX64.EFI"))
	must(t, b.Click(`form[action$="/attest"] button`), b.UntilText(".notice", "asked for evidence"))
	s.clean(t, b)
}

// quiet checks that a browser had nothing to complain of and asked nobody else. Its own pictures in fields for dates
// are data.
func quiet(t *testing.T, s *site, b *browsertest.Browser) {
	t.Helper()
	for _, c := range b.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
	for _, f := range b.Foreign(s.url) {
		if !strings.HasPrefix(f, "data:") {
			t.Errorf("a page asked another host: %s", f)
		}
	}
}

// tooWide names the innermost elements that make a page wider than its window, if it is.
const tooWide = `(() => {
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= width) return "";
	const scrolls = (e) => e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
	return [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > width + 0.5 &&
		!scrolls(e.parentElement))
		.filter((e, i, all) => !all.some((o) => o !== e && e.contains(o))).map((e) => e.outerHTML.slice(0,
			150)).join("; ") || "something";
})()`

// Hostile texts stay texts in a real browser: nothing runs, nothing is loaded, nothing is complained of, and no page
// becomes wider than a phone.
func TestBrowserHostileTexts(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	s.api.MakeHostile()
	b := s.signedIn(t, "admin", browsertest.Config{Width: 390, Height: 844, Phone: true})
	for name, path := range detailPages(ids) {
		must(t, b.Open(s.url+path))
		wide, err := browsertest.Eval[string](b, tooWide)
		if must(t, err); wide != "" {
			t.Errorf("%s is wider than the window by %s", name, wide)
		}
		const made = `document.querySelectorAll("main script, img[src=x], [onerror], [onload]").length`
		bad, err := browsertest.Eval[int](b, made)
		if must(t, err); bad > 0 {
			t.Errorf("%s has %d elements that a hostile text made", name, bad)
		}
	}
	quiet(t, s, b)
}

// lint is what a page must have to be used by keyboard and read aloud.
const lint = `(() => {
	const wrong = [];
	const say = (what, e) => wrong.push(what + ": " + (e ? e.outerHTML.slice(0, 120) : ""));
	const visible = (e) => e.getClientRects().length > 0;
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	for (const id of ids.filter((id, i) => ids.indexOf(id) !== i)) say("id twice " + id);
	if (document.querySelectorAll("h1").length !== 1) say("want one h1");
	for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
		if (visible(e) && !e.labels.length && !e.ariaLabel && !e.getAttribute("aria-labelledby")) say("no label", e);
	for (const e of document.querySelectorAll("a, button, summary"))
		if (visible(e) && !(e.textContent.trim() || e.ariaLabel || e.getAttribute("aria-label"))) say("no name", e);
	for (const e of document.querySelectorAll("img:not([alt])")) say("no alt", e);
	for (const e of document.querySelectorAll("[aria-labelledby]"))
		if (!document.getElementById(e.getAttribute("aria-labelledby"))) say("label is not there", e);
	for (const e of document.querySelectorAll("main a[href^='#']"))
		if (!document.getElementById(e.getAttribute("href").slice(1))) say("leads nowhere", e);
	for (const e of document.querySelectorAll("[style], [onclick]")) say("inline", e);
	for (const e of document.querySelectorAll("form[method=post]"))
		if (!e.querySelector("[name=_key]") && !/^\/(theme|signout)$/.test(e.getAttribute("action"))) say("no key", e);
	return wrong.join("\n");
})()`

func TestBrowserPagesAreAccessible(t *testing.T) {
	s, ids := fullSite(t, v1.Admin)
	b := s.signedIn(t, "admin", browsertest.Config{})
	for name, path := range detailPages(ids) {
		must(t, b.Open(s.url+path))
		wrong, err := browsertest.Eval[string](b, lint)
		if must(t, err); wrong != "" {
			t.Errorf("%s:\n%s", name, wrong)
		}
	}
	title, err := browsertest.Eval[string](b, "document.title")
	if err != nil || !strings.HasSuffix(title, " · Probity") {
		t.Errorf("title = %q, %v", title, err)
	}
	must(t, b.Open(s.url+"/search?q="+webtest.Digest("bootkit")))
	quiet(t, s, b)
}
