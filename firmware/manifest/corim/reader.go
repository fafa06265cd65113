package corim

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// MalformedError tells where a document stops being what it should be.
type MalformedError struct {
	Offset int    // byte offset in the document
	Detail string // what was expected and what was found
}

func (e *MalformedError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Detail) }

// Major types of CBOR (RFC 8949, section 3.1).
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
	majorNone // after an error
)

var majorNames = [...]string{"a number", "a negative number", "bytes", "text", "an array", "a map", "a tag", "a simple value"}

// reader walks CBOR. It first checks an item as a whole (check) and then reads its parts; after the first error all
// calls return zero values, so that callers look at err once.
type reader struct {
	b             []byte // the document up to the end of the item that is read; offsets count from its start
	off           int
	deterministic bool
	err           *MalformedError
	spent         *budget
}

// budget counts what was read of the whole document.
type budget struct{ parts, files int }

// part counts one of MaxParts.
func (r *reader) part(at int) {
	if r.spent.parts++; r.spent.parts > MaxParts {
		r.fail(at, "more than %d triples, measurements, digests and other parts", MaxParts)
	}
}

func (r *reader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &MalformedError{Offset: at, Detail: fmt.Sprintf(format, args...)}
	}
}

// check makes sure that exactly one well-formed item follows, without duplicate keys and indefinite lengths and within
// the limits, and, where that is demanded, in the deterministic encoding (RFC 8949, section 4.2.1).
func (r *reader) check() {
	start := r.off
	r.item(0)
	if r.err == nil && r.off != len(r.b) {
		r.fail(r.off, "%d bytes after the end", len(r.b)-r.off)
	}
	r.off = start
}

// within returns a reader of an encoded item in the byte string value, which must be part of r.b, and checks the item.
func (r *reader) within(value []byte, at int) *reader {
	in := &reader{b: r.b[:at+len(value)], off: at, deterministic: r.deterministic, err: r.err, spent: r.spent}
	in.check()
	return in
}

// head reads the first bytes of an item: its major type and argument.
func (r *reader) head() (major int, argument uint64) {
	if r.err != nil {
		return majorNone, 0
	}
	at := r.off
	if at >= len(r.b) {
		r.fail(at, "the document is cut off: an item is missing")
		return majorNone, 0
	}
	first := r.b[at]
	r.off++
	major, info := int(first>>5), first&31
	if info < 24 {
		return major, uint64(info)
	}
	if info > 27 {
		if info == 31 {
			r.fail(at, "indefinite length: only definite lengths are allowed")
		} else {
			r.fail(at, "additional information %d is reserved (RFC 8949, section 3)", info)
		}
		return majorNone, 0
	}
	size := 1 << (info - 24)
	if len(r.b)-r.off < size {
		r.fail(at, "the document is cut off: %d bytes of an argument, %d left", size, len(r.b)-r.off)
		return majorNone, 0
	}
	for _, c := range r.b[r.off : r.off+size] {
		argument = argument<<8 | uint64(c)
	}
	r.off += size
	if r.deterministic && major != majorSimple && argument < shortest[info-24] {
		r.fail(at, "%d is not in its shortest form: the encoding must be deterministic (RFC 8949, section 4.2.1)", argument)
		return majorNone, 0
	}
	return major, argument
}

// shortest has the lowest argument that needs 1, 2, 4 or 8 bytes.
var shortest = [...]uint64{24, 1 << 8, 1 << 16, 1 << 32}

// item checks one item and moves behind it.
func (r *reader) item(depth int) {
	at := r.off
	if depth > MaxDepth {
		r.fail(at, "nested deeper than %d levels", MaxDepth)
	}
	switch major, n := r.head(); major {
	case majorBytes:
		r.take(at, n)
	case majorText:
		if text := r.take(at, n); !utf8.Valid(text) {
			r.fail(at, "text is not UTF-8")
		}
	case majorArray:
		if !r.fits(at, n, 1, MaxElements) {
			return
		}
		for ; n > 0 && r.err == nil; n-- {
			r.item(depth + 1)
		}
	case majorMap:
		if r.fits(at, n, 2, MaxPairs) {
			r.pairs(n, depth)
		}
	case majorTag:
		r.item(depth + 1)
	case majorSimple:
		r.simple(at, n)
	}
}

// fits reports whether n elements of at least size bytes each can follow.
func (r *reader) fits(at int, n uint64, size int, limit uint64) bool {
	switch {
	case r.err != nil:
	case n > limit:
		r.fail(at, "%d elements, at most %d allowed in one list or map", n, limit)
	case n > uint64((len(r.b)-r.off)/size):
		r.fail(at, "the document is cut off: %d elements announced, %d bytes left", n, len(r.b)-r.off)
	}
	return r.err == nil
}

