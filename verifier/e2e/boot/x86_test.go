//go:build linux

package boot

import (
	"errors"
	"os"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/result"
)

// kernelText is in the part of a kernel that is not compressed, and means nothing to it.
const kernelText, otherKernelText = "debian-kernel@lists.debian.org", "debian-kernel@lists.debian.orG"

// optionROM is what Debian's QEMU has for its network cards.
const optionROM = "/usr/lib/ipxe/qemu/efi-virtio.rom"

// ovmfText is inside OVMF's compressed volume.
const ovmfText, otherOVMFText = "Start boot option", "Start evil option"

// q35 is an x86 machine without Secure Boot.
func q35(set *debian.Set, disk string) machine.Spec {
	return machine.Spec{
		Board: machine.Q35, Firmware: set.OVMF.Code, VarsTemplate: set.OVMF.Variables, TPM: machine.TIS, Disk: disk,
	}
}

// variant is one change of a healthy machine and what is to be found.
type variant struct {
	name  string
	quick bool // part of every test run
	// build changes the system before it is packed; boot what the machine is made of; run what happens inside before
	// the agent reports. Each may be nil.
	build func(t *testing.T, s *system)
	boot  func(t *testing.T, s *machine.Spec)
	run   func(c *computer)
	state result.State
	found []string
}

// check boots another computer than the golden one and has it judged.
func (v *variant) check(t *testing.T, w *world.World, healthy *system, pack func(*testing.T, *system) machine.Spec) {
	s := *healthy
	if v.build != nil {
		v.build(t, &s)
	}
	spec := pack(t, &s)
	if v.boot != nil {
		v.boot(t, &spec)
	}
	c := newComputer(t, w, spec)
	c.boot()
	if v.run != nil {
		v.run(c)
	}
	wantFindings(t, c.attest(v.state), v.found...)
}

