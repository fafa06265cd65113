package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode/utf16"

	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/image/unpack"
)

// Section types (PI, volume 3, section 2.1.5.1).
const (
	sectionCompression = 0x01
	sectionGUIDed      = 0x02
	sectionDisposable  = 0x03
	sectionPE32        = 0x10
	sectionTE          = 0x12
	sectionDXEDepex    = 0x13
	sectionVersion     = 0x14
	sectionName        = 0x15
	sectionVolume      = 0x17
	sectionFreeform    = 0x18
	sectionRaw         = 0x19
	sectionPEIDepex    = 0x1b
	sectionMMDepex     = 0x1c
)

var sectionTypes = map[byte]string{
	sectionCompression: "compression", sectionGUIDed: "guided", sectionDisposable: "disposable", sectionPE32: "pe32", 0x11: "pic",
	sectionTE: "te", sectionDXEDepex: "dxe depex", sectionVersion: "version", sectionName: "user interface",
	0x16: "compatibility16", sectionVolume: "volume image", sectionFreeform: "freeform", sectionRaw: "raw",
	sectionPEIDepex: "pei depex", sectionMMDepex: "mm depex",
}

// Encapsulations by GUID (PI, volume 3, section 2.1.5.1; edk2's MdeModulePkg and BaseTools).
var (
	guidLZMA    = mustGUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf")
	guidLZMAX86 = mustGUID("d42ae6bd-1352-4bfb-909a-ca72a6eae889")
	guidTiano   = mustGUID("a31280ad-481e-41b6-95e8-127f4c984779")
	guidBrotli  = mustGUID("3d532050-5cda-4fd0-879e-0f7f630d5afb")
	guidCRC32   = mustGUID("fc1bcdb0-7d31-49aa-936a-a4600d9dd083")
)

// unpackers undo the encapsulations that pack.
var unpackers = map[GUID]struct {
	name   string
	unpack func(b []byte, limit int) ([]byte, error)
}{
	guidLZMA:    {"lzma", unpack.LZMA},
	guidLZMAX86: {"lzma x86", unpack.LZMAX86},
	guidTiano:   {"tiano", unpack.Tiano},
	guidBrotli:  {"brotli", unpack.Brotli},
}

// sections splits content[start:end] of a part into sections, which are aligned to four bytes from start.
func (p *parser) sections(in *Part, start, end int) error {
	b := in.content()
	for at := start; at+4 <= end; {
		if blank(b[at:end]) {
			return nil // padding of a file that was made longer
		}
		size, header := int(b[at])|int(b[at+1])<<8|int(b[at+2])<<16, 4
		if size == 0xffffff {
			if at+8 > end {
				return p.fail(in, at, "header of a large section needs 8 bytes, %d left", end-at)
			}
			large := binary.LittleEndian.Uint32(b[at+4:])
			if uint64(large) > uint64(end-at) {
				return p.fail(in, at+4, "section of %#x bytes, %#x left", large, end-at)
			}
			size, header = int(large), 8
		}
		if size < header {
			return p.fail(in, at, "section of %d bytes is shorter than its header of %d", size, header)
		}
		if size > end-at {
			return p.fail(in, at, "section of %#x bytes, %#x left", size, end-at)
		}
		s, err := p.add(in, KindSection, at, at+size)
		if err != nil {
			return err
		}
		s.header = header
		if err := p.section(s, b[at+3]); err != nil {
			return err
		}
		at = start + (at-start+size+3)&^3
	}
	return nil
}

