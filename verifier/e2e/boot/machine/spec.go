//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Board is a kind of machine that QEMU emulates.
type Board string

// Boards.
const (
	Q35       Board = "q35"         // x86, UEFI by OVMF
	Virt      Board = "virt"        // arm64, UEFI by AAVMF
	VirtUBoot Board = "virt-uboot"  // arm64, U-Boot; boots from Disk
	AST2600   Board = "ast2600-evb" // 32-bit ARM, a BMC; no TPM; SPI NOR, I2C, GPIO
	SABRELite Board = "sabrelite"   // 32-bit ARM, i.MX6; no TPM; SPI NOR, I2C, GPIO
)

// TPM is how a machine sees its TPM.
type TPM string

// Interfaces of a TPM (PC Client PTP 1.06, section 6).
const (
	NoTPM TPM = ""
	TIS   TPM = "tis"
	CRB   TPM = "crb" // Q35 only
)

// Spec is a machine. Files are paths; what is written is said beside each.
type Spec struct {
	Board Board

	// Firmware is the code: OVMF_CODE*.fd, AAVMF_CODE.fd or U-Boot's u-boot.bin. Boards with SPI NOR have none: QEMU
	// starts their kernel.
	Firmware string
	// VarsTemplate are blank or prepared UEFI variables that go with Firmware (OVMF_VARS*.fd, AAVMF_VARS.fd).
	VarsTemplate string
	// Vars keeps the UEFI variables over boots. It is made from VarsTemplate where it does not exist, and written. Zero:
	// a copy of VarsTemplate in memory, thrown away.
	Vars string
	// SecureBoot says that Firmware is a Secure Boot build of OVMF, which guards its variables with SMM. (A build without
	// could not write its variables if they were guarded like that.)
	SecureBoot bool

	// Disk is a disk image to boot from; never written.
	Disk string
	// Kernel, Initrd and Cmdline are started instead of what is on a disk. Begin Cmdline with Board.Cmdline. A UEFI
	// machine measures them; the digest of the kernel then depends on the initrd's size, which QEMU writes into it.
	Kernel, Initrd, Cmdline string
	// DTB is the devicetree of a board with SPI NOR: aspeed-ast2600-evb.dtb or imx6q-sabrelite.dtb.
	DTB string
	// Flash is the content of the SPI NOR of a board that has one. It is written: padded with 0xff to Board.FlashSize,
	// and by what the guest writes.
	Flash string
	// OptionROM is a file with an option ROM for the network card, which UEFI then measures into PCR 2. Zero: none.
	OptionROM string

	// TPM is the TPM's interface, TPMState the folder with its state, which is written and makes it the same TPM over
	// boots: see Manufacture. One machine at a time may run on a folder.
	TPM      TPM
	TPMState string

	// Memory in MiB, CPUs and CPU model; zero: what the recorded boots had. OVMF's measurement of its own first volume
	// depends on all three.
	Memory, CPUs int
	CPU          string
	// NoNetwork leaves the machine without a network device.
	NoNetwork bool
	// KeepClock leaves the guest's clock as it is: 1970 on boards without one. By default it is set to the host's time.
	KeepClock bool
	// BootTime is how long the machine may take until the guest says hello; zero: 3 minutes.
	BootTime time.Duration
	// QEMU is a folder with QEMU's programs; zero: PATH.
	QEMU string
	// Args are added to QEMU's arguments.
	Args []string
}

// model is what is peculiar to a board.
type model struct {
	program, pkg string // of QEMU, and Debian's package with it
	machine      []string
	cpu          string
	memory       int
	tpm          map[TPM]string // QEMU's device names
	cmdline      string
	flash        int64 // size of the SPI NOR in bytes
	virtio       bool  // has PCI, so that disk and network are virtio devices
	pflash       bool  // UEFI: code and variables in parallel flash
	bootMenu     bool  // the firmware waits for a key unless told otherwise
	gpio         func(chip string, line uint32) (gpioLine, error)
}

