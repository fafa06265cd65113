// Package pecoff reads EFI programs, which are PE/COFF images: their sections, the digest under which firmware measures
// and verifies them (Authenticode), and what systemd-stub measures of a unified kernel image.
//
// Parse checks that headers and sections lie inside the bytes; it copies nothing, so a File shares memory with them.
// Limits: see limits.go.
//
// Sources: Microsoft PE Format (the COFF and optional headers, section table, attribute certificates); UEFI 2.10,
// sections 2.1.1 and 32.2; TCG PC Client Platform Firmware Profile 1.06, section 3.3.4; UAPI Group, Unified Kernel
// Image.
package pecoff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNotPE is returned for bytes that do not begin as a PE/COFF image. Damaged images give a *FormatError.
var ErrNotPE = errors.New("no PE/COFF image")

// FormatError tells where an image stops being one.
type FormatError struct {
	Offset int    // byte offset in the image
	Detail string // what was expected and what was found
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("PE/COFF image: byte %#x: %s", e.Offset, e.Detail)
}

func fail(at int, format string, args ...any) error {
	return &FormatError{Offset: at, Detail: fmt.Sprintf(format, args...)}
}

// File is a parsed image.
type File struct {
	// Machine is the processor that the image is for, as in the COFF header.
	Machine uint16
	// Subsystem tells applications from drivers.
	Subsystem uint16
	// Sections are in the order of the section table.
	Sections []Section
	// Certificates is the size of the attribute certificate table in bytes: 0 if the image is not signed.
	Certificates int

	b           []byte
	headers     int // SizeOfHeaders
	checksum    int // offset of the field
	security    int // offset of the certificate table's directory entry, 0 if there is none
	certificate int // offset of the certificate table
}

// Section is one section of an image.
type Section struct {
	Name    string // up to 8 bytes, without trailing NULs
	Address uint32 // in memory, relative to the image
	Memory  uint32 // bytes in memory (VirtualSize)
	Offset  int    // in the file
	Size    int    // bytes in the file (SizeOfRawData)

	b []byte
}

// Data returns the section's bytes in the file. They may end with padding that is not in memory.
func (s *Section) Data() []byte { return s.b }

// Content returns the section as it is in memory: Data cut or filled with zeros to the size there.
func (s *Section) Content() []byte {
	if int(s.Memory) <= len(s.b) {
		return s.b[:s.Memory]
	}
	return append(s.b[:len(s.b):len(s.b)], make([]byte, int(s.Memory)-len(s.b))...)
}

// Offsets of fields (PE Format, "COFF File Header" and "Optional Header").
const (
	dosHeader      = 0x40
	coffHeader     = 24 // with the signature
	sectionHeader  = 40
	offsetHeaders  = 60 // in the optional header
	offsetChecksum = 64
	offsetSystem   = 68
	securityEntry  = 4 // index of the certificate table's directory entry
)

// Parse reads the headers of an image. The error is ErrNotPE or a *FormatError.
func Parse(b []byte) (*File, error) {
	if len(b) < dosHeader || b[0] != 'M' || b[1] != 'Z' {
		return nil, ErrNotPE
	}
	pe := uint64(binary.LittleEndian.Uint32(b[0x3c:]))
	if pe+coffHeader > uint64(len(b)) || !bytes.Equal(b[pe:pe+4], []byte("PE\x00\x00")) {
		return nil, ErrNotPE
	}
	f := &File{b: b, Machine: binary.LittleEndian.Uint16(b[pe+4:])}
	sections := int(binary.LittleEndian.Uint16(b[pe+6:]))
	optional := int(pe) + coffHeader
	size := int(binary.LittleEndian.Uint16(b[pe+20:]))
	if size > len(b)-optional {
		return nil, fail(optional, "optional header of %d bytes, %d left: the image is cut off", size, len(b)-optional)
	}
	if err := f.optional(optional, size); err != nil {
		return nil, err
	}
	if sections > MaxSections {
		return nil, fail(int(pe)+6, "%d sections, want at most %d", sections, MaxSections)
	}
	table := optional + size
	if table+sections*sectionHeader > len(b) {
		return nil, fail(table, "table of %d sections, %d bytes left: the image is cut off", sections, len(b)-table)
	}
	f.Sections = make([]Section, sections)
	for i := range f.Sections {
		if err := f.section(&f.Sections[i], table+i*sectionHeader); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// optional reads the optional header, which programs must have.
func (f *File) optional(at, size int) error {
	if size < offsetSystem+2 {
		return fail(at, "optional header of %d bytes, want at least %d: not a program", size, offsetSystem+2)
	}
	h := f.b[at : at+size]
	var count int // offset of NumberOfRvaAndSizes, which the directory follows
	switch magic := binary.LittleEndian.Uint16(h); magic {
	case 0x10b: // 32-bit
		count = 92
	case 0x20b: // 64-bit
		count = 108
	default:
		return fail(at, "optional header of type %#x, want 0x10b or 0x20b", magic)
	}
	headers := binary.LittleEndian.Uint32(h[offsetHeaders:])
	if uint64(headers) > uint64(len(f.b)) {
		return fail(at+offsetHeaders, "%d bytes of headers in %d bytes: the image is cut off", headers, len(f.b))
	}
	f.headers, f.checksum = int(headers), at+offsetChecksum
	f.Subsystem = binary.LittleEndian.Uint16(h[offsetSystem:])
	entry := count + 4 + 8*securityEntry
	if size < count+4 || binary.LittleEndian.Uint32(h[count:]) <= securityEntry {
		return f.order(at + offsetChecksum + 4)
	}
	if size < entry+8 {
		return fail(at+count, "directory entries do not fit an optional header of %d bytes", size)
	}
	f.security = at + entry
	from, n := binary.LittleEndian.Uint32(h[entry:]), binary.LittleEndian.Uint32(h[entry+4:])
	if uint64(from)+uint64(n) > uint64(len(f.b)) {
		return fail(f.security, "certificates of %d bytes at %#x, the image has %#x: it is cut off", n, from, len(f.b))
	}
	f.certificate, f.Certificates = int(from), int(n)
	return f.order(f.security + 8)
}

// order checks that the fields that a digest leaves out lie in the headers, before end.
func (f *File) order(end int) error {
	if end > f.headers {
		return fail(f.checksum, "headers end at %#x, before the fields up to %#x", f.headers, end)
	}
	return nil
}

// section reads one entry of the section table.
func (f *File) section(s *Section, at int) error {
	h := f.b[at : at+sectionHeader]
	s.Name = strings.TrimRight(string(h[:8]), "\x00")
	s.Memory = binary.LittleEndian.Uint32(h[8:])
	s.Address = binary.LittleEndian.Uint32(h[12:])
	size, from := binary.LittleEndian.Uint32(h[16:]), binary.LittleEndian.Uint32(h[20:])
	if s.Memory > MaxMemory {
		return fail(at+8, "section %q takes %d bytes of memory, want at most %d", s.Name, s.Memory, MaxMemory)
	}
	if size == 0 {
		return nil // only memory, filled with zeros
	}
	if uint64(from)+uint64(size) > uint64(len(f.b)) {
		return fail(at+16, "section %q of %d bytes at %#x, the image has %#x: it is cut off", s.Name, size, from, len(f.b))
	}
	s.Offset, s.Size = int(from), int(size)
	s.b = f.b[from : from+size : from+size]
	return nil
}

// Section returns the first section of this name, nil if there is none.
func (f *File) Section(name string) *Section {
	for i := range f.Sections {
		if f.Sections[i].Name == name {
			return &f.Sections[i]
		}
	}
	return nil
}
