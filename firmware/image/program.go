package image

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/image/unpack"
)

// program splits content[start:end], if it is an EFI program, into its sections. ok is false if it is none.
func (p *parser) program(in *Part, start, end int) (ok bool, err error) {
	f, err := pecoff.Parse(in.content()[start:end])
	if errors.Is(err, pecoff.ErrNotPE) {
		return false, nil
	}
	if err != nil {
		var e *pecoff.FormatError
		if errors.As(err, &e) {
			return true, p.fail(in, start+e.Offset, "%s", e.Detail)
		}
		return true, err
	}
	c, err := p.add(in, KindProgram, start, end)
	if err != nil {
		return true, err
	}
	c.Type = pecoff.Describe(f.Machine, f.Subsystem)
	if v := f.StubVersion(); v != "" {
		c.Detail = "systemd-stub " + printable(v)
	}
	sorted := slices.Clone(f.Sections)
	slices.SortStableFunc(sorted, func(x, y pecoff.Section) int { return cmp.Compare(x.Offset, y.Offset) })
	done := 0
	for i := range sorted {
		s := &sorted[i]
		if s.Size == 0 {
			continue
		}
		if s.Offset < done {
			return true, p.fail(in, start+s.Offset, "section %q overlaps the one before it", s.Name)
		}
		done = s.Offset + s.Size
		part, err := p.add(c, KindProgramPart, s.Offset, done)
		if err != nil {
			return true, err
		}
		part.Name = printable(s.Name)
	}
	return true, nil
}

// Fields of PCI expansion ROMs (PCI Firmware Specification 3.3, section 5.1; UEFI 2.10, section 14.4.2).
const (
	romUnit       = 512
	romData       = 0x18 // offset of the pointer to the PCI data structure
	romEFI        = 3    // code type
	romCompressed = 0x0c
	romProgram    = 0x16 // offset of the pointer to the program
)

// romDataAt returns the PCI data structure of the ROM image that b begins with, nil if it is none.
func romDataAt(b []byte) []byte {
	if len(b) < 0x1a || b[0] != 0x55 || b[1] != 0xaa {
		return nil
	}
	at := int(binary.LittleEndian.Uint16(b[romData:]))
	if at < 0x1a || at+0x18 > len(b) || string(b[at:at+4]) != "PCIR" {
		return nil
	}
	return b[at:]
}

func optionROMAt(b []byte) bool { return romDataAt(b) != nil }

// optionROM splits one image of an expansion ROM. An EFI driver in it is a child, as firmware measures it into PCR 2.
func (p *parser) optionROM(in *Part, at, end int) (int, error) {
	b := in.content()[at:end]
	d := romDataAt(b)
	n := int(binary.LittleEndian.Uint16(d[16:])) * romUnit
	if n == 0 || n > len(b) {
		return 0, p.fail(in, at, "option ROM of %#x bytes, %#x left: the image is cut off", n, len(b))
	}
	c, err := p.add(in, KindOptionROM, at, at+n)
	if err != nil {
		return 0, err
	}
	c.Type = "bios"
	c.Name = hexID(d[4:]) + ":" + hexID(d[6:])
	if d[20] != romEFI {
		return at + n, nil
	}
	c.Type = "efi"
	return at + n, p.inside(c, func() error { return p.romDriver(c) })
}

func hexID(b []byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b[1]>>4], digits[b[1]&15], digits[b[0]>>4], digits[b[0]&15]})
}

// romDriver splits the EFI driver of an option ROM.
func (p *parser) romDriver(c *Part) error {
	b := c.data
	at := int(binary.LittleEndian.Uint16(b[romProgram:]))
	if at < 0x1a || at > len(b) {
		return p.fail(c, romProgram, "driver at %#x of %#x bytes", at, len(b))
	}
	switch compression := binary.LittleEndian.Uint16(b[romCompressed:]); compression {
	case 0:
		_, err := p.program(c, at, len(b))
		return err
	case 1:
		s, err := p.add(c, KindSection, at, len(b))
		if err != nil {
			return err
		}
		s.Type = "compressed"
		if err := p.pack(s, unpack.UEFI); err != nil {
			return err
		}
		_, err = p.program(s, 0, len(s.unpacked))
		return err
	default:
		c.problem("compression of unknown type %d is not unpacked", compression)
		return nil
	}
}
