package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

// session is an answer that begins or ends a session, or says who is in one.
type session struct {
	SetCookie string `header:"Set-Cookie"`
	Body      v1.Me
}

type ended struct {
	SetCookie string `header:"Set-Cookie"`
}

type (
	signIn         struct{ Body v1.SignIn }
	setUp          struct{ Body v1.Setup }
	changePassword struct{ Body v1.PasswordChange }
)

func (s *server) registerSession(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "get-sign-in", Method: http.MethodGet, Path: "/v1/sign-in", Summary: "Show how people may sign in; needs no token",
	}, s.signInMethods)
	register(s, doc, huma.Operation{
		OperationID: "create-session", Method: http.MethodPost, Path: "/v1/session",
		Summary: "Sign in with name and password; the answer sets the session's cookie", DefaultStatus: http.StatusCreated,
	}, s.signIn)
	register(s, doc, huma.Operation{
		OperationID: "end-session", Method: http.MethodDelete, Path: "/v1/session", Summary: "Sign out",
		DefaultStatus: http.StatusNoContent,
	}, s.signOut)
	register(s, doc, huma.Operation{
		OperationID: "set-up", Method: http.MethodPost, Path: "/v1/setup", DefaultStatus: http.StatusCreated,
		Summary: "Make the first account, with the code that the verifier printed, and sign in to it",
	}, s.setUp)
	register(s, doc, huma.Operation{
		OperationID: "get-me", Method: http.MethodGet, Path: "/v1/me", Summary: "Show who asks and what that may do",
	}, s.me)
	register(s, doc, huma.Operation{
		OperationID: "change-password", Method: http.MethodPut, Path: "/v1/me/password",
		Summary: "Change one's own password; all other sessions of the account end", DefaultStatus: http.StatusNoContent,
	}, s.changePassword)
	s.plain("start-oidc", "GET /auth/oidc/{provider}/start", s.startOIDC)
	s.plain("return-oidc", "GET /auth/oidc/{provider}/return", s.returnOIDC)
}

// plain adds a route that is no operation of the OpenAPI document.
func (s *server) plain(operation, pattern string, h func(http.ResponseWriter, *http.Request)) {
	s.mux.operations[pattern] = operation
	s.mux.HandleFunc(pattern, h)
}

func (s *server) signInMethods(ctx context.Context, _ principal, _ *empty) (*body[v1.SignInMethods], error) {
	open, err := s.access.Open(ctx)
	if err != nil {
		return nil, err
	}
	out := v1.SignInMethods{Password: true, Setup: open}
	for _, p := range s.access.SignInProviders() {
		out.OIDC = append(out.OIDC, v1.OIDCProvider{Name: p.Name, URL: access.StartPath(p.ID)})
	}
	return &body[v1.SignInMethods]{out}, nil
}

// strangersPage refuses what another site makes a browser send: it would sign its user in as somebody else.
func (s *server) strangersPage(ctx context.Context) error {
	if s.origins.Check(requestOf(ctx).from) != nil {
		return problemf(http.StatusForbidden, "this is not a request of the verifier's own pages: use those")
	}
	return nil
}

func (s *server) signIn(ctx context.Context, _ principal, in *signIn) (*session, error) {
	const operation = "create-session"
	if err := s.strangersPage(ctx); err != nil {
		return nil, err
	}
	account, err := s.access.SignIn(ctx, in.Body.Name, in.Body.Password, requestOf(ctx).from.RemoteAddr)
	if errors.Is(err, access.ErrRefused) {
		err = problemf(http.StatusUnauthorized, "name or password is wrong")
	}
	if err != nil {
		return nil, s.notIn(ctx, operation, fmt.Sprintf("as %q", in.Body.Name), err)
	}
	return s.begin(ctx, operation, &account)
}

func (s *server) setUp(ctx context.Context, _ principal, in *setUp) (*session, error) {
	const operation = "set-up"
	if err := s.strangersPage(ctx); err != nil {
		return nil, err
	}
	account, err := s.access.SetUp(ctx, in.Body.Code, in.Body.Name, in.Body.Password, requestOf(ctx).from.RemoteAddr)
	switch {
	case errors.Is(err, access.ErrRefused):
		err = problemf(http.StatusForbidden, "the code is wrong: the verifier printed the right one when it started")
	case errors.Is(err, access.ErrSetupOver):
		err = problemf(http.StatusConflict, "%s", access.ErrSetupOver)
	}
	if err != nil {
		return nil, s.notIn(ctx, operation, "", err)
	}
	return s.begin(ctx, operation, &account)
}

// begin begins a session of an account, once that is written down, and ends the one that the browser had.
func (s *server) begin(ctx context.Context, operation string, account *store.Account) (*session, error) {
	p := principal{
		tenant: account.Tenant, name: account.Name, kind: byAccount, role: v1.Role(account.Role), vendors: account.Vendors,
		expires: s.Now().Add(s.access.Lifetime),
	}
	from := requestOf(ctx).from
	e := s.auditEntry(from, operation)
	e.Actor, e.Role, e.Outcome, e.Status, e.Request = p.name, string(p.role), audit.OK, http.StatusCreated, requestOf(ctx).id
	if err := s.writeAudit(ctx, p.tenant, e); err != nil {
		return nil, err
	}
	if err := s.access.End(from); err != nil {
		return nil, err
	}
	cookie, err := s.access.Begin(ctx, account)
	if err != nil {
		return nil, err
	}
	return &session{SetCookie: cookie.String(), Body: meDocument(&p)}, nil
}

