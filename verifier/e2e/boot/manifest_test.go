//go:build linux

package boot

import (
	"bytes"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/predict"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/firmware/shipment/rootfs"
	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/result"
)

// What QEMU's x86 machine calls itself.
const q35Vendor, q35Model = "QEMU", "Standard PC (Q35 + ICH9, 2009)"

// shipped makes a manifest of a release from its images alone: no machine has booted it.
func (s *system) shipped(t *testing.T, set *debian.Set, version string, svn, minSVN uint64) *manifest.Manifest {
	t.Helper()
	m, report, err := shipment.Build(t.Context(), shipment.Input{
		About: manifest.Manifest{
			ID: "tag:vendor.example,2026:q35/" + version, Vendor: q35Vendor, Model: q35Model, Version: version, SVN: svn, MinSVN: minSVN,
		},
		Boot: &predict.Input{
			Firmware: read(t, set.OVMF.Code), Variables: read(t, set.OVMF.Variables), SecureBoot: eventlog.SecureBootOff,
			UKI: predict.File{Path: `\EFI\BOOT\BOOTX64.EFI`, Content: s.uki(t)}, Disk: bytes.NewReader(read(t, s.ukiDisk(t, nil))),
		},
		RootFS: []string{write(t, "initrd.cpio.gz", s.initrd(t))},
		Files:  rootfs.Config{All: true}, // the first process reads a list of modules
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.PCRs {
		t.Logf("%s: PCR %+v", version, r)
	}
	return m
}

// TestX86Manifest is what a vendor's manifest is for: a machine that nobody called golden is trusted because it runs what
// the vendor ships, an implant is named, an update passes, and the way back is closed.
func TestX86Manifest(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.X86, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86)
	first, second := healthy.release("1.0"), healthy.release("1.1")
	w := newWorld(t, nil)
	vendor := w.AddVendor(q35Vendor, "*")
	old := first.shipped(t, set, "1.0", 1, 1)
	vendor.MustSubmit(old)

	oldDisk := first.ukiDisk(t, nil)
	c := newComputer(t, w, q35(set, oldDisk))
	c.boot()
	c.run(toolPath, "version")
	wantFindings(t, c.attest(result.Trusted))

	implant := newComputer(t, w, q35(set, oldDisk))
	implant.spec.Firmware = patched(t, set.OVMF.Code, func(b []byte) ([]byte, error) {
		return image.PatchVolume(b, ovmfText, otherOVMFText)
	})
	implant.boot()
	wantFindings(t, implant.attest(result.Untrusted), "boot-event-changed PCR 0 (firmware), volume DXEFV")
	implant.off()

	// The update: both are good until the vendor says that the old one may not come back.
	vendor.MustSubmit(second.shipped(t, set, "1.1", 2, 1))
	c.boot()
	wantFindings(t, c.attest(result.Trusted))
	c.spec.Disk = second.ukiDisk(t, nil)
	c.boot()
	wantFindings(t, c.attest(result.Trusted))
	closed := second.shipped(t, set, "1.1.1", 2, 2)
	vendor.MustSubmit(closed)
	c.attest(result.Trusted)
	c.spec.Disk = oldDisk
	c.boot()
	back := c.attest(result.Untrusted)
	if len(back.Findings) == 0 || back.Findings[0].Code != "rollback" || !strings.Contains(back.Findings[0].Line(), "1.0") {
		t.Errorf("findings of a rollback:\n%s", lines(back.Findings))
	}
}
