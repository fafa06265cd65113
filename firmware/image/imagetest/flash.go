package imagetest

import (
	"bytes"
	"encoding/binary"
)

// Flash builds the content of a flash chip with an Intel descriptor: 4 KiB descriptor, a management engine region of 8
// KiB, then the bios region, whose size must be a multiple of 4 KiB.
func Flash(bios []byte) []byte {
	const me = 8 << 10
	b := bytes.Repeat([]byte{0xff}, blockSize+me)
	d := b[:blockSize]
	binary.LittleEndian.PutUint32(d[16:], 0x0ff0a55a)
	binary.LittleEndian.PutUint32(d[20:], 0x00040003) // regions at 0x40, components at 0x30
	binary.LittleEndian.PutUint32(d[24:], 0x00000208) // masters at 0x80
	region := func(i, start, end int) {
		binary.LittleEndian.PutUint32(d[0x40+4*i:], uint32(start>>12|(end-1)>>12<<16))
	}
	for i := range 16 {
		binary.LittleEndian.PutUint32(d[0x40+4*i:], 0x00007fff) // not used
	}
	region(0, 0, blockSize)
	region(1, len(b), len(b)+len(bios))
	region(2, blockSize, blockSize+me)
	copy(b[blockSize+16:], "$FPT")
	return append(b, bios...)
}

// Microcode builds an update of Intel's microcode for a processor signature, with size bytes of data, a multiple of 1
// KiB minus its header of 48 bytes.
func Microcode(signature, revision uint32, size int) []byte {
	b := make([]byte, 48+size)
	for i, v := range []uint32{1, revision, 0x07152025, signature, 0, 1, 0x80, uint32(size), uint32(len(b))} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	for i := 48; i < len(b); i++ {
		b[i] = byte(i * 7)
	}
	var sum uint32
	for i := 0; i < len(b); i += 4 {
		sum += binary.LittleEndian.Uint32(b[i:])
	}
	binary.LittleEndian.PutUint32(b[16:], -sum)
	return b
}

// OptionROM builds a PCI expansion ROM with one EFI driver that is not compressed.
func OptionROM(vendor, device uint16, driver []byte) []byte {
	const data, program = 0x1c, 0x38
	n := (program + len(driver) + 511) / 512
	b := make([]byte, n*512)
	copy(b, []byte{0x55, 0xaa, byte(n), byte(n >> 8), 0xf1, 0x0e})
	binary.LittleEndian.PutUint16(b[0x16:], program)
	binary.LittleEndian.PutUint16(b[0x18:], data)
	copy(b[data:], "PCIR")
	binary.LittleEndian.PutUint16(b[data+4:], vendor)
	binary.LittleEndian.PutUint16(b[data+6:], device)
	binary.LittleEndian.PutUint16(b[data+10:], 0x18)
	binary.LittleEndian.PutUint16(b[data+16:], uint16(n))
	b[data+20], b[data+21] = 3, 0x80
	copy(b[program:], driver)
	return b
}
