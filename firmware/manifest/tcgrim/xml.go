package tcgrim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// nsXML is the namespace of the prefix xml (Namespaces in XML 1.0, section 3).
const nsXML = "http://www.w3.org/XML/1998/namespace"

// node is an element with everything that Canonical XML writes of it.
type node struct {
	parent   *node
	prefix   string
	local    string
	declares map[string]string // namespaces by prefix; the default one under ""
	attrs    []attr
	children []any // *node or text
}

type attr struct{ prefix, local, value string }

type text string

// namespace returns the namespace of a prefix. The default namespace is "" where none is declared.
func (n *node) namespace(prefix string) (string, bool) {
	if prefix == "xml" {
		return nsXML, true
	}
	for e := n; e != nil; e = e.parent {
		if uri, ok := e.declares[prefix]; ok {
			return uri, true
		}
	}
	return "", prefix == ""
}

// is reports whether n is the element local of a namespace.
func (n *node) is(namespace, local string) bool {
	uri, _ := n.namespace(n.prefix)
	return uri == namespace && n.local == local
}

// elements returns the children that are elements local of a namespace.
func (n *node) elements(namespace, local string) (out []*node) {
	for _, c := range n.children {
		if e, ok := c.(*node); ok && e.is(namespace, local) {
			out = append(out, e)
		}
	}
	return out
}

// attribute returns the value of an attribute without namespace.
func (n *node) attribute(local string) string {
	for _, a := range n.attrs {
		if a.prefix == "" && a.local == local {
			return a.value
		}
	}
	return ""
}

// content returns the text directly in n.
func (n *node) content() string {
	var b strings.Builder
	for _, c := range n.children {
		if t, ok := c.(text); ok {
			b.WriteString(string(t))
		}
	}
	return b.String()
}

// parse reads a document: check 1 of Open. Comments are left out, as in the canonical form.
func parse(b []byte) (*node, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(b), MaxSize)
	}
	if !utf8.Valid(b) {
		return nil, errors.New("the document is not UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("character set %q: want UTF-8", charset)
	}
	t := &tree{}
	for tokens := 0; ; tokens++ {
		at := d.InputOffset()
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return t.finish()
		}
		if err == nil && tokens == maxTokens {
			err = fmt.Errorf("more than %d elements and texts", maxTokens)
		}
		if err == nil {
			err = t.add(token, at)
		}
		if err != nil {
			return nil, fmt.Errorf("byte %d: %w", at, err)
		}
	}
}

// tree builds a document from its tokens.
type tree struct {
	root, at *node
	depth    int
}

func (t *tree) finish() (*node, error) {
	if t.root == nil || t.at != nil {
		return nil, errors.New("the document is cut off: want one element with its end")
	}
	return t.root, nil
}

func (t *tree) add(token xml.Token, at int64) error {
	switch x := token.(type) {
	case xml.Directive:
		return errors.New("document types and entities are refused")
	case xml.ProcInst:
		if x.Target != "xml" || at != 0 {
			return fmt.Errorf("processing instruction %q: want none", x.Target)
		}
	case xml.CharData:
		if t.at != nil {
			t.at.children = append(t.at.children, text(x))
		} else if len(bytes.TrimSpace(x)) > 0 {
			return errors.New("text outside the element")
		}
	case xml.StartElement:
		return t.open(x)
	case xml.EndElement:
		if t.at == nil || t.at.prefix != x.Name.Space || t.at.local != x.Name.Local {
			return fmt.Errorf("end of an element %q that is not open", x.Name.Local)
		}
		t.at = t.at.parent
		t.depth--
	}
	return nil
}

func (t *tree) open(x xml.StartElement) error {
	if t.depth++; t.depth > maxDepth {
		return fmt.Errorf("elements nest deeper than %d", maxDepth)
	}
	if t.at == nil && t.root != nil {
		return errors.New("a second element")
	}
	n := &node{parent: t.at, prefix: x.Name.Space, local: x.Name.Local, declares: map[string]string{}}
	if err := n.attributes(x.Attr); err != nil {
		return fmt.Errorf("element %q: %w", n.local, err)
	}
	if t.at == nil {
		t.root = n
	} else {
		t.at.children = append(t.at.children, n)
	}
	t.at = n
	return nil
}

// attributes sorts declarations from attributes, and checks that each is there once and of a known namespace.
func (n *node) attributes(list []xml.Attr) error {
	if len(list) > maxAttributes {
		return fmt.Errorf("%d attributes, at most %d allowed", len(list), maxAttributes)
	}
	for _, a := range list {
		prefix, declaration := a.Name.Local, a.Name.Space == "xmlns"
		if a.Name.Space == "" && a.Name.Local == "xmlns" {
			prefix, declaration = "", true
		}
		if !declaration {
			n.attrs = append(n.attrs, attr{a.Name.Space, a.Name.Local, a.Value})
			continue
		}
		if _, twice := n.declares[prefix]; twice || prefix == "xml" || prefix == "xmlns" || prefix != "" && a.Value == "" {
			return fmt.Errorf("declaration of the namespace prefix %q", prefix)
		}
		n.declares[prefix] = a.Value
	}
	if _, ok := n.namespace(n.prefix); !ok {
		return fmt.Errorf("namespace prefix %q is not declared", n.prefix)
	}
	seen := map[[2]string]bool{}
	for _, a := range n.attrs {
		uri, ok := n.attributeNamespace(a)
		if name := [2]string{uri, a.local}; !ok || seen[name] {
			return fmt.Errorf("attribute %q: it is there twice, or its namespace prefix %q is not declared", a.local, a.prefix)
		}
		seen[[2]string{uri, a.local}] = true
	}
	return nil
}

// attributeNamespace returns the namespace of an attribute: the default namespace doesn't apply to them.
func (n *node) attributeNamespace(a attr) (string, bool) {
	if a.prefix == "" {
		return "", true
	}
	return n.namespace(a.prefix)
}
