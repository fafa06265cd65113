package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image/pecoff"
)

// tagLoaderConf is the tag under which newer versions of systemd-boot measure their configuration (systemd,
// tpm2-pcr.h).
const tagLoaderConf = 0xf5bc582a

// systemdBoot lists what systemd-boot measures by itself: newer versions their configuration, if there is one.
func (b *builder) systemdBoot(p *program) {
	if !bytes.Contains(p.Content, binary.LittleEndian.AppendUint32(nil, tagLoaderConf)) {
		return
	}
	b.add(record{
		pcr: partitionPCR, typ: eventlog.EventTag, data: tag(tagLoaderConf, "loader.conf"), optional: true,
		reason: "depends on loader.conf", note: "configuration of systemd-boot",
	})
}

// entryOptions returns the command line that systemd-boot makes of an entry of type 1: the initial RAM disk's path
// comes first.
func (b *builder) entryOptions() (options, reason string) {
	options = b.in.Cmdline
	if b.in.Initrd.Content == nil {
		return options, ""
	}
	if b.in.Initrd.Path == "" {
		return "", "the path of the initial RAM disk is not given, which is part of the command line"
	}
	options = strings.TrimRight("initrd="+strings.ReplaceAll(b.in.Initrd.Path, "/", `\`)+" "+options, " ")
	return options, ""
}

// Versions of systemd-stub.
const (
	stubOldest   = 252 // the first that measures sections
	stubOwnStart = 257 // from here on it may start the kernel without the firmware
)

// stub lists what systemd-stub measures: the sections of the image into PCR 11; the kernel inside, which it has the
// firmware load, into PCR 4; and what the kernel's own stub measures.
func (b *builder) stub(p *program) error {
	sections, err := p.pe.StubMeasurements()
	if err != nil {
		return fmt.Errorf("%s: %w", p.Path, err)
	}
	for i := range sections {
		s := &sections[i]
		data := utf16z(s.Section)
		note := "name of section " + s.Section
		b.add(record{pcr: pecoff.StubPCR, typ: eventlog.IPL, data: data, content: s.Name, optional: s.Conditional, note: note})
		note = "content of section " + s.Section
		b.add(record{pcr: pecoff.StubPCR, typ: eventlog.IPL, data: data, content: s.Content, optional: s.Conditional, note: note})
	}
	b.assume(pecoff.StubPCR, "the values are those at the start of Linux, before systemd measures the phases of its own start")
	kernel := p.pe.Section(".linux").Content()
	if err := b.payload(p, kernel); err != nil {
		return err
	}
	s := start{kernel: kernel}
	s.options, s.reason = p.options()
	s.initrd, s.noInitrd = p.initrd()
	b.linuxStub(s)
	return nil
}

// payload lists the measurement of the kernel in a unified kernel image. With Secure Boot on, the stub tells the
// firmware that it has checked the kernel already, and then the firmware does not measure it either.
func (b *builder) payload(p *program, kernel []byte) error {
	pe, err := pecoff.Parse(kernel)
	if err != nil {
		return fmt.Errorf("%s: kernel: %w", p.Path, err)
	}
	d, err := b.digests(kernel, pe)
	if err != nil {
		return err
	}
	version := stubVersion(p)
	optional := version == 0 || version >= stubOwnStart || b.has(programShim) != nil
	if b.secure == eventlog.SecureBootOn && !optional {
		return nil
	}
	b.load(vendorMedia(guidPayload), d, optional || b.secure == eventlog.SecureBootUnknown, "kernel in the unified kernel image")
	return nil
}

// stubVersion returns the major version of systemd-stub, 0 if it has none.
func stubVersion(p *program) int {
	v := p.pe.StubVersion()
	end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		v = v[:end]
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < stubOldest {
		return 0
	}
	return n
}

// options returns the load options that systemd-stub makes of the section .cmdline.
func (p *program) options() (options []byte, reason string) {
	s := p.pe.Section(".cmdline")
	if s == nil || s.Memory == 0 {
		return nil, "the image has no command line inside: it is that of the boot entry"
	}
	text, _, _ := bytes.Cut(s.Content(), []byte{0})
	if len(text) > MaxCmdline {
		return nil, fmt.Sprintf("the command line has %d bytes", len(text))
	}
	for i, c := range text {
		if c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(text)-1) {
			return nil, "versions of systemd-stub differ in what they make of control characters, of spaces at the ends and of " +
				"letters beyond ASCII in a command line"
		}
	}
	return utf16z(string(text)), ""
}

// initrd returns the initial RAM disk that systemd-stub gives to the kernel. It is the section's content, unless the
// stub adds files of its own to it.
func (p *program) initrd() (content []byte, reason string) {
	for _, name := range []string{".ucode", ".pcrsig", ".pcrpkey", ".profile"} {
		if s := p.pe.Section(name); s != nil && s.Memory > 0 {
			return nil, "systemd-stub adds the section " + name + " to the initial RAM disk"
		}
	}
	if name := utf16z("os-release"); bytes.Contains(p.Content[:p.stubEnd()], name) {
		return nil, "systemd-stub adds os-release to the initial RAM disk"
	}
	if s := p.pe.Section(".initrd"); s != nil && s.Memory > 0 {
		return s.Content(), ""
	}
	return nil, ""
}

// stubEnd returns where the stub's own code and data end in the file and what was added begins.
func (p *program) stubEnd() int {
	end := len(p.Content)
	for i := range p.pe.Sections {
		s := &p.pe.Sections[i]
		switch s.Name {
		case ".linux", ".initrd", ".osrel", ".cmdline", ".ucode", ".splash", ".dtb", ".uname", ".dtbauto", ".hwids", ".efifw":
			if s.Size > 0 {
				end = min(end, s.Offset)
			}
		}
	}
	return end
}
