package predict

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// applicationPCR is where firmware measures boot managers and what they load (PFP section 3.3.4.5).
const applicationPCR = 4

// Texts of EV_EFI_ACTION events (PFP section 10.4.4).
const (
	actionCalling   = "Calling EFI Application from Boot Option"
	actionReturning = "Returning from EFI Application from Boot Option"
	actionExited    = "Exit Boot Services Returned with Success"
	actionNotExited = "Exit Boot Services Returned with Failure"
)

func (b *builder) action(i int, text string, optional bool, note string) {
	b.add(record{pcr: i, typ: eventlog.EFIAction, data: []byte(text), optional: optional, note: note})
}

// applications lists PCRs 4, 5 and 7, where firmware and loaders take turns, and what loaders measure into higher PCRs.
// U-Boot loads the first program before it closes its PCRs, edk2 afterwards.
func (b *builder) applications() error {
	b.configuration()
	if b.fw.kind != platformUBoot {
		b.action(applicationPCR, actionCalling, false, "the firmware starts a boot entry")
		b.separator(applicationPCR)
		b.separator(partitionPCR)
		b.separator(secureBootPCR)
		if err := b.authorities(); err != nil {
			return err
		}
	}
	if err := b.partitionTable(); err != nil {
		return err
	}
	b.nothingAbove()
	for i, p := range b.chain {
		if err := b.application(p, i); err != nil {
			return err
		}
	}
	if len(b.chain) == 0 {
		b.withoutPrograms()
	}
	b.action(applicationPCR, actionReturning, true, "a boot entry gave up; what it ran is measured as well")
	return nil
}

func (b *builder) uBootReady() {
	b.action(applicationPCR, actionCalling, false, "the firmware starts a boot entry")
	b.separator(applicationPCR)
	b.separator(partitionPCR)
	b.separator(secureBootPCR)
}

// withoutPrograms gives up the PCRs that depend on what is booted.
func (b *builder) withoutPrograms() {
	if b.fw.kind == platformUBoot {
		b.uBootReady()
	}
	for _, i := range []int{applicationPCR, 8, 9, 11, 12, 13, mokPCR} {
		b.notPredicted(i, "no program that is booted is given")
	}
}

// nothingAbove notes what the prediction of the loaders' PCRs takes for granted.
func (b *builder) nothingAbove() {
	b.assume(12, "no add-ons, credentials or other command lines beside the images")
	b.assume(13, "no system or configuration extensions beside the images")
}

// application lists what is measured when one program of the chain is started and while it runs.
func (b *builder) application(p *program, position int) error {
	if p.kind == programKernel && b.has(programGRUB) != nil {
		return nil // GRUB loads it: see grub
	}
	d, err := b.digests(p.Content, p.pe)
	if err != nil {
		return err
	}
	note := "program"
	if p.Path != "" {
		note += " " + p.Path
	}
	b.load(filePath(p.Path), d, false, note)
	if position == 0 && b.fw.kind == platformUBoot {
		b.uBootReady()
	}
	if position > 1 && b.has(programShim) != nil {
		b.load(nil, d, true, note+", as shim verifies it")
	}
	switch p.kind {
	case programShim:
		return b.shim(p)
	case programGRUB:
		return b.grub(p)
	case programSystemdBoot:
		b.systemdBoot(p)
	case programStub:
		return b.stub(p)
	case programKernel:
		b.kernel(p)
	case programOther:
		for _, i := range []int{applicationPCR, 8, linuxPCR, 11, 12, 13, mokPCR} {
			b.notPredicted(i, "what %s measures is not known: it is none of shim, GRUB, systemd-boot, systemd-stub and Linux",
				cmp.Or(p.Path, "a boot loader"))
		}
	}
	return nil
}

