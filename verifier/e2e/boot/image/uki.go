package image

import (
	"fmt"
	"slices"
)

// UKIParts are the parts of a unified kernel image (UAPI Group, UKI specification).
type UKIParts struct {
	Stub      []byte // systemd's EFI stub
	Linux     []byte // kernel with an EFI stub of its own
	Initrd    []byte // may be nil
	Cmdline   string // kernel command line
	OSRelease string // text of os-release(5); empty: DefaultOSRelease
}

// DefaultOSRelease describes the system in an image for which nothing else is said.
const DefaultOSRelease = "NAME=\"Probity test machine\"\nID=probity-test\nVERSION_ID=1\n"

// sectionFlags make a section readable, initialised data.
const sectionFlags = 0x40000040

// minSectionAlign keeps every part on pages of its own.
const minSectionAlign = 4096

// UKI puts a kernel, its initial RAM disk and its command line into one EFI image: they become further sections of the
// stub, which measures and starts them. Symbols at the stub's end are left out.
func UKI(parts UKIParts) ([]byte, error) {
	if len(parts.Linux) == 0 || parts.Cmdline == "" {
		return nil, fmt.Errorf("unified kernel image: want a kernel and a command line")
	}
	if parts.OSRelease == "" {
		parts.OSRelease = DefaultOSRelease
	}
	p, err := parsePE(slices.Clone(parts.Stub))
	if err != nil {
		return nil, fmt.Errorf("unified kernel image: stub: %w", err)
	}
	p.stripSymbols()
	type part struct {
		name string
		data []byte
	}
	add := []part{
		{".osrel", []byte(parts.OSRelease)}, {".cmdline", append([]byte(parts.Cmdline), 0)}, {".linux", parts.Linux},
	}
	if parts.Initrd != nil {
		add = append(add, part{".initrd", parts.Initrd})
	}
	for _, a := range add {
		if err := p.addSection(a.name, a.data); err != nil {
			return nil, fmt.Errorf("unified kernel image: %w", err)
		}
	}
	return p.b, nil
}

// stripSymbols cuts off what follows the last section and belongs to no header.
func (p *pe) stripSymbols() {
	end := p.headers
	for i := range p.count {
		s := p.section(i)
		end = max(end, int(s.raw+s.rawSize))
	}
	p.b = p.b[:end]
	le.PutUint32(p.b[p.header+coffSymbolTable:], 0)
	le.PutUint32(p.b[p.header+coffSymbols:], 0)
	p.setField(optChecksum, 0) // optional for EFI
}

// addSection appends a section behind all others, in memory and in the file.
func (p *pe) addSection(name string, data []byte) error {
	at := p.table + p.count*sectionHeaderSize
	if at+sectionHeaderSize > p.headers {
		return fmt.Errorf("no room in %d bytes of headers for section %s", p.headers, name)
	}
	fileAlign, memoryAlign := p.field(optFileAlign), max(p.field(optSectionAlign), minSectionAlign)
	var end uint32
	for i := range p.count {
		s := p.section(i)
		end = max(end, s.address+s.size)
	}
	p.b = append(p.b, padding(len(p.b), int(fileAlign))...)
	size := uint32(len(data))
	rawSize, address := align(size, fileAlign), align(end, memoryAlign)
	h := p.b[at : at+sectionHeaderSize]
	clear(h)
	copy(h[:8], name)
	le.PutUint32(h[8:], size)
	le.PutUint32(h[12:], address)
	le.PutUint32(h[16:], rawSize)
	le.PutUint32(h[20:], uint32(len(p.b)))
	le.PutUint32(h[36:], sectionFlags)
	p.count++
	le.PutUint16(p.b[p.header+coffSections:], uint16(p.count))
	p.setField(optInitializedSize, p.field(optInitializedSize)+rawSize)
	p.setField(optImageSize, align(address+size, memoryAlign))
	p.b = append(p.b, data...)
	p.b = append(p.b, padding(len(data), int(fileAlign))...)
	return nil
}

func align(v, size uint32) uint32 { return (v + size - 1) / size * size }
