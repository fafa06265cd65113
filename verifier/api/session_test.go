package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/access"
	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

const goodPassword = "correct horse battery"

// browser sends requests as a page of ours does, and keeps cookies.
type browser struct {
	*harness
	cookie string
}

func (b *browser) do(t *testing.T, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.Name != access.Cookie || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s %s sets the cookie %+v", method, target, c)
		}
		if b.cookie = c.Name + "=" + c.Value; c.MaxAge < 0 {
			b.cookie = ""
		}
	}
	return w
}

func (h *harness) account(t *testing.T, body string) v1.Account {
	t.Helper()
	return decode[v1.Account](t, h.do("POST", "/v1/accounts", body), http.StatusCreated)
}

func TestSignInAndOut(t *testing.T) {
	h := newHarness(t)
	h.account(t, `{"name":"Alice","role":"operator","password":"`+goodPassword+`"}`)
	b := &browser{harness: h}
	me := decode[v1.Me](t, b.do(t, "POST", "/v1/session", `{"name":"alice","password":"`+goodPassword+`"}`), http.StatusCreated)
	if me.Name != "Alice" || me.Kind != "account" || me.Role != v1.Operator || me.Expires == nil || len(me.Can) < 20 || b.cookie == "" {
		t.Errorf("answer to signing in = %+v, cookie %q", me, b.cookie)
	}
	if again := decode[v1.Me](t, b.do(t, "GET", "/v1/me", ""), http.StatusOK); again.Name != "Alice" {
		t.Errorf("GET /v1/me = %+v", again)
	}
	wantProblem(t, b.do(t, "GET", "/v1/accounts", ""), http.StatusForbidden, "the role operator may not do this")
	first := b.cookie
	decode[v1.Me](t, b.do(t, "POST", "/v1/session", `{"name":"alice","password":"`+goodPassword+`"}`), http.StatusCreated)
	if old := (&browser{h, first}); old.do(t, "GET", "/v1/me", "").Code != http.StatusUnauthorized {
		t.Error("the browser's session goes on after it signed in again")
	}
	last := b.cookie
	if w := b.do(t, "DELETE", "/v1/session", ""); w.Code != http.StatusNoContent || b.cookie != "" {
		t.Errorf("signing out = %d %s, cookie %q", w.Code, w.Body, b.cookie)
	}
	late := &browser{h, last}
	wantProblem(t, late.do(t, "GET", "/v1/me", ""), http.StatusUnauthorized, "sign in")
	if late.cookie != "" {
		t.Error("a cookie that is good for nothing stays")
	}
	wantProblem(t, h.do("DELETE", "/v1/session", ""), http.StatusConflict, "no session")
}

// TestSignInTellsNothing (ATTACKS row 17): answers do not say whether there is such an account.
func TestSignInTellsNothing(t *testing.T) {
	h := newHarness(t)
	h.account(t, `{"name":"alice","role":"viewer","password":"`+goodPassword+`"}`)
	h.account(t, `{"name":"bob","role":"viewer","subject":"bob@example.com"}`)
	answers := map[string]bool{}
	for _, body := range []string{
		`{"name":"alice","password":"wrong"}`, `{"name":"bob","password":"wrong"}`, `{"name":"eve","password":"wrong"}`,
		`{"name":"alice","password":"` + strings.Repeat("x", 1024) + `"}`,
	} {
		b := &browser{harness: h}
		w := b.do(t, "POST", "/v1/session", body)
		p := wantProblem(t, w, http.StatusUnauthorized, "name or password is wrong")
		if b.cookie != "" {
			t.Errorf("%s: sets a cookie", body)
		}
		p.Instance = ""
		answers[jsonOf(t, p)] = true
	}
	if len(answers) != 1 {
		t.Errorf("answers differ: %v", answers)
	}
	b := &browser{harness: h}
	var w *httptest.ResponseRecorder
	for range 40 {
		if w = b.do(t, "POST", "/v1/session", `{"name":"alice","password":"wrong"}`); w.Code != http.StatusUnauthorized {
			break
		}
	}
	wantProblem(t, w, http.StatusTooManyRequests, "too many attempts")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	found, err := h.store.Audit(t.Context(), store.AuditFilter{Tenant: apitest.Tenant, Action: "create-session"})
	if err != nil || len(found) == 0 || len(found) > 6 {
		t.Errorf("%d entries in the audit log, %v; want one for each kind of failure, not for each", len(found), err)
	}
	for _, e := range found {
		if e.Actor != "" || e.Outcome != "refused" || e.Remote == "" || !strings.HasPrefix(e.Detail, `as "`) {
			t.Errorf("audit entry of a failure = %+v", e)
		}
	}
}

