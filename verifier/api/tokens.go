package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

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
		Summary: "Make an enrolment token; its secret is in this answer only", DefaultStatus: http.StatusCreated,
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
	text, t, err := enroll.NewToken(enroll.DeviceToken, p.tenant)
	if err != nil {
		return nil, err
	}
	t.Uses, t.Created, t.Expires = in.Body.Uses, now, now.Add(ttl)
	// The event comes first: a token that nobody recorded must not exist.
	detail := fmt.Sprintf("creates enrolment token %s for %d devices, valid for %s", t.ID, t.Uses, ttl)
	if err := s.Store.AddEvent(ctx, s.event(p, "", detail)); err != nil {
		return nil, fmt.Errorf("record event: %w", err)
	}
	if err := s.Store.AddToken(ctx, t); err != nil {
		return nil, fmt.Errorf("add token: %w", err)
	}
	return &body[v1.CreatedToken]{v1.CreatedToken{Token: tokenDocument(t), Secret: text}}, nil
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
	if err := s.Store.AddEvent(ctx, s.event(p, "", "revokes token "+t.ID)); err != nil {
		return nil, fmt.Errorf("record event: %w", err)
	}
	return nil, s.Store.RevokeToken(ctx, t.ID)
}

func tokenDocument(t store.Token) v1.Token {
	return v1.Token{
		ID: t.ID, Operator: t.Operator, Uses: t.Uses, Created: t.Created.UTC(), Expires: t.Expires.UTC(),
		Revoked: t.Revoked, Devices: t.Devices,
	}
}
