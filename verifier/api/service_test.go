package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func TestNewWantsItsParts(t *testing.T) {
	for name, change := range map[string]func(*api.Config){
		"store": func(c *api.Config) { c.Store = nil },
		"fleet": func(c *api.Config) { c.Fleet = nil },
		"keys":  func(c *api.Config) { c.Keys = nil },
		"curve": func(c *api.Config) { c.Keys = []*ecdsa.PublicKey{{Curve: elliptic.P384()}} },
	} {
		c := apitest.Config(t)
		change(&c)
		if h, err := api.New(c); err == nil || h != nil {
			t.Errorf("New without a good %s = %v, %v, want an error and no handler", name, h, err)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	h := newHarness(t)
	w := h.do("GET", "/v1/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                 `json:"operationId"`
			Security    *[]map[string][]string `json:"security"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != http.StatusOK {
		t.Fatalf("GET /v1/openapi.json = %d, %v", w.Code, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi = %q, want 3.1", doc.OpenAPI)
	}
	plain := map[string]bool{"GET /v1/openapi.json": true, "GET /metrics": true, "GET /healthz": true}
	for _, p := range api.Patterns(h.Handler) {
		method, path, _ := strings.Cut(p, " ")
		if strings.HasPrefix(path, "/auth/") { // pages for browsers
			continue
		}
		op, ok := doc.Paths[path][strings.ToLower(method)]
		if ok == plain[p] {
			t.Errorf("route %s: documented %v, want %v", p, ok, !plain[p])
		}
		if ok && (op.Security != nil) != api.IsOpen(p) {
			t.Errorf("route %s: security %v, want an exception only for open routes", p, op.Security)
		}
	}
}

func TestEverythingElseIsNotFound(t *testing.T) {
	h := newHarness(t)
	for _, r := range []string{
		"GET /", "GET /v1", "GET /v1/", "GET /v1/devices/", "GET //v1/devices", "GET /v1/devices/../tokens", "GET /v1/./counts",
		"PUT /v1/devices", "POST /v1/counts", "OPTIONS /v1/devices", "TRACE /v1/devices", "GET /docs", "GET /openapi.json",
		"GET /schemas/Device.json", "GET /debug/pprof/", "GET /metrics/", "POST /healthz", "GET /v1/devices/a/b/c", "GET /v2/devices",
	} {
		method, path, _ := strings.Cut(r, " ")
		for _, token := range []string{"", h.token} {
			if w := h.as(token, method, path, ""); w.Code != http.StatusNotFound {
				t.Errorf("%s with token %v = %d, want 404", r, token != "", w.Code)
			}
		}
	}
}

func TestUnknownInputIsRefused(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a")})
	many := `{` + strings.Repeat(`"x":1,`, 1500) + `"y":1}`
	for _, c := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "/v1/devices?stat=trusted", "", 422, "unknown query parameter (query.stat)"},
		{"GET", "/v1/counts?x=1", "", 422, "unknown query parameter"},
		{"GET", "/v1/devices?state=good", "", 422, "query.state"},
		{"GET", "/v1/devices?limit=0", "", 422, "query.limit"},
		{"GET", "/v1/devices?limit=501", "", 422, "query.limit"},
		{"GET", "/v1/devices?limit=x", "", 422, "query.limit"},
		{"GET", "/v1/events?before=-1", "", 422, "query.before"},
		{"PATCH", "/v1/devices/" + d.ID, `{"labl":"x"}`, 422, "body.labl"},
		{"PATCH", "/v1/devices/" + d.ID, `{"Label":"x"}`, 422, "body.Label"},
		{"PATCH", "/v1/devices/" + d.ID, `{"label":1}`, 422, "body.label"},
		{"PATCH", "/v1/devices/" + d.ID, `[]`, 422, "expected object"},
		{"PATCH", "/v1/devices/" + d.ID, `{"label":"x"}{}`, 400, "after top-level value"},
		{"PATCH", "/v1/devices/" + d.ID, `{`, 400, "unexpected end"},
		{"PATCH", "/v1/devices/" + d.ID, ``, 400, "body is required"},
		{"PATCH", "/v1/devices/" + d.ID, many, 422, "unexpected property"},
		{"POST", "/v1/tokens", `{"uses":0}`, 422, "body.uses"},
		{"POST", "/v1/tokens", `{"ttl_seconds":1}`, 422, "body.ttl_seconds"},
		{"POST", "/v1/tokens", `{"operator":true}`, 422, "body.operator"},
		{"POST", "/v1/baselines", `{"device":"` + d.ID + `","report_only_pcrs":[24]}`, 422, "want 0 to 23, got 24"},
		{"POST", "/v1/baselines", `{"device":"` + d.ID + `","name":"../x"}`, 422, "body.name"},
		{"POST", "/v1/baselines", `{}`, 422, "device"},
		{"PATCH", "/v1/devices/" + d.ID, `{"label":"` + strings.Repeat("x", 20<<10) + `"}`, 413, "too large"},
	} {
		w := h.do(c.method, c.target, c.body)
		wantProblem(t, w, c.status, c.says)
		if w.Body.Len() > 8<<10 {
			t.Errorf("%s %s: answer of %d bytes, want it bounded", c.method, c.target, w.Body.Len())
		}
	}
	if events := h.events(t); len(events) != 0 {
		t.Errorf("refused requests left events: %q", events)
	}
}

// What devices say of themselves may hold anything (ATTACKS row 14).
func TestHostileTextIsEscaped(t *testing.T) {
	h := newHarness(t).signed(t)
	hostile := "</script><script>\x1b[2J\u009b31m\u202egnp\u2028\U000e0041\"},{\"id\":\"x"
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Vendor: hostile, Model: hostile, Firmware: hostile})
	r := result.Result{State: result.Untrusted, Findings: []result.Finding{{Component: hostile}}}
	err := h.fleet.Record(context.Background(), d.Tenant, d.ID, r)
	if err != nil {
		t.Fatal(err)
	}
	e := store.Event{At: time.Now(), Tenant: d.Tenant, Kind: hostile, Actor: hostile, Detail: hostile}
	if err := h.store.AddEvent(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/devices", "/v1/devices/" + d.ID, "/v1/devices/" + d.ID + "/results", "/v1/events"} {
		w := h.do("GET", path, "")
		var any any
		if err := json.Unmarshal(w.Body.Bytes(), &any); err != nil || w.Code != http.StatusOK {
			t.Fatalf("GET %s = %d, %v", path, w.Code, err)
		}
		if i := strings.IndexFunc(w.Body.String(), func(r rune) bool { return r != '\n' && !v1.Prints(r) || r == '<' }); i >= 0 {
			t.Errorf("GET %s: answer holds %q", path, w.Body.String()[i:min(i+20, w.Body.Len())])
		}
	}
	if got := decode[v1.Device](t, h.do("GET", "/v1/devices/"+d.ID, ""), http.StatusOK); got.Vendor != hostile {
		t.Errorf("vendor = %q, want it unchanged: %q", got.Vendor, hostile)
	}
}

func TestHeaders(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/v1/counts", "/healthz", "/v1/keys", "/metrics", "/nowhere"} {
		header := h.do("GET", path, "").Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("GET %s: %s = %q, want %q", path, name, got, want)
			}
		}
		if len(header.Get("X-Request-Id")) != 16 {
			t.Errorf("GET %s: X-Request-Id = %q", path, header.Get("X-Request-Id"))
		}
	}
}

// sickStore says what its Ping says.
type sickStore struct {
	store.Store
	pings *atomic.Int64
	err   *error
}

func (s sickStore) Ping(context.Context) error { s.pings.Add(1); return *s.err }

func TestHealth(t *testing.T) {
	var pings atomic.Int64
	var storeErr, brokerErr error
	now := time.Now()
	h := newHarness(t, func(c *api.Config) {
		c.Store = sickStore{c.Store, &pings, &storeErr}
		c.Health = func(context.Context) error { return brokerErr }
		c.Now = func() time.Time { return now }
	})
	for _, c := range []struct {
		store, broker error
		status        int
		want          string
	}{
		{nil, nil, 200, "ok\n"},
		{errors.New("disk full at /var/lib"), nil, 503, "store\n"},
		{nil, errors.New("connection to 10.0.0.7 lost"), 503, "broker\n"},
		{nil, nil, 200, "ok\n"},
	} {
		storeErr, brokerErr = c.store, c.broker
		now = now.Add(2 * time.Second)
		if w := h.as("", "GET", "/healthz", ""); w.Code != c.status || w.Body.String() != c.want {
			t.Errorf("healthz with store %v, broker %v = %d %q, want %d %q", c.store, c.broker, w.Code, w.Body, c.status, c.want)
		}
	}
	before := pings.Load()
	for range 100 {
		h.as("", "GET", "/healthz", "")
	}
	if got := pings.Load(); got != before {
		t.Errorf("100 requests at one moment made the store commit %d times, want 0", got-before)
	}
}

func TestKeysVerifyResults(t *testing.T) {
	key := newKey(t)
	h := newHarness(t, func(c *api.Config) { c.Keys = []*ecdsa.PublicKey{&key.PublicKey} })
	signer, err := result.NewSigner(key, "verifier.test", "test")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	ear, err := signer.Sign(result.Result{Device: "d", State: result.Trusted, At: at, StaleAt: at.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	set := decode[v1.KeySet](t, h.as("", "GET", "/v1/keys", ""), http.StatusOK)
	token, err := jwt.Parse(ear, func(token *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.ID == token.Header["kid"] && k.Type == "EC" && k.Curve == "P-256" && k.Use == "sig" && k.Algorithm == "ES256" {
				point := append(append([]byte{4}, coordinate(t, k.X)...), coordinate(t, k.Y)...)
				return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			}
		}
		return nil, errors.New("no such key")
	})
	if err != nil || !token.Valid {
		t.Errorf("a signed result does not verify with the published key: %v", err)
	}
}

func coordinate(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Errorf("coordinate %q: want base64url of 32 bytes, got %d, %v", s, len(b), err)
	}
	return b
}

func TestMetricsNameNoDevice(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "edge-7"})
	h.do("GET", "/v1/devices/"+d.ID, "")
	h.do("GET", "/v1/devices/edge-7", "")
	h.do("GET", "/v1/devices/nobody", "")
	h.do("GET", "/x/"+d.ID, "")
	got := h.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`probity_api_requests_total{route="GET /v1/devices/{id}",status="200"} 2`,
		`probity_api_requests_total{route="GET /v1/devices/{id}",status="404"} 1`,
		`probity_api_requests_total{route="none",status="404"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(got, d.ID) || strings.Contains(got, "edge-7") {
		t.Errorf("metrics name a device:\n%s", got)
	}
}

func TestCounts(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), State: result.Trusted, StaleAt: now.Add(-time.Minute)})
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("b"), State: result.Trusted, StaleAt: now.Add(time.Minute)})
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("c")})
	got := decode[v1.Counts](t, h.do("GET", "/v1/counts", ""), http.StatusOK)
	if got.Total != 3 || got.States[result.Trusted] != 1 || got.States[result.Stale] != 1 || got.States[result.NeverAttested] != 1 {
		t.Errorf("counts = %+v, want one each of trusted, stale, never-attested", got)
	}
}

