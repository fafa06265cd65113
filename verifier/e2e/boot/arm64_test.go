//go:build linux

package boot

import (
	"os"
	"testing"

	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/result"
)

// aavmfText is inside AAVMF's compressed volume.
const aavmfText, otherAAVMFText = "Start boot option", "Start evil option"

// unbound is what every arm64 machine of Debian's has: its kernel starts IMA before the TPM's driver, so that nothing
// vouches for the list.
const unbound = "ima-unbound IMA list"

func TestARM64(t *testing.T) {
	t.Parallel()
	healthy := newSystem(t, debian.ARM64, "arm64", machine.Virt)
	set := debian.Need(t, debian.ARM64)
	pack := func(t *testing.T, s *system) machine.Spec {
		return machine.Spec{
			Board: machine.Virt, Firmware: set.AAVMF.Code, VarsTemplate: set.AAVMF.Variables, TPM: machine.TIS, Disk: s.ukiDisk(t, nil),
		}
	}
	// Nothing vouches for this kernel's IMA list (see unbound); this operator's policy does not ask for one. TestGaps has
	// what becomes of the machine where it does.
	w := newWorld(t, func(c *verifier.Config) { c.Policy.IMA = "ignored" })
	golden := newComputer(t, w, pack(t, healthy))
	golden.golden("arm64-aavmf")
	captured(t, golden, "virt-aavmf")
	golden.off()
	for _, v := range []variant{
		{name: "another machine", quick: true, state: result.Trusted},
		{
			name: "firmware volume patched", state: result.Untrusted,
			boot: func(t *testing.T, s *machine.Spec) {
				s.Firmware = patched(t, s.Firmware, func(b []byte) ([]byte, error) {
					return image.PatchVolume(b, aavmfText, otherAAVMFText)
				})
			},
			found: []string{"boot-event-changed PCR 0 (firmware), firmware volume"},
		},
		{
			name: "other command line", state: result.Untrusted,
			build: func(_ *testing.T, s *system) { s.cmdline += " init=/bin/sh" },
			found: []string{
				"boot-event-changed PCR 4 (boot loader), boot application",
				"boot-event-changed PCR 9 (files read by the boot loader), tagged event Linux load options",
				"boot-event-changed PCR 11 (unified kernel image), systemd-stub section .cmdline",
			},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			if !v.quick {
				everything(t)
			}
			t.Parallel()
			v.check(t, w, healthy, pack)
		})
	}
}

// uBootDisk is where the machine's kernel shows the flash that U-Boot is in. (Debian's has no driver for the flash of
// QEMU's board, so the same bytes are shown by a disk.)
const uBootDisk = "/dev/vdb"

// uBootLayout has the agent read U-Boot's flash.
const uBootLayout = "regions:\n  - name: u-boot\n    source: block:" + uBootDisk + "\n"