// section splits one section by its type.
func (p *parser) section(s *Part, kind byte) error {
	s.Type = sectionTypes[kind]
	if s.Type == "" {
		s.Type = fmt.Sprintf("type %#02x", kind)
	}
	switch kind {
	case sectionCompression:
		return p.compression(s)
	case sectionGUIDed:
		return p.guided(s)
	case sectionDisposable:
		return p.sections(s, s.header, len(s.data))
	case sectionPE32:
		f, err := pecoff.Parse(s.Body())
		if err != nil {
			s.problem("%v", err)
			return nil
		}
		s.Detail = pecoff.Describe(f.Machine, f.Subsystem)
	case sectionTE:
		machine, subsystem, ok := pecoff.Terse(s.Body())
		if !ok {
			s.problem("no TE image")
			return nil
		}
		s.Detail = pecoff.Describe(machine, subsystem)
	case sectionDXEDepex, sectionPEIDepex, sectionMMDepex:
		s.depex()
	case sectionVersion:
		if len(s.Body()) >= 2 {
			s.Name = ucs2(s.Body()[2:])
		}
	case sectionName:
		s.Name = ucs2(s.Body())
	case sectionFreeform:
		if len(s.Body()) < 16 {
			return p.fail(s, 0, "freeform section of %d bytes lacks its GUID", len(s.data))
		}
		copy(s.GUID[:], s.Body())
		s.header += 16
	case sectionVolume:
		if err := p.area(s, s.header, len(s.data)); err != nil {
			return err
		}
		if len(s.Children) == 0 {
			return p.fail(s, s.header, "no firmware volume with a valid header, which this section must hold")
		}
	case sectionRaw:
		return p.area(s, s.header, len(s.data))
	}
	return nil
}

// ucs2 decodes a NUL-terminated text of 16-bit units.
func ucs2(b []byte) string {
	var units []uint16
	for ; len(b) >= 2 && len(units) <= MaxName; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return printable(string(utf16.Decode(units)))
}

// compression splits an EFI_COMPRESSION_SECTION: unpacked size and type of compression, then data.
func (p *parser) compression(s *Part) error {
	if len(s.Body()) < 5 {
		return p.fail(s, 0, "compression section of %d bytes is shorter than its header", len(s.data))
	}
	size, kind := binary.LittleEndian.Uint32(s.Body()), s.Body()[4]
	s.header += 5
	switch kind {
	case 0:
		s.Type = "uncompressed"
		return p.sections(s, s.header, len(s.data))
	case 1:
		s.Type = "compressed"
	default:
		s.problem("compression of unknown type %d is not unpacked", kind)
		return nil
	}
	err := p.pack(s, unpack.UEFI)
	if err != nil && !errors.Is(err, ErrLimit) { // makers of firmware use the type for Tiano's variant, too
		if p.pack(s, unpack.Tiano) != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if uint64(len(s.unpacked)) != uint64(size) {
		s.problem("unpacks to %d bytes, its header says %d", len(s.unpacked), size)
	}
	return p.sections(s, 0, len(s.unpacked))
}

// guided splits an EFI_GUID_DEFINED_SECTION: GUID, offset of the data and attributes.
func (p *parser) guided(s *Part) error {
	if len(s.Body()) < 20 {
		return p.fail(s, 0, "guided section of %d bytes is shorter than its header", len(s.data))
	}
	b := s.Body()
	copy(s.GUID[:], b)
	offset, attributes := int(binary.LittleEndian.Uint16(b[16:])), binary.LittleEndian.Uint16(b[18:])
	if offset < s.header+20 || offset > len(s.data) {
		return p.fail(s, s.header+16, "data at %#x, want it between %#x and %#x", offset, s.header+20, len(s.data))
	}
	extra := b[20 : offset-s.header]
	s.header = offset
	s.Name = knownName(s.GUID)
	if u, ok := unpackers[s.GUID]; ok {
		s.Type = u.name
		if err := p.pack(s, u.unpack); err != nil {
			return err
		}
		return p.sections(s, 0, len(s.unpacked))
	}
	if s.GUID == guidCRC32 {
		s.Type = "crc32"
		if len(extra) < 4 || crc32.ChecksumIEEE(s.Body()) != binary.LittleEndian.Uint32(extra) {
			s.problem("CRC-32 of the section is wrong")
		}
		return p.sections(s, s.header, len(s.data))
	}
	if attributes&1 != 0 { // processing required
		s.problem("encapsulation %s is not known and not unpacked", s.GUID)
		return nil
	}
	return p.sections(s, s.header, len(s.data))
}

// pack unpacks a section's body, within what the image may still unpack to.
func (p *parser) pack(s *Part, f func(b []byte, limit int) ([]byte, error)) error {
	out, err := f(s.Body(), p.budget)
	if errors.Is(err, unpack.ErrLimit) {
		return p.limit(s, s.header, "%v; the image has unpacked to %d bytes so far", err, p.unpacked)
	}
	if err != nil {
		return p.fail(s, s.header, "cannot be unpacked: %v", err)
	}
	if out == nil {
		out = []byte{}
	}
	p.budget -= len(out)
	p.unpacked += len(out)
	s.unpacked = out
	return nil
}
