package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Fields of EFI_FIRMWARE_VOLUME_HEADER (PI, volume 3, section 3.2.1).
const (
	volumeHeader    = 56 // without the block map
	volumeMaxHeader = 512
	volumeErased    = 0x800 // attribute: erased flash reads as ones
)

var volumeSignature = []byte("_FVH")

// File systems of volumes (PI, volume 3, section 3.2.2; edk2's guids).
var (
	guidFFS1 = mustGUID("7a9354d9-0468-444a-81ce-0bf617d890df")
	guidFFS2 = mustGUID("8c8ce578-8a3d-4f1c-9935-896185c32dd3")
	guidFFS3 = mustGUID("5473c07a-3dcb-4dca-bd6f-1e9689e7349a")
	guidNV   = mustGUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
)

// volumeAt reports whether b begins with a volume's header whose checksum is right.
func volumeAt(b []byte) bool {
	if len(b) < volumeHeader+8 || !bytes.Equal(b[40:44], volumeSignature) {
		return false
	}
	n := int(binary.LittleEndian.Uint16(b[48:]))
	if n < volumeHeader+8 || n > volumeMaxHeader || n > len(b) || n%2 != 0 || b[55] != 1 && b[55] != 2 {
		return false
	}
	return sum16(b[:n]) == 0
}

func sum16(b []byte) (sum uint16) {
	for ; len(b) >= 2; b = b[2:] {
		sum += binary.LittleEndian.Uint16(b)
	}
	return sum
}

// volume splits the firmware volume at content[at].
func (p *parser) volume(in *Part, at, end int) (int, error) {
	b := in.content()[at:end]
	length := binary.LittleEndian.Uint64(b[32:])
	header := int(binary.LittleEndian.Uint16(b[48:]))
	if length > uint64(len(b)) {
		return 0, p.fail(in, at, "firmware volume of %#x bytes, %#x left: the image is cut off or volumes overlap", length, len(b))
	}
	if length < uint64(header) {
		return 0, p.fail(in, at+32, "firmware volume of %#x bytes is shorter than its header of %#x", length, header)
	}
	c, err := p.add(in, KindVolume, at, at+int(length))
	if err != nil {
		return 0, err
	}
	c.header = header
	var system GUID
	copy(system[:], b[16:])
	c.GUID = system
	start, err := p.extended(c, header)
	if err != nil {
		return 0, err
	}
	c.Name = knownName(c.GUID)
	switch system {
	case guidFFS1, guidFFS2, guidFFS3:
		c.Type = "ffs"
		return at + int(length), p.files(c, start, system)
	case guidNV:
		c.Type = "nvram"
		return at + int(length), p.inside(c, func() error { return p.stores(c, start) })
	default:
		c.Type = "unknown file system"
		return at + int(length), p.inside(c, func() error { return p.area(c, start, int(length)) })
	}
}

// extended reads the extended header, if there is one, which names the volume. It returns where files begin.
func (p *parser) extended(c *Part, header int) (int, error) {
	ext := int(binary.LittleEndian.Uint16(c.data[52:]))
	if ext == 0 {
		return header, nil
	}
	if ext < header || ext+20 > len(c.data) {
		return 0, p.fail(c, 52, "extended header at %#x, want it between %#x and %#x", ext, header, len(c.data)-20)
	}
	n := uint64(binary.LittleEndian.Uint32(c.data[ext+16:]))
	if n < 20 || n > uint64(len(c.data)-ext) {
		return 0, p.fail(c, ext+16, "extended header of %#x bytes, want 20 to %#x", n, len(c.data)-ext)
	}
	copy(c.GUID[:], c.data[ext:])
	c.header = ext + int(n)
	return min((c.header+7)&^7, len(c.data)), nil
}

// Fields of EFI_FFS_FILE_HEADER and EFI_FFS_FILE_HEADER2 (PI, volume 3, section 3.2.3).
const (
	fileHeader      = 24
	fileLargeHeader = 32
	fileLarge       = 0x01 // attribute: the size is in the large header
	fileChecksum    = 0x40 // attribute: the body has a checksum
)

// File types (PI, volume 3, section 2.1.4.1).
const (
	fileRaw    = 0x01
	filePad    = 0xf0
	fileOEM    = 0xc0 // the first type without a defined form
	fileVolume = 0x0b
)

var fileTypes = map[byte]string{
	fileRaw: "raw file", 0x02: "freeform file", 0x03: "security core", 0x04: "PEI core", 0x05: "DXE core", 0x06: "PEI module",
	0x07: "driver", 0x08: "PEI and DXE module", 0x09: "application", 0x0a: "MM module", fileVolume: "volume file",
	0x0c: "MM and DXE module", 0x0d: "MM core", 0x0e: "standalone MM module", 0x0f: "standalone MM core", filePad: "pad file",
}

