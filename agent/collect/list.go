package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/probity-attest/probity/firmware/ima"
)

// headSize is how much of an entry tells it from another: PCR and template digest.
const headSize = 4 + ima.DigestSize

// mark is a place between two entries of a list that only grows. The entry before it lets the reader notice that it is
// another list after all.
type mark struct {
	entries uint64 // before the mark
	offset  int64  // in bytes
	last    int64  // offset of the entry before the mark
	head    [headSize]byte
}

// errRestarted is returned where a list does not have the entry that a mark remembers.
var errRestarted = errors.New("IMA list began anew")

// listReader reads entries from an open list, one after the other, in bounded memory.
type listReader struct {
	ctx        context.Context
	file       *os.File
	buf        []byte
	start, end int // unread part of buf
	pos        mark
}

// newListReader returns a reader that stands at the mark, errRestarted where the list does not have it.
func newListReader(ctx context.Context, f *os.File, at mark) (*listReader, error) {
	r := &listReader{ctx: ctx, file: f, buf: make([]byte, readSize)}
	if at.entries == 0 {
		_, err := f.Seek(0, io.SeekStart)
		return r, err
	}
	if _, err := f.Seek(at.last, io.SeekStart); err != nil {
		return nil, err
	}
	r.pos = mark{entries: at.entries - 1, offset: at.last}
	_, err := r.next()
	var parse *ima.ParseError
	if errors.Is(err, io.EOF) || errors.As(err, &parse) || err == nil && r.pos != at {
		return nil, errRestarted
	}
	return r, err
}

// next returns the next entry, valid until the next call. It returns io.EOF at the end of the list, where a truncated
// entry counts as not yet there, and a *ima.ParseError for what is no entry.
func (r *listReader) next() ([]byte, error) {
	for {
		s := ima.NewScanner(r.buf[r.start:r.end])
		if s.Scan() {
			raw := r.buf[r.start : r.start+s.Offset()]
			r.start += len(raw)
			r.pos = mark{entries: r.pos.entries + 1, offset: r.pos.offset + int64(len(raw)), last: r.pos.offset}
			copy(r.pos.head[:], raw)
			return raw, nil
		}
		var parse *ima.ParseError
		if errors.As(s.Err(), &parse) && !errors.Is(parse, io.ErrUnexpectedEOF) {
			return nil, &ima.ParseError{Entry: int(r.pos.entries), Offset: int(r.pos.offset), Err: parse.Err}
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more behind the unread part.
func (r *listReader) fill() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		if len(r.buf) >= ima.MaxEntry {
			return fmt.Errorf("IMA list: entry %d is over %d bytes", r.pos.entries, ima.MaxEntry)
		}
		r.buf = append(make([]byte, 0, 2*len(r.buf)), r.buf...)
		r.buf = r.buf[:cap(r.buf)]
	}
	n, err := r.file.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	return err
}
