package access

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/probity-attest/probity/verifier/store"
)

// Provider is an OpenID provider (OpenID Connect Core 1.0) whose users may be accounts.
type Provider struct {
	ID       string // in the paths of this verifier: 1 to 32 of a-z, 0-9 and -
	Name     string // for people; empty: ID
	Issuer   string // https URL, as its discovery document says
	ClientID string
	Secret   string   // of this verifier at the provider; empty: none, as PKCE protects the flow
	Scopes   []string // beside openid; nil: email
	Domains  []string // of the e-mail addresses that it may vouch for; nil: all if there is no other provider, otherwise none
	// Client asks the provider; nil: one with a limit on time and the system's authorities.
	Client *http.Client
}

// provider is a Provider and what its discovery document said, once somebody needed it.
type provider struct {
	Provider
	redirect string
	client   *http.Client

	mu    sync.Mutex
	found *oidc.Provider
	tried time.Time // when it last failed to answer
	err   error
}

// ErrProvider is wrapped by the errors of an OpenID provider that does not answer, or not as it should.
var ErrProvider = errors.New("the OpenID provider failed")

// ReturnPath is the path at which the provider with an id hands people back. The provider must be told of it.
func ReturnPath(id string) string { return "/auth/oidc/" + id + "/return" }

// StartPath is the path at which signing in with a provider begins.
func StartPath(id string) string { return "/auth/oidc/" + id + "/start" }

func newProviders(c *Config) (map[string]*provider, error) {
	out := map[string]*provider{}
	if len(c.Providers) > maxProviders {
		return nil, fmt.Errorf("%d OpenID providers, at most %d allowed", len(c.Providers), maxProviders)
	}
	for _, p := range c.Providers {
		if err := p.Check(); err != nil {
			return nil, err
		}
		if out[p.ID] != nil {
			return nil, fmt.Errorf("two OpenID providers with the id %q", p.ID)
		}
		base, err := url.Parse(c.URL)
		if err != nil || base.Scheme != "https" || base.Host == "" {
			return nil, fmt.Errorf("OpenID provider %s: the URL at which browsers reach the verifier is %q, want https://HOST", p.ID, c.URL)
		}
		if p.Name == "" {
			p.Name = p.ID
		}
		if p.Scopes == nil {
			p.Scopes = []string{"email"}
		}
		client := http.Client{}
		if p.Client != nil {
			client = *p.Client
		}
		if client.Timeout == 0 {
			client.Timeout = providerTimeout
		}
		if client.Transport == nil {
			client.Transport = http.DefaultTransport
		}
		client.Transport = guarded{client.Transport}
		client.CheckRedirect = func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // following it would take the code and our secret along
		}
		out[p.ID] = &provider{Provider: p, redirect: base.JoinPath(ReturnPath(p.ID)).String(), client: &client}
	}
	return out, nil
}

// guarded speaks to a provider over TLS only, whatever its discovery document says, and reads answers up to a limit.
type guarded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errPlain
	}
	res, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxProviderAnswer), res.Body}
	return res, nil
}

var errPlain = errors.New("it names an address that is not https://")

// Check reports what is wrong with the configuration of a provider. It asks nobody.
func (p *Provider) Check() error {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	if p.ID == "" || len(p.ID) > 32 || strings.ContainsFunc(p.ID, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("OpenID provider: id %q: want 1 to 32 of a-z, 0-9 and -", p.ID)
	}
	if u, err := url.Parse(p.Issuer); err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("OpenID provider %s: issuer %q: want an https URL without query", p.ID, p.Issuer)
	}
	if p.ClientID == "" {
		return fmt.Errorf("OpenID provider %s: no client id", p.ID)
	}
	for _, domain := range p.Domains {
		if domain == "" || strings.ContainsAny(domain, "@* ") {
			return fmt.Errorf("OpenID provider %s: domain %q: want what follows the @ of e-mail addresses", p.ID, domain)
		}
	}
	return nil
}

// SignInProviders returns those that people may sign in with, in the order of the configuration.
func (a *Access) SignInProviders() []Provider {
	out := make([]Provider, 0, len(a.providers))
	for _, p := range a.Config.Providers {
		out = append(out, a.providers[p.ID].Provider)
	}
	return out
}

