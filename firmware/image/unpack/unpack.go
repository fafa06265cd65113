// Package unpack undoes the compressions that firmware images use: LZMA with and without the x86 filter, the Huffman
// and LZ77 code of the UEFI specification with its Tiano variant, and Brotli.
//
// Every function takes all packed bytes and the most bytes that it may give back; it returns new memory or an error,
// never both. What a header claims is compared with that limit before anything is allocated. A function needs at most
// twice the limit, and 16 MiB for Brotli's window. Bytes behind the packed stream are ignored, as the firmware does.
//
// Sources: UEFI 2.10, section 19 (compression); UEFI Platform Initialization 1.8, volume 3, section 2.2 (sections that
// hold compressed data); edk2's LzmaCustomDecompressLib and BrotliCustomDecompressLib for their headers.
package unpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/ulikunitz/xz/lzma"
)

// ErrLimit is returned where the unpacked data would exceed the limit that the caller set.
var ErrLimit = errors.New("unpacked data exceeds the limit")

// lzmaHeader is the size of the header of an .lzma stream: properties, dictionary size, unpacked size.
const lzmaHeader = 13

// lzmaRatio is how many bytes one packed byte can hold: a match of 273 bytes takes 14 binary decisions, which cost at
// least 0.022 bits each. A header that tells more is wrong, and not worth the memory that it asks for.
const lzmaRatio = 7200

// LZMA unpacks an .lzma stream whose header tells the unpacked size, as edk2 demands it.
func LZMA(b []byte, limit int) ([]byte, error) {
	if len(b) < lzmaHeader {
		return nil, fmt.Errorf("lzma: want %d bytes of header, have %d", lzmaHeader, len(b))
	}
	size := binary.LittleEndian.Uint64(b[5:])
	if size == 1<<64-1 {
		return nil, errors.New("lzma: the header does not tell the unpacked size, which firmware needs")
	}
	if err := check("lzma", size, limit); err != nil {
		return nil, err
	}
	if size > lzmaRatio*uint64(len(b))+1<<16 {
		return nil, fmt.Errorf("lzma: header tells %d bytes, more than %d packed bytes can hold", size, len(b))
	}
	return safely("lzma", func() ([]byte, error) {
		// The reader's dictionary is never larger than the unpacked size.
		r, err := lzma.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return fill(r, int(size))
	})
}

// LZMAX86 unpacks an .lzma stream and undoes the filter that makes x86 code pack better.
func LZMAX86(b []byte, limit int) ([]byte, error) {
	out, err := LZMA(b, limit)
	if err != nil {
		return nil, err
	}
	filterX86(out, false)
	return out, nil
}

// brotliHeader is what edk2 puts before a Brotli stream: unpacked size and scratch size, eight bytes each.
const brotliHeader = 16

// Brotli unpacks a Brotli stream behind edk2's header.
func Brotli(b []byte, limit int) ([]byte, error) {
	if len(b) < brotliHeader {
		return nil, fmt.Errorf("brotli: want %d bytes of header, have %d", brotliHeader, len(b))
	}
	size := binary.LittleEndian.Uint64(b)
	if err := check("brotli", size, limit); err != nil {
		return nil, err
	}
	return safely("brotli", func() ([]byte, error) {
		r := brotli.NewReader(bytes.NewReader(b[brotliHeader:]))
		out, err := fill(r, int(size))
		if err != nil {
			return nil, err
		}
		var more [1]byte
		if n, _ := r.Read(more[:]); n > 0 {
			return nil, fmt.Errorf("stream is longer than the %d bytes that its header tells", size)
		}
		return out, nil
	})
}

// check compares a claimed size with the limit.
func check(name string, size uint64, limit int) error {
	if limit < 0 || size > uint64(limit) {
		return fmt.Errorf("%s: header tells %d bytes, %d allowed: %w", name, size, max(limit, 0), ErrLimit)
	}
	return nil
}

// fill reads exactly size bytes.
func fill(r io.Reader, size int) ([]byte, error) {
	const first = 1 << 20 // what is given back grows with what was read, whatever the header claims
	out := make([]byte, min(size, first))
	for n := 0; ; {
		k, err := io.ReadFull(r, out[n:])
		if n += k; err != nil {
			return nil, fmt.Errorf("after %d of %d bytes: %w", n, size, noEOF(err))
		}
		if n == size {
			return out, nil
		}
		out = append(out, make([]byte, min(size-n, 3*n))...)
	}
}

// noEOF says of a stream that ends early that it is cut off: io.EOF would read like a normal end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("stream is cut off")
	}
	return err
}

// safely turns a panic of a decoder into an error: decoders of others must not end a verifier.
func safely(name string, f func() ([]byte, error)) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("%s: decoder failed: %v", name, r)
		}
	}()
	if out, err = f(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}
