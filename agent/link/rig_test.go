package link

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

// rig is a device, a verifier and a clock that a test moves.
type rig struct {
	*verifier
	clock    *manualClock
	attester *attester
	store    *memory
	cfg      Config
	link     *Link // once it runs
	stop     context.CancelFunc
	ended    chan error
	ignored  ignored
}

func newRig(t *testing.T) *rig {
	t.Helper()
	d := newDevice(t)
	r := &rig{verifier: newVerifier(t, d), clock: newManualClock(), attester: &attester{}, store: &memory{}, ignored: make(ignored, 64)}
	r.cfg = Config{
		Server: "mqtts://" + r.address, CAFingerprint: r.ca.fingerprint(), Token: token, Agent: "1.0",
		Device: d, Attester: r.attester, Certificates: r.store, Clock: r.clock, Log: slog.New(r.ignored),
		Jitter: func() float64 { return 1 },    // every wait is its bound
		Timing: Timing{Publish: 7 * time.Hour}, // told from every other time
	}
	return r
}

// run starts a link, which the end of the test stops.
func (r *rig) run() {
	r.t.Helper()
	l, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	r.link, r.stop, r.ended = l, stop, make(chan error, 1)
	go func() { r.ended <- l.Run(ctx) }()
	r.t.Cleanup(func() { stop() })
}

// end waits for Run to return.
func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("Run does not return")
	}
	return nil
}

// enrolled starts a link of a device that has a certificate, up to its first ready.
func (r *rig) enrolled() {
	r.t.Helper()
	r.store.chain = r.ca.device(r.t, r.device)
	r.run()
	r.login()
	r.state(proto.StateReady)
}

// settled returns when the device has taken in all that was sent so far.
func (r *rig) settled() {
	r.t.Helper()
	r.sendRaw(proto.Address{Tenant: tenant, Device: r.device.ID(), Leaf: proto.DownWant}.String(), []byte{0xff}, false)
	select {
	case <-r.ignored:
	case <-time.After(patience):
		r.t.Fatal("device does not read its messages")
	}
}
