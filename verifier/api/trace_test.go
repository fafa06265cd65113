package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
)

// TestTraces: spans are of the caller's trace and name the route, not what was asked for.
func TestTraces(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	h := newHarness(t, func(c *api.Config) { c.Traces = trace.NewTracerProvider(trace.WithSyncer(spans)) })
	id := apitest.ID("nobody")
	r := httptest.NewRequest("GET", "/v1/devices/"+id, nil)
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	h.do("BREW", "/no/such/place", "")
	got := spans.GetSpans()
	if len(got) != 2 {
		t.Fatalf("%d spans, want 2", len(got))
	}
	if got[0].Name != "GET /v1/devices/{id}" || got[0].SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("span %q of trace %s, want the route in the caller's trace", got[0].Name, got[0].SpanContext.TraceID())
	}
	if got[1].Name != "none" || got[1].Status.Code != codes.Unset {
		t.Errorf("span %q, %v, want none without error", got[1].Name, got[1].Status)
	}
	for _, s := range got {
		for _, a := range s.Attributes {
			if v := a.Value.Emit(); strings.Contains(v, id) || strings.Contains(v, h.token) || v == "BREW" {
				t.Errorf("span %q has %s = %q", s.Name, a.Key, v)
			}
		}
	}
}
