package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

// open lists the routes that need no token. Everything else does.
var open = map[string]bool{
	"GET /healthz": true,
	"GET /v1/keys": true,
}

// principal is who asks: the holder of an operator token.
type principal struct {
	tenant string
	token  string // public id
}

// actor is the name under which events record what the principal does.
func (p principal) actor() string { return "operator:" + p.token }

// Answers to a bad credential are the same whatever is wrong with it, save that the holder of a valid enrolment token
// hears that it is the wrong kind.
func unauthorized() *v1.Problem {
	return problemf(http.StatusUnauthorized,
		"want a valid operator token in the header Authorization: Bearer <token>")
}

func forbidden() *v1.Problem {
	return problemf(http.StatusForbidden, "this is an enrolment token: the API needs an operator token")
}

// authenticate returns who asks. The checks, in order: one Authorization header of scheme Bearer, form of the token,
// known id, secret in constant time with tenant and kind, revocation, expiry, kind again: a token for devices that is
// otherwise good is the only one that is told so.
func (s *server) authenticate(r *http.Request) (principal, error) {
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
	return principal{tenant: known.Tenant, token: known.ID}, nil
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
