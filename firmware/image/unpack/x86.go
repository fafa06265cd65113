package unpack

import "encoding/binary"

// Which calls the filter may convert after earlier candidates near them, and how many bytes of the operand those
// candidates reach into (LZMA SDK, Bra86).
var (
	x86Allowed = [8]bool{true, true, true, false, true, false, false, false}
	x86Reach   = [8]uint{0, 1, 2, 2, 3, 3, 3, 3}
)

// filterX86 converts the operands of x86 CALL and JMP between absolute (packed) and relative (as the processor reads
// them), in place. It is its own inverse up to encode.
func filterX86(b []byte, encode bool) {
	extends := func(c byte) bool { return c == 0 || c == 0xff } // top byte of an operand that is a near jump
	mask, last := uint32(0), -5                                 // last candidate
	for i := 0; i+5 <= len(b); {
		if b[i]&0xfe != 0xe8 {
			i++
			continue
		}
		gap := i - last
		last = i
		if gap > 5 {
			mask = 0
		}
		for range min(gap, 5) {
			mask = mask & 0x77 << 1
		}
		if !extends(b[i+4]) || !x86Allowed[mask>>1&7] || mask>>1 >= 0x10 {
			mask |= 1
			if extends(b[i+4]) {
				mask |= 0x10
			}
			i++
			continue
		}
		to := convertX86(binary.LittleEndian.Uint32(b[i+1:]), uint32(i+5), mask, encode)
		binary.LittleEndian.PutUint32(b[i+1:], to&0x01ffffff|-(to>>24&1)<<24)
		i += 5
		mask = 0
	}
}

// convertX86 converts one operand of an instruction that ends at next.
func convertX86(from, next, mask uint32, encode bool) uint32 {
	for {
		to := from - next
		if encode {
			to = from + next
		}
		if mask == 0 {
			return to
		}
		reach := x86Reach[mask>>1&7] * 8
		if top := byte(to >> (24 - reach)); top != 0 && top != 0xff {
			return to
		}
		from = to ^ (1<<(32-reach) - 1)
	}
}
