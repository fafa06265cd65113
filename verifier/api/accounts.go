package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

type (
	createAccount struct{ Body v1.NewAccount }

	changeAccount struct {
		Name string `path:"name" maxLength:"128"`
		Body v1.AccountPatch
	}

	accountName struct {
		Name string `path:"name" maxLength:"128"`
	}
)

func (s *server) registerAccounts(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-accounts", Method: http.MethodGet, Path: "/v1/accounts", Summary: "List who may sign in",
	}, s.accounts)
	register(s, doc, huma.Operation{
		OperationID: "create-account", Method: http.MethodPost, Path: "/v1/accounts", Summary: "Let somebody sign in",
		DefaultStatus: http.StatusCreated,
	}, s.createAccount)
	register(s, doc, huma.Operation{
		OperationID: "change-account", Method: http.MethodPatch, Path: "/v1/accounts/{name}",
		Summary: "Change an account; what touches its rights or how it signs in ends its sessions",
	}, s.changeAccount)
	register(s, doc, huma.Operation{
		OperationID: "remove-account", Method: http.MethodDelete, Path: "/v1/accounts/{name}",
		Summary: "Remove an account with its sessions", DefaultStatus: http.StatusNoContent,
	}, s.removeAccount)
}

// ofAccounts refuses who is not of the tenant whose accounts there are.
func (s *server) ofAccounts(p *principal) error {
	if p.tenant != s.access.Tenant {
		return problemf(http.StatusConflict, "only the tenant %s has accounts: use tokens", s.access.Tenant)
	}
	return nil
}

func (s *server) accounts(ctx context.Context, p principal, _ *empty) (*body[v1.Accounts], error) {
	found, err := s.Store.Accounts(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	out := v1.Accounts{Accounts: []v1.Account{}}
	for i := range found {
		out.Accounts = append(out.Accounts, accountDocument(&found[i]))
	}
	return &body[v1.Accounts]{out}, nil
}

func (s *server) createAccount(ctx context.Context, p principal, in *createAccount) (*body[v1.Account], error) {
	if err := s.ofAccounts(&p); err != nil {
		return nil, err
	}
	note(ctx, "account %s, role %s", in.Body.Name, in.Body.Role)
	a, err := s.access.Add(ctx, access.Spec{
		Name: in.Body.Name, Role: string(in.Body.Role), Vendors: in.Body.Vendors, Password: in.Body.Password,
		Subject: in.Body.Subject, Certificates: in.Body.Certificates,
	}, p.actor())
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "another account has this name, subject or certificate")
	}
	if err != nil {
		return nil, refine(err)
	}
	return &body[v1.Account]{accountDocument(&a)}, nil
}

func (s *server) changeAccount(ctx context.Context, p principal, in *changeAccount) (*body[v1.Account], error) {
	if err := s.ofAccounts(&p); err != nil {
		return nil, err
	}
	b := &in.Body
	a, err := s.access.Change(ctx, in.Name, access.Change{
		Role: (*string)(b.Role), Vendors: b.Vendors, Password: b.Password, Subject: b.Subject, Certificates: b.Certificates,
		Disabled: b.Disabled,
	}, p.actor())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, problemf(http.StatusNotFound, "no account has this name")
	case errors.Is(err, store.ErrConflict):
		return nil, problemf(http.StatusConflict, "another account has this subject or certificate, or this one was changed meanwhile")
	case err != nil:
		return nil, refine(err)
	}
	return &body[v1.Account]{accountDocument(&a)}, nil
}

func (s *server) removeAccount(ctx context.Context, p principal, in *accountName) (*empty, error) {
	if err := s.ofAccounts(&p); err != nil {
		return nil, err
	}
	err := s.access.Remove(ctx, in.Name, p.actor())
	if errors.Is(err, store.ErrNotFound) {
		return nil, problemf(http.StatusNotFound, "no account has this name")
	}
	return nil, refine(err)
}

func accountDocument(a *store.Account) v1.Account {
	return v1.Account{
		Name: a.Name, Role: v1.Role(a.Role), Vendors: a.Vendors, Password: a.Password != "", Subject: a.Subject,
		Certificates: a.Certificates, Disabled: a.Disabled, Created: a.Created.UTC(), LastSignIn: moment(a.LastSignIn),
	}
}
