package api

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracerName names this package in spans.
const tracerName = "github.com/probity-attest/probity/verifier/api"

// traceRequest starts the span of a request, in the trace that its caller names (W3C Trace Context, section 3.2). It is
// called after the route is known: spans name patterns, never ids. The function ends the span.
func (s *server) traceRequest(ctx context.Context, r *http.Request, route string) (context.Context, func(status int)) {
	if route == "" {
		route = "none"
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, span := s.Traces.Tracer(tracerName).Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method(r.Method)), attribute.String("http.route", route),
		attribute.String("probity.request", requestOf(ctx).id)))
	return ctx, func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// method returns a method by its name, "_OTHER" where it is none that the router knows (OpenTelemetry semantic conventions
// for HTTP spans).
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "_OTHER"
}
