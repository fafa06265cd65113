package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

var implantGUID = imagetest.GUID("deadbeef-0000-4000-8000-000000000001")

// must returns v and panics on an error: of a builder of test images, which has none for the images here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func firmware() []byte { return must(imagetest.Firmware(imagetest.Config{})) }

func mustParse(tb testing.TB, b []byte) *image.Image {
	tb.Helper()
	m, err := image.Parse(b)
	if err != nil {
		tb.Fatalf("Parse = %v", err)
	}
	checkTree(tb, m, len(b))
	return m
}

// checkTree checks what holds for every tree: parts lie inside their containers, in order, without overlaps, and the
// parts of a whole image, of a region and of a volume's files leave out nothing but erased bytes for alignment.
func checkTree(tb testing.TB, m *image.Image, size int) {
	tb.Helper()
	if m.Root.Length() != size || m.Parts > image.MaxParts || m.Unpacked > image.MaxUnpacked {
		tb.Fatalf("%d bytes, %d parts, %d unpacked", m.Root.Length(), m.Parts, m.Unpacked)
	}
	parts := 0
	m.Walk(func(p *image.Part, containers []*image.Part) bool {
		parts++
		if len(containers) > image.MaxDepth || len(p.Name) > image.MaxName+8 || len(p.Detail) > image.MaxDetail+8 {
			tb.Fatalf("%s at depth %d: name of %d, detail of %d bytes", p.Label(), len(containers), len(p.Name), len(p.Detail))
		}
		content, start := p.Bytes(), p.Offset
		space := p.Space
		if u, ok := p.Unpacked(); ok {
			content, start, space = u, 0, p
		}
		end := 0
		for _, c := range p.Children {
			at := c.Offset - start
			if c.Space != space || at < end || at+c.Length() > len(content) || !bytes.Equal(content[at:at+c.Length()], c.Bytes()) {
				tb.Fatalf("%s at %s, length %#x, does not lie in %s", c.Label(), c.Place(), c.Length(), p.Label())
			}
			if (p.Kind == image.KindImage || p.Kind == image.KindRegion) && at != end {
				tb.Fatalf("%s leaves out %#x bytes before %s", p.Label(), at-end, c.Label())
			}
			end = at + c.Length()
		}
		if (p.Kind == image.KindImage || p.Kind == image.KindRegion && p.Name != "descriptor") && end != len(content) {
			tb.Fatalf("%s leaves out its last %#x bytes", p.Label(), len(content)-end)
		}
		return true
	})
	if parts != m.Parts {
		tb.Fatalf("%d parts in the tree, %d counted", parts, m.Parts)
	}
}

// outline lists the parts of an image, one a line, without padding.
func outline(m *image.Image) []string {
	var out []string
	m.Walk(func(p *image.Part, containers []*image.Part) bool {
		if p.Kind != image.KindPadding {
			s := strings.Repeat("  ", len(containers)) + p.Label()
			if p.Detail != "" {
				s += " (" + p.Detail + ")"
			}
			if p.Problem != "" {
				s += " !" + p.Problem
			}
			out = append(out, s)
		}
		return true
	})
	return out
}

// wantRefused checks that an image is refused with this text in the error, which must be a FormatError.
func wantRefused(tb testing.TB, name string, b []byte, want string) {
	tb.Helper()
	m, err := image.Parse(b)
	var e *image.FormatError
	if m != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
		tb.Errorf("%s: %v, want an error with %q", name, err, want)
		return
	}
	if e.Offset < 0 || !strings.Contains(err.Error(), fmt.Sprintf("byte %#x", e.Offset)) {
		tb.Errorf("%s: %v does not tell the offset %#x", name, err, e.Offset)
	}
}

func changes(d *image.Difference) []string {
	var out []string
	for i := range d.Changes {
		out = append(out, d.Changes[i].String())
	}
	return out
}
