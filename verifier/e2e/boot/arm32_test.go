//go:build linux

package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// board is a 32-bit board without a TPM: its kernel is started by QEMU, its flash holds what its vendor shipped.
type board struct {
	machine.Board
	dtb    string
	tamper tamperLine
	layout string // of flash; empty: all that the kernel shows
	noSPI  bool   // its controller reads flash only for the kernel's own driver
}

// tamperLine is the GPIO input that stands for the switch of the case.
type tamperLine struct {
	chip string
	line uint32
}

var boards = []board{
	{
		// Both its chips together have 128 MiB, which take an emulated processor half a minute.
		machine.AST2600, "aspeed-ast2600-evb.dtb",
		tamperLine{"gpiochip0", 48},
		"regions:\n  - name: u-boot\n    source: mtd:bmc\n    length: 2MiB\n", true,
	},
	{machine.SABRELite, "imx6q-sabrelite.dtb", tamperLine{"gpiochip2", 7}, "", false},
}

// software is the finding of every device whose key is a file.
const software = "software-identity identity"

func TestARM32(t *testing.T) {
	everything(t)
	t.Parallel()
	s := newSystem(t, debian.ARMHF, "arm", machine.AST2600)
	set := debian.Need(t, debian.ARMHF)
	// The flash holds a real U-Boot, in front of erased bytes.
	uBoot := read(t, debian.Need(t, debian.ARM64).UBoot)
	backdoor, _, err := image.FlipUBoot(uBoot)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boards {
		t.Run(string(b.Board), func(t *testing.T) {
			t.Parallel()
			s := *s
			if b.layout != "" {
				s.files = append(s.files, image.File{Path: layoutFile, Mode: 0o644, Data: []byte(b.layout)})
			}
			initrd := write(t, "initrd", s.initrd(t))
			w := newWorld(t, nil)
			pack := func(t *testing.T, content []byte) machine.Spec {
				return machine.Spec{
					Board: b.Board, Kernel: set.Kernel, Initrd: initrd, Cmdline: b.Cmdline() + " rootfstype=ramfs",
					DTB: filepath.Join(set.DeviceTrees, b.dtb), Flash: write(t, "flash", bytes.Clone(content)),
				}
			}
			c := b.computer(t, w, pack(t, uBoot))
			c.boot()
			c.approve()
			first := c.attest(result.Warning)
			wantFindings(t, first, software, "no-reference model ")
			if d := w.Device(c.id); d.Level != result.Software {
				t.Errorf("identity level = %s, want %s: it is shown for what it is", d.Level, result.Software)
			}
			for _, part := range []result.Submod{result.Flash, result.Platform} {
				if got := first.Strength.Of(part); got != result.SelfAsserted {
					t.Errorf("strength of %s = %s, want %s", part, got, result.SelfAsserted)
				}
			}
			w.Baseline(c.id, string(b.Board))
			wantFindings(t, c.attest(result.Warning), software)
			c.tampered(b)
			c.chipAdded()
			c.off()

			other := b.computer(t, w, pack(t, backdoor))
			other.boot()
			other.approve()
			wantFindings(t, other.attest(result.Untrusted), "flash-changed flash region ", software)
			other.viaSPI(b)
			other.off()
		})
	}
}

func (b board) computer(t *testing.T, w *world.World, s machine.Spec) *computer {
	t.Helper()
	c := newComputer(t, w, s)
	c.flags = append(c.flags, "--flash-rate", "0", "--tamper", b.tamper.flag())
	if b.layout != "" {
		c.flags = append(c.flags, layoutFlags...)
	}
	return c
}

// flag is the agent's --tamper for the line: high means open.
func (l tamperLine) flag() string { return fmt.Sprintf("case=%s:%d:active-high", l.chip, l.line) }