func TestTokens(t *testing.T) {
	h := newHarness(t)
	made := decode[v1.CreatedToken](t, h.do("POST", "/v1/tokens", `{"uses":3,"ttl_seconds":3600}`), http.StatusCreated)
	if made.Uses != 3 || made.Operator || made.Expires.Sub(made.Created) != time.Hour || strings.Count(made.Secret, ".") != 3 {
		t.Errorf("created token = %+v", made)
	}
	kept, err := h.store.Token(context.Background(), made.ID)
	if err != nil || kept.Tenant != apitest.Tenant || kept.Operator {
		t.Errorf("stored token = %+v, %v", kept, err)
	}
	secret := made.Secret[strings.LastIndex(made.Secret, ".")+1:]
	list := h.do("GET", "/v1/tokens", "")
	if tokens := decode[v1.Tokens](t, list, http.StatusOK); len(tokens.Tokens) != 2 || strings.Contains(list.Body.String(), secret) {
		t.Errorf("tokens = %s, want two without secrets", list.Body)
	}
	plain := decode[v1.CreatedToken](t, h.do("POST", "/v1/tokens", `{}`), http.StatusCreated)
	if plain.Uses != 1 || plain.Expires.Sub(plain.Created) != 24*time.Hour {
		t.Errorf("token by default = %+v, want one use and a day", plain)
	}
	if w := h.do("DELETE", "/v1/tokens/"+made.ID, ""); w.Code != http.StatusNoContent {
		t.Errorf("revoke = %d %s", w.Code, w.Body)
	}
	if kept, err = h.store.Token(context.Background(), made.ID); err != nil || !kept.Revoked {
		t.Errorf("stored token = %+v, %v, want it revoked", kept, err)
	}
	wantProblem(t, h.do("DELETE", "/v1/tokens/"+apitest.TokenID(t, h.token), ""), http.StatusConflict, "token in use")
	wantProblem(t, h.do("DELETE", "/v1/tokens/none", ""), http.StatusNotFound, "no token")
	events := strings.Join(h.events(t), "\n")
	if !strings.Contains(events, h.actor+": revokes token "+made.ID) || strings.Contains(events, secret) {
		t.Errorf("events = %s, want the revocation and no secret", events)
	}
}

