// Package world starts whole verifiers for tests and pictures: a real one on loopback with a store, a broker, an API and
// a TPM maker that its operator trusts, an operator who asks its API, and vendors who sign manifests.
package world

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Patience is how long a condition is awaited.
const Patience = 60 * time.Second

// World is a verifier and the TPM maker that its operator trusts, in a test.
type World struct {
	*Operator

	CA     *tpmtest.CA
	Config verifier.Config

	MQTT, Fingerprint, Token string // what a device needs to enrol

	tb  testing.TB
	out Buffer
	end func() error
}

// New starts a verifier that ends with the test; change, which may be nil, adapts its configuration.
func New(tb testing.TB, change func(*verifier.Config)) *World {
	tb.Helper()
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		tb.Fatal(err)
	}
	w := &World{tb: tb, CA: ca}
	if w.Config, err = Settings(tb.TempDir(), ca); err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(&w.Config)
	}
	w.Start()
	tb.Cleanup(w.Stop)
	return w
}

// Attach returns the operator's side of a verifier that runs as a process of its own with this configuration: set what the
// process listens on, then Connect.
func Attach(tb testing.TB, ca *tpmtest.CA, c verifier.Config) *World {
	return &World{CA: ca, Config: c, tb: tb}
}

// Start starts the verifier again after Stop and waits until it can hear devices. Ports stay the same.
func (w *World) Start() {
	w.tb.Helper()
	log := slog.New(slog.NewTextHandler(w.tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	v, end, err := Run(w.tb.Context(), &w.Config, "test", log, &w.out)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.end, w.Fingerprint = end, v.Fingerprint()
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
func (w *World) Stop() {
	if err := w.end(); err != nil {
		w.tb.Errorf("verifier ended: %v", err)
	}
}

// Connect reads the operator's token and asks for the verifier's health.
func (w *World) Connect() (err error) {
	if w.Operator, err = Operate(&w.Config); err != nil {
		return err
	}
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
	c, err := TLS(&w.Config)
	if err != nil {
		w.tb.Fatal(err)
	}
	return c
}

// Call is Ask for as long as the test lasts.
func (w *World) Call(method, path string, body, into any) error {
	return w.Ask(w.tb.Context(), method, path, body, into)
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
	w.Must(http.MethodPost, "/v1/baselines", v1.NewBaseline{Device: id, Name: name}, nil)
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
