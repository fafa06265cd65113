//go:build linux

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

func TestUBoot(t *testing.T) {
	everything(t)
	set := debian.Need(t, debian.ARM64)
	m := boot(t, Spec{Board: VirtUBoot, Firmware: set.UBoot, Disk: disk(t, set, VirtUBoot, "arm64"), TPM: TIS})
	bootLog(t, m)
}

func TestNothingToBoot(t *testing.T) {
	everything(t)
	arm, x86 := debian.Need(t, debian.ARM64), debian.Need(t, debian.X86)
	empty := saved(t, "empty", make([]byte, 1<<20))
	for name, s := range map[string]Spec{
		"U-Boot": {Board: VirtUBoot, Firmware: arm.UBoot, Disk: empty},
		"AAVMF":  {Board: Virt, Firmware: arm.AAVMF.Code, VarsTemplate: arm.AAVMF.Variables, Disk: empty},
		"OVMF":   {Board: Q35, Firmware: x86.OVMF.Code, VarsTemplate: x86.OVMF.Variables, Disk: empty},
		"Secure Boot": {
			Board: Q35, Firmware: x86.OVMFSnakeoil.Code, VarsTemplate: x86.OVMFSnakeoil.Variables, SecureBoot: true,
			Disk: disk(t, x86, Q35, "amd64"), // not signed
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.BootTime = 2 * time.Minute
			began := time.Now()
			m, err := Start(t.Context(), s)
			if !errors.Is(err, ErrNoBoot) {
				t.Errorf("Start = %v, %v, want ErrNoBoot", m, err)
			}
			t.Logf("after %.1f s: %v", time.Since(began).Seconds(), errors.Unwrap(err))
		})
	}
}

// TestIMA: what the guest's operations do to the kernel's measurements.
func TestIMA(t *testing.T) {
	everything(t)
	ctx := t.Context()
	set := debian.Need(t, debian.X86)
	vars := filepath.Join(t.TempDir(), "vars")
	m := boot(t, Spec{
		Board: Q35, Firmware: set.OVMF.Code, VarsTemplate: set.OVMF.Variables, Vars: vars, TPM: CRB, OptionROM: saved(t, "rom", make([]byte, 512)),
		Kernel: set.Kernel, Initrd: saved(t, "initrd", initrd(t, set, "amd64")), Cmdline: Q35.Cmdline() + imaCmdline,
	})
	violations := func() string {
		b, err := m.ReadFile(ctx, "/sys/kernel/security/ima/violations")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	entries := func(path string) int {
		b, err := m.ReadFile(ctx, "/sys/kernel/security/ima/ascii_runtime_measurements")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), " "+path+"\n")
	}
	run := func(path string) {
		if o, err := m.Run(ctx, guest.Run{Args: []string{path}}); err != nil || o.Exit != 2 {
			t.Fatalf("Run(%s) = %+v, %v", path, o, err)
		}
	}
	if err := m.CopyFile(ctx, "/init", "/usr/bin/tool"); err != nil {
		t.Fatal(err)
	}
	run("/usr/bin/tool")
	run("/usr/bin/tool")
	if n := entries("/usr/bin/tool"); n != 1 {
		t.Errorf("%d entries of a program that ran twice, want 1", n)
	}
	if err := m.AppendFile(ctx, "/usr/bin/tool", []byte("x")); err != nil {
		t.Fatal(err)
	}
	run("/usr/bin/tool")
	if n := entries("/usr/bin/tool"); n != 2 {
		t.Errorf("%d entries of a program that was swapped, want 2", n)
	}
	if v := violations(); v != "0" {
		t.Errorf("%s violations before", v)
	}
	if err := errors.Join(m.WriteFile(ctx, "/etc/file", []byte("x"), 0o600), m.Violate(ctx, "/etc/file")); err != nil {
		t.Fatal(err)
	}
	if v := violations(); v != "1" {
		t.Errorf("%s violations after, want 1", v)
	}
	if l, err := m.List(ctx, "/sys/firmware/efi/efivars"); err != nil || len(l) == 0 {
		t.Errorf("EFI variables: %d, %v", len(l), err)
	}
	m.PowerCut()
	if bytes.Equal(file(t, vars), file(t, set.OVMF.Variables)) {
		t.Error("the firmware wrote no variables")
	}
	if err := m.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestBoards: flash, SPI and GPIO of the 32-bit boards are real to the guest.
