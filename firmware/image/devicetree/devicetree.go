// Package devicetree reads flattened devicetree blobs: descriptions of hardware, and U-Boot's FIT images, which use the
// same form.
//
// Parse gives the tree of nodes with their properties. Values are not copied: they share memory with the blob. It
// checks that blocks lie inside the blob, that nodes close as they open, and the limits in limits.go, so that its work
// and memory are bounded by the size of the blob. References between nodes (phandles) are not followed.
//
// Source: Devicetree Specification 0.4, chapter 5.
package devicetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Magic is what every blob begins with, big-endian.
const Magic = 0xd00dfeed

// HeaderSize is the size of a blob's header in bytes (section 5.2, version 17).
const HeaderSize = 40

// ErrNotBlob is returned for bytes that do not begin as a blob. Damaged blobs give a *FormatError.
var ErrNotBlob = errors.New("no devicetree blob")

// FormatError tells where a blob stops being one.
type FormatError struct {
	Offset int    // byte offset in the blob
	Detail string // what was expected and what was found
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("devicetree blob: byte %#x: %s", e.Offset, e.Detail)
}

func fail(at int, format string, args ...any) error {
	return &FormatError{Offset: at, Detail: fmt.Sprintf(format, args...)}
}

// Node is one node of a tree.
type Node struct {
	Name       string // with its unit address; "" at the root
	Properties []Property
	Children   []*Node
	Offset     int // of its first token in the blob
	End        int // behind its last token
}

// Property is a named value.
type Property struct {
	Name   string
	Value  []byte
	Offset int // of the value in the blob
}

// Size returns how many bytes a blob claims to have; ok is false if b does not begin as one.
func Size(b []byte) (size int, ok bool) {
	if len(b) < HeaderSize || binary.BigEndian.Uint32(b) != Magic {
		return 0, false
	}
	n := binary.BigEndian.Uint32(b[4:])
	version, compatible := binary.BigEndian.Uint32(b[20:]), binary.BigEndian.Uint32(b[24:])
	if n < HeaderSize || compatible > version || compatible > 17 || version < 16 || n > 1<<31-1 {
		return 0, false
	}
	return int(n), true
}

// Parse reads the blob at the beginning of b; bytes behind it are ignored. The error is ErrNotBlob or a *FormatError.
func Parse(b []byte) (*Node, error) {
	size, ok := Size(b)
	if !ok {
		return nil, ErrNotBlob
	}
	if size > len(b) {
		return nil, fail(4, "blob of %d bytes, %d left: it is cut off", size, len(b))
	}
	word := func(at int) uint64 { return uint64(binary.BigEndian.Uint32(b[at:])) }
	from, texts := word(8), word(12)
	if from%4 != 0 || from < HeaderSize || from > uint64(size) {
		return nil, fail(8, "structure block at %#x, want a multiple of 4 between %#x and %#x", from, HeaderSize, size)
	}
	if texts > uint64(size) {
		return nil, fail(12, "strings block at %#x of %#x bytes", texts, size)
	}
	end := uint64(size)
	if word(20) >= 17 { // version 16 does not tell the size of the structure block
		if end = from + word(36); end > uint64(size) {
			return nil, fail(36, "structure block of %d bytes exceeds the blob", word(36))
		}
	}
	textsEnd := texts + word(32)
	if textsEnd > uint64(size) {
		return nil, fail(32, "strings block of %d bytes exceeds the blob", word(32))
	}
	p := parser{b: b[:end], texts: b[texts:textsEnd], at: int(from)}
	return p.tree()
}

// Tokens of the structure block (section 5.4.1).
const (
	tokenBegin    = 1
	tokenEnd      = 2
	tokenProperty = 3
	tokenNop      = 4
	tokenStop     = 9
)

type parser struct {
	b          []byte // up to the end of the structure block
	texts      []byte
	at         int
	nodes      int
	properties int
}

