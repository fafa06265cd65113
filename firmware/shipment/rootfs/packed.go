package rootfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// codec opens a compressed stream. It reads no more than the stream, where the format allows that.
type codec func(in *bufio.Reader) (io.ReadCloser, error)

// packed tells by which codec bytes are packed, nil if by none.
func packed(head []byte) codec {
	for magic, c := range map[string]codec{
		"\x1f\x8b": gunzip, xzMagic: unxz, "\x28\xb5\x2f\xfd": unzstd, "BZh": bunzip2,
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return c
		}
	}
	return nil
}

func gunzip(in *bufio.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", ErrFormat, err)
	}
	z.Multistream(false)
	return malformed{&gzipMembers{Reader: z, in: in}, "gzip"}, nil
}

// gzipMembers reads members one behind the other, and stops where something else stands, as behind the packed part of
// an initial RAM disk.
type gzipMembers struct {
	*gzip.Reader
	in *bufio.Reader
}

func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := g.Reader.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil // it comes again
		}
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if head, _ := g.in.Peek(2); string(head) != "\x1f\x8b" {
			return 0, io.EOF
		}
		if err := g.Reset(g.in); err != nil {
			return 0, err
		}
		g.Multistream(false)
	}
}

func unzstd(in *bufio.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderMaxMemory(MaxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("%w: zstd: %w", ErrFormat, err)
	}
	return malformed{z.IOReadCloser(), "zstd"}, nil
}

func bunzip2(in *bufio.Reader) (io.ReadCloser, error) {
	return malformed{io.NopCloser(bzip2.NewReader(in)), "bzip2"}, nil
}

// malformed makes errors of a decompressor those of a malformed archive.
type malformed struct {
	io.ReadCloser
	name string
}

func (m malformed) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("%w: %s: %w", ErrLimit, m.name, err)
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %s: %w", ErrFormat, m.name, err)
	}
	return n, err
}
