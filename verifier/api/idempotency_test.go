package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

const (
	keyOne = "8e03978e-40d5-43dd-bc93-6894a57f9324"
	keyTwo = "clkyoesmbgybucifusbbtdsbohtyuuwz"
)

// A write that is sent again is done once, and both get the same answer, the secret of a new token included.
func TestIdempotencyKey(t *testing.T) {
	h := newHarness(t)
	body := `{"uses":3,"ttl_seconds":600}`
	first := h.with("POST", "/v1/tokens", body, "Idempotency-Key", keyOne)
	made := decode[v1.CreatedToken](t, first, http.StatusCreated)
	for _, key := range []string{keyOne, `"` + keyOne + `"`} {
		again := h.with("POST", "/v1/tokens", body, "Idempotency-Key", key)
		if again.Code != first.Code || again.Body.String() != first.Body.String() {
			t.Errorf("again with key %s: status %d, %s, want the first answer %s", key, again.Code, again.Body, first.Body)
		}
		if again.Header().Get("Idempotent-Replayed") != "true" || again.Header().Get("Content-Type") != first.Header().Get("Content-Type") {
			t.Errorf("headers of the repetition = %v", again.Header())
		}
		if again.Header().Get("X-Request-Id") == first.Header().Get("X-Request-Id") {
			t.Error("the repetition has the request id of the first request")
		}
	}
	list, err := h.store.Tokens(context.Background(), apitest.Tenant)
	if err != nil || len(list) != 2 { // and the operator's
		t.Errorf("%d tokens, %v, want one new", len(list), err)
	}
	other := decode[v1.CreatedToken](t, h.with("POST", "/v1/tokens", body, "Idempotency-Key", keyTwo), http.StatusCreated)
	if other.ID == made.ID {
		t.Error("another key gave the same token")
	}
	if plain := decode[v1.CreatedToken](t, h.do("POST", "/v1/tokens", body), http.StatusCreated); plain.ID == made.ID {
		t.Error("a request without a key gave the same token")
	}
}

// Another request under the same key is a mistake of the client, whatever differs.
func TestIdempotencyKeyOfAnotherRequest(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("one")})
	decode[v1.Device](t, h.with("PATCH", "/v1/devices/"+d.ID, `{"label":"a"}`, "Idempotency-Key", keyOne), http.StatusOK)
	for _, r := range []struct{ method, path, body string }{
		{"PATCH", "/v1/devices/" + d.ID, `{"label":"b"}`},
		{"PATCH", "/v1/devices/" + d.ID[:12], `{"label":"a"}`},
		{"DELETE", "/v1/devices/" + d.ID, ""},
		{"POST", "/v1/devices/" + d.ID + "/attest", ""},
	} {
		wantProblem(t, h.with(r.method, r.path, r.body, "Idempotency-Key", keyOne), http.StatusUnprocessableEntity, "another request")
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 200), "has spaces in it, too", "schlüssel-mit-umlaut", `quote-"-in-the-middle`} {
		wantProblem(t, h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", bad), http.StatusBadRequest, "Idempotency-Key")
	}
	wantProblem(t, h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne, "Idempotency-Key", keyTwo), http.StatusBadRequest, "want one")
	// Of another principal it is another key.
	token := apitest.AddToken(t, h.store, store.Token{Operator: true})
	h.token = token
	if w := h.with("PATCH", "/v1/devices/"+d.ID, `{"label":"b"}`, "Idempotency-Key", keyOne); w.Code != http.StatusOK {
		t.Errorf("the same key of another principal = %d %s", w.Code, w.Body)
	}
}

// What failed, or met another's change, is done again; what was refused for itself is not.
func TestIdempotencyKeyOfFailures(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("one")})
	h.fleet.Fail = errors.New("broken")
	path := "/v1/devices/" + d.ID + "/approve"
	wantProblem(t, h.with("POST", path, "", "Idempotency-Key", keyOne), http.StatusInternalServerError, "internal error")
	h.fleet.Fail = nil
	if w := h.with("POST", path, "", "Idempotency-Key", keyOne); w.Code != http.StatusOK || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("again after a failure = %d %s, want it done", w.Code, w.Body)
	}
	bad := h.with("POST", "/v1/tokens", `{"uses":-1}`, "Idempotency-Key", keyTwo)
	again := h.with("POST", "/v1/tokens", `{"uses":-1}`, "Idempotency-Key", keyTwo)
	if bad.Code != http.StatusUnprocessableEntity || again.Body.String() != bad.Body.String() {
		t.Errorf("again after a refusal = %d %s, want %d %s", again.Code, again.Body, bad.Code, bad.Body)
	}
}

