// Package imagetest builds firmware images: UEFI volumes with modules, packed as vendors pack them, flash with an Intel
// descriptor, U-Boot images and EFI programs; and it puts an implant into an image as an attacker would, with all sizes
// and checksums right. For tests and demonstrations; the images are small, valid, and equal for equal input.
package imagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"github.com/probity-attest/probity/firmware/image"
)

// Types of files and sections that builders take (UEFI Platform Initialization 1.8, volume 3, sections 2.1.4 and
// 2.1.5).
const (
	FileRaw      = 0x01
	FileFreeform = 0x02
	FileDriver   = 0x07
	FileVolume   = 0x0b
	FilePad      = 0xf0

	SectionPE32   = 0x10
	SectionDepex  = 0x13
	SectionName   = 0x15
	SectionVolume = 0x17
	SectionRaw    = 0x19
)

const (
	volumeHeader = 72 // with a block map of one entry
	filesStart   = 120
	blockSize    = 4096
)

var ffs2 = GUID("8c8ce578-8a3d-4f1c-9935-896185c32dd3")

// GUID reads a GUID that the program itself holds. It panics on any other text.
func GUID(s string) image.GUID {
	g, err := image.ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// Section builds a section.
func Section(kind byte, body ...byte) []byte {
	n := 4 + len(body)
	if n < 0xffffff {
		return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), kind}, body...)
	}
	b := binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, kind}, uint32(n+4))
	return append(b, body...)
}

// GUIDedSection builds an encapsulation section whose body must be processed.
func GUIDedSection(g image.GUID, body []byte) []byte {
	header := append(g[:], 24, 0, 1, 0)
	if 4+len(header)+len(body) >= 0xffffff {
		header[16] = 28
	}
	return Section(0x02, append(header, body...)...)
}

// Name builds the section that names a module.
func Name(name string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(name)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return Section(SectionName, b...)
}

// Join puts sections behind each other, aligned to four bytes.
func Join(sections ...[]byte) []byte {
	var b []byte
	for _, s := range sections {
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, s...)
	}
	return b
}

// File builds a file of a volume whose erased flash reads as ones. It must be smaller than 16 MiB.
func File(g image.GUID, kind byte, body []byte) []byte {
	n := 24 + len(body)
	if n >= 1<<24 {
		panic(fmt.Sprintf("imagetest: file of %d bytes, want less than 16 MiB", n))
	}
	h := append(g[:], 0, 0xaa, kind, 0, byte(n), byte(n>>8), byte(n>>16), 0)
	var sum byte
	for _, x := range h {
		sum += x
	}
	h[16] = -(sum - 0xaa) // the body's checksum and the state count as zero
	h[23] = 0xf8          // state: header and data valid
	return append(h, body...)
}

// Module builds the file of a driver that is always started.
func Module(g image.GUID, name string, payload []byte) []byte {
	return File(g, FileDriver, Join(Section(SectionDepex, 0x06, 0x08), Section(SectionPE32, payload...), Name(name)))
}

// Volume builds a firmware volume of size bytes, a multiple of 4 KiB, with this name and these files.
func Volume(name image.GUID, size int, files ...[]byte) ([]byte, error) {
	b := bytes.Repeat([]byte{0xff}, size)
	if size%blockSize != 0 || size < blockSize {
		return nil, fmt.Errorf("volume of %d bytes, want a multiple of %d", size, blockSize)
	}
	header(b, ffs2, filesStart-24)
	// The extended header hides in a pad file, as edk2's tools do it.
	pad := File(GUID("ffffffff-ffff-ffff-ffff-ffffffffffff"), FilePad, append(name[:], 20, 0, 0, 0))
	copy(b[volumeHeader:], pad)
	at := filesStart
	for i, f := range files {
		if at+len(f) > size {
			return nil, fmt.Errorf("file %d of %d bytes does not fit the %d bytes left of the volume", i, len(f), size-at)
		}
		copy(b[at:], f)
		at = (at + len(f) + 7) &^ 7
	}
	return b, nil
}

// header writes a volume's header.
func header(b []byte, system image.GUID, extended int) {
	clear(b[:volumeHeader])
	copy(b[16:], system[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(len(b)))
	copy(b[40:], "_FVH")
	binary.LittleEndian.PutUint32(b[44:], 0x0004feff)
	binary.LittleEndian.PutUint16(b[48:], volumeHeader)
	binary.LittleEndian.PutUint16(b[52:], uint16(extended))
	b[55] = 2
	binary.LittleEndian.PutUint32(b[56:], uint32(len(b)/blockSize))
	binary.LittleEndian.PutUint32(b[60:], blockSize)
	Checksum(b)
}

// Checksum makes the checksum of a volume's header right, after a test has changed the header.
func Checksum(volume []byte) {
	binary.LittleEndian.PutUint16(volume[50:], 0)
	var sum uint16
	for i := 0; i < int(binary.LittleEndian.Uint16(volume[48:])); i += 2 {
		sum += binary.LittleEndian.Uint16(volume[i:])
	}
	binary.LittleEndian.PutUint16(volume[50:], -sum)
}

// Variable is a UEFI variable.
type Variable struct {
	GUID image.GUID
	Name string
	Data []byte
}

// NVRAM builds a volume of size bytes with an authenticated variable store that fills half of it.
func NVRAM(size int, variables ...Variable) ([]byte, error) {
	if size%blockSize != 0 || size < 2*blockSize {
		return nil, fmt.Errorf("NVRAM of %d bytes, want a multiple of %d", size, blockSize)
	}
	b := bytes.Repeat([]byte{0xff}, size)
	header(b, GUID("fff12b8d-7696-4c8b-a985-2747075b4f50"), 0)
	store := b[volumeHeader : size/2]
	kind := GUID("aaf32c78-947b-439a-a180-2e144ec37792")
	copy(store, kind[:])
	binary.LittleEndian.PutUint32(store[16:], uint32(len(store)))
	copy(store[20:28], []byte{0x5a, 0xfe, 0, 0, 0, 0, 0, 0})
	at := 28
	for _, v := range variables {
		name := Name(v.Name)[4:]
		h := make([]byte, 60, 60+len(name)+len(v.Data))
		copy(h, []byte{0xaa, 0x55, 0x3f, 0, 7})
		binary.LittleEndian.PutUint32(h[36:], uint32(len(name)))
		binary.LittleEndian.PutUint32(h[40:], uint32(len(v.Data)))
		copy(h[44:], v.GUID[:])
		h = append(append(h, name...), v.Data...)
		if at+len(h) > len(store) {
			return nil, fmt.Errorf("variable %s does not fit the store", v.Name)
		}
		copy(store[at:], h)
		at = (at + len(h) + 3) &^ 3
	}
	return b, nil
}