func TestSetUpOverHTTP(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Access.Setup = "ABCDE-FGH23" })
	b := &browser{harness: h}
	if m := decode[v1.SignInMethods](t, b.do(t, "GET", "/v1/sign-in", ""), http.StatusOK); !m.Setup || !m.Password {
		t.Errorf("methods = %+v, want that it can be set up", m)
	}
	wantProblem(t, b.do(t, "POST", "/v1/setup", `{"code":"wrong","name":"alice","password":"`+goodPassword+`"}`), http.StatusForbidden, "code is wrong")
	wantProblem(t, b.do(t, "POST", "/v1/setup", `{"code":"ABCDE-FGH23","name":"a:b","password":"`+goodPassword+`"}`), http.StatusUnprocessableEntity, "name")
	wantProblem(t, b.do(t, "POST", "/v1/setup", `{"code":"ABCDE-FGH23","name":"alice","password":"short"}`), http.StatusUnprocessableEntity, "")
	me := decode[v1.Me](t, b.do(t, "POST", "/v1/setup", `{"code":"abcdefgh23","name":"alice","password":"`+goodPassword+`"}`), http.StatusCreated)
	if me.Name != "alice" || me.Role != v1.Admin || b.do(t, "GET", "/v1/accounts", "").Code != http.StatusOK {
		t.Errorf("answer to setting up = %+v, want an admin who is signed in", me)
	}
	wantProblem(t, (&browser{harness: h}).do(t, "POST", "/v1/setup", `{"code":"ABCDE-FGH23","name":"bob","password":"`+goodPassword+`"}`),
		http.StatusConflict, "is set up")
	if m := decode[v1.SignInMethods](t, b.do(t, "GET", "/v1/sign-in", ""), http.StatusOK); m.Setup {
		t.Errorf("methods after it = %+v, want that it cannot be set up", m)
	}
}

func TestChangeOwnPassword(t *testing.T) {
	h := newHarness(t)
	h.account(t, `{"name":"alice","role":"viewer","password":"`+goodPassword+`"}`)
	one, two := &browser{harness: h}, &browser{harness: h}
	for _, b := range []*browser{one, two} {
		decode[v1.Me](t, b.do(t, "POST", "/v1/session", `{"name":"alice","password":"`+goodPassword+`"}`), http.StatusCreated)
	}
	wantProblem(t, one.do(t, "PUT", "/v1/me/password", `{"old":"wrong","new":"another long one"}`), http.StatusUnprocessableEntity, "old password is wrong")
	wantProblem(t, one.do(t, "PUT", "/v1/me/password", `{"old":"`+goodPassword+`","new":"aaaaaaaaaaaaa"}`), http.StatusUnprocessableEntity, "different characters")
	if w := one.do(t, "PUT", "/v1/me/password", `{"old":"`+goodPassword+`","new":"another long one"}`); w.Code != http.StatusNoContent {
		t.Fatalf("changing the password = %d %s", w.Code, w.Body)
	}
	if w := one.do(t, "GET", "/v1/me", ""); w.Code != http.StatusOK {
		t.Errorf("who changed it = %d, want that its session goes on", w.Code)
	}
	if w := two.do(t, "GET", "/v1/me", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("another session = %d, want that it ended", w.Code)
	}
	wantProblem(t, h.do("PUT", "/v1/me/password", `{"old":"`+goodPassword+`","new":"another long one"}`), http.StatusConflict, "no password")
}

// TestOIDCLeadsBack: whatever goes wrong, the browser ends on a page of ours.
func TestOIDCLeadsBack(t *testing.T) {
	h := newHarness(t, func(c *api.Config) {
		c.Access.URL = "https://verifier.example"
		c.Access.Providers = []access.Provider{{ID: "corp", Name: "Corp", Issuer: "https://127.0.0.1:1/", ClientID: "x"}}
	})
	b := &browser{harness: h}
	m := decode[v1.SignInMethods](t, b.do(t, "GET", "/v1/sign-in", ""), http.StatusOK)
	if len(m.OIDC) != 1 || m.OIDC[0] != (v1.OIDCProvider{Name: "Corp", URL: "/auth/oidc/corp/start"}) {
		t.Errorf("methods = %+v", m)
	}
	for target, reason := range map[string]string{
		"/auth/oidc/corp/start":                   "failed",
		"/auth/oidc/none/start":                   "unknown",
		"/auth/oidc/corp/return?code=x&state=y":   "refused",
		"/auth/oidc/corp/return?error=%1b%5b31m":  "refused",
		"/auth/oidc/none/return?code=x&state=y":   "unknown",
		"/auth/oidc/corp/start?next=//evil.local": "failed",
	} {
		r := httptest.NewRequest("GET", target, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/signin?failed="+reason+"&request=") {
			t.Errorf("GET %s = %d to %q, want 303 to the sign-in page with %q", target, w.Code, to, reason)
		}
	}
}
