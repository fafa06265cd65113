package web

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// sessionPages registers what people need to get in and out.
func (s *server) sessionPages() {
	s.mux.HandleFunc("GET /signin", s.open(http.MethodGet, (*page).signIn))
	s.postOpen("POST /signin", (*page).enter)
	s.mux.HandleFunc("GET /setup", s.open(http.MethodGet, (*page).setup))
	s.postOpen("POST /setup", (*page).begin)
	s.postOpen("POST /signout", (*page).leave)
	s.postOpen("POST /theme", (*page).theme)
	s.get("GET /password", "", func(p *page) error { return p.show("password", "Change password", nil) })
	s.post("POST /password", (*page).password)
	s.mux.HandleFunc("GET /ping", s.open(http.MethodGet, (*page).ping))
}

// door is what the pages before the session show.
type door struct {
	Methods v1.SignInMethods
	Next    string // page to go to
	Name    string // as it was typed
	Problem string
}

func (p *page) methods() (v1.SignInMethods, error) {
	var m v1.SignInMethods
	err := p.api(http.MethodGet, "/v1/sign-in", nil, &m)
	return m, err
}

// signIn shows how to get in. Whoever is in already goes on, and where there is no account yet, the first is made.
func (p *page) signIn() error {
	next := local(p.r.URL.Query().Get("next"), "/")
	if err := p.signedIn(); err == nil {
		return p.redirect(next)
	}
	methods, err := p.methods()
	if err != nil {
		return err
	}
	if methods.Setup {
		return p.redirect("/setup")
	}
	return p.show("signin", "Sign in", door{Methods: methods, Next: next, Problem: notSignedIn(p.r.URL.Query())})
}

// notSignedIn says why an OpenID provider's return to this page was of no use, empty if there was none.
func notSignedIn(query url.Values) string {
	text := ""
	switch query.Get("failed") {
	case "":
		return ""
	case "refused":
		text = "The provider knows you, but no account of this verifier is yours: ask an admin for one."
	case "unknown":
		text = "This verifier does not know that provider: choose another way to sign in."
	case "too-many":
		text = "Too many attempts: wait a minute and try again."
	default:
		text = "Signing in at the provider failed: try again, or choose another way. The verifier's log says why."
	}
	if id := query.Get("request"); requestID.MatchString(id) {
		text += " (Request " + id + ")"
	}
	return text
}

// requestID is what requests are called in the log: nothing else in the address gets onto the page.
var requestID = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// enter asks for a session. What was wrong with name or password nobody is told.
func (p *page) enter() error {
	in := v1.SignIn{Name: p.r.PostFormValue("name"), Password: p.r.PostFormValue("password")}
	next := local(p.r.PostFormValue("next"), "/")
	err := p.api(http.MethodPost, "/v1/session", in, nil)
	if err == nil {
		return p.redirect(next)
	}
	var problem *v1.Problem
	if !errors.As(err, &problem) || problem.Status >= 500 {
		return err
	}
	methods, err := p.methods()
	if err != nil {
		return err
	}
	text := problem.Error()
	switch problem.Status {
	case http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusBadRequest:
		text = "Name or password is wrong."
	}
	return p.render(problem.Status, "signin", "Sign in", door{Methods: methods, Next: next, Name: in.Name, Problem: text})
}

func (p *page) setup() error {
	methods, err := p.methods()
	if err != nil {
		return err
	}
	if !methods.Setup {
		return p.redirect("/signin")
	}
	return p.show("setup", "Set up", door{Methods: methods})
}

// begin makes the first account and leads to the first-run page.
func (p *page) begin() error {
	in := v1.Setup{
		Code: p.r.PostFormValue("code"), Name: p.r.PostFormValue("name"), Password: p.r.PostFormValue("password"),
	}
	refuse := func(status int, text string) error {
		return p.render(status, "setup", "Set up", door{Name: in.Name, Problem: text})
	}
	if in.Password != p.r.PostFormValue("again") {
		return refuse(http.StatusUnprocessableEntity, "The two passwords differ.")
	}
	err := p.api(http.MethodPost, "/v1/setup", in, nil)
	var problem *v1.Problem
	switch {
	case err == nil:
		return p.redirect("/welcome")
	case !errors.As(err, &problem) || problem.Status >= 500:
		return err
	}
	return refuse(problem.Status, problem.Error())
}

// leave ends the session. That it had ended already is as good.
func (p *page) leave() error {
	err := p.api(http.MethodDelete, "/v1/session", nil, nil)
	var problem *v1.Problem
	if errors.As(err, &problem) && problem.Status == http.StatusUnauthorized {
		err = nil
	}
	if err != nil {
		return err
	}
	p.w.Header().Set("Clear-Site-Data", `"cache"`)
	return p.redirect("/signin")
}

// theme keeps which colours this browser wants.
func (p *page) theme() error {
	c := &http.Cookie{
		Name: themeCookie, Path: "/", Value: p.r.PostFormValue("theme"), MaxAge: int(themeLifetime / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if c.Value != "light" && c.Value != "dark" {
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(p.w, c)
	return p.redirect(p.back("/"))
}

func (p *page) password() error {
	in := v1.PasswordChange{Old: p.r.PostFormValue("old"), New: p.r.PostFormValue("new")}
	if in.New != p.r.PostFormValue("again") {
		return &v1.Problem{Status: http.StatusUnprocessableEntity, Detail: "The two new passwords differ."}
	}
	if err := p.api(http.MethodPut, "/v1/me/password", in, nil); err != nil {
		var problem *v1.Problem
		if errors.As(err, &problem) && problem.Status == http.StatusUnauthorized {
			return p.redirect("/signin?" + url.Values{"next": {"/password"}}.Encode())
		}
		return err
	}
	return p.done("/", "Password changed.")
}

// ping tells scripts whether there is a session and which version answers.
func (p *page) ping() error {
	err := p.signedIn()
	var problem *v1.Problem
	switch {
	case err == nil:
		p.w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &problem):
		p.w.WriteHeader(problem.Status)
	default:
		p.w.WriteHeader(http.StatusInternalServerError)
	}
	return nil
}