// TestARM64UBoot: what U-Boot measures of itself is the text of its version. A changed byte of its code shows in no PCR,
// only where somebody reads the flash.
func TestARM64UBoot(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.ARM64, "arm64", machine.VirtUBoot)
	healthy.files = append(healthy.files, image.File{Path: layoutFile, Data: []byte(uBootLayout)})
	healthy.modules = append(healthy.modules, image.Want{Name: "virtio_blk"})
	set := debian.Need(t, debian.ARM64)
	uBoot := func(t *testing.T, s *system, firmware string) machine.Spec {
		// Disks have whole sectors; the same padding for all.
		b := read(t, firmware)
		b = append(b, make([]byte, -len(b)&0xffff)...)
		shown := write(t, "flash", b)
		return machine.Spec{
			Board: machine.VirtUBoot, Firmware: firmware, TPM: machine.TIS, Disk: s.ukiDisk(t, nil),
			Args: []string{
				"-drive", "if=none,id=flash,format=raw,readonly=on,file=" + shown, "-device", "virtio-blk-pci,drive=flash",
			},
		}
	}
	w := newWorld(t, func(c *verifier.Config) { c.Policy.IMA = "ignored" }) // see TestARM64
	golden := newComputer(t, w, uBoot(t, healthy, set.UBoot))
	golden.flags = append(golden.flags, layoutFlags...)
	golden.golden("arm64-u-boot")
	captured(t, golden, "virt-u-boot")
	golden.off()
	version := func(b []byte) ([]byte, error) {
		text, err := image.UBootVersion(b)
		if err != nil {
			return nil, err
		}
		other := []byte(text)
		other[len("U-Boot 20")]++
		return image.PatchText(b, text, string(other))
	}
	code := func(b []byte) ([]byte, error) {
		out, _, err := image.FlipUBoot(b)
		return out, err
	}
	for _, tt := range []struct {
		name   string
		build  func(*system)
		change func([]byte) ([]byte, error)
		blind  bool // the agent does not read the flash
		state  result.State
		found  []string
	}{
		{name: "another machine", state: result.Trusted},
		{
			name: "version changed", change: version, state: result.Untrusted,
			found: []string{"boot-event-changed PCR 0 (firmware), firmware version", "flash-changed flash region u-boot"},
		},
		{
			name: "code changed that U-Boot does not measure", change: code, state: result.Untrusted,
			found: []string{"flash-changed flash region u-boot"},
		},
		{
			name: "code changed and nobody reads the flash", change: code, blind: true, state: result.Warning,
			found: []string{"flash-missing flash memory"},
		},
		{
			name: "other command line", state: result.Untrusted,
			build: func(s *system) { s.cmdline += " init=/bin/sh" },
			found: []string{
				"boot-event-changed PCR 4 (boot loader), boot application",
				"boot-event-changed PCR 9 (files read by the boot loader), tagged event Linux load options",
				"boot-event-changed PCR 11 (unified kernel image), systemd-stub section .cmdline",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := *healthy
			if tt.build != nil {
				tt.build(&s)
			}
			firmware := set.UBoot
			if tt.change != nil {
				firmware = patched(t, firmware, tt.change)
			}
			c := newComputer(t, w, uBoot(t, &s, firmware))
			if !tt.blind {
				c.flags = append(c.flags, layoutFlags...)
			}
			c.boot()
			wantFindings(t, c.attest(tt.state), tt.found...)
		})
	}
}

// layoutFile is where the guests have their layout of flash, layoutFlags the agent's flags to read by it.
const layoutFile = "/etc/probity/layout.yaml"

var layoutFlags = []string{"--flash-mode", "layout", "--flash-layout", layoutFile, "--flash-rate", "0"}

// TestX86Flash has OVMF's flash behind a real /dev/mtd0. OVMF measures volumes as they are after unpacking: a byte that
// changed in the flash between them is in no PCR.
func TestX86Flash(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.X86Full, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86Full)
	code, err := os.Stat(set.OVMF.Code)
	if err != nil {
		t.Fatal(err)
	}
	healthy.modules = append(healthy.modules, image.Phram("ovmf", int(code.Size())))
	w := newWorld(t, nil)
	disk := healthy.ukiDisk(t, nil)
	golden := newComputer(t, w, q35(set, disk))
	golden.flags = []string{"--flash-rate", "0"}
	golden.golden("x86-flash")
	captured(t, golden, "q35-flash")
	golden.off()
	for _, tt := range []struct {
		name   string
		change func([]byte) ([]byte, error)
		state  result.State
		found  []string
	}{
		{name: "another machine", state: result.Trusted},
		{
			name: "padding changed that OVMF does not measure", state: result.Untrusted,
			change: func(b []byte) ([]byte, error) {
				out, _, err := image.FlipPadding(b)
				return out, err
			},
			found: []string{"flash-changed flash region ovmf"},
		},
		{
			name: "firmware volume patched", state: result.Untrusted,
			change: func(b []byte) ([]byte, error) { return image.PatchVolume(b, ovmfText, otherOVMFText) },
			found:  []string{"boot-event-changed PCR 0 (firmware), firmware volume", "flash-changed flash region ovmf"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := q35(set, disk)
			if tt.change != nil {
				s.Firmware = patched(t, s.Firmware, tt.change)
			}
			c := newComputer(t, w, s)
			c.flags = []string{"--flash-rate", "0"}
			c.boot()
			wantFindings(t, c.attest(tt.state), tt.found...)
		})
	}
}
