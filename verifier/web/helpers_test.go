package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// visitor is a browser without a window: it keeps cookies and does not follow redirects.
type visitor struct {
	t       *testing.T
	site    *site
	cookies map[string]string
	header  http.Header
}

// visitor returns one with a session of the account, or without one for an empty name.
func (s *site) visitor(t *testing.T, name string) *visitor {
	t.Helper()
	v := &visitor{t: t, site: s, cookies: map[string]string{}, header: http.Header{}}
	if name != "" {
		c := s.api.Session(name)
		v.cookies[c.Name] = c.Value
	}
	return v
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (v *visitor) do(method, path string, form url.Values) answer {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(v.t.Context(), method, v.site.url+path, body)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, values := range v.header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.site.handler.ServeHTTP(w, r)
	got := w.Result()
	defer got.Body.Close()
	for _, c := range got.Cookies() {
		if v.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	b, err := io.ReadAll(got.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header, string(b)}
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.do(http.MethodGet, path, nil)
}

func (v *visitor) post(path string, fields ...string) answer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return v.do(http.MethodPost, path, form)
}

// want checks status and that the page says all of the texts.
func (a answer) want(t *testing.T, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status = %d, want %d; page: %s", a.status, status, main(a.body))
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("page does not say %q: %s", text, main(a.body))
		}
	}
}

// wantTo checks that the answer leads to an address.
func (a answer) wantTo(t *testing.T, to string) {
	t.Helper()
	if got := a.header.Get("Location"); a.status != http.StatusSeeOther || got != to {
		t.Errorf("status %d to %q, want %d to %q; page: %s", a.status, got, http.StatusSeeOther, to, main(a.body))
	}
}

// main returns what a page says between the tags of main.
func main(page string) string {
	if _, after, ok := strings.Cut(page, "<main"); ok {
		page, _, _ = strings.Cut(after, "</main>")
	}
	return page
}

// asked returns what the API was asked on a path with a method.
func (s *site) asked(method, path string) (out []requestOf) {
	for _, r := range s.api.Requests() {
		if r.Method == method && r.Path == path {
			out = append(out, r)
		}
	}
	return out
}
