package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
)

// Message is what both sides exchange: one JSON object, a line feed, and raw bytes for what would suffer in JSON.
type Message struct {
	// ID joins a request and its answer; 0: the guest's Hello, which is in Args.
	ID   uint32          `json:"id"`
	Op   Op              `json:"op,omitempty"`   // of a request
	Args json.RawMessage `json:"args,omitempty"` // of a request, or the result in an answer
	Err  *Error          `json:"error,omitempty"`
	Body []byte          `json:"-"`
}

// Error is an error in the guest.
type Error struct {
	Op    Op            `json:"op"`
	Text  string        `json:"text"`
	Errno syscall.Errno `json:"errno,omitempty"` // 0: not one of the kernel
}

// Error says what failed in the guest.
func (e *Error) Error() string { return "guest: " + string(e.Op) + ": " + e.Text }

// Unwrap returns the kernel's error, so that errors.Is(err, fs.ErrNotExist) and the like hold. The numbers are those of
// Linux, on which this package's callers run too.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// newError describes err of an operation.
func newError(op Op, err error) *Error {
	e := &Error{Op: op, Text: err.Error()}
	errors.As(err, &e.Errno)
	return e
}

// Encode encodes a message.
func (m *Message) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(b) > MaxHeader || len(b)+1+len(m.Body) > MaxMessage {
		return nil, fmt.Errorf("encode message: %d and %d bytes, at most %d and %d are allowed", len(b), len(m.Body), MaxHeader, MaxMessage)
	}
	return append(append(b, '\n'), m.Body...), nil
}

// ParseMessage decodes a message. Body keeps a part of b.
func ParseMessage(b []byte) (*Message, error) {
	end := bytes.IndexByte(b[:min(len(b), MaxHeader+1)], '\n')
	if end < 0 {
		return nil, fmt.Errorf("message: no object in its first %d bytes", min(len(b), MaxHeader))
	}
	m := new(Message)
	if err := decode(b[:end], m); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if end+1 < len(b) {
		m.Body = b[end+1:]
	}
	return m, nil
}

// decode decodes one JSON object without unknown fields: both sides are of one build.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one object")
	}
	return nil
}
