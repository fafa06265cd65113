package rootfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// isTar reports whether bytes begin as a tar archive: with the magic of POSIX and GNU, or as an older one, whose header
// has no magic, but a checksum in octal digits.
func isTar(head []byte) bool {
	if len(head) < peekSize {
		return false
	}
	if bytes.HasPrefix(head[257:], []byte("ustar")) {
		return true
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil && head[0] != 0
}

// tar reads a tar archive, and what stands behind it: only at their end do packed streams say whether they are whole.
func (s *stream) tar(in io.Reader) error {
	if err := s.tarEntries(in); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

func (s *stream) tarEntries(in io.Reader) error {
	end := &zeros{r: in}
	r := tar.NewReader(end)
	for n := 0; ; n++ {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && end.n < 2*peekSize:
			return fmt.Errorf("%w: the tar archive lacks its end behind entry %d: it is cut off", ErrFormat, n)
		case errors.Is(err, io.EOF) && n == 0:
			return fmt.Errorf("%w: the tar archive has no entry", ErrFormat)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: tar entry %d: %w", ErrFormat, n, err)
		case err != nil:
			return fmt.Errorf("tar entry %d: %w", n, err)
		}
		if n >= 2*s.tree.limits.entries {
			return fmt.Errorf("%w: more than %d tar entries", ErrLimit, n)
		}
		if err := s.tarEntry(r, h); err != nil {
			return fmt.Errorf("tar entry %d: %w", n, err)
		}
	}
}

// zeros counts how many of the last bytes read are zero: a tar archive ends with two blocks of them, which archive/tar
// does not insist on.
type zeros struct {
	r io.Reader
	n int64
}

func (z *zeros) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	if rest := len(bytes.TrimRight(p[:n], "\x00")); rest > 0 {
		z.n = int64(n - rest)
	} else {
		z.n += int64(n)
	}
	return n, err
}

func (s *stream) tarEntry(r io.Reader, h *tar.Header) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return s.tree.put(name, node{kind: kindDir})
	case tar.TypeSymlink:
		return s.symlink(name, h.Linkname)
	case tar.TypeLink:
		return s.hardLink(name, h.Linkname)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		n, err := s.regular(name, h.Mode&0o111 != 0, r, h.Size)
		if err != nil {
			return err
		}
		return s.tree.put(name, n)
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return s.tree.put(name, node{kind: kindOther})
	}
	return fmt.Errorf("%w: %q is of the unknown type %q", ErrFormat, name, h.Typeflag)
}

func (s *stream) symlink(name, target string) error {
	if target == "" || len(target) > MaxPath {
		return fmt.Errorf("%w: symbolic link %q leads to a path of %d bytes, want 1 to %d", ErrFormat, name, len(target), MaxPath)
	}
	return s.tree.put(name, node{kind: kindLink, target: target})
}

// hardLink gives a file that came before another name.
func (s *stream) hardLink(name, target string) error {
	p, err := clean(target)
	if err != nil {
		return err
	}
	n, err := s.tree.find(p)
	switch {
	case err != nil:
		return err
	case n == nil || n.kind == kindDir:
		return fmt.Errorf("%w: hard link %q to %q, which is no file before it in the archive", ErrFormat, name, p)
	}
	s.files++
	return s.tree.put(name, *n)
}

// Debian packages: an ar archive (deb(5)).
const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// deb reads a Debian package: of its members, the one with the files.
func (s *stream) deb(in *bufio.Reader) error {
	if _, err := in.Discard(len(arMagic)); err != nil {
		return err
	}
	for n := 0; ; n++ {
		name, size, err := arEntry(in)
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the package has no member data.tar", ErrFormat)
		case err != nil:
			return fmt.Errorf("package member %d: %w", n, err)
		case n >= maxMembers:
			return fmt.Errorf("%w: more than %d members before data.tar", ErrLimit, maxMembers)
		case n == 0 && name != "debian-binary":
			return fmt.Errorf("%w: the first member is %q: want debian-binary; is this a static library?", ErrFormat, name)
		}
		body := &io.LimitedReader{R: in, N: size}
		switch {
		case n == 0:
			err = debVersion(body)
		case name == "data.tar" || len(name) > 9 && name[:9] == "data.tar.":
			return s.debData(name, body)
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, in, body.N+size&1) // members begin at even offsets
		}
		if err != nil {
			return fmt.Errorf("%w: package member %q is cut off: %w", ErrFormat, name, err)
		}
	}
}

// arEntry reads the header of a member. Names of Debian packages are short, mostly with a slash at the end.
func arEntry(in io.Reader) (name string, size int64, err error) {
	var h [arHeader]byte
	if n, err := io.ReadFull(in, h[:]); err != nil {
		if n > 0 {
			return "", 0, fmt.Errorf("%w: its header is cut off", ErrFormat)
		}
		return "", 0, err
	}
	if h[58] != '`' || h[59] != '\n' {
		return "", 0, fmt.Errorf("%w: its header does not end with ` and a line end", ErrFormat)
	}
	digits := bytes.TrimRight(h[48:58], " ")
	for _, d := range digits {
		if d < '0' || d > '9' {
			return "", 0, fmt.Errorf("%w: size %q, want decimal digits", ErrFormat, digits)
		}
		size = 10*size + int64(d-'0') // ten digits at most
	}
	if len(digits) == 0 {
		return "", 0, fmt.Errorf("%w: no size", ErrFormat)
	}
	return string(bytes.TrimSuffix(bytes.TrimRight(h[:16], " "), []byte("/"))), size, nil
}

// debVersion checks the format version of a package. Minor versions are compatible.
func debVersion(body io.Reader) error {
	var v [2]byte
	if _, err := io.ReadFull(body, v[:]); err != nil {
		return err
	}
	if string(v[:]) != "2." {
		return fmt.Errorf("format version %q, want 2.0", v[:])
	}
	return nil
}

func (s *stream) debData(name string, body io.Reader) error {
	in := bufio.NewReaderSize(body, 64<<10)
	head, err := peek(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if codec := packed(head); codec != nil {
		r, err := codec(in)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer r.Close()
		in = bufio.NewReaderSize(meter{s, r}, 64<<10)
		if head, err = peek(in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if !isTar(head) {
		return fmt.Errorf("%w: %s holds no tar archive that is plain or packed by gzip, xz, zstd or bzip2", ErrFormat, name)
	}
	if err := s.tar(in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
