package fleet

import (
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
)

// TestTraces: the span of an appraisal says how it went; only what the verifier fails at is an error.
func TestTraces(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	f := &Fleet{cfg: Config{Traces: trace.NewTracerProvider(trace.WithSyncer(spans))}}
	for want, err := range map[string]error{
		"appraised": nil, "wanted": &appraise.MissingError{}, "failed": errors.New("disk full"),
		"rejected": &appraise.Rejection{Code: proto.CodeNonceExpired, Err: errors.New("old")},
	} {
		spans.Reset()
		_, done := f.traceAppraisal(t.Context())
		done(err)
		got := spans.GetSpans()
		if len(got) != 1 || got[0].Name != "appraise evidence" {
			t.Fatalf("spans = %+v, want one", got)
		}
		outcome := ""
		for _, a := range got[0].Attributes {
			if a.Key == "probity.outcome" {
				outcome = a.Value.AsString()
			}
		}
		if outcome != want || (got[0].Status.Code == codes.Error) != (want == "failed") {
			t.Errorf("%v: outcome %q, %v, want %q", err, outcome, got[0].Status, want)
		}
	}
}
