//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// read returns a part of a file. Sizes are not believed: those in proc and securityfs are 0.
func read(a guest.ReadArgs) ([]byte, error) {
	const most = guest.MaxMessage - guest.MaxHeader
	limit := a.Limit
	if limit == 0 {
		limit = most + 1
	}
	var b bytes.Buffer
	if err := part(a.Path, a.Offset, min(limit, most+1), &b); err != nil {
		return nil, err
	}
	if b.Len() > most {
		return nil, fmt.Errorf("%s: %w: over %d bytes, read it in parts", a.Path, unix.EFBIG, most)
	}
	return b.Bytes(), nil
}

func hash(a guest.ReadArgs) (guest.Digest, error) {
	h := &counter{Writer: sha256.New()}
	limit := a.Limit
	if limit == 0 {
		limit = 1<<63 - 1
	}
	if err := part(a.Path, a.Offset, limit, h); err != nil {
		return guest.Digest{}, err
	}
	return guest.Digest{SHA256: h.Writer.(interface{ Sum([]byte) []byte }).Sum(nil), Size: h.n}, nil
}

type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Writer.Write(p)
}

func part(path string, offset, limit int64, into io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	if _, err := io.CopyBuffer(into, onlyReader{io.LimitReader(f, limit)}, make([]byte, 64<<10)); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// onlyReader hides what io.Copy would use instead of the buffer: splicing from files of the kernel fails on some.
type onlyReader struct{ io.Reader }

func write(a guest.WriteArgs, body []byte) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	switch {
	case a.Append && a.Offset != nil:
		return fmt.Errorf("write %s: %w: append or an offset, not both", a.Path, unix.EINVAL)
	case a.Append:
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	case a.Offset != nil:
		flags = os.O_WRONLY
	}
	if err := os.MkdirAll(filepath.Dir(a.Path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(a.Path, flags, a.Mode.Perm())
	if err != nil {
		return err
	}
	if a.Offset != nil {
		_, err = f.WriteAt(body, *a.Offset)
	} else if len(body) > 0 {
		_, err = f.Write(body)
	}
	return errors.Join(err, f.Close())
}

// replace copies a file over another as an installer does: written beside it and renamed.
func replace(a guest.CopyArgs) error {
	from, err := os.Open(a.From)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.To), 0o755); err != nil {
		return err
	}
	to, err := os.CreateTemp(filepath.Dir(a.To), ".copy-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Chmod(info.Mode().Perm()), to.Close()); err == nil {
		err = os.Rename(to.Name(), a.To)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

func list(path string) ([]guest.Entry, error) {
	names, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	out := make([]guest.Entry, 0, len(names))
	for _, n := range names {
		info, err := n.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, guest.Entry{Name: n.Name(), Mode: info.Mode(), Size: info.Size(), Modified: info.ModTime()})
	}
	return out, nil
}

// violate changes a file while it is open for reading, so that what IMA measured is not what is there: a violation of the
// kind "time of measure, time of use" (Linux, security/integrity/ima/ima_main.c, ima_rdwr_violation_check).
func violate(path string) error {
	reader, err := os.Open(path)
	if err != nil {
		return err
	}
	defer reader.Close()
	if _, err := reader.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	writer, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = writer.WriteString("\n")
	return errors.Join(err, writer.Close())
}