func TestX86(t *testing.T) {
	t.Parallel()
	healthy := newSystem(t, debian.X86, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86)
	healthyDisk := healthy.ukiDisk(t, nil)
	w := newWorld(t, nil)
	golden := newComputer(t, w, q35(set, healthyDisk))
	golden.golden("x86-uki")
	captured(t, golden, "q35-uki")
	golden.off()

	pack := func(t *testing.T, s *system) machine.Spec { return q35(set, s.ukiDisk(t, nil)) }
	unchanged := func(t *testing.T, _ *system) machine.Spec { return q35(set, healthyDisk) }
	for _, v := range []variant{
		{name: "another machine", quick: true, state: result.Trusted},
		{
			name: "firmware volume patched", quick: true, state: result.Untrusted,
			boot: func(t *testing.T, s *machine.Spec) {
				s.Firmware = patched(t, s.Firmware, func(b []byte) ([]byte, error) {
					return image.PatchVolume(b, ovmfText, otherOVMFText)
				})
			},
			found: []string{"boot-event-changed PCR 0 (firmware), firmware volume"},
		},
		{
			name: "other kernel", state: result.Untrusted,
			build: func(t *testing.T, s *system) {
				s.linux = patched(t, s.linux, func(b []byte) ([]byte, error) {
					return image.PatchText(b, kernelText, otherKernelText)
				})
			},
			found: []string{
				`boot-event-changed PCR 4 (boot loader), boot application \EFI\BOOT\BOOTX64.EFI`,
				"boot-event-changed PCR 4 (boot loader), boot application VenMedia(systemd-stub payload)",
				"boot-event-changed PCR 11 (unified kernel image), systemd-stub section .linux",
			},
		},
		{
			name: "other initrd", state: result.Untrusted,
			build: func(_ *testing.T, s *system) {
				s.files = append(s.files, image.File{Path: "/etc/implant", Data: []byte("implant")})
			},
			found: []string{
				"boot-event-changed PCR 4 (boot loader), boot application",
				"boot-event-changed PCR 9 (files read by the boot loader), tagged event Linux initrd",
				"boot-event-changed PCR 11 (unified kernel image), systemd-stub section .initrd",
			},
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
		{
			name: "option ROM added", state: result.Untrusted,
			boot: func(t *testing.T, s *machine.Spec) {
				if _, err := os.Stat(optionROM); err != nil {
					t.Skipf("no option ROM to add: %v (Debian's package ipxe-qemu)", err)
				}
				s.OptionROM = optionROM
			},
			found: []string{"boot-event-unknown PCR 2 (option ROMs)"},
		},
		{
			name: "executable swapped", state: result.Untrusted,
			run: func(c *computer) {
				c.run(toolPath, "version")
				if err := c.m.AppendFile(c.ctx(), toolPath, []byte("implant")); err != nil {
					c.t.Fatal(err)
				}
				c.run(toolPath, "version")
			},
			found: []string{"file-changed file " + toolPath},
		},
		{
			name: "agent replaced", state: result.Untrusted,
			run: func(c *computer) {
				if err := c.m.AppendFile(c.ctx(), image.AgentPath, []byte("implant")); err != nil {
					c.t.Fatal(err)
				}
			},
			found: []string{"file-changed file " + image.AgentPath},
		},
		{
			name: "IMA violation", state: result.Warning,
			run: func(c *computer) {
				if err := c.m.Violate(c.ctx(), toolPath); err != nil {
					c.t.Fatal(err)
				}
			},
			found: []string{"ima-violation file " + toolPath},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			if !v.quick {
				everything(t)
			}
			t.Parallel()
			use := pack
			if v.build == nil {
				use = unchanged
			}
			v.check(t, w, healthy, use)
		})
	}
	t.Run("another machine's TPM", func(t *testing.T) {
		everything(t)
		t.Parallel()
		anotherTPM(t, w, q35(set, healthyDisk))
	})
	t.Run("plain reboot", func(t *testing.T) {
		everything(t)
		t.Parallel()
		c := newComputer(t, w, q35(set, healthyDisk))
		c.boot()
		first := c.attest(result.Trusted)
		c.boot()
		again := c.attest(result.Trusted)
		wantFindings(t, again)
		if first.BootID == again.BootID || again.Resets <= first.Resets {
			t.Errorf("boots %s (%d resets) and %s (%d resets), want two", first.BootID, first.Resets, again.BootID, again.Resets)
		}
	})
}

// anotherTPM moves a TPM's state to a machine with another past, as somebody does who copies a virtual machine: the
// identity is right, and its counters tell.
func anotherTPM(t *testing.T, w *world.World, s machine.Spec) {
	c := newComputer(t, w, s)
	clone := &computer{t: t, w: w, spec: c.spec}
	clone.spec.TPMState = t.TempDir()
	if err := os.CopyFS(clone.spec.TPMState, os.DirFS(c.spec.TPMState)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.boot()
		c.attest(result.Trusted)
	}
	c.off()
	clone.disk, clone.id = c.disk, c.id
	clone.boot()
	wantFindings(t, clone.attest(result.Untrusted), "reset-count TPM reset and restart counters")
}

// secure is an x86 machine with Secure Boot.
func secure(f debian.Flash, disk string) machine.Spec {
	return machine.Spec{
		Board: machine.Q35, Firmware: f.Code, VarsTemplate: f.Variables, SecureBoot: true, TPM: machine.TIS, Disk: disk,
	}
}

