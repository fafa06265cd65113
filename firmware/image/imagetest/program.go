package imagetest

import (
	"bytes"
	"encoding/binary"
)

// ProgramSection is a section of an EFI program.
type ProgramSection struct {
	Name string
	Data []byte
}

// Program builds an EFI program for a machine and a subsystem with its code in .text.
func Program(machine, subsystem uint16, code []byte) []byte {
	return ProgramOf(machine, subsystem, nil, ProgramSection{".text", code})
}

// ProgramOf builds an EFI program of sections, with a certificate table if certificates is not empty.
func ProgramOf(machine, subsystem uint16, certificates []byte, sections ...ProgramSection) []byte {
	const (
		pe        = 0x40
		optional  = pe + 24
		size      = 240 // of the optional header
		table     = optional + size
		alignment = 512
		page      = 4096
	)
	align := func(n, a int) int { return (n + a - 1) / a * a }
	headers := align(table+40*len(sections), alignment)
	b := make([]byte, headers)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], pe)
	copy(b[pe:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[pe+4:], machine)
	binary.LittleEndian.PutUint16(b[pe+6:], uint16(len(sections)))
	binary.LittleEndian.PutUint16(b[pe+20:], size)
	binary.LittleEndian.PutUint16(b[pe+22:], 0x206)
	o := b[optional:]
	binary.LittleEndian.PutUint16(o, 0x20b)
	binary.LittleEndian.PutUint32(o[32:], page)
	binary.LittleEndian.PutUint32(o[36:], alignment)
	binary.LittleEndian.PutUint32(o[60:], uint32(headers))
	binary.LittleEndian.PutUint32(o[64:], 0x12345678) // checksum
	binary.LittleEndian.PutUint16(o[68:], subsystem)
	binary.LittleEndian.PutUint32(o[108:], 16)
	address := align(headers, page)
	for i, s := range sections {
		h := b[table+40*i:]
		copy(h[:8], s.Name)
		raw := align(len(s.Data), alignment)
		binary.LittleEndian.PutUint32(h[8:], uint32(len(s.Data)))
		binary.LittleEndian.PutUint32(h[12:], uint32(address))
		binary.LittleEndian.PutUint32(h[16:], uint32(raw))
		binary.LittleEndian.PutUint32(h[20:], uint32(len(b)))
		b = append(append(b, s.Data...), make([]byte, raw-len(s.Data))...)
		address = align(address+len(s.Data), page)
	}
	binary.LittleEndian.PutUint32(b[optional+56:], uint32(address))
	if len(certificates) > 0 {
		binary.LittleEndian.PutUint32(b[optional+144:], uint32(len(b)))
		binary.LittleEndian.PutUint32(b[optional+148:], uint32(len(certificates)))
		b = append(b, certificates...)
	}
	return b
}

// UKI builds a unified kernel image on a stub that says it is systemd-stub of this version and knows the section names
// in known, as the real one holds them in its code.
func UKI(version string, known []string, sections ...ProgramSection) []byte {
	var names bytes.Buffer
	for _, n := range known {
		names.WriteString(n + "\x00")
	}
	magic := "#### LoaderInfo: systemd-stub " + version + " ####\x00"
	stub := []ProgramSection{{".text", []byte{0xc3}}, {".rodata", names.Bytes()}, {".sdmagic", []byte(magic)}}
	return ProgramOf(0x8664, 10, nil, append(stub, sections...)...)
}
