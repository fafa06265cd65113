package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/probity-attest/probity/verifier/store"
)

// idp is an OpenID provider that lets in whom a test says.
type idp struct {
	*httptest.Server
	t   *testing.T
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]url.Values // parameters with which a code was asked for
	claims map[string]any        // beside those of every token
	down   bool
	// document and answer are what is other than usual in the discovery document, and at a path.
	document map[string]any
	answer   map[string]http.HandlerFunc
	signer   *ecdsa.PrivateKey // nil: key
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{t: t, key: key, codes: map[string]url.Values{}, claims: map[string]any{}}
	mux := http.NewServeMux()
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		other := p.answer[r.URL.Path]
		p.mu.Unlock()
		if other != nil {
			other(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		document := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		}
		maps.Copy(document, p.document)
		answer(w, document)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		asked := p.codes[r.PostFormValue("code")]
		delete(p.codes, r.PostFormValue("code"))
		challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if asked == nil || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) ||
			asked.Get("redirect_uri") != r.PostFormValue("redirect_uri") {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]string{"error": "invalid_grant"})
			return
		}
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": p.token(asked.Get("nonce"))})
	})
	return p
}

// token signs an ID token.
func (p *idp) token(nonce string) string {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	claims := map[string]any{
		"iss": p.URL, "sub": "7", "aud": "probity", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": nonce,
	}
	maps.Copy(claims, p.claims)
	b, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	key := p.key
	if p.signer != nil {
		key = p.signer
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := s.Sign(b)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, _ := signed.CompactSerialize()
	return text
}

// authorize does what a browser does at the provider: it returns the query with which it is sent back.
func (p *idp) authorize(t *testing.T, to string) url.Values {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") {
		t.Fatalf("Start() = %q, %v, want the provider", to, err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("state") == "" || q.Get("nonce") == "" || q.Get("response_type") != "code" ||
		q.Get("redirect_uri") != "https://verifier.example:8443/auth/oidc/corp/return" || q.Get("scope") != "openid email" {
		t.Errorf("authorization request = %v", q)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code := newSecret()
	p.codes[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
}

// withIDP returns access with the provider "corp".
func withIDP(t *testing.T) (*world, *idp) {
	t.Helper()
	p := newIDP(t)
	w := newWorld(t, func(c *Config) {
		c.URL = "https://verifier.example:8443"
		c.Providers = []Provider{{ID: "corp", Name: "Corp", Issuer: p.URL, ClientID: "probity", Client: p.Client()}}
	})
	return w, p
}

// start begins a trip and returns the cookies that the browser has then.
func (w *world) start(t *testing.T, next string) (to string, cookies []*http.Cookie) {
	t.Helper()
	out := httptest.NewRecorder()
	r := httptest.NewRequest("GET", StartPath("corp"), nil)
	to, err := w.Start(out, r, "corp", next)
	if err != nil {
		t.Fatal(err)
	}
	return to, out.Result().Cookies()
}

func (w *world) back(query url.Values, cookies []*http.Cookie) (store.Account, string, error) {
	r := httptest.NewRequest("GET", ReturnPath("corp")+"?"+query.Encode(), nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return w.Return(httptest.NewRecorder(), r, "corp")
}

func TestOIDC(t *testing.T) {
	w, p := withIDP(t)
	w.add(t, Spec{Name: "by-subject", Subject: p.URL + "#7"})
	w.add(t, Spec{Name: "by-email", Subject: "Alice@Example.com"})
	to, cookies := w.start(t, "/devices?state=untrusted")
	a, next, err := w.back(p.authorize(t, to), cookies)
	if err != nil || a.Name != "by-subject" || next != "/devices?state=untrusted" || !a.LastSignIn.Equal(w.now) {
		t.Errorf("Return() = %q, %q, %v", a.Name, next, err)
	}
	p.claims = map[string]any{"sub": "8", "email": "alice@example.COM", "email_verified": true}
	to, cookies = w.start(t, "https://evil.example/")
	a, next, err = w.back(p.authorize(t, to), cookies)
	if err != nil || a.Name != "by-email" || next != "/" {
		t.Errorf("Return() by e-mail = %q, %q, %v", a.Name, next, err)
	}
	if got := w.SignInProviders(); len(got) != 1 || got[0].ID != "corp" || got[0].Name != "Corp" {
		t.Errorf("SignInProviders() = %+v", got)
	}
}

// TestOIDCVouches checks that no provider speaks for the users of another.
func TestOIDCVouches(t *testing.T) {
	for name, tt := range map[string]struct {
		domains []string
		alone   bool
		email   string
		ok      bool
	}{
		"the only one":                 {nil, true, "alice@example.com", true},
		"of two":                       {nil, false, "alice@example.com", false},
		"of two, with the domain":      {[]string{"other.example", "Example.com"}, false, "alice@example.com", true},
		"of two, another domain":       {[]string{"other.example"}, false, "alice@example.com", false},
		"the only one, another domain": {[]string{"other.example"}, true, "alice@example.com", false},
		"a domain below":               {[]string{"com"}, false, "alice@example.com", false},
		"no address":                   {nil, true, "alice", false},
	} {
		p := newIDP(t)
		p.claims = map[string]any{"sub": "8", "email": tt.email, "email_verified": true}
		w := newWorld(t, func(c *Config) {
			c.URL = "https://verifier.example:8443"
			c.Providers = []Provider{{ID: "corp", Issuer: p.URL, ClientID: "probity", Client: p.Client(), Domains: tt.domains}}
			if !tt.alone {
				c.Providers = append(c.Providers, Provider{ID: "partner", Issuer: "https://idp.example", ClientID: "probity"})
			}
		})
		w.add(t, Spec{Name: "alice", Subject: "alice@example.com"})
		to, cookies := w.start(t, "/")
		a, _, err := w.back(p.authorize(t, to), cookies)
		if tt.ok && (err != nil || a.Name != "alice") || !tt.ok && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: Return() = %q, %v, want that it works: %t", name, a.Name, err, tt.ok)
		}
		if err != nil && !strings.Contains(err.Error(), `may not vouch for the e-mail address "`+tt.email) {
			t.Errorf("%s: Return() = %v, which does not say why", name, err)
		}
	}
}

func TestOIDCRefuses(t *testing.T) {
	w, p := withIDP(t)
	w.add(t, Spec{Name: "alice", Subject: p.URL + "#7"})
	w.add(t, Spec{Name: "mail", Subject: "alice@example.com"})
	off := true
	w.add(t, Spec{Name: "off", Subject: p.URL + "#9"})
	if _, err := w.Change(t.Context(), "off", Change{Disabled: &off}, "test"); err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, others := w.start(t, "/")
	claim := func(name string, v any) func(*idp, url.Values, *[]*http.Cookie) {
		return func(p *idp, _ url.Values, _ *[]*http.Cookie) { p.claims[name] = v }
	}
	for name, change := range map[string]func(p *idp, q url.Values, c *[]*http.Cookie){
		"no cookie":          func(_ *idp, _ url.Values, c *[]*http.Cookie) { *c = nil },
		"another's cookie":   func(_ *idp, _ url.Values, c *[]*http.Cookie) { *c = others },
		"two cookies":        func(_ *idp, _ url.Values, c *[]*http.Cookie) { *c = append(*c, *c...) },
		"damaged cookie":     func(_ *idp, _ url.Values, c *[]*http.Cookie) { (*c)[0].Value = "e30" },
		"no state":           func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Del("state") },
		"another state":      func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Set("state", "x") },
		"no code":            func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Del("code") },
		"another code":       func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Set("code", "x") },
		"provider says no":   func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Set("error", "access_denied") },
		"another issuer":     func(_ *idp, q url.Values, _ *[]*http.Cookie) { q.Set("iss", "https://other.example") },
		"too late":           func(_ *idp, _ url.Values, _ *[]*http.Cookie) { w.now = w.now.Add(roundTrip) },
		"stranger's key":     func(p *idp, _ url.Values, _ *[]*http.Cookie) { p.signer = stranger },
		"token of an issuer": claim("iss", "https://other.example"),
		"token for others":   claim("aud", "other"),
		"expired token":      claim("exp", 1),
		"issued to others":   claim("azp", "other"),
		"odd azp":            claim("azp", []string{"probity"}),
		"several audiences":  claim("aud", []string{"probity", "other"}),
		"another's nonce":    claim("nonce", "x"),
		"no nonce":           claim("nonce", ""),
		"unknown subject":    claim("sub", "8"),
		"disabled account":   claim("sub", "9"),
		"unverified e-mail": func(p *idp, _ url.Values, _ *[]*http.Cookie) {
			maps.Copy(p.claims, map[string]any{"sub": "8", "email": "alice@example.com", "email_verified": false})
		},
		"e-mail alone": func(p *idp, _ url.Values, _ *[]*http.Cookie) {
			maps.Copy(p.claims, map[string]any{"sub": "8", "email": "alice@example.com"})
		},
		"subject as e-mail": func(p *idp, _ url.Values, _ *[]*http.Cookie) {
			maps.Copy(p.claims, map[string]any{"sub": "8", "email": p.URL + "#7", "email_verified": true})
		},
	} {
		before := w.now
		p.claims, p.signer = map[string]any{}, nil
		to, cookies := w.start(t, "/")
		q := p.authorize(t, to)
		change(p, q, &cookies)
		if a, _, err := w.back(q, cookies); !errors.Is(err, ErrRefused) || a.Name != "" {
			t.Errorf("%s: Return() = %q, %v; want ErrRefused", name, a.Name, err)
		}
		w.now = before.Add(time.Minute) // attempts are counted
	}
	// A code is good once, and the browser's part of a trip is.
	p.claims, p.signer = map[string]any{}, nil
	w.now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.addresses = newThrottle(addressBurst, addressEvery)
	to, cookies := w.start(t, "/")
	q := p.authorize(t, to)
	if _, _, err := w.back(q, cookies); err != nil {
		t.Fatalf("a good return after the bad ones = %v", err)
	}
	if _, _, err := w.back(q, cookies); !errors.Is(err, ErrRefused) {
		t.Errorf("the same return again = %v, want ErrRefused", err)
	}
}