func TestBaselines(t *testing.T) {
	h := newHarness(t).signed(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "golden"})
	wantProblem(t, h.do("POST", "/v1/baselines", `{"device":"golden"}`), http.StatusConflict, "never attested")
	regions := []result.Region{{Name: "modem", Status: result.RegionUnavailable, Reason: "permission: not root"}}
	if err := h.fleet.Record(context.Background(), d.Tenant, d.ID, result.Result{State: result.Unsupported, Regions: regions}); err != nil {
		t.Fatal(err)
	}
	made := decode[v1.Baseline](t, h.do("POST", "/v1/baselines",
		`{"device":"golden","name":"r7-2.5","report_only_pcrs":[1,5]}`), http.StatusCreated)
	if made.Name != "r7-2.5" || made.Retired != nil || len(made.Digest) != 64 || !slices.Equal(made.Notes, []string{"flash region modem: permission: not root"}) {
		t.Errorf("baseline = %+v", made)
	}
	twice := `{"device":"golden","report_only_flash":["a","a"]}`
	wantProblem(t, h.do("POST", "/v1/baselines", twice), http.StatusUnprocessableEntity, "report_only_flash")
	flash := decode[v1.Baseline](t, h.do("POST", "/v1/baselines", `{"device":"golden","name":"flash","report_only_flash":["env"]}`), http.StatusCreated)
	if flash.Size <= made.Size { // the document repeats what was asked for
		t.Errorf("a baseline that only reports a region has %d bytes, without it %d: the region was lost", flash.Size, made.Size)
	}
	if w := h.do("DELETE", "/v1/baselines/flash", ""); w.Code != http.StatusNoContent {
		t.Errorf("retire = %d %s", w.Code, w.Body)
	}
	wantProblem(t, h.do("POST", "/v1/baselines", `{"device":"golden","name":"r7-2.5"}`), http.StatusConflict, "choose another")
	if w := h.do("DELETE", "/v1/baselines/r7-2.5", ""); w.Code != http.StatusNoContent {
		t.Errorf("retire = %d %s", w.Code, w.Body)
	}
	wantProblem(t, h.do("DELETE", "/v1/baselines/none", ""), http.StatusNotFound, "not found")
	list := decode[v1.Baselines](t, h.do("GET", "/v1/baselines", ""), http.StatusOK)
	if len(list.Baselines) != 2 || list.Baselines[0].Retired == nil || list.Baselines[1].Retired == nil {
		t.Errorf("baselines = %+v, want two, retired", list)
	}
}

type panickyFleet struct{ *apitest.Fleet }

func (panickyFleet) Remove(context.Context, string, string, string) error { panic("out of luck") }

func TestPanicIsAnswered(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Fleet = panickyFleet{c.Fleet.(*apitest.Fleet)} })
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a")})
	w := h.do("DELETE", "/v1/devices/"+d.ID, "")
	if wantProblem(t, w, http.StatusInternalServerError, "internal error"); strings.Contains(w.Body.String(), "luck") {
		t.Errorf("answer tells the panic: %s", w.Body)
	}
}

func TestHeadNeedsATokenToo(t *testing.T) {
	h := newHarness(t)
	r := httptest.NewRequest("HEAD", "/v1/devices", http.NoBody)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("HEAD /v1/devices without a token = %d, want 401", w.Code)
	}
}
