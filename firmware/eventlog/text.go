package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// safeText returns b as a text that a terminal, a log or a page shows as it is: what is not printable (control
// characters, escape sequences, bidirectional and zero-width marks, invalid UTF-8) is written as an escape, and the
// text is cut at max bytes with "...". Trailing NULs are dropped.
func safeText(b []byte, max int) string {
	b = bytes.TrimRight(b, "\x00")
	var out strings.Builder
	for len(b) > 0 {
		if out.Len() >= max {
			out.WriteString("...")
			break
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			out.WriteString(`\x` + hex.EncodeToString(b[:1]))
		} else {
			writeSafe(&out, r)
		}
		b = b[n:]
	}
	return out.String()
}

func writeSafe(out *strings.Builder, r rune) {
	if unicode.IsPrint(r) && r != utf8.RuneError {
		out.WriteRune(r)
		return
	}
	q := strconv.QuoteRuneToASCII(r)
	out.WriteString(q[1 : len(q)-1])
}

// safeUTF16 is safeText for UTF-16LE, as EFI writes strings. It stops at a NUL.
func safeUTF16(b []byte, max int) string {
	var out strings.Builder
	for len(b) >= 2 {
		r := rune(binary.LittleEndian.Uint16(b))
		b = b[2:]
		if r == 0 {
			break
		}
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if len(b) >= 2 {
				low = rune(binary.LittleEndian.Uint16(b))
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				b = b[2:]
			}
		}
		if out.Len() >= max {
			out.WriteString("...")
			break
		}
		writeSafe(&out, r)
	}
	return out.String()
}

// isUTF16 guesses whether b is a UTF-16LE text of mostly Latin letters, as measured by EFI programs in the West.
func isUTF16(b []byte) bool {
	if len(b) < 4 || len(b)%2 != 0 {
		return false
	}
	return b[0] >= 0x20 && b[0] < 0x7f && b[1] == 0 && (b[2] != 0 || len(b) == 4) && b[3] == 0
}

// isASCII reports whether b is a printable ASCII text, line ends and trailing NULs allowed.
func isASCII(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	for _, c := range b {
		if (c < 0x20 || c > 0x7e) && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return len(b) > 0
}

// anyText returns b as text if it is one, in either encoding.
func anyText(b []byte, max int) (string, bool) {
	switch {
	case isUTF16(b):
		return safeUTF16(b, max), true
	case isASCII(b):
		return safeText(b, max), true
	}
	return "", false
}

// hexText returns the start of b in hexadecimal.
func hexText(b []byte) string {
	if len(b) > maxHex {
		return hex.EncodeToString(b[:maxHex]) + "... (" + strconv.Itoa(len(b)) + " bytes)"
	}
	return hex.EncodeToString(b)
}

// textOrHex returns b as a text if it is one and in hexadecimal otherwise.
func textOrHex(b []byte) string {
	if s, ok := anyText(b, maxText); ok {
		return s
	}
	return hexText(b)
}