var models = map[Board]model{
	Q35: {
		program: "qemu-system-x86_64", pkg: "qemu-system-x86", cpu: "Nehalem", memory: 512,
		tpm: map[TPM]string{TIS: "tpm-tis", CRB: "tpm-crb"}, cmdline: "console=ttyS0", virtio: true, pflash: true,
	},
	Virt: {
		program: "qemu-system-aarch64", pkg: "qemu-system-arm", machine: []string{"-machine", "virt"}, cpu: "cortex-a57", memory: 1024,
		tpm: map[TPM]string{TIS: "tpm-tis-device"}, cmdline: "console=ttyAMA0", virtio: true, pflash: true, bootMenu: true,
	},
	VirtUBoot: {
		program: "qemu-system-aarch64", pkg: "qemu-system-arm", machine: []string{"-machine", "virt"}, cpu: "cortex-a57", memory: 1024,
		tpm: map[TPM]string{TIS: "tpm-tis-device"}, cmdline: "console=ttyAMA0", virtio: true, bootMenu: true,
	},
	AST2600: {
		program: "qemu-system-arm", pkg: "qemu-system-arm", machine: []string{"-machine", "ast2600-evb"}, memory: 1024,
		// The flash controllers map 2 x 256 MiB, too much for the default area.
		cmdline: "console=ttyS4,115200n8 vmalloc=700M", flash: 64 << 20, gpio: aspeedGPIO,
	},
	SABRELite: {
		// The kernel's console is the second serial port.
		program: "qemu-system-arm", pkg: "qemu-system-arm", machine: []string{"-machine", "sabrelite", "-serial", "null"}, memory: 512,
		cmdline: "console=ttymxc1,115200n8", flash: 2 << 20, gpio: imxGPIO,
	},
}

// Cmdline is what a kernel's command line must begin with to be heard on the board's console.
func (b Board) Cmdline() string { return models[b].cmdline }

// FlashSize is the size of the board's SPI NOR in bytes; 0: it has none.
func (b Board) FlashSize() int64 { return models[b].flash }

