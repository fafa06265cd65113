package collect

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text of bytes that firmware or an administrator wrote: valid UTF-8 without control characters, trimmed, and
// of at most limit bytes; "..." ends what was cut. What is not text becomes U+FFFD, so that it shows.
func clean(b []byte, limit int) string {
	if len(b) > 4*limit { // longer than the result can need: do not copy it all
		b = b[:4*limit]
	}
	s := strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unicode.IsControl(r):
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(strings.TrimRight(string(b), "\x00"), "\ufffd"))
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	end := limit - len("...")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
