package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"path"
	"runtime/debug"
	"time"
)

// request is what the log and the answer know a request by.
type request struct {
	id     string
	from   *http.Request // as it came
	answer http.Header   // of the answer
}

func (r request) instance() string { return "urn:probity:request:" + r.id }

type requestKey struct{}

func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

func newRequest() request {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return request{id: hex.EncodeToString(b[:])}
}

// ServeHTTP answers a request: headers, route, credential, then the router.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	req := newRequest()
	r = gateRequest(r)
	req.from, req.answer = r, w.Header()
	route := s.route(r)
	ctx, cancel := patience(context.WithValue(r.Context(), requestKey{}, req), route)
	defer cancel()
	ctx, traced := s.traceRequest(ctx, r, route)
	r = r.WithContext(ctx)
	out := &recorder{ResponseWriter: w}
	secure(out.Header(), req)
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			defer panic(v) // an answer that must not look whole
		} else if v != nil {
			s.Log.Error("request panicked", "request", req.id, "route", route, "panic", v, "stack", string(debug.Stack()))
			if out.status == 0 {
				writeProblem(out, r, internal())
			}
		}
		s.metrics.observe(route, out.status, time.Since(start))
		traced(out.status)
		s.Log.Log(ctx, s.level(r.Method, out.status), "request", "request", req.id, "method", r.Method, "route", route,
			"status", out.status, "remote", r.RemoteAddr, "took", time.Since(start))
	}()
	s.serve(out, r, route)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, route string) {
	if route == "" {
		writeProblem(w, r, problemf(http.StatusNotFound, "no such resource"))
		return
	}
	if wait := s.gauge.stranger(r, open[route]); wait > 0 {
		tooMany(w, r, wait)
		return
	}
	if !open[route] {
		p, err := s.authenticate(r)
		if err != nil {
			problem := s.problem(r.Context(), err)
			if problem.Status < http.StatusInternalServerError {
				s.gauge.refused(r)
			}
			if problem.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="probity"`)
				forget(w, r)
			}
			writeProblem(w, r, problem)
			return
		}
		if wait := s.gauge.principal(r, p); wait > 0 {
			tooMany(w, r, wait)
			return
		}
		out, in, end := s.audited(w, r.WithContext(withPrincipal(r.Context(), p)), s.mux.operations[route], &p)
		defer end()
		w, r = out, in
		if err := errors.Join(s.ownPages(r, &p), permit(&p, s.mux.operations[route])); err != nil {
			writeProblem(w, r, s.problem(r.Context(), err))
			return
		}
	}
	if more := uploadTime(route); more > 0 { // only for those who may
		c, now := http.NewResponseController(w), time.Now()
		_ = c.SetReadDeadline(now.Add(readTimeout + more)) // without deadlines, as in tests, none is missed
		_ = c.SetWriteDeadline(now.Add(writeTimeout + more))
	}
	// Twice the limit: the router's own check answers better where it applies.
	r.Body = http.MaxBytesReader(w, r.Body, 2*bodyLimit(route))
	s.conduct(w, r, route)
}

// route returns the pattern that serves the request, empty for none. Paths that the router would redirect, because they
// are not clean, lead nowhere either.
func (s *server) route(r *http.Request) string {
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		return ""
	}
	_, pattern := s.mux.Handler(r)
	return pattern
}

// secure sets what keeps a browser from doing anything with an answer but showing it as the data that it is.
func secure(h http.Header, req request) {
	h.Set("X-Request-Id", req.id)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