// TestOIDCAudiences: a token for several is good if it was issued to this verifier.
func TestOIDCAudiences(t *testing.T) {
	w, p := withIDP(t)
	w.add(t, Spec{Name: "alice", Subject: p.URL + "#7"})
	p.claims = map[string]any{"aud": []string{"other", "probity"}, "azp": "probity"}
	to, cookies := w.start(t, "/")
	if a, _, err := w.back(p.authorize(t, to), cookies); err != nil || a.Name != "alice" {
		t.Errorf("Return() = %q, %v", a.Name, err)
	}
}

// TestOIDCTransport: the provider is not followed elsewhere, is not spoken to without TLS, and answers within a limit.
func TestOIDCTransport(t *testing.T) {
	strange := make(chan string, 16)
	note := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { strange <- r.URL.Path })
	plain, other := httptest.NewServer(note), httptest.NewTLSServer(note) // all servers of httptest have the same certificate
	defer plain.Close()
	defer other.Close()
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}
	for name, tt := range map[string]struct {
		document map[string]any // members of the discovery document that are others
		answer   map[string]http.HandlerFunc
		starts   bool
	}{
		"discovery elsewhere": {answer: map[string]http.HandlerFunc{"/.well-known/openid-configuration": redirect}},
		"endless discovery":   {document: map[string]any{"x": strings.Repeat("x", maxProviderAnswer)}},
		"browser without TLS": {document: map[string]any{"authorization_endpoint": plain.URL}},
		"token elsewhere":     {answer: map[string]http.HandlerFunc{"/token": redirect}, starts: true},
		"token without TLS":   {document: map[string]any{"token_endpoint": plain.URL + "/token"}, starts: true},
		"keys elsewhere":      {answer: map[string]http.HandlerFunc{"/keys": redirect}, starts: true},
		"keys without TLS":    {document: map[string]any{"jwks_uri": plain.URL + "/keys"}, starts: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := withIDP(t)
			w.add(t, Spec{Name: "alice", Subject: p.URL + "#7"})
			p.document, p.answer = tt.document, tt.answer
			out := httptest.NewRecorder()
			to, err := w.Start(out, httptest.NewRequest("GET", StartPath("corp"), nil), "corp", "/")
			if tt.starts != (err == nil) || err != nil && (!errors.Is(err, ErrProvider) || len(err.Error()) > 500) {
				t.Fatalf("Start() = %v, want that it works: %t", err, tt.starts)
			}
			if tt.starts {
				if a, _, err := w.back(p.authorize(t, to), out.Result().Cookies()); err == nil {
					t.Errorf("Return() = %q, want an error", a.Name)
				}
			}
			if len(strange) > 0 {
				t.Errorf("the verifier asked elsewhere for %s", <-strange)
			}
		})
	}
}

