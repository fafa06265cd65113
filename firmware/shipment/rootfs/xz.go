package rootfs

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzMagic begins a stream (The .xz File Format 1.2.1, section 2.1.1.1).
const xzMagic = "\xfd7zXZ\x00"

// unxz opens an .xz stream. The container is read here, since the library's reader allocates the dictionary that the
// file asks for, up to 4 GiB; what is packed inside is the library's. Other filters than LZMA2 are refused.
func unxz(in *bufio.Reader) (io.ReadCloser, error) {
	x := &xzReader{in: in}
	if err := x.header(); err != nil {
		return nil, malformedXZ(err)
	}
	return io.NopCloser(x), nil
}

func malformedXZ(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, ErrLimit) {
		return err
	}
	return fmt.Errorf("%w: xz: %w", ErrFormat, err)
}

// xzReader reads one stream after the other.
type xzReader struct {
	in    *bufio.Reader
	flags [2]byte
	block io.Reader // nil: between blocks
	count *counter  // of the packed bytes of the block
	sum   hash.Hash // nil: blocks have no check that is known
	err   error
}

// counter counts what is read.
type counter struct {
	*bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// header reads a stream header (section 2.1.1).
func (x *xzReader) header() error {
	var h [12]byte
	if _, err := io.ReadFull(x.in, h[:]); err != nil {
		return err
	}
	if string(h[:6]) != xzMagic || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errors.New("the stream header is damaged")
	}
	copy(x.flags[:], h[6:])
	if x.flags[0] != 0 || x.flags[1] > 0xf {
		return fmt.Errorf("unknown stream flags %x", x.flags)
	}
	switch x.flags[1] {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	}
	return nil
}

// checkSize is the size of a block's check in bytes (section 2.1.1.2).
func (x *xzReader) checkSize() int {
	return [...]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[x.flags[1]]
}

// Read implements io.Reader on what is packed.
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
			x.block = nil
		}
		if err != nil {
			x.err = malformedXZ(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next opens the next block, or ends the stream and goes on with one behind it. io.EOF is the end.
func (x *xzReader) next() error {
	size, err := x.in.ReadByte()
	if err != nil {
		return malformedXZ(err)
	}
	if size > 0 {
		if err := x.startBlock(size); err != nil {
			return malformedXZ(err)
		}
		return nil
	}
	if err := x.endStream(); err != nil {
		return malformedXZ(err)
	}
	if head, err := x.in.Peek(len(xzMagic)); err != nil || string(head) != xzMagic {
		return io.EOF
	}
	if err := x.header(); err != nil {
		return malformedXZ(err)
	}
	return nil
}

// startBlock reads a block header (section 3.1), whose first byte is its size.
func (x *xzReader) startBlock(size byte) error {
	h := make([]byte, 4*(int(size)+1))
	h[0] = size
	if _, err := io.ReadFull(x.in, h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return errors.New("a block header is damaged")
	}
	flags, r := body[1], bytes.NewReader(body[2:])
	if flags&0x3f != 0 {
		return errors.New("a block has another filter before LZMA2, such as one for machine code: pack it without")
	}
	for _, present := range []byte{0x40, 0x80} { // packed and unpacked size, which the library needs not
		if flags&present != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return err
			}
		}
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return err
	}
	if filter[0] != 0x21 || filter[1] != 1 || filter[2] > 40 {
		return fmt.Errorf("filter %x, want LZMA2", filter)
	}
	dictionary, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return err
	}
	if dictionary > MaxWindow {
		return fmt.Errorf("%w: xz: a dictionary of %d bytes, at most %d allowed", ErrLimit, dictionary, MaxWindow)
	}
	x.count = &counter{Reader: x.in}
	x.block, err = lzma.Reader2Config{DictCap: max(int(dictionary), lzma.MinDictCap)}.NewReader2(x.count)
	if x.sum != nil {
		x.sum.Reset()
	}
	return err
}

// endBlock reads the padding and the check of a block (sections 3.3 and 3.4).
func (x *xzReader) endBlock() error {
	tail := make([]byte, int(-x.count.n&3)+x.checkSize())
	if _, err := io.ReadFull(x.in, tail); err != nil {
		return err
	}
	if x.sum == nil {
		return nil
	}
	want := x.sum.Sum(nil)
	if x.flags[1] != 10 { // CRCs are little-endian
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	if !bytes.Equal(tail[len(tail)-x.checkSize():], want) {
		return errors.New("the check of a block is wrong: the file is damaged")
	}
	return nil
}

// endStream reads the index behind its first byte and the footer (sections 4 and 2.1.2). Sizes in it repeat what was
// read.
func (x *xzReader) endStream() error {
	c := &counter{Reader: x.in, n: 1}
	records, err := binary.ReadUvarint(c)
	if err != nil {
		return err
	}
	for range records { // ends with the input
		for range 2 {
			if _, err := binary.ReadUvarint(c); err != nil {
				return err
			}
		}
	}
	rest := make([]byte, (-c.n&3)+4+12)
	if _, err := io.ReadFull(x.in, rest); err != nil {
		return err
	}
	if string(rest[len(rest)-2:]) != "YZ" || !bytes.Equal(rest[len(rest)-4:len(rest)-2], x.flags[:]) {
		return errors.New("the stream footer is damaged")
	}
	for { // padding between streams
		head, err := x.in.Peek(4)
		if err != nil || string(head) != "\x00\x00\x00\x00" {
			return nil
		}
		if _, err := x.in.Discard(4); err != nil {
			return err
		}
	}
}
