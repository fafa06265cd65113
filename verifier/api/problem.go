package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// problemf returns a problem that says to the client what format says.
func problemf(status int, format string, a ...any) *v1.Problem {
	return &v1.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, a...),
	}
}

// problem returns what a client learns of an error.
func (s *server) problem(ctx context.Context, err error) *v1.Problem {
	var p *v1.Problem
	var r refusal
	switch {
	case errors.As(err, &p):
	case errors.As(err, &r):
		p = problemf(http.StatusConflict, "%s", r.Refused())
	case errors.Is(err, store.ErrNotFound):
		p = problemf(http.StatusNotFound, "not found")
	case errors.Is(err, store.ErrConflict):
		p = problemf(http.StatusConflict, "changed meanwhile: read it again and retry")
	case errors.Is(err, context.DeadlineExceeded):
		s.Log.Error("request took too long", "request", requestOf(ctx).id, "error", err)
		p = problemf(http.StatusServiceUnavailable, "the verifier is busy: try again")
	case errors.Is(err, context.Canceled):
		p = problemf(http.StatusServiceUnavailable, "canceled")
	default:
		s.Log.Error("request failed", "request", requestOf(ctx).id, "error", err)
		p = internal()
	}
	p.Instance = requestOf(ctx).instance()
	return p
}

func internal() *v1.Problem {
	return problemf(http.StatusInternalServerError,
		"internal error: the verifier's log says more under the request id in instance")
}

// transformProblem turns huma's own errors, all about the request, into ours: bounded, and without echoes of what was
// sent, which huma repeats for every error.
func transformProblem(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problemf(m.Status, "%s", m.Detail)
	if m.Status >= http.StatusInternalServerError {
		p = internal()
		p.Status, p.Title = m.Status, http.StatusText(m.Status)
		m.Errors = nil
	}
	p.Instance = requestOf(ctx.Context()).instance()
	for _, e := range m.Errors[:min(len(m.Errors), maxProblems)] {
		if e != nil {
			p.Errors = append(p.Errors, v1.ProblemDetail{Location: clip(e.Location), Message: clip(e.Message)})
		}
	}
	return p, nil
}

// writeProblem answers a request that does not reach the router.
func writeProblem(w http.ResponseWriter, r *http.Request, p *v1.Problem) {
	p.Instance = requestOf(r.Context()).instance()
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = v1.Encode(w, p) // the client is gone: nobody to tell
}

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}
