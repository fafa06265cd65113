package v1

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var hostile = []string{
	"plain", "ü € 日本", "line\nbreak\ttab\r", "\x00\x1b[31m\x7f", "\u0085\u009b\u00ad", "\u200b\u200f\u202e\u2066\u2028\ufeff",
	"\U000e0041\U0001f600", "</script>&", `back\slash "quote"`, "\xff invalid",
}

func TestEncodeEscapesWhatDoesNotPrint(t *testing.T) {
	for _, s := range hostile {
		var buf bytes.Buffer
		if err := Encode(&buf, map[string]string{s: s}); err != nil {
			t.Fatal(err)
		}
		line := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
		if i := bytes.IndexFunc(line, func(r rune) bool { return !Prints(r) || r == '<' }); i >= 0 {
			t.Errorf("Encode(%q) = %q, holds %q", s, buf.String(), buf.String()[i:])
		}
		var got map[string]string
		if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
			t.Fatalf("Encode(%q) = %q: %v", s, buf.String(), err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); got[want] != want {
			t.Errorf("Encode(%q) decodes to %q", s, got)
		}
	}
}

func FuzzEscape(f *testing.F) {
	if len(hostile) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		out := EscapeJSON(b)
		if len(out) > 6*len(b) || !utf8.Valid(out) {
			t.Errorf("EscapeJSON(%q) = %q: too long or not UTF-8", b, out)
		}
		var got string
		if err := json.Unmarshal(out, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Errorf("EscapeJSON(%q) decodes to %q, %v", b, got, err)
		}
	})
}

func TestEscapeYAML(t *testing.T) {
	for _, s := range hostile {
		if !utf8.ValidString(s) {
			continue // YAML has no such strings
		}
		b, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle})
		if err != nil {
			t.Fatal(err)
		}
		out := EscapeYAML(b)
		var got string
		if err := yaml.Unmarshal(out, &got); err != nil || got != s {
			t.Errorf("EscapeYAML(%q) = %q decodes to %q, %v", b, out, got, err)
		}
		if bytes.ContainsFunc(out, func(r rune) bool { return r != '\n' && !Prints(r) }) {
			t.Errorf("EscapeYAML(%q) = %q holds what does not print", b, out)
		}
	}
}
