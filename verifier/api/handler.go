package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"path"
	"runtime/debug"
	"time"
)

// request is what the log and the answer know a request by.
type request struct{ id string }

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
	route := s.route(r)
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), requestKey{}, req), handleTimeout+uploadTime(route))
	defer cancel()
	r = r.WithContext(ctx)
	out := &recorder{ResponseWriter: w}
	secure(out.Header(), req)
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("request panicked", "request", req.id, "route", route, "panic", v, "stack", string(debug.Stack()))
			if out.status == 0 {
				writeProblem(out, r, internal())
			}
		}
		s.metrics.observe(route, out.status, time.Since(start))
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
	if !open[route] {
		p, err := s.authenticate(r)
		if err != nil {
			problem := s.problem(r.Context(), err)
			if problem.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="probity"`)
			}
			writeProblem(w, r, problem)
			return
		}
		r = r.WithContext(withPrincipal(r.Context(), p))
	}
	if more := uploadTime(route); more > 0 { // only for those who may
		c, now := http.NewResponseController(w), time.Now()
		_ = c.SetReadDeadline(now.Add(readTimeout + more)) // without deadlines, as in tests, none is missed
		_ = c.SetWriteDeadline(now.Add(writeTimeout + more))
	}
	// Twice the limit: the router's own check answers better where it applies.
	r.Body = http.MaxBytesReader(w, r.Body, 2*bodyLimit(route))
	s.mux.ServeHTTP(w, r)
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
