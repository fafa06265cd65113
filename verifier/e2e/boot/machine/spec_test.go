//go:build linux

package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	always := "-display none -monitor none -serial stdio -nodefaults -no-user-config -no-reboot -chardev socket,id=qmp,fd=3 -mon chardev=qmp,mode=control"
	rng := " -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng"
	net := " -netdev user,id=net -device virtio-net-pci,netdev=net,romfile="
	tpm := " -chardev socket,id=tpm,fd=6 -tpmdev emulator,id=tpm0,chardev=tpm -device "
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"q35": {
			Spec{Board: Q35, Firmware: "/f,w", VarsTemplate: "/v", Disk: "/d", TPM: CRB, TPMState: "/t", CPUs: 2, Memory: 256, OptionROM: "/rom"},
			"-machine q35,smm=off -global driver=cfi.pflash01,property=secure,value=off -m 256 -accel tcg,thread=multi " + always +
				" -cpu Nehalem -smp 2 -drive if=pflash,unit=0,format=raw,readonly=on,file=/f,,w -drive if=pflash,unit=1,format=raw,file=/dev/fd/4" +
				" -drive if=none,id=disk,format=raw,readonly=on,file=/d -device virtio-blk-pci,drive=disk,bootindex=0" + rng + net + "/rom" + tpm + "tpm-crb,tpmdev=tpm0",
		},
		"q35, Secure Boot": {
			Spec{Board: Q35, Firmware: "/f", SecureBoot: true, Kernel: "/k", Initrd: "/i", Cmdline: "a b", NoNetwork: true, CPU: "max", Args: []string{"-x"}},
			"-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -m 512 -accel tcg,thread=multi " + always +
				" -cpu max -drive if=pflash,unit=0,format=raw,readonly=on,file=/f -drive if=pflash,unit=1,format=raw,file=/dev/fd/4" +
				" -kernel /k -append a b -initrd /i" + rng + " -x",
		},
		"virt": {
			Spec{Board: Virt, Firmware: "/f", Disk: "/d", TPM: TIS},
			"-machine virt -boot menu=on,splash-time=0 -m 1024 -accel tcg,thread=multi " + always +
				" -cpu cortex-a57 -drive if=pflash,unit=0,format=raw,readonly=on,file=/f -drive if=pflash,unit=1,format=raw,file=/dev/fd/4" +
				" -drive if=none,id=disk,format=raw,readonly=on,file=/d -device virtio-blk-pci,drive=disk,bootindex=0" + rng + net + tpm + "tpm-tis-device,tpmdev=tpm0",
		},
		"virt-uboot": {
			Spec{Board: VirtUBoot, Firmware: "/u-boot.bin", Disk: "/d"},
			"-machine virt -boot menu=on,splash-time=0 -m 1024 -accel tcg,thread=multi " + always +
				" -cpu cortex-a57 -bios /u-boot.bin -drive if=none,id=disk,format=raw,readonly=on,file=/d -device virtio-blk-pci,drive=disk" + rng + net,
		},
		"ast2600-evb": {
			Spec{Board: AST2600, Kernel: "/k", Cmdline: AST2600.Cmdline(), DTB: "/b", Flash: "/n"},
			"-machine ast2600-evb -m 1024 -accel tcg,thread=multi " + always + " -drive if=mtd,format=raw,file=/n" +
				" -kernel /k -append console=ttyS4,115200n8 vmalloc=700M -dtb /b -nic user",
		},
		"sabrelite": {
			Spec{Board: SABRELite, Kernel: "/k", Cmdline: SABRELite.Cmdline(), DTB: "/b", NoNetwork: true},
			"-machine sabrelite -serial null -m 512 -accel tcg,thread=multi " + always +
				" -chardev socket,id=qtest,fd=5 -qtest chardev:qtest -qtest-log none -kernel /k -append console=ttymxc1,115200n8 -dtb /b -nic none",
		},
	} {
		in := inherited{qmp: 3, vars: "/dev/fd/4", tpm: 6}
		if c.spec.Board == SABRELite {
			in.qtest = 5
		}
		if diff := cmp.Diff(strings.Fields(c.want), strings.Fields(strings.Join(c.spec.arguments(in), " "))); diff != "" {
			t.Errorf("%s: arguments (-want +got):\n%s", name, diff)
		}
	}
}

func TestSpecRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	q35 := Spec{Board: Q35, Firmware: file, VarsTemplate: file, Disk: file}
	uboot := Spec{Board: VirtUBoot, Firmware: file, Disk: file}
	board := Spec{Board: AST2600, Kernel: file, DTB: file}
	for _, good := range []Spec{q35, uboot, board} {
		if err := good.check(); err != nil {
			t.Errorf("check(%s): %v", good.Board, err)
		}
	}
	for want, s := range map[string]struct {
		spec   Spec
		change func(*Spec)
	}{
		`"pdp11" is not known`:       {q35, func(s *Spec) { s.Board = "pdp11" }},
		"a disk or a kernel is":      {q35, func(s *Spec) { s.Disk = "" }},
		"not both":                   {q35, func(s *Spec) { s.Kernel = file }},
		"go with a kernel":           {q35, func(s *Spec) { s.Cmdline = "x" }},
		"boots from a disk":          {uboot, func(s *Spec) { s.Disk, s.Kernel = "", file }},
		"boots a kernel":             {board, func(s *Spec) { s.Kernel, s.Disk = "", file }},
		"firmware is needed":         {q35, func(s *Spec) { s.Firmware = "" }},
		"and by no others":           {board, func(s *Spec) { s.Firmware = file }},
		"template of UEFI":           {q35, func(s *Spec) { s.VarsTemplate = "" }},
		"has no UEFI variables":      {uboot, func(s *Spec) { s.Vars = file }},
		"Secure Boot is":             {uboot, func(s *Spec) { s.SecureBoot = true }},
		"devicetree is needed":       {board, func(s *Spec) { s.DTB = "" }},
		"has no SPI NOR":             {q35, func(s *Spec) { s.Flash = file }},
		"option ROMs are":            {uboot, func(s *Spec) { s.OptionROM = file }},
		`no TPM interface "crb"`:     {uboot, func(s *Spec) { s.TPM, s.TPMState = CRB, "x" }},
		`no TPM interface "tis"`:     {board, func(s *Spec) { s.TPM, s.TPMState = TIS, "x" }},
		"folder of its state belong": {q35, func(s *Spec) { s.TPM = TIS }},
		"no such file":               {q35, func(s *Spec) { s.Disk = file + "x" }},
	} {
		s.change(&s.spec)
		if err := s.spec.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check: %v, want %q", err, want)
		}
		if m, err := Start(t.Context(), s.spec); err == nil {
			m.Stop()
			t.Errorf("Start succeeds in spite of %q", want)
		}
	}
}

func TestPad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flash")
	if err := os.WriteFile(path, []byte("boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 2<<20 + 5
	for range 2 {
		if err := pad(path, size); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) != size || string(b[:5]) != "boot\xff" || b[size-1] != 0xff {
			t.Errorf("pad: %d bytes, %v", len(b), err)
		}
	}
	if err := pad(path, 3); err == nil {
		t.Error("pad to less succeeds")
	}
	if err := pad(path+"x", size); err == nil {
		t.Error("pad of nothing succeeds")
	}
}

func TestGPIONames(t *testing.T) {
	for _, c := range []struct {
		find func(string, uint32) (gpioLine, error)
		chip string
		line uint32
		want gpioLine
	}{
		{aspeedGPIO, "/dev/gpiochip0", 0, gpioLine{path: "/machine/soc/gpio", property: "gpioA0"}},
		{aspeedGPIO, "/dev/gpiochip0", 48, gpioLine{path: "/machine/soc/gpio", property: "gpioG0"}},
		{aspeedGPIO, "/dev/gpiochip0", 207, gpioLine{path: "/machine/soc/gpio", property: "gpioZ7"}},
		{aspeedGPIO, "/dev/gpiochip1", 35, gpioLine{path: "/machine/soc/gpio_1_8v", property: "gpio18E3"}},
		{imxGPIO, "/dev/gpiochip0", 0, gpioLine{path: "/machine/soc/gpio1"}},
		{imxGPIO, "/dev/gpiochip6", 31, gpioLine{path: "/machine/soc/gpio7", line: 31}},
	} {
		if got, err := c.find(c.chip, c.line); err != nil || got != c.want {
			t.Errorf("%s line %d = %+v, %v, want %+v", c.chip, c.line, got, err, c.want)
		}
	}
	for _, chip := range []string{"/dev/gpiochip0", "/dev/gpiochip1", "/dev/gpiochip7", "", "/dev/gpiochip-1"} {
		if got, err := aspeedGPIO(chip, 208); err == nil {
			t.Errorf("aspeedGPIO(%q, 208) = %+v", chip, got)
		}
		if got, err := imxGPIO(chip, 32); err == nil {
			t.Errorf("imxGPIO(%q, 32) = %+v", chip, got)
		}
	}
}
