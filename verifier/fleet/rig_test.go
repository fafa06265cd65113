package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

const tenant = "acme"

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// rig is a Fleet with a real store.
type rig struct {
	*testing.T
	*Fleet
	store        *faulty
	sender       *sender
	enroller     *enroller
	clock        *clock
	key          *ecdsa.PrivateKey
	log          syncBuffer
	metrics      *prometheus.Registry
	disconnected []string
	policy       appraise.Policy // of the next Fleet
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "fleet.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		T: t, store: &faulty{Store: s}, sender: &sender{published: make(map[string]string)}, enroller: &enroller{}, key: key,
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, policy: appraise.DefaultPolicy(),
	}
	r.restart()
	return r
}

// config returns what a Fleet on the rig's store needs.
func (r *rig) config() Config {
	r.Helper()
	nonces, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		r.Fatal(err)
	}
	signer, err := result.NewSigner(r.key, "test", "1")
	if err != nil {
		r.Fatal(err)
	}
	return Config{
		Store: r.store, Sender: r.sender, Enroller: r.enroller, Nonces: nonces, Signer: signer,
		Baseline: &BaselineKey{Key: r.key}, Policy: r.policy, Now: r.clock.Now,
		Disconnect: func(tenant, device string) { r.disconnected = append(r.disconnected, tenant+"/"+device) },
		Log:        slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// restart replaces the Fleet by a new one on the same store, as a restart or another replica has.
func (r *rig) restart() {
	r.Helper()
	cfg := r.config()
	cfg.Metrics, r.metrics = NewMetrics(), prometheus.NewRegistry()
	if err := cfg.Metrics.Register(r.metrics); err != nil {
		r.Fatal(err)
	}
	var err error
	if r.Fleet, err = New(cfg); err != nil {
		r.Fatal(err)
	}
}

// counted returns the value of a counter with this label value, summed over all labels for "".
func (r *rig) counted(name, label string) int {
	r.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == label
			}
			if match && f.GetName() == name {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

func fixture(t testing.TB, kind, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", kind, name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// device is an enrolled device and the content that it has.
type device struct {
	*appraisetest.Device
	r        *rig
	contents map[proto.Digest][]byte
}

// healthy returns a healthy device of a Secure Boot machine, enrolled.
func (r *rig) healthy() *device {
	r.Helper()
	d, err := appraisetest.New(fixture(r, "eventlogs", "grub-secure-boot"), fixture(r, "ima", "grub-secure-boot"))
	if err != nil {
		r.Fatal(err)
	}
	return r.enrolled(d, result.Certified)
}

func (r *rig) enrolled(d *appraisetest.Device, level result.Level) *device {
	r.Helper()
	_, err := r.store.Store.SaveDevice(r.Context(), store.Device{
		Tenant: tenant, ID: d.ID, Status: store.Active, Level: level, AKPublic: d.AK, State: result.NeverAttested,
		EnrolledAt: r.clock.Now(), Since: r.clock.Now(),
	})
	if err != nil {
		r.Fatal(err)
	}
	return &device{Device: d, r: r, contents: make(map[proto.Digest][]byte)}
}

func (d *device) at(leaf proto.Leaf) proto.Address {
	return proto.Address{Tenant: tenant, Device: d.ID, Leaf: leaf}
}

// sayReady asks for a challenge, as link.Link would let it.
func (d *device) sayReady() {
	d.r.State(d.r.Context(), d.at(proto.UpState), &proto.State{Kind: proto.StateReady, Agent: "test"})
}

// challenged asks for a challenge and returns it.
func (d *device) challenged() *proto.Challenge {
	d.r.Helper()
	d.r.sender.take(d.ID, proto.DownChallenge)
	d.sayReady()
	got := d.r.sender.take(d.ID, proto.DownChallenge)
	if len(got) != 1 {
		d.r.Fatalf("%d challenges after ready, want one:\n%s", len(got), d.r.log.String())
	}
	return got[0].message.(*proto.Challenge)
}

// report makes evidence for a challenge.
func (d *device) report(c *proto.Challenge) []byte {
	d.r.Helper()
	message, contents, err := d.Report(c)
	if err != nil {
		d.r.Fatal(err)
	}
	for digest, b := range contents {
		d.contents[digest] = b
	}
	return message
}

// submit sends evidence and the content that is wanted, and returns the receipt, nil if none came.
func (d *device) submit(message []byte) *proto.Receipt {
	d.r.Helper()
	d.r.Evidence(d.r.Context(), d.at(proto.UpEvidence), message)
	d.answerWants()
	return d.receipt()
}

func (d *device) answerWants() {
	d.r.Helper()
	for _, m := range d.r.sender.take(d.ID, proto.DownWant) {
		for _, digest := range m.message.(*proto.Want).Contents {
			d.r.Content(d.r.Context(), d.at(proto.UpBlob), digest, d.contents[digest])
		}
	}
}

// receipt returns the newest receipt, nil if none came.
func (d *device) receipt() *proto.Receipt {
	d.r.Helper()
	got := d.r.sender.take(d.ID, proto.DownReceipt)
	if len(got) == 0 {
		return nil
	}
	if len(got) > 1 {
		d.r.Errorf("%d receipts at once", len(got))
	}
	return got[len(got)-1].message.(*proto.Receipt)
}

// attest runs a whole round and wants this state.
func (d *device) attest(want result.State) *proto.Receipt {
	d.r.Helper()
	d.r.clock.advance(time.Minute)
	got := d.submit(d.report(d.challenged()))
	if got == nil || got.Status != proto.Appraised || got.State != string(want) {
		d.r.Fatalf("receipt = %+v, want %s; log:\n%s", got, want, d.r.log.String())
	}
	return got
}

// wantRejected sends evidence that must be rejected, and checks that nothing changed.
func (d *device) wantRejected(message []byte, code string) *proto.Receipt {
	d.r.Helper()
	before, published := d.stored(), d.published()
	got := d.submit(message)
	if got == nil || got.Status != proto.Rejected || got.Code != code || got.Evidence != proto.Sum(message) {
		d.r.Fatalf("receipt = %+v, want a rejection with code %s", got, code)
	}
	if after := d.stored(); after.Version != before.Version || d.published() != published {
		d.r.Errorf("rejected evidence (%s) changed the device from version %d to %d", code, before.Version, after.Version)
	}
	return got
}

// stored returns the device as it is stored.
func (d *device) stored() store.Device {
	d.r.Helper()
	got, err := d.r.store.Store.Device(d.r.Context(), tenant, d.ID)
	if err != nil {
		d.r.Fatal(err)
	}
	return got
}

func (d *device) results() []store.StoredResult {
	d.r.Helper()
	got, err := d.r.store.Results(d.r.Context(), tenant, d.ID, 0, 1000)
	if err != nil {
		d.r.Fatal(err)
	}
	return got
}

// events returns the details of a device's events of a kind, newest first.
func (d *device) events(kind string) []string { return d.r.events(d.ID, kind) }

func (r *rig) events(id, kind string) []string {
	r.Helper()
	got, err := r.store.Events(r.Context(), tenant, id, 0, 1000)
	if err != nil {
		r.Fatal(err)
	}
	var out []string
	for _, e := range got {
		if e.Kind == kind {
			out = append(out, e.Detail)
		}
	}
	return out
}

func (d *device) published() string {
	d.r.sender.mu.Lock()
	defer d.r.sender.mu.Unlock()
	return d.r.sender.published[d.ID]
}

// wantPublished verifies the published result.
func (d *device) wantPublished(want result.State) result.Result {
	d.r.Helper()
	got, err := result.Verify(d.published(), &d.r.key.PublicKey, d.r.clock.Now())
	if err != nil {
		d.r.Fatalf("published result: %v", err)
	}
	if got.State != want || got.Device != d.ID {
		d.r.Errorf("published result of %s says %s, want of %s %s", got.Device, got.State, d.ID, want)
	}
	if stored := d.stored(); string(stored.Result) != d.published() {
		d.r.Error("another result is published than is stored")
	}
	return got
}

// baseline makes reference values of the device.
func (d *device) baseline(name string) {
	d.r.Helper()
	if _, err := d.r.CreateBaseline(d.r.Context(), tenant, BaselineSpec{Device: d.ID, Name: name}, "alice"); err != nil {
		d.r.Fatal(err)
	}
}

// trusted returns a device that is trusted by a baseline of its own.
func (r *rig) trusted() *device {
	r.Helper()
	d := r.healthy()
	d.attest(result.Unsupported)
	d.baseline("r7-2.4.1")
	d.attest(result.Trusted)
	return d
}

func digestHex(message []byte) string {
	d := proto.Sum(message)
	return hex.EncodeToString(d[:])
}

var errFault = errors.New("injected fault")
