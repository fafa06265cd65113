package web

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// page is one request of a browser.
type page struct {
	*server
	w  http.ResponseWriter
	r  *http.Request
	me v1.Me // who asks; zero on pages that need no session

	calls   int        // requests to the API that change something
	cookies sync.Mutex // guards w's headers while the API is asked
}

// Cookies that the dashboard sets beside the API's session.
const (
	noticeCookie = "__Host-probity-notice"
	themeCookie  = "__Host-probity-theme"
)

// get registers a page for whoever is signed in and may use the operation; empty: whoever is signed in.
func (s *server) get(pattern, operation string, h func(*page) error) {
	s.mux.HandleFunc(pattern, s.open(http.MethodGet, func(p *page) error {
		if err := p.signedIn(); err != nil {
			return err
		}
		if operation != "" && !slices.Contains(p.me.Can, operation) {
			return &v1.Problem{
				Status: http.StatusForbidden, Title: "Forbidden",
				Detail: fmt.Sprintf("the role %s may not see this page: ask an admin for another role", p.me.Role),
			}
		}
		return h(p)
	}))
}

// post registers the receiver of a form for whoever is signed in. Whether they may is the API's to say.
func (s *server) post(pattern string, h func(*page) error) {
	s.mux.HandleFunc(pattern, s.open(http.MethodPost, func(p *page) error {
		if err := p.signedIn(); err != nil {
			return err
		}
		if err := p.parseForm(); err != nil {
			return err
		}
		return h(p)
	}))
}

// postOpen registers the receiver of a form for anybody.
func (s *server) postOpen(pattern string, h func(*page) error) {
	s.mux.HandleFunc(pattern, s.open(http.MethodPost, func(p *page) error {
		if err := p.parseForm(); err != nil {
			return err
		}
		return h(p)
	}))
}

// open returns a handler for anybody.
func (s *server) open(method string, h func(*page) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := &page{server: s, w: w, r: r}
		if err := h(p); err != nil {
			p.fail(err, method)
		}
	}
}

// signedIn asks the API who asks.
func (p *page) signedIn() error { return p.api(http.MethodGet, "/v1/me", nil, &p.me) }

func (p *page) parseForm() error {
	limit := int64(maxForm)
	if strings.HasPrefix(p.r.Header.Get("Content-Type"), "multipart/form-data") {
		limit = maxUpload
	}
	p.r.Body = http.MaxBytesReader(p.w, p.r.Body, limit)
	var err error
	if limit == maxUpload {
		err = p.r.ParseMultipartForm(maxMemory)
	} else {
		err = p.r.ParseForm()
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		size, _ := byteSize(tooLong.Limit) // never fails: an integer
		return &v1.Problem{
			Status: http.StatusRequestEntityTooLarge, Title: "Too large", Detail: "what was sent is larger than " + size,
		}
	case err != nil:
		return &v1.Problem{Status: http.StatusBadRequest, Title: "Bad Request", Detail: "the form could not be read"}
	}
	return nil
}

// api asks the API. in is sent as JSON unless it is nil; the answer is decoded into out unless that is nil. out may be
// a *[]byte. Requests that change something carry the form's key, so that a form that is sent twice is done once.
func (p *page) api(method, path string, in, out any) error {
	c := call{method: method, path: path}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		c.body = b
	}
	return p.call(c, out)
}

// question is what a page wants to know of the API, and where the answer goes.
type question struct {
	path string
	out  any
}

// ask asks the API several things at once: each takes its time where there are many devices. Of errors the one of the
// first question counts.
func (p *page) ask(questions ...question) error {
	errs := make([]error, len(questions))
	var wg sync.WaitGroup
	for i, q := range questions {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					errs[i] = fmt.Errorf("GET %s panicked: %v: %s", q.path, v, debug.Stack())
				}
			}()
			errs[i] = p.api(http.MethodGet, q.path, nil, q.out)
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// call asks the API with any body; see api.
func (p *page) call(c call, out any) error {
	if c.header == nil {
		c.header = http.Header{}
	}
	if c.method != http.MethodGet {
		if key := p.r.PostFormValue("_key"); key != "" {
			p.calls++
			c.header.Set("Idempotency-Key", fmt.Sprintf("%.64s-%d", key, p.calls))
		}
	}
	return p.do(c, out)
}

// can reports whether the person may use an operation of the API, as far as pages should offer it.
func (p *page) can(operation string) bool { return slices.Contains(p.me.Can, operation) }

// show answers with a page: template templates/NAME.html, which sees data as .Data.
func (p *page) show(name, title string, data any) error {
	return p.render(http.StatusOK, name, title, data)
}