// approve lets a device in that has nothing but a key: the agent asks, and is told to wait; the operator approves.
func (c *computer) approve() {
	c.t.Helper()
	c.identify()
	p, err := c.m.StartProcess(c.ctx(), guest.Run{Args: c.command("run")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.w.Await("the agent is told to wait for an operator", func() bool {
		out, err := p.Output(c.ctx())
		if err != nil || out.Exit >= 0 {
			c.t.Fatalf("the agent ended: %+v, %v", out, err)
		}
		return strings.Contains(string(out.Stderr), "operator")
	})
	if s := c.w.Device(c.id).Status; s != string(store.Pending) {
		c.t.Errorf("status = %q, want %q", s, store.Pending)
	}
	if err := p.Signal(c.ctx(), syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if _, err := p.Wait(c.ctx(), attestTime); err != nil {
		c.t.Fatal(err)
	}
	c.keep()
	c.w.Must("POST", "/v1/devices/"+c.id+"/approve", nil, nil)
}

// tampered opens the case, from outside of the machine, and closes it again.
func (c *computer) tampered(b board) {
	c.t.Helper()
	set := func(high bool) {
		if err := c.m.SetGPIO(c.ctx(), "/dev/"+b.tamper.chip, b.tamper.line, high); err != nil {
			c.t.Fatal(err)
		}
	}
	set(true)
	wantFindings(c.t, c.attest(result.Untrusted), "tamper-open tamper line case", software)
	set(false)
	wantFindings(c.t, c.attest(result.Warning), software)
}

// chipAdded makes a chip known to the kernel that the reference values do not have, as one that was soldered to the bus.
func (c *computer) chipAdded() {
	c.t.Helper()
	if err := c.m.WriteAt(c.ctx(), "/sys/bus/i2c/devices/i2c-0/new_device", 0, []byte("24c02 0x57")); err != nil {
		c.t.Fatal(err)
	}
	wantFindings(c.t, c.attest(result.Warning), software, "inventory-unknown ")
}

// viaSPI takes the flash from the kernel's driver and has the agent read it itself, over a real /dev/spidev.
func (c *computer) viaSPI(b board) {
	c.t.Helper()
	device := c.unbindFlash()
	layout := "regions:\n  - name: chip\n    source: spi:" + strings.TrimPrefix(device, "spi") + "\n    length: 2MiB\n"
	if err := c.m.WriteFile(c.ctx(), layoutFile, []byte(layout), 0o644); err != nil {
		c.t.Fatal(err)
	}
	out := c.agent(append([]string{"show", "-o", "json", "--flash-wait", "4m"}, layoutFlags...)...)
	if b.noSPI {
		const why = "bind the kernel's spi-nor driver"
		if !strings.Contains(string(out.Stdout), why) {
			c.t.Errorf("probity-agent show: exit code %d, want it to say %q:\n%s%s", out.Exit, why, out.Stdout, out.Stderr)
		}
		return
	}
	digest := imageDigest(c.t, c.spec.Flash)
	if out.Exit != 0 || !strings.Contains(string(out.Stdout), digest) {
		c.t.Errorf("probity-agent show: exit code %d, want the flash's digest %s in it:\n%s%s", out.Exit, digest, out.Stdout, out.Stderr)
	}
}

// unbindFlash frees the flash's chip select for spidev and returns its name, such as "spi0.0".
func (c *computer) unbindFlash() string {
	c.t.Helper()
	const bus = "/sys/bus/spi/"
	devices, err := c.m.List(c.ctx(), bus+"drivers/spi-nor")
	if err != nil {
		c.t.Fatal(err)
	}
	name := ""
	for _, d := range devices {
		if strings.HasPrefix(d.Name, "spi") {
			name = d.Name
			break
		}
	}
	if name == "" {
		c.t.Fatalf("no chip is bound to spi-nor: %v", devices)
	}
	for _, w := range []struct{ file, value string }{
		{"drivers/spi-nor/unbind", name}, {"devices/" + name + "/driver_override", "spidev"}, {"drivers/spidev/bind", name},
	} {
		if err := c.m.WriteAt(c.ctx(), bus+w.file, 0, []byte(w.value)); err != nil {
			c.t.Fatal(err)
		}
	}
	return name
}

// imageDigest is the SHA-256 of the first 2 MiB of a flash: all that the smaller chip has.
func imageDigest(t *testing.T, file string) string {
	t.Helper()
	sum := sha256.Sum256(read(t, file)[:2<<20])
	return hex.EncodeToString(sum[:])
}