// discover asks the provider what it is, once; after a failure not again for a while, so that visitors do not wait.
func (p *provider) discover(ctx context.Context, now time.Time) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if p.err != nil && now.Sub(p.tried) < providerRetry {
		return nil, p.err
	}
	// Its keys are fetched later with this context: it must outlive the request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.Issuer)
	if err == nil && !strings.HasPrefix(found.Endpoint().AuthURL, "https://") {
		err = errPlain // the browser goes there, and no guard is with it
	}
	if err != nil {
		p.tried, p.err = now, fmt.Errorf("%w: %s: %s", ErrProvider, p.ID, clip(err.Error()))
		return nil, p.err
	}
	p.found, p.err = found, nil
	return found, nil
}

func (p *provider) config(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.Secret, Endpoint: found.Endpoint(), RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// tripCookie holds what a browser needs to come back from a provider. Only this host can set a cookie with this prefix.
const tripCookie = "__Host-probity-trip"

// trip is what a browser keeps while its user is at a provider: nothing in it is secret to that user.
type trip struct {
	Provider string `json:"p"`
	State    string `json:"s"` // ties the answer to this browser (RFC 6749, section 10.12)
	Nonce    string `json:"n"` // ties the ID token to it (OpenID Connect Core 1.0, section 3.1.2.1)
	Verifier string `json:"v"` // PKCE (RFC 7636)
	Next     string `json:"t"` // page of ours to go to
	Ends     int64  `json:"e"` // Unix time
}

// Start begins to sign somebody in with a provider and returns the URL to send the browser to; next is the path of ours to
// which it goes at last. An id that no provider has is store.ErrNotFound; one that does not answer is ErrProvider.
func (a *Access) Start(w http.ResponseWriter, r *http.Request, id, next string) (string, error) {
	p := a.providers[id]
	if p == nil {
		return "", fmt.Errorf("OpenID provider: %w", store.ErrNotFound)
	}
	if wait := a.addresses.take(neighbourhood(r.RemoteAddr), a.Now()); wait > 0 {
		return "", &Throttled{wait}
	}
	found, err := p.discover(r.Context(), a.Now())
	if err != nil {
		return "", err
	}
	t := trip{
		Provider: id, State: newSecret(), Nonce: newSecret(), Verifier: oauth2.GenerateVerifier(), Next: LocalPath(next),
		Ends: a.Now().Add(roundTrip).Unix(),
	}
	b, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	value := base64.RawURLEncoding.EncodeToString(b)
	if len(value) > maxCookie {
		t.Next = "/"
		b, _ = json.Marshal(t) // a shorter one than before
		value = base64.RawURLEncoding.EncodeToString(b)
	}
	http.SetCookie(w, cookie(tripCookie, value, roundTrip))
	return p.config(found).AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), nil
}

// LocalPath returns path if it leads to a page of this verifier, and otherwise "/": nobody is sent to another host.
func LocalPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// Return ends what Start began: it returns the account of who comes back, and the path to go on to. The checks, in order,
// each of which is ErrRefused unless it says otherwise: the browser has the cookie of a trip to this provider that has not
// ended; the answer has the trip's state, and where it names an issuer (RFC 9207) the provider's; it has a code; its
// address has not tried too often (*Throttled); the provider gives an ID token for the code and the trip's verifier; that
// is signed by the provider, for this verifier, in force, issued to nobody else (azp: OpenID Connect Core 1.0, section
// 3.1.3.7), and has the trip's nonce; an account has its subject or the e-mail address that it says is verified, for which
// it may vouch (Provider.Domains); the account is enabled.
func (a *Access) Return(w http.ResponseWriter, r *http.Request, id string) (store.Account, string, error) {
	http.SetCookie(w, cookie(tripCookie, "", 0))
	p := a.providers[id]
	if p == nil {
		return store.Account{}, "", fmt.Errorf("OpenID provider: %w", store.ErrNotFound)
	}
	t, ok := tripOf(r)
	q := r.URL.Query()
	if !ok || t.Provider != id || a.Now().Unix() >= t.Ends || subtle.ConstantTimeCompare([]byte(t.State), []byte(q.Get("state"))) != 1 {
		return store.Account{}, "", fmt.Errorf("%w: the browser was not sent from here, or too long ago", ErrRefused)
	}
	if iss := q.Get("iss"); iss != "" && iss != p.Issuer {
		return store.Account{}, "", fmt.Errorf("%w: the answer is of another provider", ErrRefused)
	}
	if q.Get("error") != "" || q.Get("code") == "" {
		return store.Account{}, "", fmt.Errorf("%w: the provider let nobody in: %q", ErrRefused, clip(q.Get("error")))
	}
	address, now := neighbourhood(r.RemoteAddr), a.Now()
	if wait := a.addresses.take(address, now); wait > 0 { // the cookie may be made up, and each code is a question to the provider
		return store.Account{}, "", &Throttled{wait}
	}
	token, err := a.exchange(r.Context(), p, q.Get("code"), t)
	if err != nil {
		return store.Account{}, "", err
	}
	account, err := a.ofToken(r.Context(), p, token)
	if err != nil {
		return store.Account{}, "", err
	}
	a.addresses.forgive(address, now)
	return account, LocalPath(t.Next), a.noteSignIn(r.Context(), &account)
}