func (p *page) render(status int, name, title string, data any) error {
	t, ok := p.templates[name]
	if !ok {
		return fmt.Errorf("no template %s", name)
	}
	var buf bytes.Buffer
	v := view{page: p, Title: title, Name: name, Data: data, Notice: p.takeNotice(), Now: p.Now()}
	if err := t.ExecuteTemplate(&buf, "layout", &v); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	p.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p.w.WriteHeader(status)
	_, _ = p.w.Write(visible(buf.Bytes())) // the browser is gone: nobody to tell
	return nil
}

// redirect leads the browser to another page of ours.
func (p *page) redirect(to string) error {
	http.Redirect(p.w, p.r, to, http.StatusSeeOther)
	return nil
}

// done ends a form: the page at the address to says text.
func (p *page) done(to, text string) error {
	p.setNotice(notice{Text: text})
	return p.redirect(to)
}

// back returns the page that the form was sent from, or fallback.
func (p *page) back(fallback string) string {
	u, err := url.Parse(p.r.Referer())
	if err != nil || u.Host != p.r.Host || u.Path == "" {
		return fallback
	}
	return local((&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String(), fallback)
}

// local returns to if it is the address of a page of ours, otherwise fallback: never another site's.
func local(to, fallback string) string {
	if len(to) > maxNext || strings.ContainsAny(to, "\\\r\n\t") || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
		return fallback
	}
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" {
		return fallback
	}
	return to
}

// notice is what the next page says of the form before it.
type notice struct {
	Text    string `json:"t"`
	Problem bool   `json:"p,omitempty"` // it went wrong
}

func (p *page) setNotice(n notice) {
	if len(n.Text) > maxNotice {
		n.Text = strings.ToValidUTF8(n.Text[:maxNotice], "") + "..."
	}
	b, err := json.Marshal(n)
	if err != nil {
		return // strings always marshal
	}
	http.SetCookie(p.w, &http.Cookie{
		Name: noticeCookie, Path: "/", Value: base64.RawURLEncoding.EncodeToString(b),
		MaxAge: int(noticeLifetime / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// takeNotice returns the notice, which is shown once.
func (p *page) takeNotice() (n notice) {
	c, err := p.r.Cookie(noticeCookie)
	if err != nil || p.fragment() {
		return n
	}
	http.SetCookie(p.w, &http.Cookie{
		Name: noticeCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(b, &n) != nil {
		return notice{}
	}
	return n
}

// fragment reports whether a script of ours asks for a part of a page.
func (p *page) fragment() bool { return p.r.Header.Get("HX-Request") == "true" }

// fail answers a request that went wrong: who is not signed in is led to where they can; a form's refusal is told on
// the page that it came from; everything else is a page that says what, and what to do.
func (p *page) fail(err error, method string) {
	var problem *v1.Problem
	if !errors.As(err, &problem) {
		p.Log.Error("page failed", "method", p.r.Method, "path", p.r.URL.Path, "error", err)
		problem = &v1.Problem{
			Status: http.StatusInternalServerError, Title: "The verifier failed",
			Detail: "the page could not be made; the verifier's log says why",
		}
	}
	switch {
	case problem.Status == http.StatusUnauthorized && !p.fragment():
		p.askSignIn()
		return
	case method == http.MethodPost && problem.Status < 500 && problem.Status != http.StatusForbidden && p.me.Name != "":
		if to := p.back(""); to != "" {
			p.setNotice(notice{Text: problem.Error(), Problem: true})
			_ = p.redirect(to)
			return
		}
	}
	if problem.Status < 400 {
		problem.Status = http.StatusInternalServerError
	}
	if err := p.render(problem.Status, "error", cmp.Or(problem.Title, "Error"), problem); err != nil {
		p.Log.Error("page of an error failed", "error", err)
		http.Error(p.w, problem.Error(), problem.Status)
	}
}

// askSignIn leads to the sign-in page and from there back.
func (p *page) askSignIn() {
	next := "/"
	if p.r.Method == http.MethodGet {
		next = p.r.URL.RequestURI()
	} else if to := p.back(""); to != "" {
		next = to
	}
	query := url.Values{}
	if next = local(next, "/"); next != "/" {
		query.Set("next", next)
	}
	_ = p.redirect(withQuery("/signin", query))
}

func (p *page) notFound() error {
	if err := p.signedIn(); err != nil {
		return err
	}
	return &v1.Problem{Status: http.StatusNotFound, Title: "No such page", Detail: "there is nothing at this address"}
}
