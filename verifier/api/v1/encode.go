package v1

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Encode writes v as one line of JSON. Beside what JSON demands it escapes everything in strings that a terminal, a log
// viewer or a browser might act on: HTML's special characters, C1 controls, and invisible and direction-changing
// characters. Decoders see the same strings.
func Encode(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(EscapeJSON(buf.Bytes()))
	return err
}

// EscapeJSON returns valid JSON with every character in it that does not print replaced by its \u escape. In valid JSON
// such characters occur in strings only, save for white space, which stays.
func EscapeJSON(b []byte) []byte {
	return escape(b, func(out []byte, r rune) []byte {
		if r <= 0xffff {
			return appendHex(append(out, `\u`...), r, 4)
		}
		high, low := utf16.EncodeRune(r)
		return appendHex(append(appendHex(append(out, `\u`...), high, 4), `\u`...), low, 4)
	})
}

// EscapeYAML does the same for YAML, where such characters must be in double-quoted scalars (YAML 1.2.2, section 5.7).
func EscapeYAML(b []byte) []byte {
	return escape(b, func(out []byte, r rune) []byte {
		if r <= 0xffff {
			return appendHex(append(out, `\u`...), r, 4)
		}
		return appendHex(append(out, `\U`...), r, 8)
	})
}

// Prints reports whether r is harmless to show: a letter, mark, number, punctuation, symbol or plain space.
func Prints(r rune) bool { return unicode.IsPrint(r) }

func escape(b []byte, replace func(out []byte, r rune) []byte) []byte {
	if clean(b) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if harmless(r) {
			out = append(out, b[i:i+n]...)
		} else {
			out = replace(out, r)
		}
		i += n
	}
	return out
}

func clean(b []byte) bool {
	for i := 0; i < len(b); {
		if c := b[i]; c >= ' ' && c < 0x7f || c == '\n' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if !harmless(r) {
			return false
		}
		i += n
	}
	return true
}

func harmless(r rune) bool { return Prints(r) || r == '\n' || r == '\t' || r == '\r' }

func appendHex(out []byte, r rune, digits int) []byte {
	s := strconv.FormatInt(int64(r), 16)
	for range digits - len(s) {
		out = append(out, '0')
	}
	return append(out, s...)
}
