package verifier

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTracing: with an endpoint set, spans of requests come to the collector when they are made or, at the latest, when the
// verifier stops; without one nothing is set up.
func TestTracing(t *testing.T) {
	if v := start(t, testConfig(t)); v.spans != nil || v.traces() != nil {
		t.Error("traces are on by default")
	}
	type request struct{ path, kind string }
	got := make(chan request, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- request{r.URL.Path, r.Header.Get("Content-Type")}
	}))
	defer collector.Close()
	cfg := testConfig(t)
	cfg.Tracing = Tracing{Endpoint: collector.URL, Sample: 1}
	v := start(t, cfg)
	o, _ := readOperator(t, cfg)
	if status := o.get(t, cfg, "/v1/devices"); status != http.StatusOK {
		t.Fatalf("status = %d", status)
	}
	v.stop()
	select {
	case r := <-got:
		if r.path != "/v1/traces" || r.kind != "application/x-protobuf" {
			t.Errorf("the collector got %+v, want OTLP at /v1/traces", r)
		}
	case <-time.After(patience):
		t.Error("the collector got nothing")
	}
}

func TestAlertsAndTracingConfig(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"alerts.dashboard: \"probity\"":   func(c *Config) { c.Alerts.Dashboard = "probity" },
		"tracing.sample: 1.5":             func(c *Config) { c.Tracing.Sample = 1.5 },
		"tracing.endpoint: \"collector\"": func(c *Config) { c.Tracing.Endpoint = "collector" },
		"want a URL such as https://coll": func(c *Config) { c.Tracing.Endpoint = "ftp://collector" },
	} {
		c := testConfig(t)
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Check() = %v, want %q in it", err, says)
		}
	}
	c := testConfig(t)
	c.Alerts = Alerts{Dashboard: "https://probity.example.net/", AllowLocal: true}
	c.Tracing = Tracing{Endpoint: "https://collector:4318", Sample: 0}
	if err := c.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if _, err := (&Alerts{CAFile: "/does/not/exist"}).roots(); err == nil || !strings.Contains(err.Error(), "alerts.ca-file") {
		t.Errorf("roots() = %v, want the key in it", err)
	}
	if _, err := (&Alerts{CAFile: "tracing_test.go"}).roots(); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("roots() of a file without certificates = %v", err)
	}
}
