package e2e

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
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

const patience = 60 * time.Second

// world is a verifier and the TPM maker that its operator trusts.
type world struct {
	t    *testing.T
	cfg  verifier.Config
	ca   *tpmtest.CA
	out  syncBuffer
	stop func() // ends the verifier and waits

	mqtt, fingerprint, token string
	url, operator            string
	http                     *http.Client
}

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newWorld starts a verifier; change adapts its configuration.
func newWorld(t *testing.T, change func(*verifier.Config)) *world {
	t.Helper()
	dir := t.TempDir()
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, cfg: verifier.DefaultConfig()}
	w.cfg.StateDir = filepath.Join(dir, "verifier")
	w.cfg.Enrollment.Roots = filepath.Join(dir, "tpm-roots")
	w.cfg.MQTT.Listen, w.cfg.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	if err := os.MkdirAll(w.cfg.Enrollment.Roots, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteRoot(w.cfg.Enrollment.Roots); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteIntermediate(w.cfg.Enrollment.Roots); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&w.cfg)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

var enrolLine = regexp.MustCompile(`probity-agent run --verifier (\S+) --ca-fingerprint (\S+) --token (\S+)`)

// start starts the verifier and waits until it can hear devices. Ports stay the same over restarts.
func (w *world) start() {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	v, err := verifier.New(w.t.Context(), w.cfg, "test", log)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, &w.out) }()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.t.Errorf("verifier ended: %v", err)
			}
		})
	}
	w.fingerprint = v.Fingerprint()
	select {
	case <-v.Ready():
	case err := <-ended:
		w.t.Fatalf("verifier ended: %v", err)
	case <-time.After(patience):
		w.t.Fatal("the verifier does not become ready")
	}
	w.cfg.API.Listen, w.cfg.MQTT.Listen = v.APIAddr(), v.MQTTAddr()
	if err := w.connect(); err != nil {
		w.t.Fatal(err)
	}
	if m := enrolLine.FindStringSubmatch(w.out.String()); m != nil {
		w.token = m[3]
	}
	w.mqtt = "mqtts://" + w.cfg.MQTT.Listen
}

// connect reads the operator's context and asks for the verifier's health.
func (w *world) connect() error {
	b, err := os.ReadFile(filepath.Join(w.cfg.StateDir, "operator.yaml"))
	if err != nil {
		return err
	}
	var c struct {
		URL, Token string
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return err
	}
	w.url, w.operator = "https://"+w.cfg.API.Listen, c.Token
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: w.tls()}, Timeout: patience}
	res, err := w.http.Get(w.url + "/healthz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", res.Status)
	}
	return nil
}

// tls trusts the verifier's CA.
func (w *world) tls() *tls.Config {
	w.t.Helper()
	pem, err := os.ReadFile(filepath.Join(w.cfg.StateDir, "keys", "ca.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}

// call asks the API as the operator. A status of 400 or more is returned as the error.
func (w *world) call(method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.url+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.operator)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := w.http.Do(req)
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

func (w *world) must(method, path string, body, into any) {
	w.t.Helper()
	if err := w.call(method, path, body, into); err != nil {
		w.t.Fatal(err)
	}
}

// get returns a device as the API shows it; the zero Device while it is not known.
func (w *world) get(id string) v1.Device {
	var d v1.Device
	_ = w.call(http.MethodGet, "/v1/devices/"+id, nil, &d)
	return d
}

func (w *world) newest(id string) v1.Result {
	w.t.Helper()
	var r v1.Results
	w.must(http.MethodGet, "/v1/devices/"+id+"/results?limit=1", nil, &r)
	if len(r.Results) == 0 {
		w.t.Fatalf("device %s has no results", id)
	}
	return r.Results[0]
}

func (w *world) events(id, kind string) []v1.Event {
	w.t.Helper()
	var e struct{ Events []v1.Event }
	w.must(http.MethodGet, "/v1/devices/"+id+"/events?limit=100", nil, &e)
	var out []v1.Event
	for _, x := range e.Events {
		if x.Kind == kind {
			out = append(out, x)
		}
	}
	return out
}

// await waits for a condition.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// device is a virtual device with its agent's configuration.
type device struct {
	w   *world
	v   *virtual.Device
	cfg agent.Config
	id  string
}

// healthy is the captured machine that devices are unless a test says otherwise.
func healthy(t *testing.T) virtual.Machine {
	t.Helper()
	return virtual.Machine{
		Vendor: "Acme", Model: "R7", Firmware: "2.4.1", CommandLine: "console=ttyS0",
		Booted: testdata(t, "eventlogs", "grub-secure-boot.bin"), IMA: testdata(t, "ima", "grub-secure-boot.bin"),
	}
}

func testdata(t *testing.T, kind, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", kind, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func remeasured(t *testing.T, log []byte, pick func(*eventlog.Event) bool, change func([]byte)) []byte {
	t.Helper()
	out, err := eventlogtest.Remeasure(log, pick, change)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// device manufactures a device; ca nil: its TPM has no EK certificate.
func (w *world) device(ca *tpmtest.CA, m virtual.Machine) *device {
	w.t.Helper()
	v, err := virtual.Start(context.WithoutCancel(w.t.Context()), w.t.TempDir(), ca, m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := v.Stop(); err != nil {
			w.t.Error(err)
		}
	})
	d := &device{w: w, v: v, cfg: agent.Default()}
	d.cfg.Verifier, d.cfg.CAFingerprint, d.cfg.Token = w.mqtt, w.fingerprint, w.token
	d.cfg.TPM, d.cfg.Root, d.cfg.StateDir = v.TPM.Socket, v.Root, v.StateDir()
	return d
}

// open opens the device's agent; close it before the next.
func (d *device) open() *agent.Agent {
	d.w.t.Helper()
	a, err := agent.Open(d.cfg, "test", slog.New(slog.NewTextHandler(d.w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.id = a.ID()
	return a
}

// once attests once.
func (d *device) once() (*proto.Receipt, error) {
	d.w.t.Helper()
	a := d.open()
	defer a.Close()
	ctx, cancel := context.WithTimeout(d.w.t.Context(), patience)
	defer cancel()
	return a.Once(ctx)
}

// attest attests once and wants this state.
func (d *device) attest(want result.State) *proto.Receipt {
	d.w.t.Helper()
	r, err := d.once()
	if err != nil {
		d.w.t.Fatal(err)
	}
	if r.Status != proto.Appraised || r.State != string(want) {
		d.w.t.Errorf("receipt: status %d, code %q, state %q, want %q; reasons:\n%s", r.Status, r.Code, r.State, want, strings.Join(r.Reasons, "\n"))
	}
	return r
}

// run runs the agent until the test ends or stop is called.
func (d *device) run() (stop func()) {
	d.w.t.Helper()
	a := d.open()
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				d.w.t.Errorf("agent ended: %v", err)
			}
			if err := a.Close(); err != nil {
				d.w.t.Errorf("agent close: %v", err)
			}
		})
	}
	d.w.t.Cleanup(stop)
	return stop
}

// baseline makes reference values of this device.
func (d *device) baseline(name string) {
	d.w.t.Helper()
	d.w.must(http.MethodPost, "/v1/baselines", map[string]any{"device": d.id, "name": name}, nil)
}
