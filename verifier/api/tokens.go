package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

type createToken struct{ Body v1.NewToken }

type tokenID struct {
	ID string `path:"id" maxLength:"128"`
}

func (s *server) registerTokens(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Summary: "List tokens, without secrets",
	}, s.tokens)
	register(s, doc, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens",
		Summary:       "Make a token for enrolment or, as an admin, for the API; its secret is in this answer only",
		DefaultStatus: http.StatusCreated,
	}, s.createToken)
	register(s, doc, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: "/v1/tokens/{id}", Summary: "End a token",
		DefaultStatus: http.StatusNoContent,
	}, s.revokeToken)
}

func (s *server) tokens(ctx context.Context, p principal, _ *empty) (*body[v1.Tokens], error) {
	found, err := s.Store.Tokens(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	out := v1.Tokens{Tokens: []v1.Token{}}
	for _, t := range found {
		out.Tokens = append(out.Tokens, tokenDocument(t))
	}
	return &body[v1.Tokens]{out}, nil
}

func (s *server) createToken(ctx context.Context, p principal, in *createToken) (*body[v1.CreatedToken], error) {
	now := s.Now().UTC()
	ttl := time.Duration(in.Body.TTL) * time.Second
	make := s.enrolmentToken
	if in.Body.Kind == apiToken {
		make = s.apiToken
	}
	text, t, detail, err := make(&p, &in.Body)
	if err != nil {
		return nil, err
	}
	t.Created, t.Expires = now, now.Add(ttl)
	detail = fmt.Sprintf("%s, valid for %s", detail, ttl)
	note(ctx, "%s", detail)
	// The event comes first: a token that nobody recorded must not exist.
	if err := s.Store.AddEvent(ctx, s.event(p, "", detail)); err != nil {
		return nil, fmt.Errorf("record event: %w", err)
	}
	if err := s.Store.AddToken(ctx, t); err != nil {
		return nil, fmt.Errorf("add token: %w", err)
	}
	return &body[v1.CreatedToken]{v1.CreatedToken{Token: tokenDocument(t), Secret: text}}, nil
}

// apiToken is v1.NewToken.Kind of a token for the API.
const apiToken = "api"

func (s *server) enrolmentToken(p *principal, in *v1.NewToken) (text string, t store.Token, detail string, err error) {
	if in.Role != "" || len(in.Vendors) > 0 || in.Name != "" {
		return "", t, "", problemf(http.StatusUnprocessableEntity, "an enrolment token has no role, vendors and name: those are for the kind api")
	}
	text, t, err = enroll.NewToken(enroll.DeviceToken, p.tenant)
	t.Uses = max(in.Uses, 1)
	return text, t, fmt.Sprintf("creates enrolment token %s for %d devices", t.ID, t.Uses), err
}

// apiToken makes a token for the API. Only an admin may: it could otherwise give itself more rights than it has.
func (s *server) apiToken(p *principal, in *v1.NewToken) (text string, t store.Token, detail string, err error) {
	if p.role != v1.Admin {
		return "", t, "", problemf(http.StatusForbidden, "only an admin makes tokens for the API")
	}
	if in.Uses > 1 {
		return "", t, "", problemf(http.StatusUnprocessableEntity, "uses are of enrolment tokens: one for the API may be used until it expires")
	}
	if in.Role == "" {
		return "", t, "", problemf(http.StatusUnprocessableEntity, "a token for the API needs a role")
	}
	if err := access.CheckRole(string(in.Role), in.Vendors); err != nil {
		return "", t, "", refine(err)
	}
	if err := checkTexts(map[string]string{"name": in.Name}); err != nil {
		return "", t, "", err
	}
	text, t, err = enroll.NewToken(enroll.OperatorToken, p.tenant)
	t.Role, t.Vendors, t.Name = string(in.Role), in.Vendors, in.Name
	return text, t, fmt.Sprintf("creates token %s for the API, role %s, name %q", t.ID, t.Role, t.Name), err
}

func (s *server) revokeToken(ctx context.Context, p principal, in *tokenID) (*empty, error) {
	t, err := s.Store.Token(ctx, in.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.Tenant != p.tenant {
		return nil, problemf(http.StatusNotFound, "no token has this id")
	}
	if err != nil {
		return nil, fmt.Errorf("look up token: %w", err)
	}
	if t.ID == p.token {
		return nil, problemf(http.StatusConflict, "this is the token in use: revoke it with another operator token")
	}
	if t.Operator && p.role != v1.Admin {
		return nil, problemf(http.StatusForbidden, "only an admin ends tokens for the API")
	}
	if err := s.Store.AddEvent(ctx, s.event(p, "", "revokes token "+t.ID)); err != nil {
		return nil, fmt.Errorf("record event: %w", err)
	}
	return nil, s.Store.RevokeToken(ctx, t.ID)
}

func tokenDocument(t store.Token) v1.Token {
	return v1.Token{
		ID: t.ID, Operator: t.Operator, Uses: t.Uses, Created: t.Created.UTC(), Expires: t.Expires.UTC(),
		Revoked: t.Revoked, Devices: t.Devices, Role: v1.Role(t.Role), Vendors: t.Vendors, Name: t.Name,
	}
}
