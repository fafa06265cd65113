package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

// open lists the routes that need no credential. Everything else does, and a row in rules.
var open = map[string]bool{
	"GET /healthz": true,
	"GET /v1/keys": true,

	"GET /v1/sign-in":                  true,
	"POST /v1/session":                 true,
	"POST /v1/setup":                   true,
	"GET /auth/oidc/{provider}/start":  true,
	"GET /auth/oidc/{provider}/return": true,
}

// Kinds of principals, as v1.Me.Kind.
const (
	byAccount     = "account"     // signed in, with a session
	byToken       = "token"       // for the API
	byCertificate = "certificate" // an account, by its client certificate
)

// principal is who asks.
type principal struct {
	tenant  string
	name    string // under which events and the audit log know it, see actor
	kind    string // byAccount, byToken or byCertificate
	role    v1.Role
	vendors []string  // of the role vendor: patterns of the vendors that it may speak for
	expires time.Time // when its credential ends; zero: not by itself
	token   string    // public id of its token, if it has one
}

// actor is the name under which events record what the principal does: the name of an account, which never has a colon, or
// "operator:" and the id of a token for the API.
func (p principal) actor() string { return p.name }

// Answers to a bad credential are the same whatever is wrong with it, save that the holder of a valid enrolment token
// hears that it is the wrong kind.
func unauthorized() *v1.Problem {
	return problemf(http.StatusUnauthorized,
		"sign in, or send a valid operator token in the header Authorization: Bearer <token>")
}

func forbidden() *v1.Problem {
	return problemf(http.StatusForbidden, "this is an enrolment token: the API needs an operator token")
}

// authenticate returns who asks: by the token if there is an Authorization header, else by the session if there is its
// cookie, else by the client certificate. Both a header and a cookie is neither: it is not clear who asks, and a page
// that could make a browser send the one must not be able to choose.
func (s *server) authenticate(r *http.Request) (principal, error) {
	header, cookie := len(r.Header.Values("Authorization")) > 0, access.HasCookie(r)
	var account store.Account
	var expires time.Time
	var err error
	kind := byCertificate
	switch {
	case header && cookie:
		return principal{}, unauthorized()
	case header:
		return s.byToken(r)
	case cookie:
		kind = byAccount
		account, expires, err = s.access.Session(r)
	default:
		account, expires, err = s.access.Certificate(r.Context(), r.TLS)
	}
	if errors.Is(err, access.ErrRefused) {
		return principal{}, unauthorized()
	}
	if err != nil {
		return principal{}, err
	}
	return principal{
		tenant: account.Tenant, name: account.Name, kind: kind, role: v1.Role(account.Role), vendors: account.Vendors, expires: expires,
	}, nil
}

// byToken returns the holder of a token for the API. The checks, in order: one Authorization header of scheme Bearer, form
// of the token, known id, secret in constant time with tenant and kind, revocation, expiry, kind again: a token for
// devices that is otherwise good is the only one that is told so.
func (s *server) byToken(r *http.Request) (principal, error) {
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return principal{}, unauthorized()
	}
	scheme, text, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return principal{}, unauthorized()
	}
	claimed, err := enroll.ParseToken(text)
	if err != nil {
		return principal{}, unauthorized()
	}
	known, err := s.Store.Token(r.Context(), claimed.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return principal{}, fmt.Errorf("look up token: %w", err)
	}
	if !claimed.Matches(known) || err != nil {
		return principal{}, unauthorized()
	}
	if known.Revoked || !s.Now().Before(known.Expires) {
		return principal{}, unauthorized()
	}
	if claimed.Kind != enroll.OperatorToken {
		return principal{}, forbidden()
	}
	return principal{
		tenant: known.Tenant, name: "operator:" + known.ID, kind: byToken, role: v1.Role(known.Role), vendors: known.Vendors,
		expires: known.Expires, token: known.ID,
	}, nil
}

// ownPages refuses writes that a browser sends by itself because a page of another site made it: browsers add cookies and
// certificates without being asked, tokens never. For sessions there must be a sign that the page is ours; what is no
// browser may have a certificate.
func (s *server) ownPages(r *http.Request, p *principal) error {
	if p.kind == byToken || safe(r.Method) {
		return nil
	}
	err := s.origins.Check(r)
	if err == nil && p.kind == byAccount && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		err = errors.New("the request does not say which page it is from")
	}
	if err != nil {
		return problemf(http.StatusForbidden, "this is not a request of the verifier's own pages: use those, or a token for the API")
	}
	return nil
}

// forget takes a cookie that is good for nothing from the browser, which could otherwise not sign in by its certificate.
func forget(w http.ResponseWriter, r *http.Request) {
	if access.HasCookie(r) && len(r.Header.Values("Authorization")) == 0 {
		http.SetCookie(w, access.Forget())
	}
}

type principalKey struct{}

func withPrincipal(ctx context.Context, p principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// principalOf returns who asks; on an open route the zero principal, which owns nothing.
func principalOf(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}
