// Package predict says what a machine will measure while it boots, from the images that its vendor ships: no device has
// to be booted to make reference values.
//
// Boot follows the chain from the firmware to the kernel and lists the events of PCRs 0 to 14 that each program on the
// way measures, in the order in which it does, with their SHA-256 and SHA-384 digests. It knows edk2 as OVMF and AAVMF
// build it, U-Boot with EFI, shim, GRUB, systemd-boot, systemd-stub and Linux's EFI stub. What a program does is told,
// where it can be, from the program itself and not from its version: what its code contains.
//
// What a prediction is worth says its Coverage. A PCR that is Complete or Partial has an exhaustive list: an event of
// this PCR that no listed event matches is not of these images. An event whose content depends on the machine stands in
// the list with its slot, without a digest and with the reason. Where the list could not be exhaustive, the PCR has no
// events at all.
//
// Slots are exactly those of package eventlog, which names the predicted record as it would name the observed one. An
// event with a digest is recognised by the digest; its slot may name a place that differs between machines, such as a
// path or an address, and SlotPattern tells which part may differ. An event without a digest is recognised by its slot
// alone, so that it never has a pattern: a pattern would let any other thing of its kind pass.
//
// Limits: only what a healthy, ordinary boot measures is predicted. Option ROMs, drivers from outside the firmware
// image, keys that an owner enrols, add-ons beside a unified kernel image and a command line that somebody edits are
// not, and show as unknown events. PCR 1 (boot order, SMBIOS tables) is of the machine, PCR 10 of IMA. Limits on sizes
// are in limits.go.
//
// Sources: TCG PC Client Platform Firmware Profile 1.06 (PFP), sections 3.3.4 and 10; UEFI 2.10, sections 3, 5 and 32;
// UAPI Group, Linux TPM PCR Registry; and what the programs do, which the tests compare with captured boots.
package predict

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// ErrInput is wrapped by errors for an input that contradicts itself, lacks something or exceeds a limit. Images that
// cannot be read give the errors of packages image and pecoff.
var ErrInput = errors.New("cannot predict")

func inputError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInput, fmt.Errorf(format, args...))
}

// Loader is the kind of program that starts the kernel.
type Loader string

// Loaders.
const (
	LoaderUKI         Loader = "uki"          // unified kernel image: systemd-stub with the kernel inside
	LoaderSystemdBoot Loader = "systemd-boot" // systemd-boot, with a kernel and its entry or a unified kernel image
	LoaderGRUB        Loader = "grub"         // GRUB, mostly behind shim
	LoaderEFIStub     Loader = "efi-stub"     // the firmware starts the kernel itself
)

// File is a file that takes part in the boot.
type File struct {
	// Path is where the file is on its file system, as the program that opens it spells it: `\EFI\BOOT\BOOTX64.EFI` for
	// the firmware, "/boot/vmlinuz" for GRUB. It names the event; only systemd-boot and GRUB also measure it.
	Path string
	// Content is nil if there is no such file.
	Content []byte
}

// GRUB is what GRUB is given.
type GRUB struct {
	// Config is its configuration. An empty Path stands for grub.cfg in the folder that is built into GRUB.
	Config File
	// Device is the file system that GRUB was started from, as GRUB names it; it is part of measured commands. Empty: the
	// first partition of the first disk, "hd0,gpt1".
	Device string
}

// Input is what the machine boots. Everything is optional, but something must be there.
type Input struct {
	// Firmware is the image of the firmware's code: OVMF_CODE.fd, AAVMF_CODE.fd, u-boot.bin. Without one, or with one of
	// another kind, PCR 0 is not predicted, and the firmware is taken for one that keeps to the PFP.
	Firmware []byte
	// Variables is the image of the firmware's variables as the machine is shipped, with the Secure Boot databases:
	// OVMF_VARS.fd. U-Boot keeps its variables elsewhere: leave it nil.
	Variables []byte
	// SecureBoot is the state that machines run in. Unknown: it follows from Variables.
	SecureBoot eventlog.SecureBootState
	// Disk is the disk that is booted from, for its partition table.
	Disk io.ReaderAt

	// Loader may be empty if there is a UKI and no kernel.
	Loader Loader
	// BootLoaders are the programs before UKI or Kernel, in the order in which they run: shim, then GRUB or systemd-boot.
	BootLoaders []File
	// UKI is a unified kernel image.
	UKI File
	// Kernel, Initrd and Cmdline are for loaders that read them one by one. Cmdline is what the entry or command of the
	// loader says, without what the loader adds.
	Kernel  File
	Initrd  File
	Cmdline string
	GRUB    GRUB
}

// Prediction is what a boot will measure.
type Prediction struct {
	// Firmware names the firmware, such as "U-Boot 2023.01"; empty if its kind is not known.
	Firmware string
	// SecureBoot is the state that the prediction is for.
	SecureBoot eventlog.SecureBootState
	// Events are in the order in which each PCR is extended. The order of different PCRs means nothing. Twice the same
	// event is measured twice.
	Events []Event
	// Coverage is by PCR.
	Coverage [pcr.Count]Coverage

	open pcr.Selection
}

// Degree is how much of a PCR is predicted.
type Degree uint8

// Degrees.
const (
	None     Degree = iota // nothing: there are no events
	Partial                // every slot, but the content of some depends on the machine
	Complete               // every event with its digests
)

// String returns "none", "partial" or "complete".
func (d Degree) String() string {
	switch d {
	case Partial:
		return "partial"
	case Complete:
		return "complete"
	}
	return "none"
}

// Coverage tells how much of a PCR is predicted.
type Coverage struct {
	Degree Degree
	// Why explains None and Partial, and for Complete what is taken for granted, if anything.
	Why string
	// Slots are those of a Partial PCR whose content is not predicted.
	Slots []string
}

// PCR returns the events of one PCR in their order.
func (p *Prediction) PCR(i int) []Event {
	var out []Event
	for _, e := range p.Events {
		if e.PCR == i {
			out = append(out, e)
		}
	}
	return out
}

// Value returns the value of PCR i after a boot that measured all required events and no other, nil if the coverage is
// not Complete or one of several events is measured. A boot in which something optional happened has another value and
// may be healthy all the same.
func (p *Prediction) Value(i int, a pcr.Algorithm) []byte {
	if i < 0 || i >= pcr.Count || p.Coverage[i].Degree != Complete || p.open.Has(i) || !slices.Contains(banks, a) {
		return nil
	}
	b := pcr.Reset(a)
	for _, e := range p.Events {
		if e.PCR != i || !e.Required {
			continue
		}
		if err := b.Extend(i, e.Digests[a]); err != nil {
			return nil
		}
	}
	return b.Value(i)
}

// Boot predicts the measurements of a boot. The error wraps ErrInput, or is one of packages image and pecoff for an
// image that cannot be read.
func Boot(in Input) (*Prediction, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	b := &builder{in: &in}
	for _, step := range []func() error{
		b.firmware, b.secureBoot, b.programs, b.platform, b.applications, b.ready,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}
