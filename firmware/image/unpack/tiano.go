package unpack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the code's alphabets (UEFI 2.10, section 19.2).
const (
	codeBits      = 16                             // longest Huffman code
	maxMatch      = 256                            // longest match in bytes
	threshold     = 3                              // shortest match
	charSymbols   = 256 + maxMatch + 1 - threshold // literals and match lengths: 510
	extraSymbols  = codeBits + 3                   // lengths of the character codes
	charBits      = 9                              // width of a count of character codes
	extraBits     = 5                              // width of a count of code lengths
	positionLimit = 31                             // positions have at most this many codes
)

// UEFI unpacks data of the UEFI specification's own compression: compressed sections of type 1 and PCI option ROMs.
func UEFI(b []byte, limit int) ([]byte, error) { return huffman("uefi compression", b, limit, 4) }

// Tiano unpacks the same code with wider positions, as edk2's Tiano GUIDed sections hold it.
func Tiano(b []byte, limit int) ([]byte, error) { return huffman("tiano compression", b, limit, 5) }

func huffman(name string, b []byte, limit int, positionBits uint) ([]byte, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%s: want 8 bytes of header, have %d", name, len(b))
	}
	packed, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if uint64(packed) > uint64(len(b)-8) {
		return nil, fmt.Errorf("%s: header tells %d packed bytes, have %d: the stream is cut off", name, packed, len(b)-8)
	}
	if err := check(name, uint64(size), limit); err != nil {
		return nil, err
	}
	d := decoder{in: bits{b: b[8 : 8+packed]}, positionBits: positionBits}
	out, err := d.run(int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// decoder holds the state of one stream.
type decoder struct {
	in           bits
	positionBits uint
	left         int // symbols left in the block
	extra        code
	char         code
	position     code
}

func (d *decoder) run(size int) ([]byte, error) {
	// A block needs bits: what is given back grows with what was read, whatever the header claims.
	out := make([]byte, 0, min(size, 64*len(d.in.b)+maxMatch))
	for len(out) < size {
		if d.left == 0 {
			if err := d.block(); err != nil {
				return nil, fmt.Errorf("after %d bytes: %w", len(out), err)
			}
		}
		d.left--
		c := d.char.read(&d.in)
		if c < 256 {
			out = append(out, byte(c))
		} else {
			at := len(out) - 1 - d.distance()
			if at < 0 {
				return nil, fmt.Errorf("after %d bytes: match reaches %d bytes before the start", len(out), -at)
			}
			for n := min(c-256+threshold, size-len(out)); n > 0; n-- {
				out = append(out, out[at])
				at++
			}
		}
		if d.in.over() {
			return nil, fmt.Errorf("after %d of %d bytes: stream is cut off", len(out), size)
		}
	}
	return out, nil
}

// distance reads how far back a match begins, minus one.
func (d *decoder) distance() int {
	p := d.position.read(&d.in)
	if p <= 1 {
		return p
	}
	return 1<<(p-1) + int(d.in.take(uint(p-1)))
}

// block reads the head of a block: its length and its three codes.
func (d *decoder) block() error {
	d.left = int(d.in.take(16))
	if d.left == 0 {
		d.left = 1 << 16
	}
	if err := d.lengths(&d.extra, extraSymbols, extraBits, 3); err != nil {
		return fmt.Errorf("code of lengths: %w", err)
	}
	if err := d.characters(); err != nil {
		return fmt.Errorf("code of characters: %w", err)
	}
	if err := d.lengths(&d.position, positionLimit, d.positionBits, -1); err != nil {
		return fmt.Errorf("code of positions: %w", err)
	}
	return nil
}

// lengths reads a code whose code lengths stand in unary. After the entry with number special, a run of zeros follows.
func (d *decoder) lengths(c *code, symbols int, width uint, special int) error {
	n := int(d.in.take(width))
	if n == 0 {
		return c.single(int(d.in.take(width)), symbols)
	}
	if n > symbols {
		return fmt.Errorf("%d codes, want at most %d", n, symbols)
	}
	var length [charSymbols]uint8
	for i := 0; i < n; {
		l := d.in.take(3)
		if l == 7 {
			for d.in.take(1) == 1 {
				if l++; l > codeBits {
					return fmt.Errorf("code of more than %d bits", codeBits)
				}
			}
		}
		length[i] = uint8(l)
		i++
		if i == special {
			i += int(d.in.take(2))
		}
	}
	return c.build(length[:symbols])
}

// characters reads the code of literals and match lengths, whose code lengths are coded by the extra code.
func (d *decoder) characters() error {
	n := int(d.in.take(charBits))
	if n == 0 {
		return d.char.single(int(d.in.take(charBits)), charSymbols)
	}
	if n > charSymbols {
		return fmt.Errorf("%d codes, want at most %d", n, charSymbols)
	}
	var length [charSymbols]uint8
	for i := 0; i < n; {
		switch l := d.extra.read(&d.in); l {
		case 0:
			i++
		case 1:
			i += int(d.in.take(4)) + 3
		case 2:
			i += int(d.in.take(charBits)) + 20
		default:
			length[i] = uint8(l - 2)
			i++
		}
		if d.in.over() {
			return errors.New("stream is cut off")
		}
	}
	return d.char.build(length[:])
}

// code is a canonical Huffman code: shorter codes first, and symbols in ascending order among equal lengths.
type code struct {
	count  [codeBits + 1]uint16 // codes of each length
	symbol [charSymbols]uint16  // in the order of their codes
	only   int                  // the one symbol, which takes no bits; -1 if there are more
}

// single makes a code of one symbol.
func (c *code) single(symbol, symbols int) error {
	if symbol >= symbols {
		return fmt.Errorf("symbol %d, want one below %d", symbol, symbols)
	}
	c.only = symbol
	return nil
}

// build makes a code from the code length of each symbol. The code must be complete: firmware refuses any other.
func (c *code) build(length []uint8) error {
	*c = code{only: -1}
	space := 0
	for _, l := range length {
		if l > 0 {
			c.count[l]++
			space += 1 << (codeBits - l)
		}
	}
	if space != 1<<codeBits {
		return fmt.Errorf("incomplete or oversubscribed: fills %d of %d", space, 1<<codeBits)
	}
	var next [codeBits + 2]uint16
	for l := 1; l <= codeBits; l++ {
		next[l+1] = next[l] + c.count[l]
	}
	for s, l := range length {
		if l > 0 {
			c.symbol[next[l]] = uint16(s)
			next[l]++
		}
	}
	return nil
}

// read decodes one symbol.
func (c *code) read(in *bits) int {
	if c.only >= 0 {
		return c.only
	}
	value, first, index := 0, 0, 0
	for l := 1; l <= codeBits; l++ {
		value = value<<1 | int(in.take(1))
		n := int(c.count[l])
		if value-first < n {
			return int(c.symbol[index+value-first])
		}
		index += n
		first = (first + n) << 1
	}
	return 0 // not reached: the code is complete
}

// bits reads a stream from the highest bit on. Behind the end it yields zeros; over tells that this happened.
type bits struct {
	b    []byte
	next int // first byte that is not in hold
	hold uint64
	n    uint // bits in hold
}

func (r *bits) take(n uint) uint32 {
	for r.n < n {
		r.hold <<= 8
		if r.next < len(r.b) {
			r.hold |= uint64(r.b[r.next])
		}
		r.next++
		r.n += 8
	}
	r.n -= n
	return uint32(r.hold >> r.n & (1<<n - 1))
}

// over reports whether bits behind the end were taken.
func (r *bits) over() bool { return r.next-int(r.n/8) > len(r.b) }