// load lists the measurement of a program that is loaded.
func (b *builder) load(path []byte, d map[pcr.Algorithm][]byte, optional bool, note string) {
	b.add(record{
		pcr: applicationPCR, typ: eventlog.EFIBootServicesApplication, data: imageLoad(path), digests: d, pattern: "*",
		optional: optional, note: note,
	})
}

// ready lists what the firmware measures when Linux takes the machine over.
func (b *builder) ready() error {
	b.action(partitionPCR, exitAction, false, "Linux ends the firmware's boot services")
	b.action(partitionPCR, actionNotExited, true, "Linux tries again after the memory map has changed")
	b.action(partitionPCR, actionExited, false, "the firmware's boot services have ended")
	return b.problem
}

// linuxPCR is where Linux's EFI stub measures, and GRUB the files that it reads.
const linuxPCR = 9

// Tags of Linux's EFI stub (drivers/firmware/efi/libstub).
const (
	tagInitrd      = 0x8f3b22ec
	tagLoadOptions = 0x8f3b22ed
	nameInitrd     = "Linux initrd"
	nameOptions    = "LOADED_IMAGE::LoadOptions"
)

// start is how a kernel is started through its EFI stub.
type start struct {
	kernel    []byte
	options   []byte // that the kernel gets, UTF-16 with NUL; nil: none, or not known
	reason    string // why they are not known
	initrd    []byte // nil: none
	noInitrd  string // why its content is not known though there is one
	optional  bool   // the loader may start the kernel in another way
	unsettled bool   // the options may lack their NUL
}

// linuxStub lists what Linux's EFI stub measures, if the kernel's code says that it does.
func (b *builder) linuxStub(s start) {
	if len(s.kernel) > 8 && string(s.kernel[4:8]) == "zimg" {
		b.notPredicted(linuxPCR, "the kernel is packed in an EFI program (zboot): what that measures is not known from outside")
		b.notPredicted(applicationPCR, "the kernel is packed in an EFI program (zboot), which loads another from memory")
		return
	}
	if (s.options != nil || s.reason != "") && bytes.Contains(s.kernel, []byte(nameOptions)) {
		r := record{
			pcr: linuxPCR, typ: eventlog.EventTag, data: tag(tagLoadOptions, nameOptions), content: s.options, reason: s.reason,
			optional: s.optional || s.unsettled || s.reason != "", note: "command line as Linux's EFI stub gets it",
		}
		b.add(r)
		if s.unsettled {
			r.content = s.options[:len(s.options)-2]
			b.add(r)
			b.open |= pcr.Select(linuxPCR)
		}
	}
	if (s.initrd != nil || s.noInitrd != "") && bytes.Contains(s.kernel, []byte(nameInitrd)) {
		b.add(record{
			pcr: linuxPCR, typ: eventlog.EventTag, data: tag(tagInitrd, nameInitrd), content: s.initrd, reason: s.noInitrd,
			optional: s.optional, note: "initial RAM disk",
		})
	}
}

// kernel lists what a kernel measures that the firmware or systemd-boot has started.
func (b *builder) kernel(p *program) {
	s := start{kernel: p.Content, initrd: b.in.Initrd.Content}
	if b.has(programSystemdBoot) == nil {
		// Tools write boot entries with and without a NUL at the end.
		if b.in.Cmdline != "" {
			s.options, s.unsettled = utf16z(b.in.Cmdline), true
		}
		b.linuxStub(s)
		return
	}
	r := record{pcr: 12, typ: eventlog.IPL, note: "command line of the systemd-boot entry"}
	options, reason := b.entryOptions()
	switch {
	case reason != "":
		r.data, r.reason, s.reason = utf16z("not known"), reason, reason
		b.add(r)
	case options != "":
		s.options = utf16z(options)
		r.data = s.options
		b.add(r)
	}
	b.linuxStub(s)
}

// vendorMedia returns the device path of a program that a loader has in memory (UEFI 2.10, section 10.3.5.3).
func vendorMedia(guid [16]byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{4, 3}, 20), guid[:]...)
}
