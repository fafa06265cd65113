package ima

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/probity-attest/probity/firmware/pcr"
)

// ParseError says where a list is not in the kernel's format. It wraps io.ErrUnexpectedEOF where the list ends inside an
// entry, so that a reader of a growing list knows to wait for more.
type ParseError struct {
	Entry  int // number of the bad entry, from 0
	Offset int // bytes from the start to that entry; in an ASCII list to its line
	Err    error
}

// Error implements error.
func (e *ParseError) Error() string {
	return fmt.Sprintf("IMA list: entry %d at offset %d: %v", e.Entry, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.Err }

// errBigEndian is returned where the first field makes sense the other way round only.
var errBigEndian = errors.New("list is big-endian: boot the device with ima_canonical_fmt on its kernel command line")

// Scanner reads a binary list entry by entry, without allocating. It is not safe for concurrent use.
type Scanner struct {
	list   []byte
	offset int // after the current entry
	number int // entries scanned
	entry  Entry
	err    error
}

// NewScanner returns a scanner of a list, or of a part that starts between two entries. The list must not change while
// entries are in use.
func NewScanner(list []byte) *Scanner { return &Scanner{list: list} }

// Scan moves to the next entry. It returns false at the end of the list and at the first malformed entry: see Err.
func (s *Scanner) Scan() bool {
	if s.err != nil || s.offset == len(s.list) {
		s.entry = Entry{}
		return false
	}
	n, err := s.entry.parse(s.list[s.offset:])
	if err != nil {
		s.err = &ParseError{Entry: s.number, Offset: s.offset, Err: err}
		s.entry = Entry{}
		return false
	}
	s.offset += n
	s.number++
	return true
}

// Entry returns the current entry, the zero Entry before the first Scan and after the last.
func (s *Scanner) Entry() Entry { return s.entry }

// Offset returns the offset in bytes after the last good entry.
func (s *Scanner) Offset() int { return s.offset }

// Err returns why Scan stopped, nil at the end of the list, or a *ParseError.
func (s *Scanner) Err() error { return s.err }

// parse reads the entry at the start of b and returns its size (ima_measurements_show in ima_fs.c):
// PCR (4 bytes), template digest (20), name length (4), name, data length (4, not for template "ima"), data.
func (e *Entry) parse(b []byte) (int, error) {
	const head = 4 + DigestSize + 4
	if len(b) < head {
		return 0, truncated("head", head, len(b))
	}
	e.PCR = binary.LittleEndian.Uint32(b)
	if e.PCR >= pcr.Count {
		if binary.BigEndian.Uint32(b) < pcr.Count {
			return 0, errBigEndian
		}
		return 0, fmt.Errorf("PCR: want 0 to %d, got %d: not an IMA list, or damaged", pcr.Count-1, e.PCR)
	}
	e.TemplateDigest = b[4 : 4+DigestSize : 4+DigestSize]
	nameLen := uint64(binary.LittleEndian.Uint32(b[4+DigestSize:]))
	if nameLen == 0 || nameLen > maxTemplateName {
		return 0, fmt.Errorf("template name: want 1 to %d bytes, got %d: not an IMA list with SHA-1 template digests, or damaged",
			maxTemplateName, nameLen)
	}
	if uint64(len(b)-head) < nameLen {
		return 0, truncated("template name", int(nameLen), len(b)-head)
	}
	at := head + int(nameLen)
	if err := e.setTemplate(b[head:at]); err != nil {
		return 0, err
	}
	if e.Template == templateOld {
		return e.parseOld(b, at)
	}
	return e.parseData(b, at)
}

func (e *Entry) parseData(b []byte, at int) (int, error) {
	if len(b)-at < 4 {
		return 0, truncated("length of template data", 4, len(b)-at)
	}
	n := uint64(binary.LittleEndian.Uint32(b[at:]))
	at += 4
	if n > maxData {
		return 0, fmt.Errorf("template data: %d bytes, at most %d allowed", n, maxData)
	}
	if uint64(len(b)-at) < n {
		return 0, truncated("template data", int(n), len(b)-at)
	}
	end := at + int(n)
	e.Data = b[at:end:end]
	return end, nil
}

// parseOld reads the data of template "ima", which has no length of its own: SHA-1 digest, name length (4 bytes), name.
func (e *Entry) parseOld(b []byte, at int) (int, error) {
	const fixed = DigestSize + 4
	if len(b)-at < fixed {
		return 0, truncated("data of template ima", fixed, len(b)-at)
	}
	n := uint64(binary.LittleEndian.Uint32(b[at+DigestSize:]))
	if n > maxOldName {
		return 0, fmt.Errorf("file name of template ima: %d bytes, at most %d allowed", n, maxOldName)
	}
	if uint64(len(b)-at-fixed) < n {
		return 0, truncated("file name of template ima", int(n), len(b)-at-fixed)
	}
	end := at + fixed + int(n)
	e.Data = b[at:end:end]
	return end, nil
}

// setTemplate sets the name without allocating for known names and for the one that the entry before had.
func (e *Entry) setTemplate(name []byte) error {
	if string(name) == e.Template {
		return nil
	}
	for _, t := range templates {
		if t.name == string(name) {
			e.Template = t.name
			return nil
		}
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("template name: byte %#02x is not printable ASCII", c)
		}
	}
	e.Template = string(name)
	return nil
}

func truncated(what string, want, left int) error {
	return fmt.Errorf("%s: want %d bytes, %d left: %w", what, want, left, io.ErrUnexpectedEOF)
}

// Count returns how many entries a list has. It fails with a *ParseError.
func Count(list []byte) (int, error) {
	s := Scanner{list: list}
	for s.Scan() {
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.number, nil
}

// Skip returns the offset in bytes after the first n entries. It fails where the list has fewer or is malformed before.
func Skip(list []byte, n int) (offset int, err error) {
	s := Scanner{list: list}
	for s.number < n {
		if !s.Scan() {
			if s.err != nil {
				return 0, s.err
			}
			return 0, fmt.Errorf("skip %d entries: the list has only %d", n, s.number)
		}
	}
	return s.offset, nil
}
