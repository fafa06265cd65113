package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/agent/collect"
	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
)

var (
	_ flashReader = (*collect.Flash)(nil)
	_ enclosure   = (*collect.Tamper)(nil)
)

// softwareConfig is that of a device without a TPM.
func softwareConfig(t *testing.T, m *machine) Config {
	t.Helper()
	cfg := Default()
	cfg.Identity, cfg.Root, cfg.StateDir, cfg.TPM = IdentitySoftware, m.root, t.TempDir(), "/nonexistent"
	return cfg
}

// withLayout makes a firmware file, which stands for flash, and configures it.
func withLayout(t *testing.T, m *machine, cfg *Config) (image []byte) {
	t.Helper()
	image = bytes.Repeat([]byte("modem "), 50_000)
	m.write("lib/firmware/modem.bin", image)
	cfg.Flash.Mode, cfg.Flash.Layout = FlashLayout, filepath.Join(t.TempDir(), "layout.yaml")
	const layout = `regions:
  - {name: modem, source: "file:/lib/firmware/modem.bin", exclude: [{offset: 0x10, length: 16}]}
  - {name: bios, source: "mtd:bios"}
`
	if err := os.WriteFile(cfg.Flash.Layout, []byte(layout), 0o600); err != nil {
		t.Fatal(err)
	}
	return image
}