// files splits the files of a volume.
func (p *parser) files(c *Part, start int, system GUID) error {
	erased := byte(0)
	if binary.LittleEndian.Uint32(c.data[44:])&volumeErased != 0 {
		erased = 0xff
	}
	at := start
	for at+fileHeader <= len(c.data) {
		if all(c.data[at:at+fileHeader], erased) {
			break
		}
		children := len(c.Children)
		next, err := p.file(c, at, system, erased)
		if err != nil {
			if err := p.forgive(c, at, err); err != nil {
				return err
			}
			c.Children = c.Children[:children]
			return p.gap(c, at, len(c.data))
		}
		at = min((next+7)&^7, len(c.data))
	}
	return p.free(c, at)
}

// free keeps the space behind the last file. Erased, it is padding; anything else there is no part of the file system,
// and worth to be seen.
func (p *parser) free(c *Part, at int) error {
	children := len(c.Children)
	if err := p.area(c, at, len(c.data)); err != nil {
		if err := p.forgive(c, at, err); err != nil {
			return err
		}
		c.Children = c.Children[:children]
	}
	if len(c.Children) == children { // nothing known in it
		if err := p.gap(c, at, len(c.data)); err != nil {
			return err
		}
	}
	for _, f := range c.Children[children:] {
		if f.Kind != KindPadding {
			f.problem("lies in the free space of a volume")
		}
	}
	return nil
}

func all(b []byte, v byte) bool {
	for _, x := range b {
		if x != v {
			return false
		}
	}
	return true
}

// file splits the file at byte at of a volume. It returns where it ends.
func (p *parser) file(c *Part, at int, system GUID, erased byte) (int, error) {
	h := c.data[at:]
	size, header := uint64(h[20])|uint64(h[21])<<8|uint64(h[22])<<16, fileHeader
	if h[19]&fileLarge != 0 && system == guidFFS3 {
		if len(h) < fileLargeHeader {
			return 0, p.fail(c, at, "header of a large file needs %d bytes, %d left", fileLargeHeader, len(h))
		}
		size, header = binary.LittleEndian.Uint64(h[24:]), fileLargeHeader
	}
	if size < uint64(header) {
		return 0, p.fail(c, at+20, "file of %d bytes is shorter than its header of %d", size, header)
	}
	if size > uint64(len(h)) {
		return 0, p.fail(c, at+20, "file of %#x bytes, %#x left in the volume", size, len(h))
	}
	end := at + int(size)
	f, err := p.add(c, KindFile, at, end)
	if err != nil {
		return 0, err
	}
	f.header = header
	copy(f.GUID[:], h)
	f.Type = fileTypes[h[18]]
	if f.Type == "" {
		f.Type = fmt.Sprintf("file of type %#02x", h[18])
	}
	checkFile(f, system)
	state := h[23]
	if erased != 0 {
		state = ^state
	}
	if state&0x10 != 0 {
		f.Detail = "deleted"
	}
	if err := p.inside(f, func() error { return p.fileBody(f, h[18]) }); err != nil {
		return 0, err
	}
	if f.Name == "" && f.Kind == KindFile {
		f.Name = knownName(f.GUID)
	}
	return end, nil
}

// checkFile checks both checksums of a file's header.
func checkFile(f *Part, system GUID) {
	h := f.data[:f.header]
	if sum8(h)-h[17]-h[23] != 0 { // both bytes count as zero
		f.problem("checksum of the file's header is wrong")
	}
	if h[19]&fileChecksum != 0 {
		if sum8(f.Body())+h[17] != 0 {
			f.problem("checksum of the file is wrong")
		}
		return
	}
	fixed := byte(0xaa)
	if system == guidFFS1 {
		fixed = 0x5a
	}
	if h[17] != fixed {
		f.problem("checksum of the file is %#02x, want the fixed %#02x", h[17], fixed)
	}
}

func sum8(b []byte) (sum byte) {
	for _, x := range b {
		sum += x
	}
	return sum
}

// fileBody splits a file by its type.
func (p *parser) fileBody(f *Part, kind byte) error {
	switch {
	case kind == filePad && blank(f.Body()):
		f.Kind, f.GUID = KindPadding, GUID{}
		return nil
	case kind == filePad:
		f.problem("pad file is not empty")
		return p.area(f, f.header, len(f.data))
	case kind == fileRaw:
		return p.area(f, f.header, len(f.data))
	case kind == 0 || kind >= fileOEM:
		return nil
	}
	if err := p.sections(f, f.header, len(f.data)); err != nil {
		return err
	}
	f.nameBySections(f)
	return nil
}

// nameBySections takes a file's name and version from its sections, also from those in an encapsulation.
func (p *Part) nameBySections(file *Part) {
	for _, s := range p.Children {
		switch {
		case s.Kind != KindSection:
		case s.Type == "user interface" && file.Name == "":
			file.Name = s.Name
		case s.Type == "version" && file.Detail == "":
			file.Detail = "version " + s.Name
		default:
			s.nameBySections(file)
		}
	}
}