// TestOIDCAttempts: who makes up the cookie of a trip has the provider asked about codes only so often.
func TestOIDCAttempts(t *testing.T) {
	w, p := withIDP(t)
	w.add(t, Spec{Name: "alice", Subject: p.URL + "#7"})
	to, cookies := w.start(t, "/")
	good, guess := p.authorize(t, to), p.authorize(t, to)
	guess.Set("code", "x")
	for range 2 * addressBurst {
		if _, _, err := w.back(p.authorize(t, to), cookies); err != nil {
			t.Fatalf("a good return among many = %v", err)
		}
	}
	for range addressBurst - 1 { // start was one
		if _, _, err := w.back(guess, cookies); !errors.Is(err, ErrRefused) {
			t.Fatalf("Return() of a guess = %v, want ErrRefused", err)
		}
	}
	var throttled *Throttled
	if _, _, err := w.back(good, cookies); !errors.As(err, &throttled) {
		t.Errorf("Return() after %d guesses = %v, want a wait", addressBurst, err)
	}
	w.now = w.now.Add(addressEvery)
	if _, _, err := w.back(good, cookies); err != nil {
		t.Errorf("Return() after %s = %v", addressEvery, err)
	}
}

// TestOIDCProviderIsDown: nobody else is kept out, visitors do not wait for it each time, and it is found again.
func TestOIDCProviderIsDown(t *testing.T) {
	w, p := withIDP(t)
	w.add(t, Spec{Name: "alice", Password: password})
	p.down = true
	try := func() error {
		_, err := w.Start(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "corp", "/")
		return err
	}
	if err := try(); !errors.Is(err, ErrProvider) {
		t.Errorf("Start() while it is down = %v, want ErrProvider", err)
	}
	if _, err := w.SignIn(t.Context(), "alice", password, remote); err != nil {
		t.Errorf("SignIn() while it is down = %v", err)
	}
	p.mu.Lock()
	p.down = false
	p.mu.Unlock()
	if err := try(); !errors.Is(err, ErrProvider) {
		t.Errorf("Start() right after = %v, want ErrProvider without asking", err)
	}
	w.now = w.now.Add(providerRetry)
	if err := try(); err != nil {
		t.Errorf("Start() after a while = %v", err)
	}
	if _, err := w.Start(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "other", "/"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Start(other) = %v, want ErrNotFound", err)
	}
}

