package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// gated adds a device in a state whose evidence came a minute ago.
func gated(t *testing.T, h *harness, name string, change func(*store.Device)) store.Device {
	t.Helper()
	now := time.Now()
	d := store.Device{
		ID: apitest.ID(name), Label: name, Status: store.Active, State: result.Trusted,
		LastSeen: now.Add(-time.Minute), StaleAt: now.Add(time.Hour),
	}
	change(&d)
	return apitest.AddDevice(t, h.store, d)
}

func TestGate(t *testing.T) {
	h := newHarness(t)
	state := func(s result.State) func(*store.Device) {
		return func(d *store.Device) { d.State = s }
	}
	for name, test := range map[string]struct {
		change func(*store.Device)
		query  string
		reason string // empty: it may pass
	}{
		"trusted":               {state(result.Trusted), "", ""},
		"trusted, young enough": {state(result.Trusted), "?max_age=120", ""},
		"trusted, too old":      {state(result.Trusted), "?max_age=30", "too-old"},
		"warning":               {state(result.Warning), "", "warning"},
		"warning, affirming":    {state(result.Warning), "?tier=affirming", "warning"},
		"warning, allowed":      {state(result.Warning), "?tier=warning", ""},
		"untrusted":             {state(result.Untrusted), "?tier=warning", "untrusted"},
		"unsupported":           {state(result.Unsupported), "?tier=warning", "unsupported"},
		"stale":                 {func(d *store.Device) { d.StaleAt = time.Now().Add(-time.Second) }, "?tier=warning", "stale"},
		"trusted but pending":   {func(d *store.Device) { d.Status = store.Pending }, "", "not-enrolled"},
		"never attested": {
			func(d *store.Device) { d.State, d.LastSeen, d.StaleAt = result.NeverAttested, time.Time{}, time.Time{} }, "", "never-attested",
		},
	} {
		d := gated(t, h, name, test.change)
		w := h.do("GET", "/v1/gate/"+d.ID+test.query, "")
		want := http.StatusOK
		if test.reason != "" {
			want = http.StatusForbidden
		}
		got := decode[v1.Gate](t, w, want)
		if got.Allowed != (test.reason == "") || got.Reason != test.reason || got.Device != d.ID || (got.Detail == "") != got.Allowed {
			t.Errorf("%s: gate = %+v, want reason %q", name, got, test.reason)
		}
		if w.Header().Get("X-Probity-Reason") != test.reason || w.Header().Get("X-Probity-Device") != d.ID ||
			w.Header().Get("X-Probity-State") != string(got.State) {
			t.Errorf("%s: headers = %v", name, w.Header())
		}
		expires, err := time.Parse(time.RFC3339, w.Header().Get("X-Probity-Expires"))
		if got.Allowed && (err != nil || expires.After(d.StaleAt) || strings.Contains(test.query, "max_age") && expires.After(d.LastSeen.Add(2*time.Minute))) {
			t.Errorf("%s: expires %v, %v", name, expires, err)
		}
	}
	for path, want := range map[string]int{
		"/v1/gate/" + apitest.ID("nobody"):                  http.StatusForbidden,
		"/v1/gate/trusted":                                  http.StatusUnprocessableEntity, // a label can be changed
		"/v1/gate/" + apitest.ID("trusted")[:20]:            http.StatusUnprocessableEntity,
		"/v1/gate/" + apitest.ID("trusted") + "?tier=none":  http.StatusUnprocessableEntity,
		"/v1/gate/" + apitest.ID("trusted") + "?max_age=-1": http.StatusUnprocessableEntity,
		"/v1/gate/" + apitest.ID("trusted") + "?maxage=1":   http.StatusUnprocessableEntity,
	} {
		if w := h.do("GET", path, ""); w.Code != want {
			t.Errorf("GET %s = %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}

// Another tenant's device is unknown, however trusted it is; and who may not ask learns nothing.
func TestGateKeepsTenantsApart(t *testing.T) {
	h := newHarness(t)
	theirs := apitest.AddDevice(t, h.store, store.Device{
		Tenant: "rival", ID: apitest.ID("theirs"), Status: store.Active, State: result.Trusted, LastSeen: time.Now(), StaleAt: time.Now().Add(time.Hour),
	})
	if got := decode[v1.Gate](t, h.do("GET", "/v1/gate/"+theirs.ID, ""), http.StatusForbidden); got.Reason != "unknown-device" || got.State != "" {
		t.Errorf("gate = %+v, want an unknown device", got)
	}
	vendor := apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "vendor"})
	wantProblem(t, h.as(vendor, "GET", "/v1/gate/"+theirs.ID, ""), http.StatusForbidden, "role vendor")
	if w := h.as("", "GET", "/v1/gate/"+theirs.ID, ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a credential = %d, want 401", w.Code)
	}
}

// A store that fails opens no gate.
func TestGateFailsClosed(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Store = noDevices{c.Store} })
	if w := h.do("GET", "/v1/gate/"+apitest.ID("one"), ""); w.Code != http.StatusInternalServerError {
		t.Errorf("gate of a broken store = %d, want 500", w.Code)
	}
}

