package image

import (
	"errors"
	"fmt"
	"strings"
)

// Config changes how an image is split. The zero Config is for images that a manifest is made of.
type Config struct {
	// Lenient keeps a damaged part as data, with the damage as its Problem, where it would else be an error: to look
	// into what a suspect device had in its flash. Limits stay errors.
	Lenient bool
}

// Parse splits an image strictly. The error is a *FormatError; it wraps ErrLimit where a limit is exceeded.
func Parse(b []byte) (*Image, error) { return Config{}.Parse(b) }

// Parse splits an image.
func (c Config) Parse(b []byte) (*Image, error) {
	p := parser{config: c, budget: MaxUnpacked, parts: 1, maxParts: MaxParts}
	return p.parse(b)
}

// parser splits one image.
type parser struct {
	config   Config
	budget   int // bytes that may still be unpacked
	unpacked int
	parts    int
	maxParts int
	damaged  int
}

func (p *parser) parse(b []byte) (*Image, error) {
	root := &Part{Kind: KindImage, data: b}
	if len(b) == 0 {
		return nil, p.fail(root, 0, "the image is empty")
	}
	if len(b) > MaxSize {
		return nil, p.limit(root, 0, "%d bytes, want at most %d", len(b), MaxSize)
	}
	if err := p.top(root); err != nil {
		return nil, err
	}
	m := &Image{Root: root, Unpacked: p.unpacked}
	m.Walk(func(*Part, []*Part) bool { m.Parts++; return true }) // without those that a lenient parser gave up
	return m, nil
}

// top splits the whole image: by a form that it has from its first byte on, else as a raw area.
func (p *parser) top(root *Part) error {
	if ok, err := p.flash(root); ok || err != nil {
		return err
	}
	if ok, err := p.program(root, 0, len(root.data)); ok || err != nil {
		return err
	}
	return p.area(root, 0, len(root.data))
}

// content returns the bytes that a part's children lie in: its unpacked data, else its own.
func (p *Part) content() []byte {
	if p.unpacked != nil {
		return p.unpacked
	}
	return p.data
}

// position returns the offset and the space of the byte at of the content.
func (p *Part) position(at int) (int, *Part) {
	if p.unpacked != nil {
		return at, p
	}
	return p.Offset + at, p.Space
}

// add makes content[start:end] of parent a child, which must lie behind the children that there are.
func (p *parser) add(parent *Part, k Kind, start, end int) (*Part, error) {
	if p.parts++; p.parts > p.maxParts {
		return nil, p.limit(parent, start, "more than %d parts", p.maxParts)
	}
	if parent.depth >= MaxDepth {
		return nil, p.limit(parent, start, "parts nest more than %d deep", MaxDepth)
	}
	b := parent.content()
	c := &Part{Kind: k, data: b[start:end:end], depth: parent.depth + 1}
	c.Offset, c.Space = parent.position(start)
	parent.Children = append(parent.Children, c)
	return c, nil
}

// fail makes an error at byte at of the content of part in.
func (p *parser) fail(in *Part, at int, format string, args ...any) error {
	offset, space := in.position(at)
	return &FormatError{Offset: offset, Where: place(offset, space), Part: in.Label(), Detail: fmt.Sprintf(format, args...)}
}

// limit makes an error that wraps ErrLimit.
func (p *parser) limit(in *Part, at int, format string, args ...any) error {
	err := p.fail(in, at, format, args...)
	err.(*FormatError).Err = ErrLimit
	return err
}

// inside splits the inside of part c by f. If that fails in lenient mode, c is kept whole, with a Problem.
func (p *parser) inside(c *Part, f func() error) error {
	err := f()
	if err == nil {
		return nil
	}
	if err := p.forgive(c, 0, err); err != nil {
		return err
	}
	c.Children, c.unpacked = nil, nil
	return nil
}

// forgive turns an error into the Problem of part c, whose content is damaged at byte at, if the mode is lenient. It
// returns the error that is to be passed on, nil if it is forgiven.
func (p *parser) forgive(c *Part, at int, err error) error {
	if !p.config.Lenient || errors.Is(err, ErrLimit) {
		return err
	}
	if p.damaged++; p.damaged > MaxDamaged {
		return p.limit(c, at, "more than %d damaged parts", MaxDamaged)
	}
	c.problem("%s", strings.TrimPrefix(err.Error(), "firmware image: "))
	return nil
}

// problem notes what is wrong with a part.
func (p *Part) problem(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if p.Problem != "" {
		s = p.Problem + "; " + s
	}
	p.Problem = shorten(s, MaxDetail)
}

// shorten cuts a text to n bytes.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// printable makes a text from an image fit for a terminal and a log: control characters and what is no UTF-8 become
// "\x1b" and the like, and it is cut to MaxName bytes.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "?") {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e ||
			r >= 0x2066 && r <= 0x2069 {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
		if b.Len() > MaxName {
			break
		}
	}
	return shorten(b.String(), MaxName)
}
