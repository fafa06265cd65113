package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	"github.com/probity-attest/probity/verifier/store"
)

// credentials returns every kind of credential that must not open the API, by name, and the status that it gets.
func credentials(t *testing.T, h *harness) map[string]struct {
	header []string
	status int
} {
	add := func(token store.Token) string {
		return apitest.AddToken(t, h.store, token)
	}
	type credential = struct {
		header []string
		status int
	}
	refused := func(header ...string) credential { return credential{header, http.StatusUnauthorized} }
	enrolment := add(store.Token{Uses: 5})
	_, rest, _ := strings.Cut(h.token, ".")
	id := apitest.TokenID(t, h.token)
	last := h.token[:len(h.token)-1]
	secret := strings.LastIndex(h.token, ".") + 1
	flipped := h.token[:secret] + string(h.token[secret]^1) + h.token[secret+1:]
	return map[string]credential{
		"none":                refused(),
		"empty":               refused(""),
		"basic":               refused("Basic b3A6b3A="),
		"no scheme":           refused(h.token),
		"two headers":         refused("Bearer "+h.token, "Bearer "+h.token),
		"empty token":         refused("Bearer "),
		"not a token":         refused("Bearer admin"),
		"wrong secret":        refused("Bearer " + flipped),
		"empty secret":        refused("Bearer pbo1.acme." + id + "."),
		"shortened secret":    refused("Bearer " + last),
		"longer secret":       refused("Bearer " + h.token + "0"),
		"unknown id":          refused("Bearer " + strings.Replace(h.token, id, strings.Repeat("0", len(id)), 1)),
		"other tenant":        refused("Bearer " + strings.Replace(h.token, ".acme.", ".rival.", 1)),
		"other version":       refused("Bearer pbo2." + rest),
		"too many parts":      refused("Bearer " + h.token + ".x"),
		"injection":           refused("Bearer pbo1.acme.op' OR '1'='1.x"),
		"expired":             refused("Bearer " + add(store.Token{Operator: true, Expires: time.Now().Add(-time.Second)})),
		"revoked":             refused("Bearer " + add(store.Token{Operator: true, Revoked: true})),
		"enrolment":           {[]string{"Bearer " + enrolment}, http.StatusForbidden},
		"used up enrolment":   {[]string{"Bearer " + add(store.Token{})}, http.StatusForbidden},
		"enrolment disguised": refused("Bearer " + strings.Replace(enrolment, "pbt1.", "pbo1.", 1)),
		"operator disguised":  refused("Bearer " + strings.Replace(h.token, "pbo1.", "pbt1.", 1)),
	}
}

// Every route with every bad credential (ATTACKS row 18). The routes come from the router itself, so that one that is
// added later is tested too.
func TestEveryRouteRefusesEveryBadCredential(t *testing.T) {
	h := newHarness(t)
	patterns := api.Patterns(h.Handler)
	if len(patterns) < 20 {
		t.Fatalf("only %d routes: %q", len(patterns), patterns)
	}
	answers := map[string]bool{}
	for name, c := range credentials(t, h) {
		for _, pattern := range patterns {
			method, path, _ := strings.Cut(pattern, " ")
			r := httptest.NewRequest(method, strings.NewReplacer("{id}", "abcd", "{name}", "x").Replace(path), http.NoBody)
			r.Header["Authorization"] = c.header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			want := c.status
			if api.IsOpen(pattern) {
				want = http.StatusOK
			}
			if w.Code != want {
				t.Errorf("%s with credential %q: status %d, want %d; body %s", pattern, name, w.Code, want, w.Body)
			}
			if want == http.StatusUnauthorized {
				body, _, _ := strings.Cut(w.Body.String(), `"instance"`)
				answers[body] = true
				if w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s with credential %q: no WWW-Authenticate", pattern, name)
				}
			}
		}
	}
	if len(answers) != 1 {
		t.Errorf("answers to bad credentials differ: %v", answers)
	}
	if events := h.events(t); len(events) != 0 {
		t.Errorf("refused requests left events: %q", events)
	}
}

func TestOpenRoutes(t *testing.T) {
	h := newHarness(t)
	var got []string
	for _, p := range api.Patterns(h.Handler) {
		if api.IsOpen(p) {
			got = append(got, p)
		}
	}
	if want := "GET /v1/keys GET /healthz"; strings.Join(got, " ") != want {
		t.Errorf("open routes = %q, want %q", got, want)
	}
}

// Good credentials of one tenant must not show or change anything of another's.
func TestTenantsAreApart(t *testing.T) {
	h := newHarness(t)
	theirs := apitest.AddDevice(t, h.store, store.Device{Tenant: "rival", ID: apitest.ID("theirs"), Label: "theirs"})
	token := apitest.TokenID(t, apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Uses: 1}))
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/devices/" + theirs.ID, ""},
		{"GET", "/v1/devices/theirs/results", ""},
		{"PATCH", "/v1/devices/theirs", `{"label":"ours"}`},
		{"DELETE", "/v1/devices/" + theirs.ID, ""},
		{"POST", "/v1/devices/" + theirs.ID + "/attest", ""},
		{"DELETE", "/v1/tokens/" + token, ""},
		{"POST", "/v1/baselines", `{"device":"theirs"}`},
		{"DELETE", "/v1/baselines/theirs", ""},
	} {
		if w := h.do(r.method, r.path, r.body); w.Code != http.StatusNotFound {
			t.Errorf("%s %s = %d, want 404; body %s", r.method, r.path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/v1/devices", "/v1/tokens", "/v1/events", "/v1/baselines"} {
		if w := h.do("GET", path, ""); w.Code != http.StatusOK || names(w.Body.String(), "theirs", token) {
			t.Errorf("GET %s = %d %s, want nothing of another tenant", path, w.Code, w.Body)
		}
	}
}

func names(s string, any ...string) bool {
	return slices.ContainsFunc(any, func(name string) bool { return strings.Contains(s, name) })
}

// brokenStore fails where it is asked for tokens.
type brokenStore struct{ store.Store }

func (brokenStore) Token(context.Context, string) (store.Token, error) {
	return store.Token{}, errors.New("database disk image is malformed: /secret/path")
}

func TestStoreFailureIsNotAnAnswerToACredential(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Store = brokenStore{c.Store} })
	wantProblem(t, h.do("GET", "/v1/devices", ""), http.StatusInternalServerError, "internal error")
}
