package flash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// copier walks through a region. There are two positions: done counts bytes of the content, at addresses of the region.
// They differ by the bad blocks before them.
type copier struct {
	reader Reader
	region Region
	opts   HashOptions
	pace   *pace
	hash   hash.Hash
	buffer []byte

	done    uint64
	at      uint64
	exclude []Range // those that done has not passed
	blocks  blocks  // nil: no bad blocks
	checked uint64  // address up to which blocks are known to be good
	bad     []Range

	seen bool // any byte was read
	fill byte // the first of them
	same bool // all of them are alike
}

func newCopier(r Reader, region Region, opts HashOptions) *copier {
	c := &copier{
		reader: r, region: region, opts: opts, pace: newPace(opts), hash: sha256.New(),
		buffer: make([]byte, min(bufferSize, region.Length)), exclude: region.Exclude, same: true,
	}
	if b, ok := r.(blocks); ok && b.badBlockSize() > 0 {
		c.blocks = b
	}
	return c
}

// run copies the whole region.
func (c *copier) run(ctx context.Context, to io.Writer) error {
	var failed uint32
	if c.blocks != nil {
		failed = c.blocks.uncorrected()
	}
	for c.done < c.region.Length {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		p, read, err := c.next()
		if err != nil {
			return err
		}
		c.hash.Write(p)
		if _, err := to.Write(p); err != nil {
			return err
		}
		c.done += uint64(len(p))
		if c.opts.Progress != nil {
			c.opts.Progress(c.done, c.region.Length)
		}
		if err := c.pace.took(ctx, read); err != nil {
			return err
		}
	}
	if c.blocks != nil {
		if n := c.blocks.uncorrected() - failed; n > 0 {
			return fmt.Errorf("%w: %d times while the region was read", ErrUncorrectable, n)
		}
	}
	return nil
}

// next returns the next piece of content, and how many bytes of it were read rather than known.
func (c *copier) next() (p []byte, read int, err error) {
	run, err := c.goodRun()
	if err != nil {
		return nil, 0, err
	}
	n := min(uint64(len(c.buffer)), c.region.Length-c.done)
	if run == 0 { // bad blocks took the room
		return erased[:n], 0, nil
	}
	n = min(n, run)
	if len(c.exclude) > 0 && c.done >= c.exclude[0].Offset {
		n = min(n, c.exclude[0].End()-c.done)
		if c.done+n == c.exclude[0].End() {
			c.exclude = c.exclude[1:]
		}
		c.at += n
		return erased[:n], 0, nil
	}
	if len(c.exclude) > 0 {
		n = min(n, c.exclude[0].Offset-c.done)
	}
	p = c.buffer[:n]
	at := c.region.Offset + c.at
	got, err := c.reader.ReadAt(p, int64(at))
	if got < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, fmt.Errorf("read %d bytes at %#x: %w", n, at, err)
	}
	c.at += n
	c.look(p)
	return p, len(p), nil
}

// goodRun skips bad blocks and returns how many bytes from there on lie in good ones; 0 at the region's end.
func (c *copier) goodRun() (uint64, error) {
	if c.blocks == nil {
		return c.region.Length - c.at, nil
	}
	size := c.blocks.badBlockSize()
	for c.at < c.region.Length {
		if c.at < c.checked {
			return c.checked - c.at, nil
		}
		start := (c.region.Offset + c.at) / size * size
		end := min(start+size-c.region.Offset, c.region.Length)
		bad, err := c.blocks.badBlock(start)
		if err != nil {
			return 0, err
		}
		if !bad {
			c.checked = end
			continue
		}
		if err := c.addBad(Range{Offset: c.at, Length: end - c.at}); err != nil {
			return 0, err
		}
		c.at = end
	}
	return 0, nil
}

func (c *copier) addBad(r Range) error {
	if n := len(c.bad); n > 0 && c.bad[n-1].End() == r.Offset {
		c.bad[n-1].Length += r.Length
		return nil
	}
	if len(c.bad) == MaxBad {
		return fmt.Errorf("over %d ranges of bad blocks: the flash is worn out", MaxBad)
	}
	c.bad = append(c.bad, r)
	return nil
}

// look notes whether anything but one repeated byte was read.
func (c *copier) look(p []byte) {
	if !c.seen {
		c.seen, c.fill = true, p[0]
	}
	c.same = c.same && uniform(p, c.fill)
}

func (c *copier) blank() bool { return c.seen && c.same && (c.fill == 0xff || c.fill == 0) }
