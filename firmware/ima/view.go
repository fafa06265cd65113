package ima

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/probity-attest/probity/firmware/pcr"
)

// List is a whole list, parsed and not verified. ReadList is its only constructor.
type List struct {
	binary  []byte
	entries int
}

// ReadList reads a list in the kernel's binary or ASCII format, at most MaxList bytes. The data of an ASCII list is made
// again from its text, so that both formats replay to the same values. It fails with a *ParseError.
func ReadList(b []byte) (*List, error) {
	if len(b) > MaxList {
		return nil, fmt.Errorf("IMA list: %d bytes, at most %d allowed", len(b), MaxList)
	}
	// PCR numbers make the first bytes of a binary list 0a 00 00 00, those of an ASCII list "10 0" or " 9 0".
	if len(b) > 0 && bytes.IndexByte(b[:min(4, len(b))], 0) < 0 {
		var err error
		if b, err = fromASCII(b); err != nil {
			return nil, err
		}
	}
	s := NewScanner(b)
	for s.Scan() {
		if s.number > maxEntries {
			return nil, fmt.Errorf("IMA list: over %d entries", maxEntries)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return &List{binary: b, entries: s.number}, nil
}

// Len returns how many entries the list has.
func (l *List) Len() int { return l.entries }

// Binary returns the list in the kernel's binary format. Do not change it.
func (l *List) Binary() []byte { return l.binary }

// View is a list for people and tools.
type View struct {
	Entries    int                          `json:"entries"`
	Violations int                          `json:"violations"`
	PCRs       map[string]map[string]string `json:"pcrs"` // by decimal index and bank: replayed value, hexadecimal
	List       []EntryView                  `json:"list"`
}

// EntryView is an entry for people and tools. Texts are safe for a terminal: see printable.
type EntryView struct {
	Number         int    `json:"number"`
	PCR            uint32 `json:"pcr"`
	Template       string `json:"template"`
	TemplateDigest string `json:"template_digest"`
	Violation      bool   `json:"violation,omitempty"`
	Consistent     bool   `json:"consistent"` // the data has the template digest
	Path           string `json:"path,omitempty"`
	DigestType     string `json:"digest_type,omitempty"`
	Algorithm      string `json:"algorithm,omitempty"`
	Digest         string `json:"digest,omitempty"`
	Signature      string `json:"signature,omitempty"`
	Buffer         string `json:"buffer,omitempty"`
	Data           string `json:"data,omitempty"` // of an entry that File cannot decode
}

// View returns the list with its values in the SHA-1 bank and, recomputed, in the SHA-256 bank.
func (l *List) View() View {
	v := View{Entries: l.entries, PCRs: map[string]map[string]string{}, List: make([]EntryView, 0, l.entries)}
	for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA256} {
		bank, err := Replay(l.binary, a, Recomputed)
		if err != nil {
			panic("ima: a list that ReadList accepted does not replay: " + err.Error())
		}
		for i, value := range bank.Strings() {
			if v.PCRs[i] == nil {
				v.PCRs[i] = map[string]string{}
			}
			v.PCRs[i][a.String()] = value
		}
	}
	for s := NewScanner(l.binary); s.Scan(); {
		e := s.Entry().view(len(v.List))
		if e.Violation {
			v.Violations++
		}
		v.List = append(v.List, e)
	}
	return v
}

// MarshalJSON writes the list's View.
func (l *List) MarshalJSON() ([]byte, error) { return json.Marshal(l.View()) }

func (e Entry) view(number int) EntryView {
	v := EntryView{
		Number: number, PCR: e.PCR, Template: e.Template, TemplateDigest: hex.EncodeToString(e.TemplateDigest),
		Violation: e.Violation(), Consistent: e.Consistent(),
	}
	f, ok := e.File()
	if !ok {
		v.Data = shown(e.Data)
		return v
	}
	v.Path, v.DigestType, v.Algorithm = printable(f.Path), f.DigestType, f.Algorithm
	v.Digest, v.Signature, v.Buffer = shown(f.Digest), shown(f.Signature), shown(f.Buffer)
	return v
}

func shown(b []byte) string {
	if len(b) > maxShown {
		return hex.EncodeToString(b[:maxShown]) + "..."
	}
	return hex.EncodeToString(b)
}

// printable makes a path that an attacker may have chosen safe to print: what is not printable (control characters,
// terminal escapes, text direction marks, bytes that are not UTF-8) becomes a Go escape, a backslash is doubled.
func printable(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		if b.Len() > maxShown {
			b.WriteString("...")
			break
		}
		r, n := utf8.DecodeRuneInString(path[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, path[i])
		case r == '\\':
			b.WriteString(`\\`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}
