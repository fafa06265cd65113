package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/predict"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// shipped makes a manifest of what a vendor ships: no device and no log is asked.
func shipped(t *testing.T, p *virtual.Product, svn, minSVN uint64) *manifest.Manifest {
	t.Helper()
	dir := t.TempDir()
	if err := p.Ship(dir); err != nil {
		t.Fatal(err)
	}
	layout, err := flash.LoadLayout(filepath.Join(dir, virtual.LayoutFile))
	if err != nil {
		t.Fatal(err)
	}
	chip, err := os.Open(filepath.Join(dir, virtual.FlashFile))
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	m, _, err := shipment.Build(t.Context(), shipment.Input{
		About: manifest.Manifest{
			ID: fmt.Sprintf("acme/e9/%s/%d", p.Version, minSVN), Vendor: "Acme", Model: "E9", Version: p.Version, SVN: svn, MinSVN: minSVN,
		},
		Boot: &predict.Input{
			Firmware: p.Flash, Variables: p.Flash, SecureBoot: eventlog.SecureBootOff,
			UKI: predict.File{Path: `\EFI\BOOT\BOOTX64.EFI`, Content: p.UKI},
		},
		Layout: layout, Images: []shipment.Image{{Source: layout.Regions[0].Source, Content: chip, Size: uint64(len(p.Flash))}},
		RootFS: []string{filepath.Join(dir, virtual.RootFolder)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// machine is a machine that runs a product.
func machine(t *testing.T, p *virtual.Product) virtual.Machine {
	t.Helper()
	m, err := p.Machine("Acme", "E9", testdata(t, "eventlogs", "q35-uki.bin"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// edge manufactures a device that runs a product and reads its flash chip.
func (w *world) edge(p *virtual.Product) *device {
	w.t.Helper()
	d := w.device(w.CA, machine(w.t, p))
	layout := filepath.Join(w.t.TempDir(), "layout.yaml")
	if err := os.WriteFile(layout, p.Layout("file:/"+virtual.FlashPath), 0o600); err != nil {
		w.t.Fatal(err)
	}
	d.cfg.Flash.Mode, d.cfg.Flash.Layout = "layout", layout
	return d
}

// reboot boots the device with something else.
func (d *device) reboot(m virtual.Machine) {
	d.w.t.Helper()
	if err := d.v.Boot(m); err != nil {
		d.w.t.Fatal(err)
	}
}

// weighing returns the findings of the newest result that count.
func (d *device) weighing() []result.Finding {
	d.w.t.Helper()
	return slices.DeleteFunc(d.w.Newest(d.id).Findings, func(f result.Finding) bool { return f.Severity == result.Info })
}

// TestVendorStory is what a vendor and its customers live through: trusted by images alone, an implant, an update with an
// overlap, a rollback.
func TestVendorStory(t *testing.T) {
	product := func(version string) *virtual.Product {
		p, err := virtual.NewProduct("Acme", version)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := product("1.0"), product("1.1")
	w := newWorld(t, nil)
	vendor := w.AddVendor("Acme", "E*")
	vendor.MustSubmit(shipped(t, first, 1, 1))

	d := w.edge(first)
	d.attest(result.Trusted) // it was never golden
	if got := d.weighing(); len(got) != 0 {
		t.Errorf("findings of a machine as shipped: %+v", got)
	}
	spy, err := first.Implanted(imagetest.GUID("5bd1e995-1f0e-4c55-9d0f-0123456789ab"), "NetSpyDxe")
	if err != nil {
		t.Fatal(err)
	}
	bad := w.edge(spy)
	bad.attest(result.Untrusted)
	var codes []string
	for _, f := range bad.weighing() {
		codes = append(codes, f.Code)
	}
	for _, want := range []string{"boot-event-changed", "flash-changed"} {
		if !slices.Contains(codes, want) {
			t.Errorf("findings %v of an implant, want %s", codes, want)
		}
	}
	changes := image.Diff(parsed(t, first.Flash), parsed(t, spy.Flash)).Changes
	if !slices.ContainsFunc(changes, func(c image.Change) bool { return c.Op == image.OpAdded && c.Name == "NetSpyDxe" }) {
		t.Errorf("changes of the image = %+v, want the driver by its name", changes)
	}

	vendor.MustSubmit(shipped(t, second, 2, 1))
	d.attest(result.Trusted) // the old one, in the overlap
	d.reboot(machine(t, second))
	d.attest(result.Trusted)
	vendor.MustSubmit(shipped(t, second, 2, 2))
	d.attest(result.Trusted)
	d.reboot(machine(t, first))
	d.attest(result.Untrusted)
	if got := w.Newest(d.id).Findings; len(got) == 0 || got[0].Code != "rollback" {
		t.Errorf("findings of a rollback = %+v", got)
	}
	// Nothing of the verdict rests on the machine's model of measuring: another byte in flash is seen there, too.
	other := *second
	other.Flash = append([]byte(nil), second.Flash...)
	other.Flash[len(other.Flash)-1] ^= 1 // behind the volumes: no firmware measures it
	e := w.edge(&other)
	e.attest(result.Untrusted)
	if got := e.weighing(); len(got) != 1 || got[0].Code != "flash-changed" {
		t.Errorf("findings of a byte changed in flash = %+v", got)
	}
}

func parsed(t *testing.T, b []byte) *image.Image {
	t.Helper()
	m, err := image.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
