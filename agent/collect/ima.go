package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/probity-attest/probity/firmware/hostfs"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/proto"
)

// imaLists are the names of the binary list: newer kernels have one for each hash of template digests, the first name
// being a link to the second.
var imaLists = []string{
	securityfs + "/ima/binary_runtime_measurements",
	securityfs + "/ima/binary_runtime_measurements_sha1",
}

// IMACount returns how many entries the IMA list has now. It reads only what came since the last call.
func (c *Collector) IMACount(ctx context.Context) (uint64, *proto.Unavailable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n uint64
	un := c.withList(ctx, math.MaxUint64, func(r *listReader) error {
		for {
			if _, err := r.next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		c.end, n = r.pos, r.pos.entries
		return nil
	})
	return n, un
}

// IMASegment returns the entries that follow the first from, in the kernel's binary format, and how many they are, up to
// the last complete one. They are at most proto.MaxIMASegment bytes: with more the cause is CauseTooLarge. To match a
// quote it must be called after the quote was made. A list with fewer than from entries is unavailable as
// CauseMalformed: it is not the list that the verifier means (see BootID).
//
// It remembers the place of from and of the end of the list, so that a later call with either does not read what is
// before; it notices by the boot id and by the entry at that place that the list began anew.
func (c *Collector) IMASegment(ctx context.Context, from uint64) (data []byte, count uint64, un *proto.Unavailable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	un = c.withList(ctx, from, func(r *listReader) error {
		for r.pos.entries < from {
			if _, err := r.next(); errors.Is(err, io.EOF) {
				return unavailable(proto.CauseMalformed, "the IMA list has %d entries, fewer than the %d already reported: "+
					"it began anew without a new boot id", r.pos.entries, from)
			} else if err != nil {
				return err
			}
		}
		c.from = r.pos
		for {
			raw, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			if len(data)+len(raw) > proto.MaxIMASegment {
				return fmt.Errorf("IMA list from entry %d on: %w: over %d bytes", from, hostfs.ErrTooLarge, proto.MaxIMASegment)
			}
			data = append(data, raw...)
		}
		c.end, count = r.pos, r.pos.entries-from
		return nil
	})
	if un != nil {
		return nil, 0, un
	}
	return data, count, nil
}

// withList calls read with a reader that stands at the furthest known place that is not after limit.
func (c *Collector) withList(ctx context.Context, limit uint64, read func(*listReader) error) *proto.Unavailable {
	name, f, err := c.openList()
	if isMissing(err) {
		return c.notInSecurityfs(imaLists[0], "the kernel was built without IMA (CONFIG_IMA)")
	}
	if err != nil {
		return c.root.unavailable(name, err)
	}
	defer f.Close() // opened for reading: there is nothing to lose
	c.forgetOtherBoot()
	r, err := newListReader(ctx, f, c.nearest(limit))
	if errors.Is(err, errRestarted) {
		c.from, c.end = mark{}, mark{}
		r, err = newListReader(ctx, f, mark{})
	}
	if err == nil {
		err = read(r)
	}
	var un *proto.Unavailable
	var parse *ima.ParseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &un):
		return un
	case errors.As(err, &parse):
		return unavailable(proto.CauseMalformed, "%s: %v", c.root.show(name), err)
	}
	return c.root.unavailable(name, err)
}

func (c *Collector) openList() (name string, f *os.File, err error) {
	for _, name = range imaLists {
		if f, err = c.root.open(name); !isMissing(err) {
			break
		}
	}
	return name, f, err
}

// forgetOtherBoot drops the marks where they are of another boot. Without boot ids the entry at a mark must do.
func (c *Collector) forgetOtherBoot() {
	boot := ""
	if id, err := c.BootID(); err == nil {
		boot = string(id)
	}
	if boot != c.boot {
		c.boot, c.from, c.end = boot, mark{}, mark{}
	}
}

// nearest returns the furthest mark that is not after limit.
func (c *Collector) nearest(limit uint64) (best mark) {
	for _, m := range []mark{c.from, c.end} {
		if m.entries <= limit && m.entries > best.entries {
			best = m
		}
	}
	return best
}