// check refuses what QEMU would refuse less clearly, or not at all.
func (s *Spec) check() error {
	m, ok := models[s.Board]
	if !ok {
		return fmt.Errorf("board %q is not known", s.Board)
	}
	var errs []error
	want := func(is bool, format string, args ...any) {
		if !is {
			errs = append(errs, fmt.Errorf("%s: "+format, append([]any{s.Board}, args...)...))
		}
	}
	want(s.Disk != "" || s.Kernel != "", "a disk or a kernel is needed")
	want(s.Disk == "" || s.Kernel == "", "a disk or a kernel, not both")
	want(s.Kernel != "" || s.Initrd+s.Cmdline == "", "initrd and command line go with a kernel")
	want(s.Board != VirtUBoot || s.Disk != "", "boots from a disk")
	want(m.virtio || s.Kernel != "", "boots a kernel")
	want(m.virtio == (s.Firmware != ""), "firmware is needed by boards with UEFI or U-Boot, and by no others")
	want(!m.pflash || s.VarsTemplate != "", "a template of UEFI variables is needed")
	want(m.pflash || s.VarsTemplate+s.Vars == "", "has no UEFI variables")
	want(!s.SecureBoot || s.Board == Q35, "Secure Boot is offered on q35 only")
	want((m.flash > 0) == (s.DTB != ""), "a devicetree is needed by boards with SPI NOR, and by no others")
	want(m.flash > 0 || s.Flash == "", "has no SPI NOR")
	want(s.OptionROM == "" || s.Board == Q35, "option ROMs are offered on q35 only")
	want(s.TPM == NoTPM || m.tpm[s.TPM] != "", "has no TPM interface %q", s.TPM)
	want((s.TPM == NoTPM) == (s.TPMState == ""), "a TPM and the folder of its state belong together")
	for _, f := range []string{s.Firmware, s.VarsTemplate, s.Disk, s.Kernel, s.Initrd, s.DTB, s.OptionROM} {
		if f != "" {
			if _, err := os.Stat(f); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// inherited are the file descriptors that QEMU gets. Nothing of a machine is a file that would be left if this process
// were killed.
type inherited struct {
	qmp, qtest, tpm int
	vars            string // file with the UEFI variables
}

// arguments are QEMU's.
func (s *Spec) arguments(in inherited) []string {
	m := models[s.Board]
	a := append([]string{}, m.machine...)
	if s.Board == Q35 {
		smm := "off"
		if s.SecureBoot {
			smm = "on"
		}
		a = append(a, "-machine", "q35,smm="+smm, "-global", "driver=cfi.pflash01,property=secure,value="+smm)
	}
	if m.bootMenu {
		a = append(a, "-boot", "menu=on,splash-time=0")
	}
	memory, cpu := s.Memory, s.CPU
	if memory == 0 {
		memory = m.memory
	}
	if cpu == "" {
		cpu = m.cpu
	}
	a = append(a, "-m", fmt.Sprint(memory), "-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none",
		"-serial", "stdio", "-nodefaults", "-no-user-config", "-no-reboot",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", in.qmp), "-mon", "chardev=qmp,mode=control")
	if cpu != "" {
		a = append(a, "-cpu", cpu)
	}
	if s.CPUs > 0 {
		a = append(a, "-smp", fmt.Sprint(s.CPUs))
	}
	if in.qtest > 0 {
		a = append(a, "-chardev", fmt.Sprintf("socket,id=qtest,fd=%d", in.qtest), "-qtest", "chardev:qtest", "-qtest-log", "none")
	}
	a = append(a, s.firmwareArguments(in)...)
	a = append(a, s.bootArguments()...)
	a = append(a, s.deviceArguments(in)...)
	return append(a, s.Args...)
}

func (s *Spec) firmwareArguments(in inherited) []string {
	switch m := models[s.Board]; {
	case m.pflash:
		return []string{
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(s.Firmware),
			"-drive", "if=pflash,unit=1,format=raw,file=" + escape(in.vars),
		}
	case s.Firmware != "":
		return []string{"-bios", s.Firmware}
	case s.Flash != "":
		return []string{"-drive", "if=mtd,format=raw,file=" + escape(s.Flash)}
	}
	return nil
}

func (s *Spec) bootArguments() []string {
	if s.Disk != "" {
		device := "virtio-blk-pci,drive=disk"
		if s.Board != VirtUBoot { // which does not read the order
			device += ",bootindex=0"
		}
		return []string{"-drive", "if=none,id=disk,format=raw,readonly=on,file=" + escape(s.Disk), "-device", device}
	}
	a := []string{"-kernel", s.Kernel, "-append", s.Cmdline}
	if s.Initrd != "" {
		a = append(a, "-initrd", s.Initrd)
	}
	if s.DTB != "" {
		a = append(a, "-dtb", s.DTB)
	}
	return a
}

// deviceArguments are network, random numbers and TPM. In QEMU's user mode network nothing listens and nothing is
// forwarded in: the guest reaches the host's loopback as HostAddress, and nobody reaches the guest.
func (s *Spec) deviceArguments(in inherited) []string {
	var a []string
	switch m := models[s.Board]; {
	case m.virtio:
		a = append(a, "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng")
		if !s.NoNetwork {
			// romfile= with nothing: no option ROM.
			a = append(a, "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="+escape(s.OptionROM))
		}
	case s.NoNetwork:
		a = append(a, "-nic", "none")
	default:
		a = append(a, "-nic", "user")
	}
	if s.TPM != NoTPM {
		a = append(a, "-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", in.tpm), "-tpmdev", "emulator,id=tpm0,chardev=tpm",
			"-device", models[s.Board].tpm[s.TPM]+",tpmdev=tpm0")
	}
	return a
}

// escape doubles commas, which separate QEMU's options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
