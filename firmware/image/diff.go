package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// Op is what happened to a part.
type Op string

// Operations.
const (
	OpAdded   Op = "added"
	OpRemoved Op = "removed"
	OpChanged Op = "changed"
	OpMoved   Op = "moved" // same bytes at another place in its container
)

// Difference is what differs between two images.
type Difference struct {
	// Changes are parts that were added, removed or changed, the smallest that tell it all: a changed module, not every
	// container of it. In the order of the new image, removed parts at the end of what held them.
	Changes []Change `json:"changes"`
	// Moved are parts that did not change but stand elsewhere in their container, as behind a part that was added.
	Moved []Change `json:"moved,omitempty"`
	// Omitted is how many changes and moved parts there are beyond MaxChanges.
	Omitted int `json:"omitted,omitempty"`
}

// Same reports whether there are no changes. Padding may still be of another length.
func (d *Difference) Same() bool { return len(d.Changes) == 0 && d.Omitted == 0 }

// Change is one difference.
type Change struct {
	Op   Op     `json:"op"`
	Kind Kind   `json:"kind"`
	Type string `json:"type,omitempty"`
	GUID GUID   `json:"guid,omitzero"`
	Name string `json:"name,omitempty"`
	// In are the labels of the containers, from the outside in.
	In []string `json:"in,omitempty"`
	// Piece is which piece of the part changed, such as "pe32 section" or "header", "" for the whole.
	Piece string `json:"piece,omitempty"`
	// Old and New are where the part, or its piece, is in both images: nil where it is not.
	Old *Extent `json:"old,omitempty"`
	New *Extent `json:"new,omitempty"`
	// Hex are the first ranges that differ in a changed part, or what an added one begins with.
	Hex []HexRange `json:"hex,omitempty"`
	// Detail says more for people.
	Detail string `json:"detail,omitempty"`
}

// Extent is a place in an image.
type Extent struct {
	Offset int    `json:"offset"`
	Length int    `json:"length"` // bytes
	Place  string `json:"place"`  // see Part.Place
	SHA256 string `json:"sha256"` // hexadecimal, of these bytes
}

// HexRange is a range of bytes that differ.
type HexRange struct {
	Offset int    `json:"offset"` // in the part or piece
	Length int    `json:"length"` // bytes that differ
	Old    string `json:"old"`    // hexadecimal, at most MaxHexBytes bytes
	New    string `json:"new"`
}

// Diff compares two images. Volumes, files and variables are matched by GUID and name, sections by type, the rest by
// kind, name and order; equal names by equal content first.
func Diff(a, b *Image) *Difference {
	d := differ{out: &Difference{}}
	d.compare(a.Root, b.Root, nil)
	return d.out
}

// differ collects the differences of two images.
type differ struct {
	out *Difference
	n   int // of changes, those omitted included
}

// compare compares two parts that are matched with each other and stand in the containers of path.
func (d *differ) compare(a, b *Part, path []*Part) {
	if bytes.Equal(a.data, b.data) {
		return
	}
	if a.unpacked != nil && b.unpacked != nil && bytes.Equal(a.unpacked, b.unpacked) {
		d.changed(a, b, path, "", whole(a), whole(b), "packed in another way; the contents are the same")
		return
	}
	if len(a.Children) == 0 && len(b.Children) == 0 || (a.unpacked == nil) != (b.unpacked == nil) {
		d.changed(a, b, path, "", whole(a), whole(b), "")
		return
	}
	before := d.n
	d.children(a, b, append(path[:len(path):len(path)], b))
	d.own(a, b, path, d.n > before)
}

// piece is a range of a part's bytes with its place.
type piece struct {
	offset int // in the space
	space  *Part
	data   []byte
}

func whole(p *Part) piece { return piece{p.Offset, p.Space, p.data} }

func (p piece) extent() *Extent {
	sum := sha256.Sum256(p.data)
	return &Extent{Offset: p.offset, Length: len(p.data), Place: place(p.offset, p.space), SHA256: hex.EncodeToString(sum[:])}
}

// children compares the children of two parts.
func (d *differ) children(a, b *Part, path []*Part) {
	partner, removed := match(a.Children, b.Children)
	for i, c := range b.Children {
		old := partner[i]
		switch {
		case c.Kind == KindPadding:
		case old == nil:
			d.added(OpAdded, c, path)
		case bytes.Equal(old.data, c.data):
			if relative(old, a) != relative(c, b) {
				d.moved(old, c, path)
			}
		default:
			d.compare(old, c, path)
		}
	}
	for _, c := range removed {
		if c.Kind != KindPadding {
			d.added(OpRemoved, c, path)
		}
	}
}

// relative returns a child's offset in its container.
func relative(c, container *Part) int {
	if container.unpacked != nil {
		return c.Offset
	}
	return c.Offset - container.Offset
}