// softwareClaims makes a report and decodes it.
func softwareClaims(t *testing.T, a *Agent, c *proto.Challenge) (*link.Report, proto.Claims) {
	t.Helper()
	r, err := a.report.Report(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var e proto.Evidence
	var claims proto.Claims
	if err := errors.Join(proto.Decode(r.Evidence, &e), proto.Decode(e.Claims, &claims)); err != nil {
		t.Fatal(err)
	}
	return r, claims
}

func TestReportFlash(t *testing.T) {
	m := newMachine(t)
	cfg := softwareConfig(t, m)
	image := withLayout(t, m, &cfg)
	a := open(t, cfg)
	r, claims := softwareClaims(t, a, challenge(0))
	if claims.Flash == nil || claims.Flash.Regions.Content == nil {
		t.Fatalf("flash = %+v, want content", claims.Flash)
	}
	b, err := r.Content(t.Context(), claims.Flash.Regions.Content.Digest)
	var f proto.Flash
	if err := errors.Join(err, proto.Decode(b, &f)); err != nil {
		t.Fatal(err)
	}
	copy(image[0x10:], bytes.Repeat([]byte{0xff}, 16))
	digest := sha256.Sum256(image)
	want := []proto.FlashRegion{
		{Name: "bios", Source: "mtd:bios", Unavailable: &proto.Unavailable{Cause: proto.CauseNotFound}},
		{
			Name: "modem", Source: "file:/lib/firmware/modem.bin", Length: uint64(len(image)), Digest: digest[:],
			Excluded: []proto.FlashRange{{Offset: 0x10, Length: 16}},
		},
	}
	if f.Regions[0].Unavailable == nil || f.Regions[0].Unavailable.Reason == "" {
		t.Fatalf("bios = %+v, want a reason", f.Regions[0])
	}
	f.Regions[0].Unavailable.Reason = ""
	if diff := cmp.Diff(want, f.Regions); diff != "" || claims.Flash.Age > 60 {
		t.Errorf("flash (-want +got):\n%s age %d", diff, claims.Flash.Age)
	}
	if _, again := softwareClaims(t, a, challenge(0)); again.Flash.Regions.Content.Digest != claims.Flash.Regions.Content.Digest {
		t.Error("flash that did not change is named by another digest in the next report")
	}
}

func TestNoFlashToReport(t *testing.T) {
	m := newMachine(t)
	for _, mode := range []string{FlashAuto, FlashOff} { // this machine has none
		cfg := softwareConfig(t, m)
		cfg.Flash.Mode = mode
		if _, claims := softwareClaims(t, open(t, cfg), challenge(0)); claims.Flash != nil || claims.Tamper != nil {
			t.Errorf("%s: flash %+v, tamper %+v, want none", mode, claims.Flash, claims.Tamper)
		}
	}
}

// slowFlash is a pass that never ends.
type slowFlash struct{ waited chan time.Duration }

func (f slowFlash) Wait(ctx context.Context, most time.Duration) bool {
	deadline, _ := ctx.Deadline()
	f.waited <- min(most, time.Until(deadline))
	return false
}

func (slowFlash) Regions() ([]byte, time.Duration, *proto.Unavailable) {
	return nil, 0, &proto.Unavailable{Cause: proto.CausePending, Reason: "being read"}
}

func (slowFlash) Capture(context.Context, *proto.CaptureRequest, func(*proto.CaptureUp) error) (*proto.CaptureStatement, error) {
	return nil, errors.New("being read")
}

// TestFlashDoesNotOutlastTheNonce: a report that waits for flash must leave the device while its nonce is fresh.
func TestFlashDoesNotOutlastTheNonce(t *testing.T) {
	m := newMachine(t)
	a := open(t, softwareConfig(t, m))
	f := slowFlash{make(chan time.Duration, 1)}
	a.report.flash, a.report.reads, a.report.wait = f, true, time.Minute
	for lifetime, want := range map[uint32]time.Duration{60: 30 * time.Second, 3600: time.Minute} {
		c := challenge(0)
		c.Lifetime = lifetime
		_, claims := softwareClaims(t, a, c)
		if d := <-f.waited; d > want || d < want-time.Second {
			t.Errorf("nonce of %d s: the report may wait %s, want %s", lifetime, d, want)
		}
		if un := claims.Flash.Regions.Unavailable; un == nil || un.Cause != proto.CausePending {
			t.Errorf("flash = %+v, want pending", claims.Flash)
		}
	}
}

func TestReportTamper(t *testing.T) {
	m := newMachine(t)
	cfg := softwareConfig(t, m)
	cfg.Tamper = []string{"lid=gpiochip65535:1:active-high", "door=gpiochip65535:2:active-low"}
	_, claims := softwareClaims(t, open(t, cfg), challenge(0))
	for i, name := range []string{"lid", "door"} {
		l := claims.Tamper[i]
		if l.Name != name || l.Unavailable == nil || l.Unavailable.Cause != proto.CauseNotFound {
			t.Errorf("line %+v, want %s with its reason", l, name)
		}
	}
}

func TestCharterWithholdsHardware(t *testing.T) {
	m := newMachine(t)
	m.write("sys/bus/i2c/devices/3-0050/name", []byte("24c32\n"))
	cfg := softwareConfig(t, m)
	withLayout(t, m, &cfg)
	cfg.Tamper = []string{"lid=gpiochip65535:1:active-high"}
	cfg.Charter = filepath.Join(t.TempDir(), "charter.yaml")
	if err := os.WriteFile(cfg.Charter, []byte("allow: [platform.model]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, cfg)
	if a.flash != nil || a.report.tamper != nil {
		t.Error("flash is read and lines are watched that may not leave the device")
	}
	r, claims := softwareClaims(t, a, challenge(0))
	if un := claims.Flash.Regions.Unavailable; un == nil || un.Cause != proto.CauseNotAllowed {
		t.Errorf("flash = %+v, want not-allowed", claims.Flash)
	}
	if l := claims.Tamper; len(l) != 1 || l[0].Name != "lid" || l[0].Unavailable.Cause != proto.CauseNotAllowed {
		t.Errorf("tamper = %+v, want not-allowed", l)
	}
	b, err := r.Content(t.Context(), claims.Platform.Content.Digest)
	if err != nil || bytes.Contains(b, []byte("24c32")) {
		t.Errorf("platform %q, %v, want no inventory", b, err)
	}
	s, err := a.Show(t.Context())
	if err != nil || !strings.HasPrefix(s.Flash.Unavailable, "not-allowed") || !strings.HasPrefix(s.Tamper[0].Unavailable, "not-allowed") {
		t.Errorf("Show = %+v, %v", s, err)
	}
}

// TestInventoryIsEvidence: it is in reports, and not in the introduction.
func TestInventoryIsEvidence(t *testing.T) {
	m := newMachine(t)
	m.write("sys/bus/i2c/devices/3-0050/name", []byte("24c32\n"))
	a := open(t, softwareConfig(t, m))
	r, claims := softwareClaims(t, a, challenge(0))
	var p proto.Platform
	b, err := r.Content(t.Context(), claims.Platform.Content.Digest)
	if err := errors.Join(err, proto.Decode(b, &p)); err != nil {
		t.Fatal(err)
	}
	if want := []proto.BusDevice{{Bus: "i2c", Address: "3-0050", Name: "24c32"}}; !slices.Equal(p.Devices, want) {
		t.Errorf("inventory = %v, want %v", p.Devices, want)
	}
	var h proto.Hello
	b, err = a.device.Hello(t.Context())
	if err := errors.Join(err, proto.Decode(b, &h)); err != nil || h.Platform.Model != "R7" || h.Platform.Devices != nil {
		t.Errorf("hello tells %+v, %v, want no inventory", h.Platform, err)
	}
}

func TestShowHardware(t *testing.T) {
	m := newMachine(t)
	m.write("sys/bus/i2c/devices/3-0050/name", []byte("24c32\n"))
	s := tpmtest.Start(t, tpmtest.Options{})
	cfg := Default()
	cfg.TPM, cfg.Root, cfg.StateDir = s.Socket, m.root, t.TempDir()
	image := withLayout(t, m, &cfg)
	cfg.Tamper = []string{"lid=gpiochip65535:1:active-high"}
	copy(image[0x10:], bytes.Repeat([]byte{0xff}, 16))
	digest := sha256.Sum256(image)
	a := open(t, cfg)
	shown, err := a.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := shown.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"regions: 2, oldest digest read ", "sha256:" + hex.EncodeToString(digest[:]), "300000 bytes at 0x0 of file:/lib/firmware/modem.bin",
		"excluded 0x10+0x10", "flash bios", "not available: not-found", "tamper lid", "i2c 3-0050", "24c32",
	} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("show prints no %q:\n%s", part, &text)
		}
	}
	b, err := json.Marshal(shown)
	for _, part := range []string{`"digest":"` + hex.EncodeToString(digest[:]), `"excluded":[{"offset":16,"length":16}]`, `"tamper":[{"name":"lid"`} {
		if err != nil || !bytes.Contains(b, []byte(part)) {
			t.Errorf("JSON has no %s: %v\n%s", part, err, b)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Show(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Show after the end of its context = %v", err)
	}
}

func TestDescribeTamper(t *testing.T) {
	a := open(t, softwareConfig(t, newMachine(t)))
	a.report.tamper = lines{{Name: "a", State: proto.TamperOpen, Openings: 3}, {Name: "b", State: proto.TamperClosed}}
	want := []ShownTamper{{Name: "a", State: "open", Openings: 3}, {Name: "b", State: "closed"}}
	got := a.showTamper(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || got[0].describe() != "open, openings since this program began to watch: 3" {
		t.Errorf("%s: %s", got[0].describe(), diff)
	}
}

type lines []proto.TamperLine

func (l lines) Lines(context.Context) []proto.TamperLine { return l }
