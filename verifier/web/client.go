package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// errAnswerSize is of an answer that is too long to make a page of.
var errAnswerSize = errors.New("answer of the API is too long for a page")

// call is one request to the API on behalf of a browser.
type call struct {
	method, path string      // path with query
	body         []byte      // nil: none
	kind         string      // media type of body
	header       http.Header // more headers
}

// pathTo returns the path of its parts, each escaped.
func pathTo(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// withQuery returns path with the parameters that have values.
func withQuery(path string, query url.Values) string {
	if s := query.Encode(); s != "" {
		return path + "?" + s
	}
	return path
}

// request returns what the API sees: the call with the browser's credentials and address. That the browser asked from
// our own pages was checked before (see server.ServeHTTP).
func (c call) request(ctx context.Context, r *http.Request) (*http.Request, error) {
	address := "https://" + cmp.Or(r.Host, "localhost") + c.path
	out, err := http.NewRequestWithContext(ctx, c.method, address, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if c.header != nil {
		out.Header = c.header.Clone()
	}
	for _, name := range []string{"Cookie", "User-Agent"} {
		if v := r.Header.Values(name); len(v) > 0 {
			out.Header[name] = v
		}
	}
	out.Header.Set("Sec-Fetch-Site", "same-origin")
	if c.body != nil {
		out.Header.Set("Content-Type", cmp.Or(c.kind, "application/json"))
	}
	out.RemoteAddr, out.TLS, out.RequestURI = r.RemoteAddr, r.TLS, c.path
	return out, nil
}

// do asks the API and decodes its answer into out, if that is not nil. Cookies that the API sets go to the browser.
// A refusal is a *v1.Problem.
func (p *page) do(c call, out any) error {
	req, err := c.request(p.r.Context(), p.r)
	if err != nil {
		return err
	}
	a := &answer{header: http.Header{}}
	p.API.ServeHTTP(a, req)
	p.keepCookies(a.header)
	if a.tooLong {
		return fmt.Errorf("%s %s: %w", c.method, c.path, errAnswerSize)
	}
	if a.status >= 300 {
		return a.problem()
	}
	if out == nil || a.status == http.StatusNoContent || a.body.Len() == 0 {
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = a.body.Bytes()
		return nil
	}
	if err := json.Unmarshal(a.body.Bytes(), out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", c.method, c.path, err)
	}
	return nil
}

func (p *page) keepCookies(from http.Header) {
	p.cookies.Lock()
	defer p.cookies.Unlock()
	for _, cookie := range from.Values("Set-Cookie") {
		p.w.Header().Add("Set-Cookie", cookie)
	}
}

// answer keeps an answer of the API.
type answer struct {
	header  http.Header
	status  int
	body    bytes.Buffer
	tooLong bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(b) > maxAnswer {
		a.tooLong = true
		return 0, errAnswerSize
	}
	return a.body.Write(b)
}

// problem returns the refusal that the answer is.
func (a *answer) problem() *v1.Problem {
	p := &v1.Problem{}
	if err := json.Unmarshal(a.body.Bytes(), p); err != nil || p.Status == 0 {
		p = &v1.Problem{Title: http.StatusText(a.status)}
	}
	p.Status = a.status
	return p
}

// forward hands an answer of the API to the browser as it comes, for files. Only a refusal becomes a page.
func (p *page) forward(path string) error {
	req, err := call{method: http.MethodGet, path: path}.request(p.r.Context(), p.r)
	if err != nil {
		return err
	}
	f := &forwarder{w: p.w}
	p.API.ServeHTTP(f, req)
	if f.refused != nil {
		return f.refused.problem()
	}
	return nil
}

// forwarder passes an answer on, unless it is a refusal, which it keeps.
type forwarder struct {
	w       http.ResponseWriter
	header  http.Header
	refused *answer
	passes  bool
}

// forwarded are the headers of a file that reach the browser; all others are the dashboard's own.
var forwarded = []string{"Content-Type", "Content-Length", "Content-Disposition", "ETag"}

// Header implements http.ResponseWriter.
func (f *forwarder) Header() http.Header {
	if f.header == nil {
		f.header = http.Header{}
	}
	return f.header
}

// WriteHeader implements http.ResponseWriter.
func (f *forwarder) WriteHeader(status int) {
	switch {
	case f.passes || f.refused != nil:
	case status >= 300:
		f.refused = &answer{header: f.Header(), status: status}
	default:
		f.passes = true
		for _, name := range forwarded {
			if v := f.Header().Get(name); v != "" {
				f.w.Header().Set(name, v)
			}
		}
		f.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (f *forwarder) Write(b []byte) (int, error) {
	f.WriteHeader(http.StatusOK)
	if f.refused != nil {
		return f.refused.Write(b)
	}
	return f.w.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and flush.
func (f *forwarder) Unwrap() http.ResponseWriter { return f.w }

var (
	_ io.Writer           = (*forwarder)(nil)
	_ http.ResponseWriter = (*answer)(nil)
)
