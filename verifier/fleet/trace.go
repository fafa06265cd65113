package fleet

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/probity-attest/probity/verifier/appraise"
)

// traceAppraisal starts the span of an appraisal; the function ends it. Spans name no device.
func (f *Fleet) traceAppraisal(ctx context.Context) (context.Context, func(error)) {
	ctx, span := f.cfg.Traces.Tracer("github.com/probity-attest/probity/verifier/fleet").Start(ctx, "appraise evidence",
		trace.WithSpanKind(trace.SpanKindConsumer))
	return ctx, func(err error) {
		outcome := "appraised"
		var missing *appraise.MissingError
		var rejected *appraise.Rejection
		switch {
		case err == nil:
		case errors.As(err, &missing):
			outcome = "wanted"
		case errors.As(err, &rejected):
			outcome = "rejected"
			span.SetAttributes(attribute.String("probity.code", rejected.Code))
		default:
			outcome = "failed"
			span.SetStatus(codes.Error, "internal failure")
		}
		span.SetAttributes(attribute.String("probity.outcome", outcome))
		span.End()
	}
}
