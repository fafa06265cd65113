package verifier

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/probity-attest/probity/verifier/notify"
)

// Alerts configures how alerts are sent. What is told to whom is set in the dashboard and with the command line.
type Alerts struct {
	AllowLocal bool   `koanf:"allow-local" doc:"let alert channels lead to this machine and its link; otherwise whoever may add channels could reach what listens for this machine only"`
	CAFile     string `koanf:"ca-file" doc:"PEM file of certificate authorities that alert channels and the tracing endpoint are trusted by, beside the system's"`
	Dashboard  string `koanf:"dashboard" doc:"URL of the dashboard as people reach it, to which alerts link; default: the address of the API"`
}

// check reports what is wrong with the configuration.
func (a *Alerts) check() error {
	if a.Dashboard == "" {
		return nil
	}
	if u, err := url.Parse(a.Dashboard); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("alerts.dashboard: %q: want a URL such as https://probity.example.net", a.Dashboard)
	}
	return nil
}

// roots returns what targets' certificates may lead to; nil: what the system has.
func (a *Alerts) roots() (*x509.CertPool, error) {
	if a.CAFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("alerts.ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: the file's alone
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("alerts.ca-file: %s: want certificates in PEM", a.CAFile)
	}
	return pool, nil
}

// trace sets up where spans go. Nothing is sent before Run.
func (v *Verifier) trace(ctx context.Context) error {
	roots, err := v.cfg.Alerts.roots()
	if err != nil {
		return err
	}
	v.spans, err = v.cfg.Tracing.provider(ctx, v.cfg.name(), v.version, roots)
	return err
}

// traces returns where spans go; nil: nowhere.
func (v *Verifier) traces() oteltrace.TracerProvider {
	if v.spans == nil {
		return nil // an interface that holds a nil pointer is not nil
	}
	return v.spans
}

// alert puts the part together that tells alerts. The API must listen already.
func (v *Verifier) alert() error {
	roots, err := v.cfg.Alerts.roots()
	if err != nil {
		return err
	}
	dashboard := v.cfg.Alerts.Dashboard
	if dashboard == "" {
		dashboard = v.apiURL()
	}
	metrics := notify.NewMetrics()
	if err := metrics.Register(v.metrics, v.store, v.log); err != nil {
		return err
	}
	v.notifier, err = notify.New(notify.Config{
		Store: v.store, Verifier: v.cfg.name(), Version: v.version, Dashboard: strings.TrimRight(dashboard, "/"), Tenant: v.cfg.Tenant,
		Local: v.cfg.Alerts.AllowLocal, Roots: roots, Metrics: metrics, Traces: v.traces(), Log: v.log,
	})
	return err
}

// flush sends the spans that were not sent yet.
func (v *Verifier) flush() {
	if v.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesTimeout)
	defer cancel()
	if err := v.spans.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		v.log.Warn("the last traces were not sent", "error", err)
	}
}
