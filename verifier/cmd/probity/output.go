package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// print writes v in the format that -o asks for. table writes it for people.
func (a *app) print(v any, table func(w io.Writer) error) error {
	a.remember(v)
	var buf bytes.Buffer
	var err error
	switch a.output {
	case "json":
		err = writeJSON(&buf, v)
	case "yaml":
		err = writeYAML(&buf, v)
	default:
		err = table(&buf)
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if _, err := a.stdout.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// remember keeps what is printed for --watch, which compares it with what comes next.
func (a *app) remember(v any) {
	if b, err := json.Marshal(v); err == nil {
		a.document = string(b)
	}
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(v1.EscapeJSON(b), '\n'))
	return err
}

// writeYAML writes the document that writeJSON writes, as YAML: names and their order are those of the JSON.
func writeYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	_, err = w.Write(v1.EscapeYAML(buf.Bytes()))
	return err
}

func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if t == '{' {
			n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		for dec.More() { // names and values of an object take turns
			child, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := dec.Token() // the closing delimiter
		return n, err
	case string:
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t}
		if safe(t) != t {
			n.Style = yaml.DoubleQuotedStyle // the only style with escapes
		}
		return n, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// safe returns s with everything escaped that does not print: controls, and invisible and direction-changing characters.
// A backslash stays one: EFI paths are full of them.
func safe(s string) string { return escape(s, false) }

// safeLines does the same and keeps line ends, for messages of several lines.
func safeLines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case v1.Prints(r), lines && r == '\n':
			b.WriteString(s[i : i+n])
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

// clip shortens s to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Colours of states (ECMA-48, section 8.3.117).
const (
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	magenta = "\x1b[35m"
	bold    = "\x1b[1m"
	reset   = "\x1b[0m"
)

func stateColour(s result.State) string {
	switch s {
	case result.Trusted:
		return green
	case result.Warning:
		return yellow
	case result.Untrusted:
		return red
	case result.Stale:
		return magenta
	}
	return bold
}

func severityColour(s result.Severity) string {
	switch s {
	case result.Critical:
		return red
	case result.Warn:
		return yellow
	}
	return ""
}

// paint returns s in a colour, if the output is a terminal that wants colours.
func (a *app) paint(s, colour string) string {
	if !a.colour || colour == "" {
		return s
	}
	return colour + s + reset
}
