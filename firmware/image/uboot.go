package image

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/image/devicetree"
)

// blob splits the devicetree blob at content[at], which is a FIT image if it has images.
func (p *parser) blob(in *Part, at, end int) (int, error) {
	b := in.content()[at:end]
	root, err := devicetree.Parse(b)
	if err != nil {
		var e *devicetree.FormatError
		if errors.As(err, &e) {
			return 0, p.fail(in, at+e.Offset, "devicetree blob: %s", e.Detail)
		}
		return 0, p.fail(in, at, "%v", err)
	}
	size, _ := devicetree.Size(b)
	images := root.Child("images")
	if images == nil {
		c, err := p.add(in, KindDeviceTree, at, at+size)
		if err != nil {
			return 0, err
		}
		c.Name = printable(cmp.Or(root.Text("model"), root.Text("compatible")))
		return at + size, nil
	}
	f := fit{root: root, images: images, size: size}
	if err := f.collect(p, in, at, b); err != nil {
		return 0, err
	}
	c, err := p.add(in, KindFIT, at, at+f.end)
	if err != nil {
		return 0, err
	}
	c.header = devicetree.HeaderSize
	c.Name = printable(root.Text("description"))
	return at + f.end, f.split(p, c)
}

// fit is a FIT image while it is split (U-Boot, doc/usage/fit/source_file_format).
type fit struct {
	root   *devicetree.Node
	images *devicetree.Node
	size   int // of the blob
	end    int // of the blob and the data behind it
	parts  []fitPart
	names  map[string]bool // of the images
}

// fitPart is a range of a FIT: an image's data, or a configuration's node.
type fitPart struct {
	node       *devicetree.Node
	start, end int
	kind       Kind
}

// collect finds all parts, in the order of their offsets. A FIT's images may stand in the blob or behind it.
func (f *fit) collect(p *parser, in *Part, at int, b []byte) error {
	f.end, f.names = f.size, map[string]bool{}
	for _, n := range f.images.Children {
		f.names[n.Name] = true
		start, end, err := f.data(n, len(b))
		if err != nil {
			return p.fail(in, at+n.Offset, "FIT image %q: %v", printable(n.Name), err)
		}
		if end > start {
			f.parts = append(f.parts, fitPart{n, start, end, KindFITImage})
			f.end = max(f.end, end)
		}
	}
	if c := f.root.Child("configurations"); c != nil {
		for _, n := range c.Children {
			f.parts = append(f.parts, fitPart{n, n.Offset, n.End, KindConfiguration})
		}
	}
	slices.SortStableFunc(f.parts, func(x, y fitPart) int { return cmp.Compare(x.start, y.start) })
	for i := 1; i < len(f.parts); i++ {
		if f.parts[i].start < f.parts[i-1].end {
			return p.fail(in, at+f.parts[i].start, "FIT part %q overlaps %q", printable(f.parts[i].node.Name),
				printable(f.parts[i-1].node.Name))
		}
	}
	return nil
}

// data returns where an image's data are, relative to the FIT, of which there are n bytes with what follows.
func (f *fit) data(node *devicetree.Node, n int) (start, end int, err error) {
	if d := node.Property("data"); d != nil {
		return d.Offset, d.Offset + len(d.Value), nil
	}
	size, ok := node.Number("data-size")
	if !ok {
		return 0, 0, nil // no data: as of an image that is loaded from elsewhere
	}
	var from uint64
	if v, ok := node.Number("data-position"); ok {
		from = uint64(v)
	} else if v, ok := node.Number("data-offset"); ok {
		from = uint64((f.size+3)&^3) + uint64(v)
	} else {
		return 0, 0, errors.New("data-size without data-offset or data-position")
	}
	if from < uint64(f.size) {
		return 0, 0, fmt.Errorf("data at %#x lie in the blob of %#x bytes", from, f.size)
	}
	if from+uint64(size) > uint64(n) {
		return 0, 0, fmt.Errorf("data of %#x bytes at %#x, %#x left: the image is cut off", size, from, n)
	}
	return int(from), int(from) + int(size), nil
}

// split makes the parts of a FIT.
func (f *fit) split(p *parser, c *Part) error {
	byDefault := f.root.Child("configurations").Text("default")
	for _, r := range f.parts {
		part, err := p.add(c, r.kind, r.start, r.end)
		if err != nil {
			return err
		}
		part.Name = printable(r.node.Name)
		if r.kind == KindConfiguration {
			f.configuration(part, r.node, r.node.Name == byDefault)
			continue
		}
		part.Type = printable(r.node.Text("type"))
		part.Detail = properties(r.node, "description", "arch", "os", "compression", "load", "entry")
		checkHashes(part, r.node)
	}
	if byDefault != "" && f.root.Child("configurations").Child(byDefault) == nil {
		c.problem("default configuration %q is missing", printable(byDefault))
	}
	return nil
}

// configuration describes a configuration and checks that the images it names are there.
func (f *fit) configuration(part *Part, n *devicetree.Node, byDefault bool) {
	part.Detail = properties(n, "description", "kernel", "fdt", "ramdisk", "loadables", "firmware")
	if byDefault {
		part.Detail = strings.TrimPrefix(part.Detail+", default", ", ")
	}
	for _, name := range []string{"kernel", "fdt", "ramdisk", "loadables", "firmware"} {
		v := n.Property(name)
		if v == nil {
			continue
		}
		for i, item := range strings.Split(strings.TrimRight(string(v.Value), "\x00"), "\x00") {
			if i == 64 {
				break
			}
			// "#" separates the signed configuration that an image is taken with.
			if image, _, _ := strings.Cut(item, "#"); !f.names[image] {
				part.problem("%s %q is missing", name, printable(image))
			}
		}
	}
}

// properties lists some properties of a node for people.
func properties(n *devicetree.Node, names ...string) string {
	var out []string
	for _, name := range names {
		p := n.Property(name)
		if p == nil {
			continue
		}
		if name == "load" || name == "entry" {
			if len(p.Value) <= 8 {
				out = append(out, fmt.Sprintf("%s 0x%x", name, p.Value))
			}
		} else if t := n.Text(name); t != "" {
			out = append(out, name+" "+printable(t))
		}
	}
	return shorten(strings.Join(out, ", "), MaxDetail)
}

// hashes compute what a FIT's hash nodes hold.
var hashes = map[string]func([]byte) []byte{
	"crc32":  func(b []byte) []byte { return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) },
	"md5":    func(b []byte) []byte { s := md5.Sum(b); return s[:] },
	"sha1":   func(b []byte) []byte { s := sha1.Sum(b); return s[:] },
	"sha256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
	"sha384": func(b []byte) []byte { s := sha512.Sum384(b); return s[:] },
	"sha512": func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
}

// checkHashes compares an image's data with its hash nodes: each algorithm once, however often it is asked for.
func checkHashes(part *Part, n *devicetree.Node) {
	have := map[string][]byte{}
	for _, h := range n.Children {
		if h.Name != "hash" && !strings.HasPrefix(h.Name, "hash-") && !strings.HasPrefix(h.Name, "hash@") {
			continue
		}
		algorithm := h.Text("algo")
		f, ok := hashes[algorithm]
		if !ok {
			part.problem("hash of the unknown algorithm %q", printable(algorithm))
			continue
		}
		if have[algorithm] == nil {
			have[algorithm] = f(part.data)
		}
		if v := h.Property("value"); v == nil || !bytes.Equal(v.Value, have[algorithm]) {
			part.problem("%s of the data is not the one that the FIT holds", algorithm)
		}
	}
}