func TestX86SecureBoot(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.X86, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86)
	key, err := image.ReadKey(set.SnakeoilKey, set.SnakeoilCertificate, image.SnakeoilPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := image.NewKey("Stranger")
	if err != nil {
		t.Fatal(err)
	}
	signed, foreign := healthy.ukiDisk(t, key), healthy.ukiDisk(t, stranger)
	w := newWorld(t, nil)
	golden := newComputer(t, w, secure(set.OVMFSnakeoil, signed))
	golden.golden("x86-secure-boot")
	captured(t, golden, "q35-secure-boot")
	golden.off()

	off := func(disk string) machine.Spec {
		return secure(debian.Flash{Code: set.OVMFSnakeoil.Code, Variables: set.OVMF.Variables}, disk)
	}
	t.Run("another machine", func(t *testing.T) {
		t.Parallel()
		c := newComputer(t, w, secure(set.OVMFSnakeoil, signed))
		c.boot()
		wantFindings(t, c.attest(result.Trusted))
	})
	t.Run("Secure Boot off", func(t *testing.T) {
		t.Parallel()
		c := newComputer(t, w, off(signed))
		c.boot()
		wantFindings(t, c.attest(result.Untrusted), secureBootOff...)
	})
	t.Run("signed by a stranger and Secure Boot off", func(t *testing.T) {
		t.Parallel()
		c := newComputer(t, w, off(foreign))
		c.boot()
		// The digest of an image leaves its signatures out: what tells is that no key vouched for it.
		wantFindings(t, c.attest(result.Untrusted), secureBootOff...)
	})
	t.Run("signed by a stranger", func(t *testing.T) {
		t.Parallel()
		c := newComputer(t, w, secure(set.OVMFSnakeoil, foreign))
		if _, err := c.tryBoot(); !errors.Is(err, machine.ErrNoBoot) {
			t.Errorf("boot = %v, want %v: the firmware starts what nobody it trusts has signed", err, machine.ErrNoBoot)
		}
	})
}

// secureBootOff are the findings of a machine whose Secure Boot keys are gone. OVMF's first volume is measured as it lies
// in memory, which is another without keys, and systemd's stub then measures the kernel itself.
var secureBootOff = []string{
	"secure-boot-off EFI variable SecureBoot, PCR 7",
	"boot-event-changed PCR 0 (firmware), firmware volume 0x820000",
	"boot-event-unknown PCR 4 (boot loader), boot application VenMedia(systemd-stub payload)",
	"boot-event-changed PCR 7 (Secure Boot policy), Secure Boot database PK",
	"boot-event-changed PCR 7 (Secure Boot policy), Secure Boot database KEK",
	"boot-event-changed PCR 7 (Secure Boot policy), Secure Boot database db",
	"boot-event-changed PCR 7 (Secure Boot policy), Secure Boot database dbx",
	"boot-event-missing PCR 7 (Secure Boot policy), Secure Boot authority db",
}

func TestX86GRUB(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.X86, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86)
	pack := func(t *testing.T, s *system) machine.Spec {
		return secure(set.OVMFMicrosoft, disk(t, image.BootGRUB(read(t, set.Shim), read(t, set.GRUB), read(t, s.linux), s.initrd(t), s.cmdline)))
	}
	w := newWorld(t, nil)
	spec := pack(t, healthy)
	golden := newComputer(t, w, spec)
	golden.golden("x86-grub")
	captured(t, golden, "q35-grub")
	golden.off()
	for _, v := range []variant{
		{name: "another machine", state: result.Trusted},
		{
			name: "other command line", state: result.Untrusted,
			build: func(_ *testing.T, s *system) { s.cmdline += " init=/bin/sh" },
			found: []string{
				"boot-event-changed PCR 8 (boot loader commands), GRUB command grub_cmd",
				"boot-event-changed PCR 8 (boot loader commands), kernel command line",
				"boot-event-changed PCR 9 (files read by the boot loader), file read by the boot loader",
			},
		},
		{
			name: "other initrd", state: result.Untrusted,
			build: func(_ *testing.T, s *system) {
				s.files = append(s.files, image.File{Path: "/etc/implant", Data: []byte("implant")})
			},
			found: []string{"boot-event-changed PCR 9 (files read by the boot loader), file read by the boot loader /"},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			v.check(t, w, healthy, pack)
		})
	}
}