// pairs checks the pairs of a map.
func (r *reader) pairs(n uint64, depth int) {
	var last []byte
	var seen map[string]struct{} // keys, where their order does not tell
	if !r.deterministic {
		seen = make(map[string]struct{}, n)
	}
	for ; n > 0 && r.err == nil; n-- {
		at := r.off
		r.item(depth + 1)
		if r.err != nil {
			return
		}
		key := r.b[at:r.off]
		order := 1
		if last != nil {
			order = bytes.Compare(key, last)
		}
		if !r.deterministic {
			if _, twice := seen[string(key)]; twice {
				order = 0
			}
			seen[string(key)] = struct{}{}
		}
		switch {
		case order == 0:
			r.fail(at, "duplicate key in a map")
		case order < 0 && r.deterministic:
			r.fail(at, "keys of a map are not in order: the encoding must be deterministic (RFC 8949, section 4.2.1)")
		}
		last = key
		r.item(depth + 1)
	}
}

// simple checks a simple value or floating-point number.
func (r *reader) simple(at int, n uint64) {
	info := r.b[at] & 31
	switch {
	case info == 24 && n < 32:
		r.fail(at, "simple value %d is not well-formed (RFC 8949, section 3.3)", n)
	case info > 24 && r.deterministic:
		r.fail(at, "floating-point number: the profile has none")
	}
}

// take returns the next n bytes.
func (r *reader) take(at int, n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if left := uint64(len(r.b) - r.off); n > left {
		r.fail(at, "the document is cut off: %d bytes announced, %d left", n, left)
		return nil
	}
	out := r.b[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return out
}

// raw returns the encoding of the next item.
func (r *reader) raw() []byte {
	at := r.off
	r.item(0)
	if r.err != nil {
		return nil
	}
	return r.b[at:r.off:r.off]
}

// peek returns the major type of the next item.
func (r *reader) peek() int {
	if r.err != nil || r.off >= len(r.b) {
		return majorNone
	}
	return int(r.b[r.off] >> 5)
}

// want reads a head of this major type.
func (r *reader) want(what string, major int) uint64 {
	at := r.off
	got, n := r.head()
	if r.err == nil && got != major {
		r.fail(at, "%s: want %s, got %s", what, majorNames[major], majorNames[got])
	}
	if r.err != nil {
		return 0
	}
	return n
}

func (r *reader) uint(what string) uint64 { return r.want(what, majorUint) }

// int reads a number of either sign.
func (r *reader) int(what string) int64 {
	at := r.off
	major, n := r.head()
	switch {
	case r.err != nil:
		return 0
	case major > majorNegative:
		r.fail(at, "%s: want a number, got %s", what, majorNames[major])
	case n > 1<<63-1:
		r.fail(at, "%s: the number does not fit 64 bits", what)
	case major == majorNegative:
		return -1 - int64(n)
	default:
		return int64(n)
	}
	return 0
}

func (r *reader) bytes(what string) []byte {
	at := r.off
	return r.take(at, r.want(what, majorBytes))
}

func (r *reader) text(what string) string {
	at := r.off
	return string(r.take(at, r.want(what, majorText)))
}

// tag reads a tag that must be number.
func (r *reader) tag(what string, number uint64) {
	at := r.off
	if n := r.want(what, majorTag); r.err == nil && n != number {
		r.fail(at, "%s: want tag %d, got tag %d", what, number, n)
	}
}

// list reads an array of at least low and at most high elements and calls f for each.
func (r *reader) list(what string, low, high int, f func()) {
	at := r.off
	n := r.want(what, majorArray)
	if r.err == nil && (n < uint64(low) || n > uint64(high)) {
		r.fail(at, "%s: want %d to %d elements, got %d", what, low, high, n)
	}
	for ; n > 0 && r.err == nil; n-- {
		f()
	}
}

// fields reads a map with integer keys. It calls known for each key with the reader at the value; known reads the value
// or returns false. What it doesn't know is returned. Keys in required must be there.
func (r *reader) fields(what string, required []int64, known func(key int64) bool) []Field {
	start := r.off
	n := r.want(what, majorMap)
	if r.err == nil && n > maxFields {
		r.fail(start, "%s: %d fields, at most %d allowed", what, n, maxFields)
	}
	var others []Field
	var present uint64
	for ; n > 0 && r.err == nil; n-- {
		at := r.off
		if r.peek() == majorText {
			r.part(at)
			name := r.text(what)
			at = r.off
			others = append(others, Field{Name: name, Offset: at, Value: r.raw()})
			continue
		}
		key := r.int(what + ": key")
		if key >= 0 && key < 64 {
			present |= 1 << key
		}
		if r.err == nil && !known(key) {
			at = r.off
			r.part(at)
			others = append(others, Field{Key: key, Offset: at, Value: r.raw()})
		}
	}
	for _, key := range required {
		if present&(1<<key) == 0 {
			r.fail(start, "%s: field %d is missing", what, key)
		}
	}
	return others
}
