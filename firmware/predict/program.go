package predict

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

// programKind is what a program in the chain is.
type programKind int

const (
	programOther programKind = iota
	programShim
	programGRUB
	programSystemdBoot
	programStub   // unified kernel image
	programKernel // Linux with an EFI stub
)

// program is an EFI program of the chain.
type program struct {
	File
	kind programKind
	pe   *pecoff.File
}

// newProgram reads a program and recognises it by what it holds.
func newProgram(f File) (*program, error) {
	pe, err := pecoff.Parse(f.Content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(f.Path, "program"), err)
	}
	p := &program{File: f, pe: pe}
	switch {
	case pe.Section(".linux") != nil:
		p.kind = programStub
	case p.section(".vendor_cert") != nil && bytes.Contains(f.Content, []byte("UEFI SHIM")):
		p.kind = programShim
	case pe.Section("mods") != nil:
		p.kind = programGRUB
	case bytes.Contains(f.Content, []byte("LoaderInfo: systemd-boot ")):
		p.kind = programSystemdBoot
	case len(f.Content) > 0x206 && string(f.Content[0x202:0x206]) == "HdrS", // x86 boot protocol
		len(f.Content) > 0x3c && string(f.Content[0x38:0x3c]) == "ARM\x64", // arm64 image header
		len(f.Content) > 0x3c && string(f.Content[0x38:0x3c]) == "RSC\x05": // riscv image header
		p.kind = programKernel
	}
	return p, nil
}

// programs reads the chain and checks that its links fit the loader.
func (b *builder) programs() error {
	files := slices.Clone(b.in.BootLoaders)
	loaders := len(files)
	if b.in.UKI.Content != nil {
		files = append(files, b.in.UKI)
	}
	if b.in.Kernel.Content != nil {
		files = append(files, b.in.Kernel)
	}
	for i, f := range files {
		p, err := newProgram(f)
		if err != nil {
			return err
		}
		if err := b.link(p, i, i < loaders); err != nil {
			return err
		}
		b.chain = append(b.chain, p)
	}
	if len(b.chain) == 0 {
		return nil
	}
	for loader, kind := range map[Loader]programKind{LoaderGRUB: programGRUB, LoaderSystemdBoot: programSystemdBoot} {
		if b.in.Loader == loader && !slices.ContainsFunc(b.chain, func(p *program) bool { return p.kind == kind }) {
			return inputError("loader %q, but none of the boot loaders is it", loader)
		}
	}
	return nil
}

// link checks that a program is what it is given as.
func (b *builder) link(p *program, position int, loader bool) error {
	name := cmp.Or(p.Path, "the image")
	last := p.kind == programStub || p.kind == programKernel
	switch {
	case p.kind == programShim && position > 0:
		return inputError("%s is shim, which must be the first program", name)
	case loader && last:
		return inputError("%s is given as a boot loader, but holds a kernel", name)
	case loader:
	case b.in.UKI.Content != nil && p.kind != programStub:
		return inputError("%s has no .linux section: it is no unified kernel image", name)
	case b.in.Kernel.Content != nil && p.kind != programKernel:
		return inputError("%s is no Linux kernel with an EFI stub", name)
	}
	return nil
}

// has tells whether a program of this kind is in the chain, and returns it.
func (b *builder) has(k programKind) *program {
	for _, p := range b.chain {
		if p.kind == k {
			return p
		}
	}
	return nil
}

// digests returns the digests under which the firmware measures a program.
func (b *builder) digests(content []byte, pe *pecoff.File) (map[pcr.Algorithm][]byte, error) {
	if b.fw.kind == platformUBoot {
		return uBootDigests(content, pe)
	}
	return authenticode(pe)
}

func authenticode(pe *pecoff.File) (map[pcr.Algorithm][]byte, error) {
	out := make(map[pcr.Algorithm][]byte, len(banks))
	for _, a := range banks {
		d, err := pe.Authenticode(a)
		if err != nil {
			return nil, err
		}
		out[a] = d
	}
	return out, nil
}

// layout are fields of a PE/COFF image that package pecoff has checked and does not tell.
type layout struct {
	headers      int // SizeOfHeaders
	alignment    int // of sections in the file
	checksum     int // offset of the field
	security     int // offset of the certificate table's directory entry, 0 if there is none
	certificate  int // offset and size of the certificate table
	certificates int
	strings      int // offset of the table of long section names
	sections     int // offset of the section table
	base         uint64
}

// layoutOf reads the layout of an image that pecoff.Parse accepts.
func layoutOf(b []byte) layout {
	le := binary.LittleEndian
	pe := int(le.Uint32(b[0x3c:]))
	optional := pe + 24
	h := b[optional : optional+int(le.Uint16(b[pe+20:]))]
	l := layout{checksum: optional + 64, sections: optional + len(h)}
	l.headers, l.alignment = int(le.Uint32(h[60:])), int(le.Uint32(h[36:]))
	count, size := 92, 4
	l.base = uint64(le.Uint32(h[28:]))
	if le.Uint16(h) == 0x20b {
		count = 108
		l.base = le.Uint64(h[24:])
	}
	if entry := count + size + 8*4; len(h) >= entry+8 && le.Uint32(h[count:]) > 4 {
		l.security = optional + entry
		l.certificate, l.certificates = int(le.Uint32(h[entry:])), int(le.Uint32(h[entry+4:]))
	}
	if symbols := uint64(le.Uint32(b[pe+12:])); symbols != 0 {
		if at := symbols + 18*uint64(le.Uint32(b[pe+16:])); at < uint64(len(b)) {
			l.strings = int(at)
		}
	}
	return l
}

// imageBase returns the address that an image is linked to.
func imageBase(b []byte) (uint64, bool) {
	if _, err := pecoff.Parse(b); err != nil {
		return 0, false
	}
	return layoutOf(b).base, true
}

// section returns the content of a section by its name, also if that is longer than eight bytes and so in the table of
// strings (PE Format, "Section Table"). It returns nil if there is none.
func (p *program) section(name string) []byte {
	if s := p.pe.Section(name); s != nil {
		return s.Content()
	}
	l := layoutOf(p.Content)
	if l.strings == 0 {
		return nil
	}
	for i := range p.pe.Sections {
		s := &p.pe.Sections[i]
		var at int
		if n, _ := fmt.Sscanf(s.Name, "/%d", &at); n != 1 || at < 4 || at >= len(p.Content)-l.strings {
			continue
		}
		long, _, _ := bytes.Cut(p.Content[l.strings+at:], []byte{0})
		if string(long) == name {
			return s.Content()
		}
	}
	return nil
}