func tripOf(r *http.Request) (t trip, ok bool) {
	cookies := r.CookiesNamed(tripCookie)
	if len(cookies) != 1 || len(cookies[0].Value) > maxCookie {
		return trip{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil || json.Unmarshal(b, &t) != nil {
		return trip{}, false
	}
	return t, t.State != "" && t.Nonce != "" && t.Verifier != ""
}

// exchange returns the verified ID token for a code.
func (a *Access) exchange(ctx context.Context, p *provider, code string, t trip) (*oidc.IDToken, error) {
	found, err := p.discover(ctx, a.Now())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), providerTimeout)
	defer cancel()
	answer, err := p.config(found).Exchange(ctx, code, oauth2.VerifierOption(t.Verifier))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its body may be anything: what it says is in its code
		return nil, fmt.Errorf("%w: %s does not take the code: %q", ErrRefused, p.ID, clip(refused.ErrorCode))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrProvider, p.ID, clip(err.Error()))
	}
	raw, _ := answer.Extra("id_token").(string)
	token, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: a.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: ID token of %s: %s", ErrRefused, p.ID, clip(err.Error()))
	}
	var claims struct {
		Party string `json:"azp"`
	}
	err = token.Claims(&claims)
	if err != nil || claims.Party != p.ClientID && (claims.Party != "" || len(token.Audience) > 1) {
		return nil, fmt.Errorf("%w: ID token of %s: it was issued to %q", ErrRefused, p.ID, clip(claims.Party))
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(t.Nonce)) != 1 {
		return nil, fmt.Errorf("%w: ID token of %s: it is not for this browser", ErrRefused, p.ID)
	}
	return token, nil
}

// ofToken returns the account of an ID token.
func (a *Access) ofToken(ctx context.Context, p *provider, token *oidc.IDToken) (store.Account, error) {
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := token.Claims(&claims); err != nil {
		claims.Email = "" // some providers write odd claims: the subject is enough
	}
	subjects, note := []string{token.Issuer + "#" + token.Subject}, ""
	switch vouches := a.vouches(p, claims.Email); {
	case claims.Verified && !vouches && claims.Email != "":
		note = fmt.Sprintf("; %s may not vouch for the e-mail address %q: see domains in the configuration", p.ID, clip(claims.Email))
	case claims.Verified && vouches:
		subjects = append(subjects, strings.ToLower(claims.Email))
	}
	for _, s := range subjects {
		account, err := a.Store.AccountOfSubject(ctx, a.Tenant, s)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return store.Account{}, fmt.Errorf("look up account: %w", err)
		}
		if account.Disabled {
			return store.Account{}, fmt.Errorf("%w: the account %s is disabled", ErrRefused, account.Name)
		}
		return account, nil
	}
	return store.Account{}, fmt.Errorf("%w: no account has the subject %q%s", ErrRefused, clip(subjects[len(subjects)-1]), note)
}

// vouches reports whether the word of a provider counts for an e-mail address: none speaks for the users of another.
func (a *Access) vouches(p *provider, email string) bool {
	at := strings.LastIndexByte(email, '@')
	if at < 0 || strings.Contains(email, "#") {
		return false
	}
	ours := func(domain string) bool { return strings.EqualFold(domain, email[at+1:]) }
	return len(p.Domains) == 0 && len(a.providers) == 1 || slices.ContainsFunc(p.Domains, ours)
}

// clip shortens what others wrote, for the log.
func clip(s string) string { return s[:min(len(s), 200)] }