// tree reads all tokens.
func (p *parser) tree() (*Node, error) {
	var root *Node
	var open []*Node
	for {
		start := p.at
		token, err := p.word()
		if err != nil {
			return nil, err
		}
		if len(open) == 0 && root != nil && token != tokenStop && token != tokenNop || len(open) == 0 && token == tokenEnd {
			return nil, fail(start, "token %d outside of the root node", token)
		}
		switch token {
		case tokenNop:
		case tokenBegin:
			n, err := p.begin(start, len(open))
			if err != nil {
				return nil, err
			}
			if root == nil {
				root = n
			} else {
				top := open[len(open)-1]
				top.Children = append(top.Children, n)
			}
			open = append(open, n)
		case tokenEnd:
			open[len(open)-1].End = p.at
			open = open[:len(open)-1]
		case tokenProperty:
			if len(open) == 0 {
				return nil, fail(start, "property outside of a node")
			}
			if err := p.property(start, open[len(open)-1]); err != nil {
				return nil, err
			}
		case tokenStop:
			if root == nil || len(open) > 0 {
				return nil, fail(start, "structure block ends with %d open nodes", len(open))
			}
			return root, nil
		default:
			return nil, fail(start, "token %#x, want one of 1, 2, 3, 4, 9", token)
		}
	}
}

// begin reads a node's name.
func (p *parser) begin(start, depth int) (*Node, error) {
	if p.nodes++; p.nodes > MaxNodes {
		return nil, fail(start, "more than %d nodes", MaxNodes)
	}
	if depth >= MaxDepth {
		return nil, fail(start, "nodes nest more than %d deep", MaxDepth)
	}
	n := bytes.IndexByte(p.b[p.at:], 0)
	if n < 0 {
		return nil, fail(p.at, "name of a node does not end: the blob is cut off")
	}
	node := &Node{Name: string(p.b[p.at : p.at+n]), Offset: start}
	p.at = align(p.at + n + 1)
	return node, nil
}

// property reads a property into node n.
func (p *parser) property(start int, n *Node) error {
	if p.properties++; p.properties > MaxProperties {
		return fail(start, "more than %d properties", MaxProperties)
	}
	size, err := p.word()
	if err != nil {
		return err
	}
	name, err := p.word()
	if err != nil {
		return err
	}
	if uint64(size) > uint64(len(p.b)-p.at) {
		return fail(start, "property of %d bytes, %d left: the blob is cut off", size, len(p.b)-p.at)
	}
	if uint64(name) >= uint64(len(p.texts)) {
		return fail(start+8, "name at %#x of %#x bytes of strings", name, len(p.texts))
	}
	// Names are shared: without a limit, a small blob could ask for a long one any number of times.
	end := bytes.IndexByte(p.texts[name:min(len(p.texts), int(name)+MaxName+1)], 0)
	if end < 0 {
		return fail(start+8, "name at %#x of the strings does not end within %d bytes", name, MaxName)
	}
	stop := p.at + int(size)
	n.Properties = append(n.Properties, Property{
		Name: string(p.texts[name : int(name)+end]), Value: p.b[p.at:stop:stop], Offset: p.at,
	})
	p.at = align(stop)
	return nil
}

func (p *parser) word() (uint32, error) {
	if p.at > len(p.b)-4 {
		return 0, fail(min(p.at, len(p.b)), "structure block ends without its end token: the blob is cut off")
	}
	p.at += 4
	return binary.BigEndian.Uint32(p.b[p.at-4:]), nil
}

func align(n int) int { return (n + 3) &^ 3 }

// Child returns the child of this name, nil if there is none. It is safe on a nil Node.
func (n *Node) Child(name string) *Node {
	if n == nil {
		return nil
	}
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Property returns the property of this name, nil if there is none. It is safe on a nil Node.
func (n *Node) Property(name string) *Property {
	if n == nil {
		return nil
	}
	for i := range n.Properties {
		if n.Properties[i].Name == name {
			return &n.Properties[i]
		}
	}
	return nil
}

// Text returns a property's value as text, "" if there is none or it is not printable. Of a list, items are separated
// by ", ".
func (n *Node) Text(name string) string {
	p := n.Property(name)
	if p == nil {
		return ""
	}
	s := strings.TrimRight(string(p.Value), "\x00")
	for _, c := range []byte(s) {
		if c != 0 && (c < ' ' || c > '~') {
			return ""
		}
	}
	return strings.ReplaceAll(s, "\x00", ", ")
}

// Number returns the value of a property of one cell; ok is false if there is none.
func (n *Node) Number(name string) (v uint32, ok bool) {
	p := n.Property(name)
	if p == nil || len(p.Value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(p.Value), true
}
