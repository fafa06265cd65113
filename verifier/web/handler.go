package web

import (
	"bytes"
	"net/http"
	"runtime/debug"
	"unicode/utf8"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// policy is the Content-Security-Policy of every page: our own files and nothing else, neither inline nor evaluated.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request: headers, origin of what changes something, then the pages.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Probity-Version", s.Version)
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.Log.Error("page panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			http.Error(w, "the verifier failed to make this page; its log says why", http.StatusInternalServerError)
		}
	}()
	if err := s.origins.Check(r); err != nil {
		s.open(r.Method, func(p *page) error {
			return &v1.Problem{
				Status: http.StatusForbidden, Title: "Forbidden",
				Detail: "this form was sent from another site: open the page here and send it again",
			}
		})(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// visible returns b with every character that does not print, save for line ends and tabs, written as its code: what a
// device calls itself can neither turn a page's words round nor hide some of them. HTML's own special characters are
// html/template's affair.
func visible(b []byte) []byte {
	i := firstHidden(b)
	if i < 0 {
		return b
	}
	var out bytes.Buffer
	out.Grow(len(b) + len(b)/16)
	for i >= 0 {
		out.Write(b[:i])
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			out.WriteRune(utf8.RuneError)
		} else {
			writeCode(&out, r)
		}
		b = b[i+n:]
		i = firstHidden(b)
	}
	out.Write(b)
	return out.Bytes()
}

// firstHidden returns the index of the first character of b that does not print, or -1.
func firstHidden(b []byte) int {
	for i := 0; i < len(b); {
		if c := b[i]; c >= ' ' && c < 0x7f || c == '\n' || c == '\t' || c == '\r' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || !v1.Prints(r) {
			return i
		}
		i += n
	}
	return -1
}

func writeCode(out *bytes.Buffer, r rune) {
	const digits = "0123456789abcdef"
	width, letter := 4, byte('u')
	if r > 0xffff {
		width, letter = 8, 'U'
	}
	out.WriteByte('\\')
	out.WriteByte(letter)
	for shift := 4 * (width - 1); shift >= 0; shift -= 4 {
		out.WriteByte(digits[r>>shift&0xf])
	}
}
