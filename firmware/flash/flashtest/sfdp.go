package flashtest

import "encoding/binary"

// SFDP returns the parameters of a chip of size bytes (JEDEC JESD216B): one basic table of 16 double words, with blocks
// of 4 KiB and 64 KiB to erase. read4 states that it has the commands with 4 address bytes, without which the chip
// states 3 only.
func SFDP(size uint64, read4 bool) []byte {
	const at, words = 0x10, 16
	b := []byte{
		'S', 'F', 'D', 'P', 6, 1, 0, 0xff, // minor and major revision, one parameter header, access protocol
		0x00, 6, 1, words, at, 0, 0, 0xff, // basic table: id, minor, major, double words, address, id
	}
	var table [words]uint32
	table[0] = 0xfff120e5 &^ (3 << 17)
	if read4 {
		table[0] |= 1 << 17
		table[15] = 1 << 29
	}
	table[1] = uint32(8*size - 1)
	if 8*size > 1<<31 {
		power := uint32(0)
		for 1<<power < 8*size {
			power++
		}
		table[1] = 1<<31 | power
	}
	table[7] = 0x20<<8 | 12 | (0xd8<<8|16)<<16
	for _, w := range table {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}