func TestProviderConfiguration(t *testing.T) {
	good := Provider{ID: "corp", Issuer: "https://idp.example", ClientID: "x"}
	for name, tt := range map[string]struct {
		url  string
		list []Provider
		ok   bool
	}{
		"good":         {"https://v.example", []Provider{good}, true},
		"no URL":       {"", []Provider{good}, false},
		"plain URL":    {"http://v.example", []Provider{good}, false},
		"two":          {"https://v.example", []Provider{good, good}, false},
		"id":           {"https://v.example", []Provider{{ID: "a/b", Issuer: good.Issuer, ClientID: "x"}}, false},
		"plain HTTP":   {"https://v.example", []Provider{{ID: "a", Issuer: "http://idp.example", ClientID: "x"}}, false},
		"no client":    {"https://v.example", []Provider{{ID: "a", Issuer: good.Issuer}}, false},
		"domain":       {"https://v.example", []Provider{{ID: "a", Issuer: good.Issuer, ClientID: "x", Domains: []string{"a@example.com"}}}, false},
		"many of them": {"https://v.example", make([]Provider, maxProviders+1), false},
	} {
		_, err := New(Config{Store: newWorld(t).store, Tenant: "acme", URL: tt.url, Providers: tt.list, Hash: cheap})
		if tt.ok != (err == nil) {
			t.Errorf("%s: New() = %v, want that it works: %t", name, err, tt.ok)
		}
	}
	for path, want := range map[string]string{
		"/": "/", "/devices?q=1#x": "/devices?q=1#x", "": "/", "devices": "/", "//evil.example": "/", "/\\evil.example": "/",
		"https://evil.example": "/", "/a\r\nb": "/", "javascript:alert(1)": "/", "/%2f%2fevil": "/%2f%2fevil",
	} {
		if got := LocalPath(path); got != want {
			t.Errorf("LocalPath(%q) = %q, want %q", path, got, want)
		}
	}
}
