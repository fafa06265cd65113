package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// harness is a handler and what it stands on.
type harness struct {
	http.Handler
	store store.Store
	fleet *apitest.Fleet
	token string
	actor string // as events name the token's holder
}

func newHarness(t *testing.T, change ...func(*api.Config)) *harness {
	t.Helper()
	c := apitest.Config(t)
	for _, f := range change {
		f(&c)
	}
	h, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	fleet, _ := c.Fleet.(*apitest.Fleet)
	token := apitest.AddToken(t, c.Store, store.Token{Operator: true})
	return &harness{h, c.Store, fleet, token, "operator:" + apitest.TokenID(t, token)}
}

// do sends a request with the operator's token.
func (h *harness) do(method, target, body string) *httptest.ResponseRecorder {
	return h.as(h.token, method, target, body)
}

func (h *harness) as(token, method, target, body string) *httptest.ResponseRecorder {
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// decode checks the status and decodes the answer.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder, status int) T {
	t.Helper()
	var v T
	if w.Code != status {
		t.Fatalf("status = %d, want %d; body %s", w.Code, status, w.Body)
	}
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("answer %s: %v", w.Body, err)
	}
	return v
}

// wantProblem checks that the answer is a problem document that says this.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, says string) v1.Problem {
	t.Helper()
	p := decode[v1.Problem](t, w, status)
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q, want application/problem+json", got)
	}
	if p.Status != status || p.Title != http.StatusText(status) || !strings.HasPrefix(p.Instance, "urn:probity:request:") {
		t.Errorf("problem = %+v, want status %d with its title and an instance", p, status)
	}
	if !strings.Contains(p.Error(), says) {
		t.Errorf("problem says %q, want %q in it", p.Error(), says)
	}
	return p
}

// events returns the details of all events, oldest first.
func (h *harness) events(t *testing.T) []string {
	t.Helper()
	found, err := h.store.Events(context.Background(), apitest.Tenant, "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := len(found) - 1; i >= 0; i-- {
		out = append(out, found[i].Actor+": "+found[i].Detail)
	}
	return out
}

// signed gives the fleet a key, so that it can record results.
func (h *harness) signed(t *testing.T) *harness {
	t.Helper()
	signer, err := result.NewSigner(newKey(t), "verifier.test", "test")
	if err != nil {
		t.Fatal(err)
	}
	h.fleet.Signer = signer
	return h
}
