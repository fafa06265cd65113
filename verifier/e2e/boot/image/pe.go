package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Offsets in an image's headers (Microsoft PE Format, sections "MS-DOS Stub", "COFF File Header", "Optional Header" and
// "Section Table").
const (
	dosHeaderSize   = 0x40
	dosPEOffset     = 0x3c
	coffOffset      = 4 // after the signature PE\0\0
	coffSections    = coffOffset + 2
	coffSymbolTable = coffOffset + 8
	coffSymbols     = coffOffset + 12
	coffOptionalLen = coffOffset + 16
	optOffset       = 24

	optMagic           = 0
	optInitializedSize = 8
	optSectionAlign    = 32
	optFileAlign       = 36
	optImageSize       = 56
	optHeadersSize     = 60
	optChecksum        = 64
	optDirectoryCount  = 108 // PE32+
	optDirectories     = 112 // PE32+, of eight bytes each

	directoryCertificates = 4

	magicPE32Plus     = 0x20b
	sectionHeaderSize = 40
)

// Limits that the format itself has.
const (
	maxSections  = 96
	maxFileAlign = 64 << 10
)

var le = binary.LittleEndian

// pe is an EFI image with its headers checked. The offsets are of the file.
type pe struct {
	b        []byte
	header   int // of the signature PE\0\0
	optional int
	table    int // of the section headers
	count    int // of sections
	headers  int // bytes of all headers
}

// section is what a section header says.
type section struct {
	name          string
	size, address uint32 // in memory
	rawSize, raw  uint32 // in the file
}

// parsePE checks an image for 64-bit machines. It keeps b.
func parsePE(b []byte) (*pe, error) {
	if len(b) < dosHeaderSize || string(b[:2]) != "MZ" {
		return nil, errors.New("no PE image: it does not begin with MZ")
	}
	p := &pe{b: b, header: int(le.Uint32(b[dosPEOffset:]))}
	if p.header+optOffset+optDirectories > len(b) || string(b[p.header:p.header+4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("no PE image: no signature at %#x", p.header)
	}
	p.optional = p.header + optOffset
	if magic := le.Uint16(b[p.optional+optMagic:]); magic != magicPE32Plus {
		return nil, fmt.Errorf("PE image of kind %#x, want %#x (64 bits)", magic, magicPE32Plus)
	}
	p.count = int(le.Uint16(b[p.header+coffSections:]))
	p.table = p.optional + int(le.Uint16(b[p.header+coffOptionalLen:]))
	p.headers = int(le.Uint32(b[p.optional+optHeadersSize:]))
	if p.count == 0 || p.count > maxSections || p.headers > len(b) || p.table+p.count*sectionHeaderSize > p.headers {
		return nil, fmt.Errorf("PE image of %d bytes with %d sections and headers of %d bytes: cut off", len(b), p.count, p.headers)
	}
	if n := le.Uint32(b[p.optional+optDirectoryCount:]); n <= directoryCertificates ||
		p.optional+optDirectories+8*(directoryCertificates+1) > p.table {
		return nil, fmt.Errorf("PE image with %d data directories: no room for a signature", n)
	}
	if a := p.field(optFileAlign); a == 0 || a > maxFileAlign {
		return nil, fmt.Errorf("PE image with sections on multiples of %d, want 1 to %d", a, maxFileAlign)
	}
	for i := range p.count {
		if s := p.section(i); uint64(s.raw)+uint64(s.rawSize) > uint64(len(b)) {
			return nil, fmt.Errorf("PE image: section %s is cut off", s.name)
		}
	}
	return p, nil
}

// section returns the i-th section header.
func (p *pe) section(i int) section {
	h := p.b[p.table+i*sectionHeaderSize:][:sectionHeaderSize]
	n := slices.Index(h[:8], 0)
	if n < 0 {
		n = 8
	}
	return section{string(h[:n]), le.Uint32(h[8:]), le.Uint32(h[12:]), le.Uint32(h[16:]), le.Uint32(h[20:])}
}

// certificates returns the data directory of the signatures.
func (p *pe) certificates() []byte {
	at := p.optional + optDirectories + 8*directoryCertificates
	return p.b[at : at+8]
}

func (p *pe) field(offset int) uint32       { return le.Uint32(p.b[p.optional+offset:]) }
func (p *pe) setField(offset int, v uint32) { le.PutUint32(p.b[p.optional+offset:], v) }