type noDevices struct{ store.Store }

func (noDevices) Device(context.Context, string, string) (store.Device, error) {
	return store.Device{}, errors.New("broken")
}

// proxied sends what Envoy's ext_authz filter sends for a device's own request.
func proxied(h *harness, method, target, header string, values ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader("the device's own body"))
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("If-Match", `"the-device's"`)
	r.Header.Set("Idempotency-Key", "of the device")
	for _, v := range values {
		r.Header.Add(header, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGateForProxies(t *testing.T) {
	h := newHarness(t)
	good := gated(t, h, "good", func(*store.Device) {})
	bad := gated(t, h, "bad", func(d *store.Device) { d.State = result.Untrusted })
	const xfcc = "X-Forwarded-Client-Cert"
	by := "By=spiffe://cluster/ns/x;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;"
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, target := range []string{"", "/", "/api/v2/orders?tier=warning&x=%2F", "//double/slashes/", "/../../v1/tokens", "/a%2fb"} {
			w := proxied(h, method, "/v1/ext-authz/affirming/600"+target, xfcc, by+`Subject="CN=`+good.ID+`,O=acme"`)
			if w.Code != http.StatusOK || w.Header().Get("X-Probity-Device") != good.ID {
				t.Errorf("%s %s of a trusted device = %d %s", method, target, w.Code, w.Body)
			}
			if w := proxied(h, method, "/v1/ext-authz/affirming/600"+target, xfcc, by+`Subject="CN=`+bad.ID+`"`); w.Code != http.StatusForbidden {
				t.Errorf("%s %s of an untrusted device = %d", method, target, w.Code)
			}
		}
	}
	for header, want := range map[string]int{
		by + `Subject="/O=acme/CN=` + good.ID + `"`:                               http.StatusOK,
		by + `Subject="CN=` + bad.ID + `",` + by + `Subject="CN=` + good.ID + `"`: http.StatusOK, // the last is the proxy's
		by + `Subject="CN=` + good.ID + `",` + by + `Subject="CN=` + bad.ID + `"`: http.StatusForbidden,
		by + `Subject="O=a\",CN=x,CN=` + good.ID + `"`:                            http.StatusForbidden, // two names
		by + `Subject="O=\"` + good.ID + `"`:                                      http.StatusForbidden,
		by + `URI="a;Subject=CN=` + good.ID + `"`:                                 http.StatusForbidden, // inside quotes
		by + `Subject="CN=` + good.ID + `";Subject="CN=` + good.ID + `"`:          http.StatusForbidden,
		by + `Subject="CN=` + good.ID:                                             http.StatusForbidden,
		by + `Subject=""`:                                                         http.StatusForbidden,
		by + `Subject="CN=good"`:                                                  http.StatusForbidden, // a label
		by + `Subject="CN=` + strings.ToUpper(good.ID) + `"`:                      http.StatusForbidden,
		"": http.StatusForbidden,
	} {
		if w := proxied(h, "GET", "/v1/ext-authz/affirming/0/x", xfcc, header); w.Code != want {
			t.Errorf("header %s: %d %s, want %d", header, w.Code, w.Body, want)
		}
	}
	one := `Subject="CN=` + good.ID + `"`
	for name, w := range map[string]*httptest.ResponseRecorder{
		"no header":     proxied(h, "GET", "/v1/ext-authz/affirming/0/x", xfcc),
		"two headers":   proxied(h, "GET", "/v1/ext-authz/affirming/0/x", xfcc, one, one),
		"other header":  proxied(h, "GET", "/v1/ext-authz/affirming/0/x", "X-Device", good.ID),
		"other tier":    proxied(h, "GET", "/v1/ext-authz/any/0/x", xfcc, one),
		"no age":        proxied(h, "GET", "/v1/ext-authz/affirming", xfcc, one),
		"age in words":  proxied(h, "GET", "/v1/ext-authz/affirming/long/x", xfcc, one),
		"tier in query": proxied(h, "GET", "/v1/ext-authz/?tier=warning", xfcc, one),
	} {
		if w.Code == http.StatusOK {
			t.Errorf("%s: may pass: %s", name, w.Body)
		}
	}
}

func TestGateByHeader(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.GateHeader = "X-Device-Id" })
	good := gated(t, h, "good", func(*store.Device) {})
	if w := proxied(h, "POST", "/v1/ext-authz/affirming/0/x", "X-Device-Id", good.ID); w.Code != http.StatusOK {
		t.Errorf("by the configured header = %d %s", w.Code, w.Body)
	}
	w := proxied(h, "POST", "/v1/ext-authz/affirming/0/x", "X-Forwarded-Client-Cert", `Subject="CN=`+good.ID+`"`)
	var got v1.Gate
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusForbidden || got.Reason != "unknown-device" {
		t.Errorf("by another header = %d %+v, %v, want it refused", w.Code, got, err)
	}
}
