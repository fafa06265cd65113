package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

var million = flag.String("million", "", "database with many devices, such as TestMillion of verifier/store/sqlite leaves behind: "+
	"time the pages of a verifier that has it")

// TestPagesOfAMillion prints how long a verifier with a million devices takes for each page of the dashboard, from the
// request to the last byte, and demands medians of less than 100 ms, also while it gives its broker all results again.
func TestPagesOfAMillion(t *testing.T) {
	if *million == "" {
		t.Skip("takes minutes and a large database: run with -args -million FILE")
	}
	w := newWorld(t, func(c *verifier.Config) {
		c.Tenant = "t"
		if err := errors.Join(os.MkdirAll(c.StateDir, 0o700), copyFile(*million, filepath.Join(c.StateDir, "probity.db"))); err != nil {
			t.Fatal(err)
		}
	})
	var list v1.Devices
	w.Must(http.MethodGet, "/v1/devices?limit=1", nil, &list)
	if len(list.Devices) != 1 {
		t.Fatal("the database has no device")
	}
	one := "/devices/" + list.Devices[0].ID
	var clusters v1.Clusters
	w.Must(http.MethodGet, "/v1/fleet/clusters?limit=1", nil, &clusters)
	if len(clusters.Clusters) != 1 {
		t.Fatal("the database has no failures")
	}
	var alerts v1.Alerts
	w.Await("there is an alert", func() bool {
		w.Must(http.MethodGet, "/v1/alerts?limit=1", nil, &alerts)
		return len(alerts.Alerts) == 1
	})
	pages := []string{
		"/", "/?range=6h", "/?range=7d", "/?range=30d", "/devices", "/devices?state=trusted", "/devices?state=untrusted&sort=label",
		"/devices?sort=last_seen", "/devices?sort=since&order=desc", "/devices?q=region1", "/devices?q=site00123", "/devices?q=zz",
		"/devices?cluster=" + clusters.Clusters[0].ID, "/devices?label=jurisdiction%3DJ3&state=stale", "/devices?level=certified",
		"/devices?finding=no-reference", "/devices?finding=boot-event-changed&state=untrusted",
		"/devices?label=zone%3Dlast", "/devices?label=zone%3Dlast&sort=label", "/devices?label=zone%3Dlast&q=region0",
		"/devices?q=-last&sort=label", "/devices?q=region1&sort=label&label=jurisdiction%3DJ4",
		one, one + "/timeline", "/search?q=grub", "/search?q=shim", "/search?q=00000000",
		"/manifests", "/baselines", "/denylist", "/vendors", "/policy", "/audit", "/alerts", "/alerts/" + alerts.Alerts[0].ID, "/alerts/rules",
		"/alerts/channels", "/alerts/deliveries", "/accounts", "/tokens", "/welcome",
	}
	for _, filter := range []string{
		"", "state=untrusted", "q=region1&state=trusted", "q=-last", "label=jurisdiction%3DJ4&finding=boot-difference", "q=zz",
	} {
		form := url.Values{"action": {"attest"}, "scope": {"all"}, "filter": {filter}}
		pages = append(pages, "/bulk?"+form.Encode())
	}
	var cookie *http.Cookie
	for i, page := range pages {
		if i%16 == 0 { // each person may ask for so much in a minute
			cookie = signIn(t, w, fmt.Sprintf("ada-%d", i), v1.Admin)
		}
		took, size, err := fetch(w.HTTP, w.URL, page, cookie)
		switch {
		case err != nil:
			t.Errorf("%s: %v", page, err)
		case took >= 100*time.Millisecond:
			t.Errorf("%-60s %8.1f ms, want less than 100", page, float64(took.Microseconds())/1000)
		default:
			t.Logf("%-60s %8.1f ms %7d bytes", page, float64(took.Microseconds())/1000, size)
		}
	}
}

// signIn makes an account and returns the cookie of a session.
func signIn(t *testing.T, w *world, name string, role v1.Role) *http.Cookie {
	t.Helper()
	const password = "a long password of a test"
	w.Must(http.MethodPost, "/v1/accounts", v1.NewAccount{Name: name, Role: role, Password: password}, nil)
	b, err := json.Marshal(v1.SignIn{Name: name, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.HTTP.Post(w.URL+"/v1/session", "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if len(res.Cookies()) != 1 {
		t.Fatalf("sign-in: %s with %d cookies", res.Status, len(res.Cookies()))
	}
	return res.Cookies()[0]
}

// fetch returns the median of the times that a page takes. The question before an action with many devices is sent as a
// form.
func fetch(c *http.Client, base, page string, cookie *http.Cookie) (median time.Duration, size int, err error) {
	var took [7]time.Duration
	for i := range took {
		req, err := http.NewRequest(http.MethodGet, base+page, nil)
		if form, ok := strings.CutPrefix(page, "/bulk?"); ok {
			req, err = http.NewRequest(http.MethodPost, base+"/bulk", strings.NewReader(form))
		}
		if err != nil {
			return 0, 0, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", base)
		req.AddCookie(cookie)
		start := time.Now()
		res, err := c.Do(req)
		if err != nil {
			return 0, 0, err
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return 0, 0, fmt.Errorf("%s: %v", res.Status, err)
		}
		size, took[i] = len(b), time.Since(start)
	}
	slices.Sort(took[:])
	return took[len(took)/2], size, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
