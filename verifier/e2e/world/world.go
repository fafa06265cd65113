// Package world starts whole verifiers for tests: a real one on loopback with a store, a broker, an API and a TPM maker
// that its operator trusts, and an operator who asks its API.
package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Patience is how long a condition is awaited.
const Patience = 60 * time.Second

// World is a verifier and the TPM maker that its operator trusts.
type World struct {
	CA     *tpmtest.CA
	Config verifier.Config

	MQTT, Fingerprint, Token string // what a device needs to enrol
	URL, Operator            string // API and the operator's token
	HTTP                     *http.Client

	tb   testing.TB
	out  Buffer
	stop func()
}

// New starts a verifier that ends with the test; change, which may be nil, adapts its configuration.
func New(tb testing.TB, change func(*verifier.Config)) *World {
	tb.Helper()
	dir := tb.TempDir()
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		tb.Fatal(err)
	}
	w := &World{tb: tb, CA: ca, Config: verifier.DefaultConfig()}
	w.Config.StateDir = filepath.Join(dir, "verifier")
	w.Config.Enrollment.Roots = filepath.Join(dir, "tpm-roots")
	w.Config.MQTT.Listen, w.Config.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	if err := os.MkdirAll(w.Config.Enrollment.Roots, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := ca.WriteRoot(w.Config.Enrollment.Roots); err != nil {
		tb.Fatal(err)
	}
	if err := ca.WriteIntermediate(w.Config.Enrollment.Roots); err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(&w.Config)
	}
	w.Start()
	tb.Cleanup(func() { w.Stop() })
	return w
}

// Attach returns the operator's side of a verifier that runs as a process of its own with this configuration: set what the
// process listens on, then Connect.
func Attach(tb testing.TB, ca *tpmtest.CA, c verifier.Config) *World {
	return &World{CA: ca, Config: c, tb: tb}
}

// EnrolLine finds what a verifier prints for devices: server, fingerprint and token are its groups.
var EnrolLine = regexp.MustCompile(`probity-agent run --verifier (\S+) --ca-fingerprint (\S+) --token (\S+)`)

// Start starts the verifier again after Stop and waits until it can hear devices. Ports stay the same.
func (w *World) Start() {
	w.tb.Helper()
	log := slog.New(slog.NewTextHandler(w.tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	v, err := verifier.New(w.tb.Context(), w.Config, "test", log)
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, &w.out) }()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.tb.Errorf("verifier ended: %v", err)
			}
		})
	}
	w.Fingerprint = v.Fingerprint()
	select {
	case <-v.Ready():
	case err := <-ended:
		w.tb.Fatalf("verifier ended: %v", err)
	case <-time.After(Patience):
		w.tb.Fatal("the verifier does not become ready")
	}
	w.Config.API.Listen, w.Config.MQTT.Listen = v.APIAddr(), v.MQTTAddr()
	if err := w.Connect(); err != nil {
		w.tb.Fatal(err)
	}
	if m := EnrolLine.FindStringSubmatch(w.out.String()); m != nil {
		w.Token = m[3]
	}
	w.MQTT = "mqtts://" + w.Config.MQTT.Listen
}

// Output returns what the verifier has printed.
func (w *World) Output() string { return w.out.String() }

// Stop ends the verifier and waits for its end.
func (w *World) Stop() { w.stop() }

// Connect reads the operator's context and asks for the verifier's health.
func (w *World) Connect() error {
	b, err := os.ReadFile(filepath.Join(w.Config.StateDir, "operator.yaml"))
	if err != nil {
		return err
	}
	var c struct{ URL, Token string }
	if err := yaml.Unmarshal(b, &c); err != nil {
		return err
	}
	w.URL, w.Operator = "https://"+w.Config.API.Listen, c.Token
	w.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: w.TLS()}, Timeout: Patience}
	res, err := w.HTTP.Get(w.URL + "/healthz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", res.Status)
	}
	return nil
}

// TLS returns a configuration that trusts the verifier's CA and nobody else.
func (w *World) TLS() *tls.Config {
	w.tb.Helper()
	pem, err := os.ReadFile(filepath.Join(w.Config.StateDir, "keys", "ca.pem"))
	if err != nil {
		w.tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}

// Call asks the API as the operator. body and into are JSON, either may be nil. A status of 400 or more is the error.
func (w *World) Call(method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.URL+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.Operator)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := w.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// Must is Call that must succeed.
func (w *World) Must(method, path string, body, into any) {
	w.tb.Helper()
	if err := w.Call(method, path, body, into); err != nil {
		w.tb.Fatal(err)
	}
}

// Device returns a device as the API shows it; the zero Device while it is not known.
func (w *World) Device(id string) v1.Device {
	var d v1.Device
	_ = w.Call(http.MethodGet, "/v1/devices/"+id, nil, &d)
	return d
}

// Newest returns the newest result of a device.
func (w *World) Newest(id string) v1.Result {
	w.tb.Helper()
	var r v1.Results
	w.Must(http.MethodGet, "/v1/devices/"+id+"/results?limit=1", nil, &r)
	if len(r.Results) == 0 {
		w.tb.Fatalf("device %s has no results", id)
	}
	return r.Results[0]
}

// Events returns a device's events of one kind, newest first.
func (w *World) Events(id, kind string) []v1.Event {
	w.tb.Helper()
	var e struct{ Events []v1.Event }
	w.Must(http.MethodGet, "/v1/devices/"+id+"/events?limit=100", nil, &e)
	var out []v1.Event
	for _, x := range e.Events {
		if x.Kind == kind {
			out = append(out, x)
		}
	}
	return out
}

// Baseline makes reference values of a device and puts them in force.
func (w *World) Baseline(id, name string) {
	w.tb.Helper()
	w.Must(http.MethodPost, "/v1/baselines", map[string]any{"device": id, "name": name}, nil)
}

// Await waits for a condition.
func (w *World) Await(what string, is func() bool) {
	w.tb.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			w.tb.Fatalf("waited %s in vain until %s", Patience, what)
		}
	}
}

// Buffer is a buffer that one goroutine writes and another reads.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String returns what was written so far.
func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
