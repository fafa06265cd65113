package verifier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// tracesTimeout is how long spans that were not sent yet may take when the verifier stops.
const tracesTimeout = 5 * time.Second

// Tracing configures OpenTelemetry traces (OTLP over HTTP). Spans name routes and kinds, never devices.
type Tracing struct {
	Endpoint string  `koanf:"endpoint" doc:"URL of an OpenTelemetry collector that takes OTLP over HTTP, such as https://collector:4318; empty: no traces"`
	Sample   float64 `koanf:"sample" doc:"share of requests and appraisals that are traced, from 0 to 1"`
}

// check reports what is wrong with the configuration.
func (t *Tracing) check() error {
	if t.Sample < 0 || t.Sample > 1 {
		return fmt.Errorf("tracing.sample: %v: want 0 to 1", t.Sample)
	}
	if t.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("tracing.endpoint: %q: want a URL such as https://collector:4318", t.Endpoint)
	}
	return nil
}

// provider returns what spans go to; nil when there are to be none. A collector that cannot be reached loses spans and
// holds nothing up.
func (t *Tracing) provider(ctx context.Context, name, version string, roots *x509.CertPool) (*trace.TracerProvider, error) {
	if t.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces" // OTLP specification, section OTLP/HTTP request
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(u.String())}
	if u.Scheme == "https" {
		options = append(options, otlptracehttp.WithTLSClientConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	// Callers, who may be strangers, choose the trace that a request belongs to but not that it is sent.
	share := trace.TraceIDRatioBased(t.Sample)
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithSampler(trace.ParentBased(share, trace.WithRemoteParentSampled(share))),
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", "probity-verifier"),
			attribute.String("service.version", version), attribute.String("service.instance.id", name)))), nil
}
