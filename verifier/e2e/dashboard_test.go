package e2e

import (
	"errors"
	"net/http"
	"regexp"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/web/browsertest"
)

// setupCode is in what a verifier prints as long as nobody has an account.
var setupCode = regexp.MustCompile(`with the code (\S+)\.`)

// TestDashboard: somebody who never saw the product sets it up in a browser, enrols a device, sees it turn bad while the
// page is open, finds it, reads why, and does something with it. An account of another role may not.
func TestDashboard(t *testing.T) {
	w := newWorld(t, nil)
	b, end, err := browsertest.Open(t.Context(), browsertest.Config{})
	if errors.Is(err, browsertest.ErrNoBrowser) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	code := setupCode.FindStringSubmatch(w.Output())
	if code == nil {
		t.Fatalf("the verifier printed no setup code: %s", w.Output())
	}
	const password = "a long password of a test"
	must(b.Open(w.URL), b.UntilText("h1", "Make the first account"), b.Type("input[name=code]", code[1]),
		b.Type("input[name=name]", "ada"), b.Type("input[name=password]", password), b.Type("input[name=again]", password+"\r"),
		b.UntilText("h1", "Enrol the first device"), b.UntilText(".command", "--token"), b.UntilText("#live", "Live"))
	line := regexp.MustCompile(`--ca-fingerprint (\S+) --token (\S+)`).FindStringSubmatch(b.Text(".command"))
	if line == nil {
		t.Fatalf("the page shows no line for devices: %s", b.Text("main"))
	}

	// The line works, and the page becomes the fleet by itself.
	d := w.device(w.CA, healthy(t))
	d.cfg.CAFingerprint, d.cfg.Token = line[1], line[2]
	d.attest(result.Unsupported)
	must(b.UntilText("h1", "Fleet"), b.UntilText(".tile.unsupported", "1"))
	d.baseline("r7-2.4.1")
	d.attest(result.Trusted)
	must(b.UntilText(".tile.trusted", "1"))

	// Its boot loader is replaced. Nobody loads the page again.
	bad := healthy(t)
	bad.Booted = remeasured(t, bad.Booted, eventlogtest.BootLoader, nil)
	if err := d.v.Boot(bad); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Untrusted)
	must(b.UntilText(".tile.untrusted", "1"), b.UntilText(".cluster", "PCR 4 (boot loader)"), b.Click(".cluster .size"),
		b.UntilText("h1", "Devices"), b.Click("#list .device"), b.UntilText("main", "was replaced"), b.UntilText("main", "What to do"))

	// It goes into quarantine, with all others like it.
	must(b.Open(w.URL+"/devices?state=untrusted"), b.Click("input[data-all]"), b.Click("button[value=label]"),
		b.UntilText("h1", "Label: 1 device"), b.Type("input[name=group]", "quarantine"), b.Click("button.primary"),
		b.UntilText("main", "Done with 1 device"))
	if got := w.Device(d.id); got.Group != "quarantine" {
		t.Errorf("group = %q, want quarantine", got.Group)
	}

	change := func(name, page string) {
		t.Helper()
		must(b.Open(w.URL+"/password"), b.Click(".user summary"), b.Click("form[action='/signout'] button"), b.UntilText("h1", "Sign in"),
			b.Type("input[name=name]", name), b.Type("input[name=password]", password+"\r"), b.UntilText("h1", page))
	}
	w.Must(http.MethodPost, "/v1/accounts", v1.NewAccount{
		Name: "vic", Role: v1.Vendor, Vendors: []string{"Acme"}, Password: password,
	}, nil)
	change("vic", "Manifests")
	acme := w.AddVendor("Acme", "R*")
	must(submit(b, w.URL, acme.MustSign(w.MustRelease("2.4.1", healthy(t)))))
	var manifests v1.Manifests
	if w.Must(http.MethodGet, "/v1/manifests", nil, &manifests); len(manifests.Manifests) != 1 ||
		manifests.Manifests[0].Name != "acme/r7/2.4.1" {
		t.Errorf("manifests = %+v, want the one that was submitted", manifests.Manifests)
	}

	w.Must(http.MethodPost, "/v1/accounts", v1.NewAccount{Name: "eve", Role: v1.Viewer, Password: password}, nil)
	change("eve", "Fleet")
	must(b.Open(w.URL+"/devices"), b.UntilText("h1", "Devices"))
	if there, err := browsertest.Eval[bool](b, "document.querySelector('[name=action]') !== null"); err != nil || there {
		t.Errorf("a viewer is offered actions (%v)", err)
	}
	must(b.Open(w.URL+"/accounts"), b.UntilText("main", "may not see this page"))
	for _, c := range b.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
	if f := b.Foreign(w.URL); len(f) > 0 {
		t.Errorf("pages asked other hosts: %s", f)
	}
}

// submit is what a vendor does, who sees no devices: it tries its manifest out, and submits it.
func submit(b *browsertest.Browser, url string, signed []byte) error {
	return errors.Join(b.Open(url+"/manifests/submit"), b.Choose("input[type=file]", "acme.cose", signed), b.Click(`form[action="/manifests/submit"] button`), b.UntilText("main", "Put it in force"),
		b.Click(`form[action^="/dry-runs/"] button`), b.UntilText(".notice", "The manifest was submitted"),
		b.Open(url+"/devices"), b.UntilText("main", "may not see this page"))
}
