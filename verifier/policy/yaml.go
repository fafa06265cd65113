package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/proto/daemon"
)

// parser reads a document and collects all that is wrong with it.
type parser struct {
	builtin  Builtin
	problems []Problem
}

// field is a value in the document and the path of keys to it.
type field struct {
	*parser
	key  string
	node *yaml.Node
}

func (f field) fail(format string, args ...any) {
	f.problems = append(f.problems, Problem{Line: f.node.Line, Key: f.key, Detail: fmt.Sprintf(format, args...)})
}

// root returns the document's only value, nil if there is something wrong with it.
func (p *parser) root(text []byte) *field {
	whole := func(format string, args ...any) *field {
		p.problems = append(p.problems, Problem{Detail: fmt.Sprintf(format, args...)})
		return nil
	}
	if len(text) > MaxDocument {
		return whole("over the limit of %d bytes", MaxDocument)
	}
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return whole("is empty: want at least the keys version and name")
	case err != nil:
		return whole("%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return whole("more than one YAML document: want one")
	}
	if len(doc.Content) != 1 {
		return whole("is empty: want at least the keys version and name")
	}
	return &field{parser: p, node: doc.Content[0]}
}

// plain refuses what makes a document mean something else than it seems to.
func (f field) plain() bool {
	switch n := f.node; {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		f.fail("anchors and aliases are not allowed: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		f.fail("tag %s: tags are not allowed", n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		f.fail("no value: give one, or remove the key")
	default:
		return true
	}
	return false
}

// pair is a key and its value.
type pair struct {
	name string
	field
}

// pairs returns the entries of a mapping in their order, each key once.
func (f field) pairs(want string) []pair {
	if !f.plain() {
		return nil
	}
	if f.node.Kind != yaml.MappingNode {
		f.fail("want %s", want)
		return nil
	}
	var out []pair
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key := field{f.parser, f.key, f.node.Content[i]}
		name := key.node.Value
		switch {
		case key.node.Kind != yaml.ScalarNode || key.node.Style&yaml.TaggedStyle != 0 || key.node.Anchor != "":
			key.fail("want a plain key")
		case slices.ContainsFunc(out, func(p pair) bool { return p.name == name }):
			key.fail("key %q stands twice", clip(name))
		default:
			out = append(out, pair{name, field{f.parser, strings.TrimPrefix(f.key+"."+clip(name), "."), f.node.Content[i+1]}})
		}
	}
	if len(out) > maxList {
		f.fail("%d entries, at most %d allowed", len(out), maxList)
		return nil
	}
	return out
}

// keys calls the reader of each key that is there. Keys without a reader are unknown.
func (f field) keys(readers map[string]func(field)) {
	known := make([]string, 0, len(readers))
	for name := range readers {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, p := range f.pairs("a mapping with the keys " + strings.Join(known, ", ")) {
		if read := readers[p.name]; read != nil {
			read(p.field)
			continue
		}
		f.problems = append(f.problems, Problem{
			Line: keyLine(f.node, p.name), Key: f.key,
			Detail: fmt.Sprintf("unknown key %q%s", clip(p.name), daemon.DidYouMean(p.name, known)),
		})
	}
}

// keyLine returns the line of a key.
func keyLine(mapping *yaml.Node, name string) int {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i].Line
		}
	}
	return mapping.Line
}

// list returns the values of a list that has at least one and at most limit.
func (f field) list(limit int) []field {
	if !f.plain() {
		return nil
	}
	switch n := len(f.node.Content); {
	case f.node.Kind != yaml.SequenceNode:
		f.fail("want a list")
		return nil
	case n > limit:
		f.fail("%d entries, at most %d allowed", n, limit)
		return nil
	}
	out := make([]field, len(f.node.Content))
	for i, n := range f.node.Content {
		out[i] = field{f.parser, fmt.Sprintf("%s[%d]", f.key, i), n}
	}
	return out
}

// text returns a scalar as it is written, whichever type YAML would take it for; empty if there is something wrong.
func (f field) text(limit int) string {
	if !f.plain() {
		return ""
	}
	v := f.node.Value
	switch {
	case f.node.Kind != yaml.ScalarNode:
		f.fail("want one value, not a list or mapping")
	case strings.TrimSpace(v) == "":
		f.fail("empty: give a value, or remove the key")
	case len(v) > limit:
		f.fail("%d bytes, at most %d allowed", len(v), limit)
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }):
		f.fail("%q: want characters that print", clip(v))
	default:
		return v
	}
	return ""
}

// texts returns a list of different texts.
func (f field) texts(limit int) []string {
	var out []string
	for _, e := range f.list(maxList) {
		v := e.text(limit)
		switch {
		case v == "":
		case slices.Contains(out, v):
			e.fail("%q stands twice", clip(v))
		default:
			out = append(out, v)
		}
	}
	return out
}

// choice returns one of several words.
func (f field) choice(allowed ...string) string {
	v := f.text(maxText)
	if v != "" && !slices.Contains(allowed, v) {
		f.fail("%q: want one of %s", clip(v), strings.Join(allowed, ", "))
		return ""
	}
	return v
}

// word returns a name that is fit for ids and messages.
func (f field) word() string {
	v := f.text(64)
	for i, r := range v {
		if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || i > 0 && (r == '-' || r == '.')) {
			f.fail("%q: want a name of a-z, 0-9, - and ., which begins with a letter or digit", clip(v))
			return ""
		}
	}
	return v
}

func (f field) number(least, most int) (int, bool) {
	v := f.text(maxText)
	if v == "" {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most || strconv.Itoa(n) != v {
		f.fail("%q: want a number from %d to %d", clip(v), least, most)
		return 0, false
	}
	return n, true
}

func (f field) duration(least time.Duration) time.Duration {
	v := f.text(maxText)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < least {
		f.fail("%q: want a duration of at least %s, such as 90s, 15m or 24h", clip(v), least)
		return 0
	}
	return d
}

// day is how a waiver's last day is written.
const day = "2006-01-02"

// moment returns a time: a day means its end in UTC.
func (f field) moment() time.Time {
	v := f.text(maxText)
	if v == "" {
		return time.Time{}
	}
	if t, err := time.Parse(day, v); err == nil {
		return t.AddDate(0, 0, 1)
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		f.fail("%q: want the last day, such as 2027-03-31, or a time, such as 2027-03-31T12:00:00Z", clip(v))
	}
	return t.UTC()
}

func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "..."
}
