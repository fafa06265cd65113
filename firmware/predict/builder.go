package predict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// lastPCR is the last register that boot programs measure into.
const lastPCR = 14

// builder makes one prediction.
type builder struct {
	in      *Input
	fw      platform
	secure  eventlog.SecureBootState
	vars    variables // nil: not known
	chain   []*program
	cmdline string // what the kernel is given

	events  []Event
	problem error               // the first event that could not be made
	open    pcr.Selection       // PCRs into which one of several events of a slot is measured
	none    [pcr.Count]string   // why a PCR is not predicted
	assumes [pcr.Count][]string // what is taken for granted
}

func (in *Input) validate() error {
	for _, f := range append(slices.Clone(in.BootLoaders), in.UKI, in.Kernel, in.Initrd) {
		if len(f.Content) > MaxProgram {
			return inputError("%s has %d bytes, want at most %d", f.Path, len(f.Content), MaxProgram)
		}
		if len(f.Path) > MaxPath || strings.ContainsAny(f.Path, "\x00\n") {
			return inputError("path %.40q: want at most %d bytes without NUL and line end", f.Path, MaxPath)
		}
		if f.Path != "" && f.Content == nil {
			return inputError("%s: there is a path, but no content", f.Path)
		}
	}
	switch {
	case len(in.BootLoaders) > MaxBootLoaders:
		return inputError("%d boot loaders, want at most %d", len(in.BootLoaders), MaxBootLoaders)
	case len(in.Cmdline) > MaxCmdline || strings.ContainsRune(in.Cmdline, 0):
		return inputError("a command line of %d bytes: want at most %d, without NUL", len(in.Cmdline), MaxCmdline)
	case len(in.GRUB.Config.Content) > MaxScript:
		return inputError("a GRUB configuration of %d bytes, want at most %d", len(in.GRUB.Config.Content), MaxScript)
	case len(in.GRUB.Config.Path) > MaxPath || len(in.GRUB.Device) > MaxPath:
		return inputError("GRUB's path or device has more than %d bytes", MaxPath)
	case in.SecureBoot < eventlog.SecureBootUnknown || in.SecureBoot > eventlog.SecureBootOn:
		return inputError("Secure Boot state %d, want unknown, off or on", in.SecureBoot)
	}
	return in.validateLoader()
}

// validateLoader checks that the loader has what it needs, and sets it where only one is possible.
func (in *Input) validateLoader() error {
	uki, kernel := in.UKI.Content != nil, in.Kernel.Content != nil
	if in.Loader == "" {
		switch {
		case uki && !kernel:
			in.Loader = LoaderUKI
		case uki || kernel || in.BootLoaders != nil || in.Initrd.Content != nil || in.GRUB.Config.Content != nil:
			return inputError("the loader is not stated, want %q, %q, %q or %q", LoaderUKI, LoaderSystemdBoot, LoaderGRUB,
				LoaderEFIStub)
		case in.Firmware == nil && in.Variables == nil && in.Disk == nil:
			return inputError("nothing is given: want a firmware image, variables, a disk or what is booted")
		}
	}
	if uki && kernel {
		return inputError("a unified kernel image and a kernel: want one of them")
	}
	switch in.Loader {
	case "":
	case LoaderUKI:
		if !uki {
			return inputError("loader %q without a unified kernel image", in.Loader)
		}
	case LoaderSystemdBoot, LoaderGRUB:
		if len(in.BootLoaders) == 0 {
			return inputError("loader %q without the program itself among the boot loaders", in.Loader)
		}
		if !kernel && (in.Loader == LoaderGRUB || !uki) {
			return inputError("loader %q without a kernel", in.Loader)
		}
	case LoaderEFIStub:
		if !kernel || len(in.BootLoaders) > 0 {
			return inputError("loader %q wants a kernel and no boot loaders", in.Loader)
		}
	default:
		return inputError("unknown loader %q: want %q, %q, %q or %q", in.Loader, LoaderUKI, LoaderSystemdBoot, LoaderGRUB,
			LoaderEFIStub)
	}
	if uki && (in.Cmdline != "" || in.Initrd.Content != nil) {
		return inputError("a unified kernel image has its command line and initial RAM disk inside: leave them out")
	}
	return nil
}

// add appends an event.
func (b *builder) add(r record) {
	e, err := r.event()
	if err != nil {
		if b.problem == nil {
			b.problem = err
		}
		return
	}
	b.events = append(b.events, e)
}

// notPredicted gives a PCR up. The first reason counts.
func (b *builder) notPredicted(i int, format string, args ...any) {
	if b.none[i] == "" {
		b.none[i] = fmt.Sprintf(format, args...)
	}
}

// assume notes what the prediction of a PCR takes for granted.
func (b *builder) assume(i int, what string) {
	if !slices.Contains(b.assumes[i], what) {
		b.assumes[i] = append(b.assumes[i], what)
	}
}

// finish works out the coverage.
func (b *builder) finish() *Prediction {
	p := &Prediction{Firmware: b.fw.name, SecureBoot: b.secure, open: b.open}
	b.notPredicted(1, "boot order, boot entries and SMBIOS tables are of the single machine")
	b.notPredicted(10, "IMA measures what the running system opens")
	for i := lastPCR + 1; i < pcr.Count; i++ {
		b.notPredicted(i, "no program before the operating system measures into it")
	}
	for i := range p.Coverage {
		c := &p.Coverage[i]
		if b.none[i] != "" {
			c.Why = b.none[i]
			continue
		}
		c.Degree = Complete
		var why []string
		for _, e := range b.events {
			if e.PCR != i || len(e.Digests) > 0 || slices.Contains(c.Slots, e.Slot) {
				continue
			}
			c.Degree, c.Slots = Partial, append(c.Slots, e.Slot)
			why = append(why, e.Slot+": "+e.Reason)
		}
		c.Why = strings.Join(append(why, b.assumes[i]...), "; ")
	}
	for _, e := range b.events {
		if b.none[e.PCR] == "" {
			p.Events = append(p.Events, e)
		}
	}
	return p
}