// slowStore holds tokens for devices back until it is told to go on.
type slowStore struct {
	store.Store
	entered, release chan struct{}
}

func newSlowStore() *slowStore {
	return &slowStore{entered: make(chan struct{}, 8), release: make(chan struct{})}
}

func (s *slowStore) AddToken(ctx context.Context, t store.Token) error {
	if !t.Operator {
		s.entered <- struct{}{}
		<-s.release
	}
	return s.Store.AddToken(ctx, t)
}

// The same request twice at a time: one is done, the other waits outside. A client that goes away does not stop what has
// begun.
func TestIdempotencyKeyTwiceAtATime(t *testing.T) {
	slow := newSlowStore()
	h := newHarness(t, func(c *api.Config) {
		slow.Store = c.Store
		c.Store = slow
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.within(ctx, "POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne) })
	<-slow.entered
	w := h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne)
	wantProblem(t, w, http.StatusConflict, "is being done")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	cancel() // the client is gone
	close(slow.release)
	wg.Wait()
	got := h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne)
	made := decode[v1.CreatedToken](t, got, http.StatusCreated)
	if got.Header().Get("Idempotent-Replayed") != "true" {
		t.Error("it was done again")
	}
	if _, err := slow.Store.Token(context.Background(), made.ID); err != nil {
		t.Errorf("the token of the answer: %v", err)
	}
}

// A verifier that ended in the middle: nobody knows what was done, and the client is told so instead of a guess.
func TestIdempotencyKeyOfALostRequest(t *testing.T) {
	var later atomic.Int64 // of the clock
	slow := newSlowStore()
	h := newHarness(t, func(c *api.Config) {
		slow.Store = c.Store
		c.Store = slow
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	var wg sync.WaitGroup
	wg.Go(func() { h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne) })
	<-slow.entered
	later.Store(int64(5 * time.Minute))
	wantProblem(t, h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne), http.StatusConflict, "never finished")
	close(slow.release)
	wg.Wait()
}

// Who reads the database learns no secret from what is remembered for repetitions.
func TestIdempotencyKeepsNoSecrets(t *testing.T) {
	kept := &keeping{}
	h := newHarness(t, func(c *api.Config) {
		kept.Store = c.Store
		c.Store = kept
	})
	made := decode[v1.CreatedToken](t, h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne), http.StatusCreated)
	if len(kept.answer) == 0 {
		t.Fatal("no answer was kept")
	}
	for _, secret := range []string{made.Secret, made.ID, keyOne} {
		if strings.Contains(kept.answer, secret) || strings.Contains(kept.key, secret) {
			t.Errorf("%q is kept as it is", secret)
		}
	}
	// A database that somebody changed is no answer.
	kept.spoil = true
	wantProblem(t, h.with("POST", "/v1/tokens", `{}`, "Idempotency-Key", keyOne), http.StatusInternalServerError, "internal error")
}

// keeping sees what is remembered of requests.
type keeping struct {
	store.Store
	answer, key string
	spoil       bool
}

func (k *keeping) FinishRequest(ctx context.Context, tenant, principal string, key [32]byte, answer []byte) error {
	k.answer, k.key = string(answer), string(key[:])
	return k.Store.FinishRequest(ctx, tenant, principal, key, answer)
}

func (k *keeping) BeginRequest(ctx context.Context, r store.Request) (store.Request, bool, error) {
	earlier, begun, err := k.Store.BeginRequest(ctx, r)
	if k.spoil && len(earlier.Answer) > 0 {
		earlier.Answer[len(earlier.Answer)-1] ^= 1
	}
	return earlier, begun, err
}
