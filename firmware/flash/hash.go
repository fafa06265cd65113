package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"time"
)

// HashOptions say how to read. The zero HashOptions read as fast as the source gives.
type HashOptions struct {
	// BytesPerSecond is the most that is read of the source in a second, on average of any 64 KiB; 0: no limit.
	BytesPerSecond int64
	// Progress is called after every piece with the bytes of the region that are done and all of them.
	Progress func(done, total uint64)
	// Now and Wait are the clock; nil: the system's. Wait returns early, with the context's error, when it ends.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error
}

// Sum is what Hash finds of a region.
type Sum struct {
	// Digest is SHA-256 of the region's Length bytes, in which excluded ones read as 0xff.
	Digest [sha256.Size]byte
	Length uint64
	// Bad lists bad blocks of NAND flash in the region, as ranges of its addresses. Reading skips them as writing does
	// (nandwrite, U-Boot's nand write): what follows moves up, and as many bytes of 0xff stand for the room lost at the
	// end. So the digest is that of the image written, if that leaves room. Excluded ranges are those of the image.
	Bad []Range
	// Blank says that every byte read was 0xff, or every byte 0x00: an erased region, or hardware that hides it.
	Blank bool
	// Generation is the reader's, if it was the same before and after: while it stays so, the digest need not be made
	// again. Empty: not known.
	Generation string
	// Elapsed is how long it took, waiting included.
	Elapsed time.Duration
}

// blocks is implemented by readers of flash whose blocks go bad.
type blocks interface {
	badBlockSize() uint64 // 0: no block is ever bad
	badBlock(offset uint64) (bool, error)
	uncorrected() uint32
}

// Hash reads a region once, in pieces of at most 64 KiB, and hashes it. Between pieces it yields to other work, and
// keeps to the rate; its reading has the idle I/O priority. It ends with ctx.
//
// It fails with ErrOutside if the region is not within the source, with ErrNoChip if a whole chip is blank, with
// ErrUncorrectable if error correction failed, and with the error of reading otherwise: there is no digest of a part.
func Hash(ctx context.Context, r Reader, region Region, opts HashOptions) (Sum, error) {
	return Copy(ctx, io.Discard, r, region, opts)
}

// Copy is Hash that also writes the bytes as they are hashed: excluded ones as 0xff. On error, what was written is
// void.
func Copy(ctx context.Context, to io.Writer, r Reader, region Region, opts HashOptions) (Sum, error) {
	region, err := region.Fit(r.Size())
	if err != nil {
		return Sum{}, err
	}
	c := newCopier(r, region, opts)
	defer idlePriority()()
	started := c.pace.now()
	generation, known := r.Generation()
	if err := c.run(ctx, to); err != nil {
		return Sum{}, fmt.Errorf("region %q: %v: %w", region.Name, region.Source, err)
	}
	if c.blank() && wholeChip(r, region) {
		return Sum{}, fmt.Errorf("region %q: %v: %w: all of its %d bytes are %#02x",
			region.Name, region.Source, ErrNoChip, region.Length, c.fill)
	}
	sum := Sum{Length: region.Length, Bad: c.bad, Blank: c.blank(), Elapsed: c.pace.now().Sub(started)}
	c.hash.Sum(sum.Digest[:0])
	if after, ok := r.Generation(); known && ok && after == generation {
		sum.Generation = generation
	}
	return sum, nil
}

// wholeChip reports whether a region is all of a chip. A part of one may well be erased.
func wholeChip(r Reader, region Region) bool {
	chip := r.Describe()
	return region.Length == r.Size() && !chip.Partition && (chip.Kind == SPI || chip.Kind == MTD)
}

// HashImage computes what Hash finds of a region in the source whose content is the first size bytes of an image.
func HashImage(image io.ReaderAt, size uint64, region Region) (Sum, error) {
	return Hash(context.Background(), NewImage(image, size), region, HashOptions{})
}

// NewImage returns a reader of an image of size bytes, for Hash with options. Closing it leaves the image open.
func NewImage(image io.ReaderAt, size uint64) Reader { return imageReader{image, size} }

type imageReader struct {
	io.ReaderAt
	size uint64
}

func (r imageReader) Close() error               { return nil }
func (r imageReader) Size() uint64               { return r.size }
func (r imageReader) Describe() Chip             { return Chip{Kind: File, Size: r.size} }
func (r imageReader) Generation() (string, bool) { return "", false }

// erased is a buffer of excluded bytes.
var erased = bytes.Repeat([]byte{0xff}, bufferSize)

// uniform reports whether all bytes are b.
func uniform(p []byte, b byte) bool {
	return len(p) == 0 || p[0] == b && bytes.Equal(p[1:], p[:len(p)-1])
}

// yield lets other goroutines of this process run.
func yield() { runtime.Gosched() }
