package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/probity-attest/probity/verifier/web/browsertest"
)

// The account that the tour makes.
const (
	person   = "ada"
	password = "a long password for pictures"
)

// variants are the sizes and colours in which pages are taken.
var variants = []struct {
	name string
	browsertest.Config
}{
	{"desktop-light", browsertest.Config{Width: 1440, Height: 900}},
	{"desktop-dark", browsertest.Config{Width: 1440, Height: 900, Dark: true}},
	{"phone-light", browsertest.Config{Width: 390, Height: 844, Phone: true}},
	{"phone-dark", browsertest.Config{Width: 390, Height: 844, Phone: true, Dark: true}},
}

// tour takes pictures with one browser for each variant.
type tour struct {
	*stage
	out      string
	only     *regexp.Regexp
	browsers []*browsertest.Browser
	ends     []context.CancelFunc
	taken    int
}

func newTour(ctx context.Context, s *stage, out string, only *regexp.Regexp) (*tour, error) {
	t := &tour{stage: s, out: out, only: only}
	for _, v := range variants {
		b, end, err := browsertest.Open(ctx, v.Config)
		if err != nil {
			t.close()
			return nil, err
		}
		t.browsers, t.ends = append(t.browsers, b), append(t.ends, end)
	}
	return t, nil
}

func (t *tour) close() {
	for _, end := range t.ends {
		end()
	}
}

// keep writes what every browser shows.
func (t *tour) keep(name string) error {
	if !t.only.MatchString(name) {
		return nil
	}
	for i, b := range t.browsers {
		png, err := b.Screenshot(false)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(t.out, name+"-"+variants[i].name+".png"), png, 0o644); err != nil {
			return err
		}
		t.taken++
	}
	return nil
}

// take opens a page in every browser and keeps it.
func (t *tour) take(name, path string) error {
	if !t.only.MatchString(name) {
		return nil
	}
	for _, b := range t.browsers {
		if err := b.Open(t.URL + path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if text := b.Text("main"); strings.Contains(text, "The verifier failed") || text == "" {
			return fmt.Errorf("%s shows: %s", path, text)
		}
	}
	return t.keep(name)
}

// do does something in every browser and keeps what they show then.
func (t *tour) do(name string, what func(b *browsertest.Browser) error) error {
	for _, b := range t.browsers {
		if err := what(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return t.keep(name)
}

// firstRun sets the verifier up as a person does: with the code that it printed.
func (t *tour) firstRun() error {
	code := setupCode.FindStringSubmatch(t.printed.String())
	if code == nil {
		return fmt.Errorf("the verifier printed no setup code: %q", t.printed.String())
	}
	if err := t.take("setup", "/setup"); err != nil {
		return err
	}
	b := t.browsers[0]
	err := errors.Join(b.Open(t.URL+"/"), b.UntilText("h1", "Make the first account"),
		b.Type("input[name=code]", code[1]), b.Type("input[name=name]", person),
		b.Type("input[name=password]", password), b.Type("input[name=again]", password+"\r"),
		b.UntilText("h1", "Enrol the first device"))
	if err != nil {
		return err
	}
	t.say("set up in the browser")
	for _, b := range t.browsers[1:] {
		if err := b.Open(t.URL + "/signin"); err != nil {
			return err
		}
	}
	// The first is in already: it leaves, so that all show the same.
	err = errors.Join(b.Click(".user summary"), b.Click("form[action='/signout'] button"), b.UntilText("h1", "Sign in"), t.keep("signin"))
	if err != nil {
		return err
	}
	for _, b := range t.browsers {
		err := errors.Join(b.Type("input[name=name]", person), b.Type("input[name=password]", password+"\r"),
			b.UntilText("h1", "Enrol the first device"))
		if err != nil {
			return err
		}
	}
	if err := b.UntilText(".command", "--token"); err != nil {
		return err
	}
	return t.take("welcome", "/welcome")
}

// everyPage takes all pages with the fleet behind them.
func (t *tour) everyPage() error {
	bad, other := t.device("bergen-access-1"), t.device("oslo-core-1")
	pages := []struct{ name, path string }{
		{"fleet", "/"},
		{"devices", "/devices"},
		{"devices-filtered", "/devices?state=untrusted&group=north"},
		{"device", "/devices/" + bad.id},
		{"device-boot", "/devices/" + bad.id + "/boot"},
		{"device-files", "/devices/" + bad.id + "/files"},
		{"device-flash", "/devices/" + bad.id + "/flash"},
		{"device-timeline", "/devices/" + bad.id + "/timeline"},
		{"device-evidence", "/devices/" + bad.id + "/evidence"},
		{"device-diff", "/devices/" + bad.id + "/diff?with=" + other.id},
		{"manifests", "/manifests"},
		{"manifest", "/manifests/acme%2Fr7%2F2.4.1"},
		{"manifest-submit", "/manifests/submit"},
		{"baselines", "/baselines"},
		{"denylist", "/denylist"},
		{"vendors", "/vendors"},
		{"vendor", "/vendors/" + t.vendor.ID},
		{"policy", "/policy"},
		{"policy-versions", "/policy/versions"},
		{"policy-edit", "/policy/edit"},
		{"search", "/search?q=grubx64.efi"},
		{"alerts", "/alerts"},
		{"alert-rules", "/alerts/rules"},
		{"alert-rule", "/alerts/rules/new"},
		{"alert-channels", "/alerts/channels"},
		{"alert-channel", "/alerts/channels/new"},
		{"alert-deliveries", "/alerts/deliveries"},
		{"audit", "/audit"},
		{"accounts", "/accounts"},
		{"account", "/accounts/new"},
		{"password", "/password"},
		{"tokens", "/tokens"},
		{"nothing", "/devices/" + strings.Repeat("0", 64)},
	}
	for _, p := range pages {
		if err := t.take(p.name, p.path); err != nil {
			return err
		}
	}
	err := t.do("alert", func(b *browsertest.Browser) error {
		return errors.Join(b.Open(t.URL+"/alerts"), b.Click("article.alert.firing h3 a"), b.UntilText("main", "What happened"))
	})
	if err != nil {
		return err
	}
	err = t.do("dry-run", func(b *browsertest.Browser) error {
		return errors.Join(b.Open(t.URL+"/manifests/submit"), b.Choose("input[type=file]", "acme.cose", t.update),
			b.Click(`form[action="/manifests/submit"] button`), b.UntilText("main", "Put it in force"))
	})
	if err != nil {
		return err
	}
	err = t.do("bulk", func(b *browsertest.Browser) error {
		return errors.Join(b.Open(t.URL+"/devices?state=untrusted"), b.Click("input[name=device]"), b.Click("button[value=label]"),
			b.UntilText("h1", "Label"))
	})
	if err != nil {
		return err
	}
	err = t.do("bulk-done", func(b *browsertest.Browser) error {
		return errors.Join(b.Type("input[name=group]", "quarantine"), b.Click("button.primary"), b.UntilText("main", "Done with 1 device"))
	})
	if err != nil {
		return err
	}
	b := t.browsers[0]
	for _, c := range b.Complaints() {
		return fmt.Errorf("a page complains: %s", c)
	}
	if foreign := b.Foreign(t.URL); len(foreign) > 0 {
		return fmt.Errorf("a page asked another host: %s", foreign)
	}
	return nil
}
