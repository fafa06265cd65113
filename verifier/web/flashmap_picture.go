package web

import (
	"fmt"
	"slices"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Measures of the map of a chip, in pixels.
const (
	mapTrack  = 46  // height of a line of regions that do not overlap
	mapGap    = 6   // between lines
	mapTop    = 8   // above the first
	mapAxis   = 28  // below the last, for offsets
	mapMin    = 5.0 // width that the smallest range gets, where there is room
	mapChar   = 7.2 // width of a character, about
	maxTracks = 8   // lines; what overlaps more often shares the last
)

// chipMap is a chip drawn to scale, save that ranges too small to see are widened.
type chipMap struct {
	Class         string // of the style sheet: at which width of the window it is shown
	Width, Height int
	Label         string
	Blocks        []mapBlock
	Ticks         []mapTick
	BarY, BarH    int
	AxisY         int
}

// mapBlock is a region.
type mapBlock struct {
	X, Width float64
	Y        int
	Height   int
	View     standingView
	Number   int    // in the table below
	Text     string // inside, as far as it fits
	Title    string // tooltip
	Anchor   string
	Holes    []mapHole

	MarkX, TextX float64
	MarkY, TextY int
}

// mapHole is a range that the signed reference leaves out.
type mapHole struct {
	X, Width float64
	Title    string
}

// mapTick is an offset on the axis.
type mapTick struct {
	X      float64
	Text   string
	Anchor string // of the text: start, middle or end
}

// drawChip lays a chip out for a width. The rows of the table have the anchors "chip-C-region-N".
func drawChip(c *v1.Chip, chip int, at pictureWidth) chipMap {
	width := at.Width
	m := chipMap{Class: at.Class, Width: width, BarY: mapTop}
	scale := newScale(c, float64(width))
	tracks := assignTracks(c.Regions)
	lines := 1
	for _, t := range tracks {
		lines = max(lines, t+1)
	}
	m.BarH = lines*(mapTrack+mapGap) - mapGap
	m.AxisY = m.BarY + m.BarH + 16
	m.Height = m.BarY + m.BarH + mapAxis
	bad := 0
	for i := range c.Regions {
		r := &c.Regions[i]
		b := mapBlock{
			X: scale.at(r.Offset), Y: m.BarY + tracks[i]*(mapTrack+mapGap), Height: mapTrack, View: standingOf(r.Standing),
			Number: i + 1, Title: regionTitle(r), Anchor: fmt.Sprintf("chip-%d-region-%d", chip, i+1),
		}
		b.Width = scale.at(end(r.Offset, r.Length)) - b.X
		for _, h := range r.Excluded {
			from, to := hole(r, h)
			hole := mapHole{X: scale.at(from), Title: "left out: " + extent(from, to-from)}
			hole.Width = scale.at(to) - hole.X
			b.Holes = append(b.Holes, hole)
		}
		b.place(r.Name)
		if weighs(r.Standing) {
			bad++
		}
		m.Blocks = append(m.Blocks, b)
	}
	m.Ticks = scale.ticks(width)
	m.Label = fmt.Sprintf("Map of %s with %s; %d not as it should be", c.Source, plural(len(c.Regions), "region"), bad)
	return m
}

func regionTitle(r *v1.ChipRange) string {
	return fmt.Sprintf("%s: %s, %s", r.Name, standingOf(r.Standing).Word, extent(r.Offset, r.Length))
}

// place puts the region's sign and name, its sign and number, or only one of them into the block, whatever fits.
func (b *mapBlock) place(name string) {
	middle, left := b.Y+b.Height/2, b.X
	for _, h := range b.Holes { // words stand beside what is hatched
		if h.X <= left+30 && h.X+h.Width > left {
			left = h.X + h.Width
		}
	}
	room := int((b.X + b.Width - left - 26) / mapChar)
	if room >= 6 || room >= len([]rune(name)) {
		b.Text = clipMiddle(name, room)
		b.MarkX, b.MarkY = left+12, middle
		b.TextX, b.TextY = left+22, middle+4
		return
	}
	b.MarkX, b.MarkY = b.X+b.Width/2, b.Y+14
	if digits := fmt.Sprint(b.Number); b.Width >= float64(len(digits))*mapChar+2 {
		b.Text, b.TextX, b.TextY = digits, b.X+(b.Width-float64(len(digits))*mapChar)/2, b.Y+b.Height-10
	}
}

// end is offset+length, at most the largest offset: both are the device's word.
func end(offset, length uint64) uint64 {
	if offset+length < offset {
		return ^uint64(0)
	}
	return offset + length
}

// hole returns where a range that is left out of a region begins and ends on the chip, within the region.
func hole(r *v1.ChipRange, h v1.ChipSpan) (from, to uint64) {
	last := end(r.Offset, r.Length)
	from = min(end(r.Offset, h.Offset), last)
	return from, min(end(from, h.Length), last)
}

// extent says a range in words, such as "1.5 MiB at 0x600000".
func extent(offset, length uint64) string { return fmt.Sprintf("%s at %#x", bytesText(length), offset) }

// bytesText says a number of bytes, such as 512 bytes, 64 KiB, 1.5 MiB.
func bytesText(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		switch {
		case n < u.size:
		case n%u.size == 0:
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		default:
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// assignTracks puts every region on the first line where it overlaps none. Regions of no length take no room.
func assignTracks(regions []v1.ChipRange) []int {
	out := make([]int, len(regions))
	var ends []uint64 // of the last region of each line
	for i := range regions {
		r := &regions[i]
		track := slices.IndexFunc(ends, func(e uint64) bool { return e <= r.Offset })
		switch {
		case track >= 0:
		case len(ends) < maxTracks:
			track = len(ends)
			ends = append(ends, 0)
		default:
			track = maxTracks - 1
		}
		ends[track] = max(ends[track], end(r.Offset, r.Length))
		out[i] = track
	}
	return out
}

// scale maps offsets to pixels. Between two neighbouring edges it is linear, and every such stretch that is part of a
// region is wide enough to see.
type scale struct {
	edges []uint64
	x     []float64 // of each edge
}

func newScale(c *v1.Chip, width float64) *scale {
	s := &scale{edges: []uint64{0}}
	if c.Size > 0 {
		s.edges = append(s.edges, c.Size)
	}
	for i := range c.Regions {
		r := &c.Regions[i]
		s.edges = append(s.edges, r.Offset, end(r.Offset, r.Length))
		for _, h := range r.Excluded {
			from, to := hole(r, h)
			s.edges = append(s.edges, from, to)
		}
	}
	slices.Sort(s.edges)
	s.edges = slices.Compact(s.edges)
	s.x = make([]float64, len(s.edges))
	if len(s.edges) < 2 {
		return s
	}
	stretches := float64(len(s.edges) - 1)
	least := min(mapMin, width/2/stretches)
	span, rest := float64(s.edges[len(s.edges)-1]), width-least*stretches
	for i := 1; i < len(s.edges); i++ {
		s.x[i] = s.x[i-1] + least + rest*float64(s.edges[i]-s.edges[i-1])/span
	}
	return s
}

// at returns where an offset is.
func (s *scale) at(offset uint64) float64 {
	i, ok := slices.BinarySearch(s.edges, offset)
	switch {
	case ok:
		return s.x[i]
	case i == len(s.edges):
		return s.x[len(s.x)-1]
	case i == 0:
		return 0
	}
	part := float64(offset-s.edges[i-1]) / float64(s.edges[i]-s.edges[i-1])
	return s.x[i-1] + part*(s.x[i]-s.x[i-1])
}

// ticks are the edges that leave room for their text, the first and the last among them.
func (s *scale) ticks(width int) []mapTick {
	last := len(s.edges) - 1
	if last < 1 {
		return nil
	}
	text := func(i int) string { return fmt.Sprintf("%#x", s.edges[i]) }
	room := func(i int) float64 { return float64(len(text(i)))*mapChar + 10 }
	out := []mapTick{{X: 0, Text: text(0), Anchor: "start"}}
	free := room(0)
	for i := 1; i < last; i++ {
		half := room(i) / 2
		if s.x[i]-half >= free && s.x[i]+half <= float64(width)-room(last) {
			out = append(out, mapTick{s.x[i], text(i), "middle"})
			free = s.x[i] + half
		}
	}
	return append(out, mapTick{X: float64(width), Text: text(last), Anchor: "end"})
}
