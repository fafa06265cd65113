package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// peekSize is how much of a source or file tells what it is: up to the magic of a tar header.
const peekSize = 512

func (t *Tree) add(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return unwrapPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return unwrapPath(err)
	case info.IsDir():
		t.others++
		return t.folder(ctx, path)
	case !info.Mode().IsRegular():
		return errors.New("it is neither a folder nor a regular file")
	case info.Size() > t.limits.sourceBytes:
		return fmt.Errorf("%w: %d bytes, at most %d allowed", ErrLimit, info.Size(), t.limits.sourceBytes)
	}
	return t.AddArchive(ctx, path, f, info.Size())
}

// unwrapPath drops the path from an error whose caller says it.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// AddArchive reads a tar archive, an initial RAM disk or a Debian package of size bytes. name is for Progress.
func (t *Tree) AddArchive(ctx context.Context, name string, r io.Reader, size int64) error {
	s := &stream{tree: t, ctx: ctx, name: name, size: size, from: r}
	in := bufio.NewReaderSize(s, 64<<10)
	if err := s.source(in); err != nil {
		if stopped := ctx.Err(); stopped != nil {
			return stopped
		}
		return err
	}
	s.report(true)
	return nil
}

// stream reads one source: it counts what is read and what comes out of it.
type stream struct {
	tree     *Tree
	ctx      context.Context
	name     string
	size     int64
	from     io.Reader
	done     int64 // bytes read
	reported int64
	unpacked int64 // bytes that decompressors gave
	content  int64 // bytes that files have
	files    int
}

// Read implements io.Reader on the packed source.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.from.Read(p)
	s.done += int64(n)
	s.report(false)
	return n, err
}

const reportEvery = 1 << 20

func (s *stream) report(end bool) {
	if f := s.tree.config.Progress; f != nil && (end || s.done-s.reported >= reportEvery) {
		s.reported = s.done
		f(Progress{Source: s.name, Done: s.done, Total: s.size, Files: s.files})
	}
}

// allow checks a number of bytes that came out of the source, or will, against what its size allows.
func (s *stream) allow(n int64) error {
	l := &s.tree.limits
	switch {
	case n > l.unpacked:
		return fmt.Errorf("%w: it unpacks to more than %d bytes", ErrLimit, l.unpacked)
	case s.size > 0 && n > l.free && n/l.ratio > s.size:
		return fmt.Errorf("%w: %d bytes unpack to more than %d times as many: this is a compression bomb", ErrLimit, s.size, l.ratio)
	}
	return nil
}

// meter counts what a decompressor gives.
type meter struct {
	s *stream
	r io.Reader
}

func (m meter) Read(p []byte) (int, error) {
	if err := m.s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.s.unpacked += int64(n)
	if limit := m.s.allow(m.s.unpacked); limit != nil {
		return 0, limit
	}
	return n, err
}

// source reads a whole source.
func (s *stream) source(in *bufio.Reader) error {
	head, err := peek(in)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte(arMagic)) {
		s.tree.debs++
		return s.deb(in)
	}
	s.tree.others++
	if codec := packed(head); codec != nil {
		r, err := codec(in)
		if err != nil {
			return err
		}
		defer r.Close()
		return s.archive(bufio.NewReaderSize(meter{s, r}, 64<<10), in)
	}
	return s.archive(in, nil)
}

// archive reads a tar archive or an initial RAM disk; outer is where its packed form was read from, nil if it is plain.
func (s *stream) archive(in, outer *bufio.Reader) error {
	head, err := peek(in)
	switch {
	case err != nil:
		return err
	case isCPIO(head):
		if err := s.initrd(in, true); err != nil || outer == nil {
			return err
		}
		return s.initrd(outer, true) // what stands behind the packed part
	case isTar(head):
		return s.tar(in)
	}
	return fmt.Errorf("%w: it begins with %q: want a folder, a tar archive or an initial RAM disk (plain or packed by gzip, "+
		"xz, zstd or bzip2), or a Debian package", ErrFormat, head[:min(len(head), 8)])
}

// peek returns up to peekSize bytes of what comes next.
func peek(in *bufio.Reader) ([]byte, error) {
	head, err := in.Peek(peekSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrFormat)
	}
	return head, nil
}

// begins are what code of any kind of permissions begins with: an ELF object, a script.
var begins = [][]byte{[]byte("\x7fELF"), []byte("#!")}

// modules are the ends of names of kernel modules, as kmod knows them.
var modules = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

// counts reports whether IMA's policy would measure a regular file when the system runs: see the package comment.
func (t *Tree) counts(path string, executable bool, head []byte) bool {
	if t.config.All || executable {
		return true
	}
	for _, b := range begins {
		if bytes.HasPrefix(head, b) {
			return true
		}
	}
	for _, end := range modules {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return strings.HasPrefix(path, "usr/lib/firmware/") || strings.HasPrefix(path, "lib/firmware/")
}

// regular reads the content of a regular file of size bytes and returns its node.
func (s *stream) regular(path string, executable bool, r io.Reader, size int64) (node, error) {
	s.files++
	if size < 0 {
		return node{}, fmt.Errorf("%w: %q has %d bytes", ErrFormat, path, size)
	}
	if s.content += size; s.content < 0 {
		return node{}, fmt.Errorf("%w: files of more than %d bytes", ErrLimit, s.tree.limits.unpacked)
	}
	if err := s.allow(s.content); err != nil {
		return node{}, err
	}
	var head [4]byte
	n, err := io.ReadFull(r, head[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if int64(n) < min(size, int64(len(head))) {
			return node{}, fmt.Errorf("%w: %q is cut off", ErrFormat, path)
		}
	case err != nil:
		return node{}, fmt.Errorf("%q: %w", path, err)
	}
	if !s.tree.counts(path, executable, head[:n]) {
		return node{kind: kindOther}, nil // what is left of it, whoever reads the archive skips
	}
	h := sha256.New()
	h.Write(head[:n])
	copied, err := io.Copy(h, r)
	switch {
	case err != nil:
		return node{}, fmt.Errorf("%q: %w", path, err)
	case copied+int64(n) != size:
		return node{}, fmt.Errorf("%w: %q has %d bytes, its header says %d", ErrFormat, path, copied+int64(n), size)
	}
	out := node{kind: kindFile}
	h.Sum(out.digest[:0])
	return out, nil
}
