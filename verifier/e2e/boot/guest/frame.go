package guest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// prefix begins a frame in a line of the console: "@probity 1c291ca3 {...}". What stands before it is text that had no
// end of line yet.
const prefix = "@probity "

// header is the length of the prefix, the checksum in hex and a space.
const header = len(prefix) + 8 + 1

// ErrDamaged is returned for a frame that did not arrive as it was sent.
var ErrDamaged = errors.New("damaged frame")

// Frame is a part of a message, an acknowledgement, or both.
type Frame struct {
	// Number counts frames with data from 1 on, each way; 0: this frame has none.
	Number uint32 `json:"n,omitempty"`
	// More says that the message goes on in the next frame.
	More bool `json:"m,omitempty"`
	// Data is the part of the message, at most MaxFrameData bytes.
	Data []byte `json:"d,omitempty"`
	// Ack is the number of the last frame that arrived in order.
	Ack uint32 `json:"a,omitempty"`
	// Resend asks for all frames after Ack again.
	Resend bool `json:"r,omitempty"`
}

// Append appends the frame to b as a line with its end.
func (f *Frame) Append(b []byte) ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	object, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	b = fmt.Appendf(b, "%s%08x %s\n", prefix, crc32.ChecksumIEEE(object), object)
	return b, nil
}

// SplitLine splits a line without its end into text and the frame behind it. Each may be empty.
func SplitLine(line []byte) (text, frame []byte) {
	if i := bytes.LastIndex(line, []byte(prefix)); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// ParseFrame decodes a frame as SplitLine returns it. Errors are ErrDamaged: for the reader of a console all damage is
// alike, the frame must be sent again.
func ParseFrame(b []byte) (*Frame, error) {
	b = bytes.TrimRight(b, "\r")
	if len(b) > MaxLine || len(b) < header || string(b[:len(prefix)]) != prefix || b[header-1] != ' ' {
		return nil, fmt.Errorf("%w: %d bytes do not begin as one", ErrDamaged, len(b))
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], b[len(prefix):header-1]); err != nil {
		return nil, fmt.Errorf("%w: checksum: %w", ErrDamaged, err)
	}
	object := b[header:]
	want := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	if got := crc32.ChecksumIEEE(object); got != want {
		return nil, fmt.Errorf("%w: checksum is %08x, want %08x", ErrDamaged, got, want)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	f := new(Frame)
	if err := d.Decode(f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: bytes after its object", ErrDamaged)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}

// check refuses frames that mean nothing: the checksum is no protection against them.
func (f *Frame) check() error {
	switch {
	case len(f.Data) > MaxFrameData:
		return fmt.Errorf("%d bytes of data, at most %d are allowed", len(f.Data), MaxFrameData)
	case f.Number == 0 && (len(f.Data) > 0 || f.More):
		return errors.New("data without a number")
	case f.Number > 0 && len(f.Data) == 0:
		return errors.New("a number without data")
	}
	return nil
}
