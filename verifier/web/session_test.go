package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/web"
	"github.com/probity-attest/probity/verifier/web/webtest"
)

func TestSignIn(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	v := s.visitor(t, "")
	v.get("/devices?state=stale").wantTo(t, "/signin?"+url.Values{"next": {"/devices?state=stale"}}.Encode())
	v.get("/").wantTo(t, "/signin")
	v.get("/nowhere").wantTo(t, "/signin?next=%2Fnowhere") // strangers do not learn which pages there are
	v.get("/signin?next=/devices").want(t, http.StatusOK, `name="next" value="/devices"`, `autocomplete="current-password"`)

	wrongName := v.post("/signin", "name", "nobody", "password", webtest.Password, "next", "/devices")
	wrongPassword := v.post("/signin", "name", "viewer", "password", "wrong", "next", "/devices")
	for _, a := range []answer{wrongName, wrongPassword} {
		a.want(t, http.StatusUnauthorized, "Name or password is wrong.", `name="next" value="/devices"`)
	}
	if strings.ReplaceAll(wrongName.body, "nobody", "viewer") != wrongPassword.body {
		t.Error("the page tells a wrong name from a wrong password")
	}
	if strings.Contains(wrongPassword.body, `value="wrong"`) {
		t.Error("the page repeats the password")
	}

	v.post("/signin", "name", "viewer", "password", webtest.Password, "next", "/devices?q=a").wantTo(t, "/devices?q=a")
	if v.cookies[webtest.SessionCookie] == "" {
		t.Fatal("no session cookie")
	}
	v.get("/devices").want(t, http.StatusOK, "viewer")
	v.get("/signin?next=/devices").wantTo(t, "/devices") // who is in goes on

	v.post("/signout").wantTo(t, "/signin")
	v.get("/devices").wantTo(t, "/signin?next=%2Fdevices")
	v.post("/signout").wantTo(t, "/signin") // once more is as good
}

// TestNextStaysHere: nobody is led to another site by signing in.
func TestNextStaysHere(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	for _, next := range []string{
		"//evil.example", "https://evil.example/", `/\evil.example`, "evil", "", "/\tevil", "javascript:alert(1)", "/" + strings.Repeat("a", 3000),
	} {
		s.visitor(t, "").post("/signin", "name", "viewer", "password", webtest.Password, "next", next).wantTo(t, "/")
		s.visitor(t, "viewer").get("/signin?"+url.Values{"next": {next}}.Encode()).wantTo(t, "/")
	}
}

func TestSignInTooOften(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	s.api.Throttle("too many attempts: wait 30 s")
	a := s.visitor(t, "").post("/signin", "name", "viewer", "password", webtest.Password)
	a.want(t, http.StatusTooManyRequests, "too many attempts: wait 30 s")
}

func TestSetup(t *testing.T) {
	s := newSite(t, web.Config{})
	v := s.visitor(t, "")
	v.get("/signin").wantTo(t, "/setup")
	v.get("/setup").want(t, http.StatusOK, "Setup code")
	fields := []string{"code", webtest.SetupCode, "name", "ada", "password", webtest.Password}
	v.post("/setup", append(fields, "again", "another")...).want(t, http.StatusUnprocessableEntity, "The two passwords differ.", `value="ada"`)
	if n := len(s.asked(http.MethodPost, "/v1/setup")); n != 0 {
		t.Errorf("the API was asked %d times with passwords that differ", n)
	}
	v.post("/setup", "code", "wrong", "name", "ada", "password", webtest.Password, "again", webtest.Password).
		want(t, http.StatusForbidden, "the setup code is wrong")
	v.post("/setup", append(fields, "again", webtest.Password)...).wantTo(t, "/welcome")
	v.get("/welcome").want(t, http.StatusOK, "Enrol the first device")
	v.get("/setup").wantTo(t, "/signin") // it ends after first use
}

func TestOtherWaysIn(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	s.api.Methods(v1.SignInMethods{OIDC: []v1.OIDCProvider{{Name: "Acme <SSO>", URL: "/auth/oidc/acme/start"}}})
	a := s.visitor(t, "").get("/signin")
	a.want(t, http.StatusOK, `href="/auth/oidc/acme/start"`, "Continue with Acme &lt;SSO&gt;")
	if strings.Contains(a.body, `name="password"`) {
		t.Error("the page asks for a password where there are none")
	}
}

// TestReturnOfNoUse: who comes back from an OpenID provider and is not in is told why, in words of ours only.
func TestReturnOfNoUse(t *testing.T) {
	v := newSite(t, web.Config{}, v1.Viewer).visitor(t, "")
	for reason, want := range map[string]string{
		"refused": "ask an admin for one. (Request 0a1b)", "unknown": "does not know that provider", "too-many": "wait a minute",
		"failed": "log says why", "<b>": "log says why",
	} {
		v.get("/signin?"+url.Values{"failed": {reason}, "request": {"0a1b"}}.Encode()).want(t, http.StatusOK, `role="alert"`, want)
	}
	for _, id := range []string{"call +1 555", "<b>0a", strings.Repeat("a", 65)} {
		a := v.get("/signin?" + url.Values{"failed": {"failed"}, "request": {id}}.Encode())
		if a.want(t, http.StatusOK, "log says why"); strings.Contains(a.body, "(Request") {
			t.Errorf("the page repeats what stands in its address: %q", id)
		}
	}
	if strings.Contains(v.get("/signin").body, `role="alert"`) {
		t.Error("the page complains about nothing")
	}
}

func TestTheme(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	v := s.visitor(t, "viewer")
	v.header.Set("Referer", s.url+"/devices?q=a")
	v.post("/theme", "theme", "dark").wantTo(t, "/devices?q=a")
	v.get("/devices").want(t, http.StatusOK, `<html lang="en" data-theme="dark">`)
	v.post("/theme", "theme", "auto")
	v.get("/devices").want(t, http.StatusOK, `<html lang="en">`)
	v.cookies["__Host-probity-theme"] = `"><script>`
	v.get("/devices").want(t, http.StatusOK, `<html lang="en">`)
	v.header.Set("Referer", "https://evil.example/devices")
	v.post("/theme", "theme", "dark").wantTo(t, "/")
}

func TestPassword(t *testing.T) {
	s := newSite(t, web.Config{}, v1.Viewer)
	s.api.Handle("PUT /v1/me/password", func(_ *http.Request, body []byte) (int, any) {
		if strings.Contains(string(body), `"old":"`+webtest.Password+`"`) {
			return http.StatusNoContent, nil
		}
		return http.StatusUnprocessableEntity, &v1.Problem{Title: "Unprocessable", Detail: "the password now is another"}
	})
	v := s.visitor(t, "viewer")
	v.get("/password").want(t, http.StatusOK, `autocomplete="new-password"`)
	v.header.Set("Referer", s.url+"/password")
	v.post("/password", "old", "x", "new", "a new long password", "again", "another").wantTo(t, "/password")
	v.get("/password").want(t, http.StatusOK, "The two new passwords differ.")
	v.post("/password", "old", "x", "new", "a new long password", "again", "a new long password").wantTo(t, "/password")
	v.get("/password").want(t, http.StatusOK, "the password now is another")
	v.post("/password", "old", webtest.Password, "new", "a new long password", "again", "a new long password").wantTo(t, "/")
	first, second := v.get("/devices"), v.get("/devices")
	first.want(t, http.StatusOK, "Password changed.")
	if strings.Contains(second.body, "Password changed.") {
		t.Error("the notice is shown twice")
	}
}
