package e2e

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	worlds "github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/result"
)

const patience = worlds.Patience

// world is a verifier with virtual devices.
type world struct {
	*worlds.World
	t *testing.T
}

// newWorld starts a verifier; change adapts its configuration.
func newWorld(t *testing.T, change func(*verifier.Config)) *world {
	t.Helper()
	return &world{World: worlds.New(t, change), t: t}
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
	d.cfg.Verifier, d.cfg.CAFingerprint, d.cfg.Token = w.MQTT, w.Fingerprint, w.Token
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
	d.w.Baseline(d.id, name)
}
