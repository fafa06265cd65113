package rootfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Initial RAM disks: archives in the "newc" format of cpio, one behind the other, each plain or packed.
const (
	cpioHeader  = 110
	cpioTrailer = "TRAILER!!!"

	modeType = 0o170000
	modeDir  = 0o040000
	modeReg  = 0o100000
	modeLink = 0o120000
)

func isCPIO(head []byte) bool {
	return bytes.HasPrefix(head, []byte("070701")) || bytes.HasPrefix(head, []byte("070702"))
}

// initrd reads archives until the end; a packed one is the last, with outer to be read by the caller. nested says that
// archives may be packed.
func (s *stream) initrd(in *bufio.Reader, nested bool) error {
	for {
		if err := skipZeros(in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		head, err := peek(in)
		if err != nil {
			return err
		}
		codec := packed(head)
		switch {
		case isCPIO(head):
			err = s.cpio(in)
		case codec != nil && nested:
			r, openErr := codec(in)
			if openErr != nil {
				return openErr
			}
			err = s.initrd(bufio.NewReaderSize(meter{s, r}, 64<<10), false)
			err = errors.Join(err, r.Close())
		default:
			err = fmt.Errorf("%w: behind an archive of the initial RAM disk stands %q", ErrFormat, head[:min(len(head), 8)])
		}
		if err != nil {
			return err
		}
	}
}

// skipZeros goes to the next byte that is not zero: archives are padded.
func skipZeros(in *bufio.Reader) error {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return in.UnreadByte()
		}
	}
}

// cpioEntry is the header of an entry.
type cpioEntry struct {
	inode, mode, links, size, major, minor, nameSize int64
}

// inode identifies a file with several names, of which only the last has the content.
type inode struct{ number, major, minor int64 }

func (s *stream) cpio(in *bufio.Reader) error {
	waiting := map[inode][]string{}
	for n := 0; ; n++ {
		h, name, err := readCPIO(in)
		if err != nil {
			return fmt.Errorf("cpio entry %d: %w", n, err)
		}
		if name == cpioTrailer {
			for _, names := range waiting {
				return fmt.Errorf("%w: cpio: hard link %q has no content", ErrFormat, names[0])
			}
			return nil
		}
		if n >= 2*s.tree.limits.entries {
			return fmt.Errorf("%w: more than %d cpio entries", ErrLimit, n)
		}
		if err := s.cpioEntry(in, h, name, waiting); err != nil {
			return fmt.Errorf("cpio entry %d: %w", n, err)
		}
	}
}

func (s *stream) cpioEntry(in *bufio.Reader, h cpioEntry, name string, waiting map[inode][]string) error {
	name, err := clean(name)
	if err != nil {
		return err
	}
	body := &io.LimitedReader{R: in, N: h.size}
	id := inode{h.inode, h.major, h.minor}
	switch h.mode & modeType {
	case modeDir:
		err = s.tree.put(name, node{kind: kindDir})
	case modeLink:
		if h.size > MaxPath {
			return fmt.Errorf("%w: symbolic link %q leads to a path of %d bytes, want 1 to %d", ErrFormat, name, h.size, MaxPath)
		}
		var target []byte
		if target, err = io.ReadAll(body); err == nil {
			err = s.symlink(name, string(bytes.TrimRight(target, "\x00")))
		}
	case modeReg:
		if h.links > 1 && h.size == 0 {
			waiting[id] = append(waiting[id], name)
			if len(waiting[id]) < int(h.links) {
				return nil
			} // all names are there, and the file is empty
		}
		var n node
		if n, err = s.regular(name, h.mode&0o111 != 0, body, h.size); err != nil {
			return err
		}
		for _, other := range append(waiting[id], name) {
			if err := s.tree.put(other, n); err != nil {
				return err
			}
		}
		delete(waiting, id)
	default:
		err = s.tree.put(name, node{kind: kindOther})
	}
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, in, body.N+(-h.size)&3); err != nil {
		return fmt.Errorf("%w: %q is cut off: %w", ErrFormat, name, err)
	}
	return nil
}

// readCPIO reads the header of an entry and its name.
func readCPIO(in io.Reader) (h cpioEntry, name string, err error) {
	var b [cpioHeader]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return h, "", fmt.Errorf("%w: its header is cut off: %w", ErrFormat, err)
	}
	if !isCPIO(b[:]) {
		return h, "", fmt.Errorf("%w: it begins with %q, want 070701", ErrFormat, b[:6])
	}
	for i, to := range map[int]*int64{
		0: &h.inode, 1: &h.mode, 4: &h.links, 6: &h.size, 7: &h.major, 8: &h.minor, 11: &h.nameSize,
	} {
		v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return h, "", fmt.Errorf("%w: field %d is %q, want 8 hexadecimal digits", ErrFormat, i, b[6+8*i:14+8*i])
		}
		*to = int64(v)
	}
	if h.nameSize < 2 || h.nameSize > MaxPath+1 {
		return h, "", fmt.Errorf("%w: a name of %d bytes, want 1 to %d and a NUL", ErrFormat, h.nameSize, MaxPath)
	}
	text := make([]byte, h.nameSize+(-(cpioHeader+h.nameSize))&3)
	if _, err := io.ReadFull(in, text); err != nil {
		return h, "", fmt.Errorf("%w: its name is cut off: %w", ErrFormat, err)
	}
	if text[h.nameSize-1] != 0 {
		return h, "", fmt.Errorf("%w: its name does not end with NUL", ErrFormat)
	}
	return h, string(text[:h.nameSize-1]), nil
}
