package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	"github.com/probity-attest/probity/verifier/store"
)

// limited is an API with small rates and a clock of its own.
type limited struct {
	*harness
	mu  sync.Mutex
	now time.Time
}

func newLimited(t *testing.T, r api.Rates) *limited {
	l := &limited{now: time.Now()}
	l.harness = newHarness(t, func(c *api.Config) {
		c.Rates = r
		c.Now = func() time.Time {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.now
		}
	})
	return l
}

func (l *limited) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// from sends a request with a token from an address.
func (l *limited) from(address, token, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	r.RemoteAddr = address
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

const (
	here  = "198.51.100.7:1234"
	there = "203.0.113.9:80"
)

// A principal that asks too much is told when to come again; others, also from the same address, notice nothing.
func TestRateOfAPrincipal(t *testing.T) {
	l := newLimited(t, api.Rates{Principal: api.Rate{PerSecond: 2, Burst: 5}})
	other := apitest.AddToken(t, l.store, store.Token{Operator: true})
	for n := range 5 {
		if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
			t.Fatalf("request %d = %d, want it served", n, w.Code)
		}
	}
	w := l.from(there, l.token, "GET", "/v1/counts") // the address does not matter
	wantProblem(t, w, http.StatusTooManyRequests, "too many requests")
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if err != nil || seconds != 1 {
		t.Errorf("Retry-After = %q, want 1", w.Header().Get("Retry-After"))
	}
	if w := l.from(here, other, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Errorf("another principal = %d, want it served", w.Code)
	}
	l.pass(time.Duration(seconds) * time.Second)
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Errorf("after Retry-After = %d, want it served", w.Code)
	}
}

func TestRateOfWrites(t *testing.T) {
	l := newLimited(t, api.Rates{Write: api.Rate{PerSecond: 0.1, Burst: 2}})
	for range 2 {
		if w := l.from(here, l.token, "DELETE", "/v1/devices/abcd"); w.Code != http.StatusNotFound {
			t.Fatalf("write = %d", w.Code)
		}
	}
	w := l.from(here, l.token, "DELETE", "/v1/devices/abcd")
	wantProblem(t, w, http.StatusTooManyRequests, "try again in 10 s")
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Errorf("read = %d, want it served", w.Code)
	}
}

// A flood of strangers from one address is cut off, without a look into the store. Who shares the address and is signed
// in keeps the service; so does everybody else (ATTACKS row 20).
func TestFloodFromOneAddress(t *testing.T) {
	looks := &counting{}
	l := &limited{harness: newHarness(t, func(c *api.Config) {
		looks.Store = c.Store
		c.Store, c.Rates = looks, api.Rates{Address: api.Rate{PerSecond: 1, Burst: 10}}
	})}
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Fatalf("sign-in = %d", w.Code)
	}
	guess := "pbo1.acme.0011223344556677." + l.token[len(l.token)-32:]
	statuses := map[int]int{}
	before := looks.tokens()
	for range 500 {
		statuses[l.from(here, guess, "GET", "/v1/counts").Code]++
	}
	if statuses[http.StatusTooManyRequests] < 480 || statuses[http.StatusUnauthorized] == 0 || len(statuses) != 2 {
		t.Errorf("answers to a flood = %v, want a few 401 and then 429", statuses)
	}
	if n := looks.tokens() - before; n > 20 {
		t.Errorf("the flood made %d looks into the store, want few", n)
	}
	if w := l.from(here, "", "GET", "/v1/keys"); w.Code != http.StatusTooManyRequests {
		t.Errorf("open route for the flooder = %d, want 429", w.Code)
	}
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Errorf("who is signed in behind the same address = %d, want it served", w.Code)
	}
	for _, address := range []string{there, "[2001:db8::1]:1"} {
		if w := l.from(address, "", "GET", "/v1/keys"); w.Code != http.StatusOK {
			t.Errorf("a stranger from %s = %d, want it served", address, w.Code)
		}
	}
}

// counting counts looks for tokens.
type counting struct {
	store.Store
	mu sync.Mutex
	n  int
}

func (c *counting) tokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Token implements store.Tokens.
func (c *counting) Token(ctx context.Context, id string) (store.Token, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Store.Token(ctx, id)
}

// One IPv6 site has very many addresses, and is one.
func TestRateOfAnIPv6Site(t *testing.T) {
	l := newLimited(t, api.Rates{Address: api.Rate{PerSecond: 1, Burst: 3}})
	for n := range 3 {
		if w := l.from("[2001:db8:1:2::"+strconv.Itoa(n)+"]:1", "", "GET", "/v1/keys"); w.Code != http.StatusOK {
			t.Fatalf("request %d = %d", n, w.Code)
		}
	}
	if w := l.from("[2001:db8:1:2:ffff::1]:1", "", "GET", "/v1/keys"); w.Code != http.StatusTooManyRequests {
		t.Errorf("the same /64 = %d, want 429", w.Code)
	}
	if w := l.from("[2001:db8:1:3::1]:1", "", "GET", "/v1/keys"); w.Code != http.StatusOK {
		t.Errorf("another /64 = %d, want it served", w.Code)
	}
}

// A credential that was good and ends does not keep its welcome for what it may do, only for being looked at.
func TestWelcomeIsNoAuthentication(t *testing.T) {
	l := newLimited(t, api.Rates{})
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	if err := l.store.RevokeToken(context.Background(), apitest.TokenID(t, l.token)); err != nil {
		t.Fatal(err)
	}
	if w := l.from(here, l.token, "GET", "/v1/counts"); w.Code != http.StatusUnauthorized {
		t.Errorf("revoked token = %d, want 401", w.Code)
	}
}