func TestBoards(t *testing.T) {
	everything(t)
	set := debian.Need(t, debian.ARMHF)
	ram := saved(t, "initrd", initrd(t, set, "arm"))
	for b, c := range map[Board]struct {
		tree string
		gpio guest.GPIOArgs
	}{
		AST2600:   {"aspeed-ast2600-evb.dtb", guest.GPIOArgs{Chip: "/dev/gpiochip0", Line: 48}},
		SABRELite: {"imx6q-sabrelite.dtb", guest.GPIOArgs{Chip: "/dev/gpiochip2", Line: 7}},
	} {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			content := []byte("boot firmware")
			s := Spec{
				Board: b, Kernel: set.Kernel, Initrd: ram, Cmdline: b.Cmdline() + " rootfstype=ramfs",
				DTB: filepath.Join(set.DeviceTrees, c.tree), Flash: saved(t, "flash", content),
			}
			m := boot(t, s)
			if h := m.Hello(); h.Machine != "armv7l" || h.Network == "" {
				t.Errorf("Hello = %+v", h)
			}
			mtd, err := m.ReadFile(ctx, "/proc/mtd")
			if err != nil || !strings.Contains(string(mtd), fmt.Sprintf("mtd0: %08x", b.FlashSize())) {
				t.Errorf("/proc/mtd = %q, %v", mtd, err)
			}
			if got, err := m.ReadPart(ctx, "/dev/mtd0", 0, 16); err != nil || !bytes.Equal(got, append(content, 0xff, 0xff, 0xff)) {
				t.Errorf("/dev/mtd0 = %q, %v", got, err)
			}
			for _, high := range []bool{true, false, true} {
				if err := m.SetGPIO(ctx, c.gpio.Chip, c.gpio.Line, high); err != nil {
					t.Fatal(err)
				}
				if g, err := m.GPIO(ctx, c.gpio.Chip, c.gpio.Line); err != nil || g.High != high {
					t.Errorf("GPIO = %+v, %v, want %v", g, err, high)
				}
			}
			// What the guest writes is in our file.
			if err := m.WriteAt(ctx, "/dev/mtd0", 64<<10, []byte("written")); err != nil {
				t.Error(err)
			}
			spidev(t, m)
			if err := m.PowerOff(ctx); err != nil {
				t.Error(err)
			}
			if b := file(t, s.Flash); !bytes.HasPrefix(b[64<<10:], []byte("written")) {
				t.Errorf("flash afterwards: %q", b[64<<10:64<<10+16])
			}
		})
	}
}

// spidev takes the flash chip from its driver and gives it to user space.
func spidev(t *testing.T, m *Machine) {
	t.Helper()
	ctx := t.Context()
	for _, w := range [][2]string{
		{"/sys/bus/spi/drivers/spi-nor/unbind", "spi0.0"},
		{"/sys/bus/spi/devices/spi0.0/driver_override", "spidev"},
		{"/sys/bus/spi/drivers/spidev/bind", "spi0.0"},
	} {
		if err := m.WriteFile(ctx, w[0], []byte(w[1]), 0); err != nil {
			t.Errorf("%s: %v", w[0], err)
		}
	}
	if l, err := m.List(ctx, "/dev"); err != nil || !strings.Contains(fmt.Sprint(l), "spidev0.0") {
		t.Errorf("/dev = %v, %v", l, err)
	}
}