// own compares the bytes of two parts that none of their children hold: the header, and what stands between children.
func (d *differ) own(a, b *Part, path []*Part, childrenChanged bool) {
	headA, betweenA := ownBytes(a)
	headB, betweenB := ownBytes(b)
	if !bytes.Equal(significant(a, headA.data, childrenChanged), significant(b, headB.data, childrenChanged)) {
		d.changed(a, b, path, "header", headA, headB, "")
	}
	if !bytes.Equal(betweenA.data, betweenB.data) {
		d.changed(a, b, path, "bytes between its parts", betweenA, betweenB, "")
	}
}

// ownBytes returns the bytes before the first child and, in one, those between and behind children. Of the latter,
// erased flash does not count: it is there for alignment.
func ownBytes(p *Part) (head, between piece) {
	b := p.content()
	end := 0
	head = piece{offset: p.Offset, space: p.Space}
	if p.unpacked != nil {
		head.data = p.data[:p.header]
	} else if len(p.Children) > 0 {
		end = relative(p.Children[0], p)
		head.data = b[:end]
	} else {
		end = p.header
		head.data = b[:end]
	}
	first := true
	add := func(from, to int) {
		if from >= to || blank(b[from:to]) {
			return
		}
		if first {
			between.offset, between.space = p.position(from)
			first = false
		}
		between.data = append(between.data, b[from:to]...)
	}
	for _, c := range p.Children {
		start := relative(c, p)
		add(end, start)
		end = start + len(c.data)
	}
	add(end, len(b))
	if first {
		between.offset, between.space = p.Offset, p.Space
	}
	return head, between
}

// significant returns the bytes of a header that count. If children changed, a file's and a section's sizes and
// checksums follow from that.
func significant(p *Part, head []byte, childrenChanged bool) []byte {
	if !childrenChanged {
		return head
	}
	switch {
	case p.Kind == KindSection:
		return nil
	case p.Kind == KindFile && len(head) >= fileHeader:
		return append(bytes.Clone(head[:16]), head[18:20]...) // name, type and attributes
	}
	return head
}

// subject returns the part that people know a part by: the file that a section belongs to. within is the label of p in
// it.
func subject(p *Part, path []*Part) (known *Part, containers []*Part, within string) {
	if p.Kind != KindSection {
		return p, path, ""
	}
	for i := len(path) - 1; i >= 0 && path[i].unpacked == nil; i-- {
		if path[i].Kind == KindFile {
			return path[i], path[:i], p.Label()
		}
		if path[i].Kind != KindSection {
			break
		}
	}
	return p, path, ""
}

// record makes the change of a part.
func record(op Op, p *Part, path []*Part, within string) Change {
	known, containers, section := subject(p, path)
	c := Change{Op: op, Kind: known.Kind, Type: known.Type, GUID: known.GUID, Name: known.Name, Piece: section}
	if within != "" && section != "" {
		c.Piece = section + ", " + within
	} else if within != "" {
		c.Piece = within
	}
	for _, x := range containers {
		c.In = append(c.In, x.Label())
	}
	if known != p && op != OpMoved { // a section that came or went is a change of its file
		c.Op = OpChanged
	}
	return c
}

func (d *differ) changed(a, b *Part, path []*Part, within string, old, now piece, detail string) {
	if !d.room() {
		return
	}
	c := record(OpChanged, b, path, within)
	c.Old, c.New = old.extent(), now.extent()
	c.Hex = hexRanges(old.data, now.data)
	c.Detail = detail
	if c.Detail == "" && a.Name != b.Name && within == "" {
		c.Detail = "was " + a.Label()
	}
	d.out.Changes = append(d.out.Changes, c)
}

// added records a part that only one image has.
func (d *differ) added(op Op, p *Part, path []*Part) {
	if !d.room() {
		return
	}
	c := record(op, p, path, "")
	c.Detail = p.Detail
	if p.Problem != "" {
		c.Detail = p.Problem
	}
	n := min(len(p.data), MaxHexBytes)
	r := HexRange{Length: len(p.data)}
	if op == OpAdded {
		c.New, r.New = whole(p).extent(), hex.EncodeToString(p.data[:n])
	} else {
		c.Old, r.Old = whole(p).extent(), hex.EncodeToString(p.data[:n])
	}
	c.Hex = []HexRange{r}
	d.out.Changes = append(d.out.Changes, c)
}

func (d *differ) moved(a, b *Part, path []*Part) {
	if b.Kind == KindSection || b.Kind == KindProgramPart || b.Kind == KindData {
		return
	}
	if len(d.out.Moved) == MaxChanges {
		d.out.Omitted++
		return
	}
	c := record(OpMoved, b, path, "")
	c.Old, c.New = whole(a).extent(), whole(b).extent()
	d.out.Moved = append(d.out.Moved, c)
}

// room counts a change and reports whether it is still listed.
func (d *differ) room() bool {
	if d.n++; d.n > MaxChanges {
		d.out.Omitted++
		return false
	}
	return true
}