// notIn writes down that somebody did not get in, and returns what that somebody is told. Failures of the verifier's own
// are in its log.
func (s *server) notIn(ctx context.Context, operation, detail string, err error) error {
	told := s.problem(ctx, refine(err))
	var throttled *access.Throttled
	if errors.As(err, &throttled) {
		requestOf(ctx).answer.Set("Retry-After", strconv.Itoa(int(math.Ceil(throttled.After.Seconds()))))
	}
	if told.Status >= http.StatusInternalServerError {
		return told
	}
	e := s.auditEntry(requestOf(ctx).from, operation)
	e.Outcome, e.Status, e.Request, e.Detail = audit.Refused, told.Status, requestOf(ctx).id, plain(detail)
	if !s.repeats.first(s.access.Tenant, e) {
		return told
	}
	if err := s.writeAudit(ctx, s.access.Tenant, e); err != nil {
		return err
	}
	return told
}

// refine makes problems of the errors of package access that are for who asks.
func refine(err error) error {
	var throttled *access.Throttled
	var invalid *access.Invalid
	switch {
	case errors.As(err, &throttled):
		return problemf(http.StatusTooManyRequests, "too many attempts: try again in %d s", int(math.Ceil(throttled.After.Seconds())))
	case errors.As(err, &invalid):
		p := problemf(http.StatusUnprocessableEntity, "%s", invalid.Error())
		p.Errors = []v1.ProblemDetail{{Location: "body." + invalid.Field, Message: invalid.Words}}
		return p
	case errors.Is(err, access.ErrRefused):
		return problemf(http.StatusUnauthorized, "no account of this verifier is yours: ask an admin for one")
	case errors.Is(err, access.ErrProvider):
		return problemf(http.StatusBadGateway, "the OpenID provider does not answer as it should: try again, or sign in otherwise")
	case errors.Is(err, store.ErrLastAdmin):
		return problemf(http.StatusConflict, "this is the last admin that can sign in: make another one first")
	}
	return err
}

func (s *server) signOut(ctx context.Context, p principal, _ *empty) (*ended, error) {
	if p.kind != byAccount {
		return nil, problemf(http.StatusConflict, "this is no session: a %s is signed in by itself", p.kind)
	}
	if err := s.access.End(requestOf(ctx).from); err != nil {
		return nil, err
	}
	return &ended{access.Forget().String()}, nil
}

func (s *server) me(_ context.Context, p principal, _ *empty) (*body[v1.Me], error) {
	return &body[v1.Me]{meDocument(&p)}, nil
}

func meDocument(p *principal) v1.Me {
	return v1.Me{
		Name: p.name, Kind: p.kind, Tenant: p.tenant, Role: p.role, Vendors: p.vendors, Expires: moment(p.expires), Can: p.can(),
	}
}

func (s *server) changePassword(ctx context.Context, p principal, in *changePassword) (*ended, error) {
	if p.kind == byToken {
		return nil, problemf(http.StatusConflict, "a token has no password: make another token")
	}
	account, err := s.access.ChangePassword(ctx, p.name, in.Body.Old, in.Body.New, requestOf(ctx).from.RemoteAddr)
	if errors.Is(err, access.ErrRefused) {
		return nil, problemf(http.StatusUnprocessableEntity, "the old password is wrong")
	}
	if err != nil {
		return nil, refine(err)
	}
	if p.kind != byAccount {
		return &ended{}, nil
	}
	cookie, err := s.access.Begin(ctx, &account)
	if err != nil {
		return nil, err
	}
	return &ended{cookie.String()}, nil
}

// startOIDC sends a browser to an OpenID provider.
func (s *server) startOIDC(w http.ResponseWriter, r *http.Request) {
	to, err := s.access.Start(w, r, r.PathValue("provider"), r.URL.Query().Get("next"))
	if err != nil {
		s.back(w, r, "start-oidc", err)
		return
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// returnOIDC takes a browser back from an OpenID provider and into a session.
func (s *server) returnOIDC(w http.ResponseWriter, r *http.Request) {
	const operation = "return-oidc"
	account, next, err := s.access.Return(w, r, r.PathValue("provider"))
	if err != nil {
		s.back(w, r, operation, err)
		return
	}
	begun, err := s.begin(r.Context(), operation, &account)
	if err != nil {
		s.back(w, r, operation, err)
		return
	}
	w.Header().Add("Set-Cookie", begun.SetCookie)
	w.Header().Set("Location", next)
	w.WriteHeader(http.StatusSeeOther)
}

// back leads to the sign-in page, which says in words what went wrong: people follow links to pages, not to documents.
func (s *server) back(w http.ResponseWriter, r *http.Request, operation string, err error) {
	s.Log.Warn("nobody was signed in by an OpenID provider", "request", requestOf(r.Context()).id, "error", err)
	reason := "failed"
	switch p := s.problem(r.Context(), s.notIn(r.Context(), operation, err.Error(), err)); p.Status {
	case http.StatusTooManyRequests:
		reason = "too-many"
	case http.StatusUnauthorized:
		reason = "refused"
	case http.StatusNotFound:
		reason = "unknown"
	}
	w.Header().Set("Location", "/signin?"+url.Values{"failed": {reason}, "request": {requestOf(r.Context()).id}}.Encode())
	w.WriteHeader(http.StatusSeeOther)
}
