package web

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func events(standing v1.Standing, n int) []v1.BootEvent {
	out := make([]v1.BootEvent, n)
	for i := range out {
		out[i] = v1.BootEvent{Number: i + 1, Type: "EV_IPL", Standing: standing}
	}
	return out
}

func TestDrawChain(t *testing.T) {
	long := events(v1.Matched, 400)
	long[200].Standing = v1.Unknown
	boot := &v1.Boot{PCRs: []v1.BootPCR{
		{Index: 0, Name: "the firmware's own code", Standing: v1.Matched, Replayed: true, Events: events(v1.Matched, 60)},
		{Index: 2, Name: strings.Repeat("a very long name ", 20), Standing: v1.Matched, Replayed: true},
		{Index: 4, Name: "boot loader", Standing: v1.Unknown, Replayed: true, Events: []v1.BootEvent{
			{Number: 9, Type: "EV_A", Text: strings.Repeat("x", 400), Standing: v1.Unknown}, {
				Type: "EV_B", Text: "gone",
				Standing: v1.Missing,
			},
		}},
		{Index: 9, Standing: v1.Matched, Events: long},
	}}
	for _, at := range pictureWidths {
		p := drawChain(boot, at)
		checkChain(t, &p)
		if n := len(p.Lanes[0].Cells); n != 60 {
			t.Errorf("%s: %d boxes for 60 events", at.Class, n)
		}
		bad := p.Lanes[2]
		if bad.Standing.Class != "bad" || len(bad.Notes) != 2 || bad.Cells[0].Anchor != "pcr-4-event-1" ||
			!bad.Cells[1].Hollow {
			t.Errorf("%s: lane of PCR 4 = %+v", at.Class, bad)
		}
		folded := p.Lanes[3]
		sum := 0
		for _, c := range folded.Cells {
			sum += max(1, c.Folded)
		}
		if sum != 400 || len(folded.Cells) > 12 {
			t.Errorf("%s: %d boxes stand for %d events, want a few for 400", at.Class, len(folded.Cells), sum)
		}
		if !slices.ContainsFunc(folded.Cells, func(c chainCellView) bool { return c.Anchor == "pcr-9-event-201" }) {
			t.Errorf("%s: the unknown event among 400 is folded away", at.Class)
		}
		if !strings.Contains(folded.Summary, "not explained by the log") {
			t.Errorf("%s: summary = %q, does not say that the log does not lead to the value", at.Class, folded.Summary)
		}
	}
}

// checkChain checks that everything is inside the picture and that no two boxes or lanes lie on each other.
func checkChain(t *testing.T, p *chainPicture) {
	t.Helper()
	bottom := 0
	for _, l := range p.Lanes {
		if l.Y <= bottom {
			t.Errorf("%s: PCR %d begins at %d, above the end of the one before, %d", p.Class, l.Index, l.Y, bottom)
		}
		bottom = l.Y
		seen := map[[2]int]bool{}
		for _, c := range l.Cells {
			at := [2]int{c.X, c.Y}
			if seen[at] || c.X+10 > p.Width || c.X < chainIndent || c.Y+10 > p.Height || c.Y < l.Y {
				t.Errorf("%s: PCR %d has a box at %v of a picture of %dx%d", p.Class, l.Index, at, p.Width, p.Height)
			}
			seen[at] = true
			bottom = max(bottom, c.Y+10)
		}
		for _, n := range l.Notes {
			if right := chainIndent + int(float64(len([]rune(n.Text)))*chainChar); right > p.Width || n.Y <= bottom-10 ||
				n.Y > p.Height {
				t.Errorf("%s: note %q ends at %d, %d of %dx%d", p.Class, n.Text, right, n.Y, p.Width, p.Height)
			}
			bottom = max(bottom, n.Y)
		}
		if right := l.NameX + int(float64(len([]rune(l.Name)))*chainChar); right > p.Width {
			t.Errorf("%s: name of PCR %d ends at %d of %d", p.Class, l.Index, right, p.Width)
		}
	}
}

func TestDrawChainWithoutPCRs(t *testing.T) {
	if p := drawChain(&v1.Boot{}, pictureWidths[0]); len(p.Lanes) != 0 || p.Height <= 0 {
		t.Errorf("drawChain(nothing) = %+v", p)
	}
}

func TestDrawChip(t *testing.T) {
	many := &v1.Chip{Source: "many"}
	for i := range 64 {
		many.Regions = append(many.Regions, v1.ChipRange{
			Name: fmt.Sprintf("part%d", i), Offset: uint64(i) << 20,
			Length: 1 << 20, Standing: v1.Matched,
		})
	}
	chips := []*v1.Chip{
		{Source: "one", Size: 16 << 20, Regions: []v1.ChipRange{
			{Name: "tiny", Offset: 0, Length: 16, Standing: v1.Matched},
			{
				Name: "bios", Offset: 16, Length: 16<<20 - 16, Standing: v1.Unknown,
				Excluded: []v1.ChipSpan{{Offset: 0, Length: 4096}, {Offset: 1 << 40, Length: math.MaxUint64}},
			},
		}},
		{Source: "overlaps", Regions: []v1.ChipRange{
			{Name: "all", Offset: 0, Length: 100}, {Name: "a", Offset: 10, Length: 50}, {
				Name: "b", Offset: 40,
				Length: 50,
			}, {Name: "c", Offset: 60, Length: 10},
		}},
		{Source: "lies", Size: 10, Regions: []v1.ChipRange{
			{Name: "far", Offset: math.MaxUint64 - 1, Length: math.MaxUint64}, {
				Name: "none", Offset: 5,
				Length: 0,
			}, {Name: "beyond", Offset: 8, Length: 1 << 40},
		}},
		many,
		{Source: "empty"},
	}
	for _, c := range chips {
		for _, at := range pictureWidths {
			checkChip(t, c, drawChip(c, 1, at))
		}
	}
}

// checkChip checks that regions are inside the map, in their order, visible, and not on each other where they do not
// overlap on the chip.
func checkChip(t *testing.T, c *v1.Chip, m chipMap) {
	t.Helper()
	for i, b := range m.Blocks {
		r := &c.Regions[i]
		if b.X < 0 || b.X+b.Width > float64(m.Width)+0.01 || b.Y < 0 || b.Y+b.Height > m.Height {
			t.Errorf("%s %s: region %s lies at %.1f, %d, %.1f wide, in a map of %dx%d", c.Source, m.Class, r.Name, b.X, b.Y,
				b.Width, m.Width, m.Height)
		}
		if r.Length > 0 && r.Offset < math.MaxUint64-1 && b.Width < 2 {
			t.Errorf("%s %s: region %s is %.2f pixels wide: nobody sees it", c.Source, m.Class, r.Name, b.Width)
		}
		for _, h := range b.Holes {
			if h.X < b.X-0.01 || h.X+h.Width > b.X+b.Width+0.01 {
				t.Errorf("%s %s: a hole of %s lies outside of it", c.Source, m.Class, r.Name)
			}
		}
		for k, o := range m.Blocks[:i] {
			q := &c.Regions[k]
			apart := end(q.Offset, q.Length) <= r.Offset || end(r.Offset, r.Length) <= q.Offset
			if drawn := o.X+o.Width <= b.X+0.01 || b.X+b.Width <= o.X+0.01; o.Y == b.Y && !drawn {
				t.Errorf("%s %s: %s and %s lie on each other", c.Source, m.Class, q.Name, r.Name)
			} else if apart && q.Offset < r.Offset && o.X > b.X+0.01 {
				t.Errorf("%s %s: %s stands before %s", c.Source, m.Class, r.Name, q.Name)
			}
		}
	}
	for i, k := range m.Ticks {
		if k.X < 0 || k.X > float64(m.Width)+0.01 || i > 0 && k.X <= m.Ticks[i-1].X {
			t.Errorf("%s %s: ticks %+v", c.Source, m.Class, m.Ticks)
		}
	}
}

func TestStandings(t *testing.T) {
	for _, s := range standingOrder {
		v := standingOf(s)
		if v.Word == "" || v.Mark == "" || v.Meaning == "" || v.Class == "" {
			t.Errorf("standingOf(%s) = %+v", s, v)
		}
	}
	if v := standingOf("from-the-future"); v.Class == "good" || v.Word != "from-the-future" {
		t.Errorf("a standing that is not known is shown as %+v", v)
	}
	got := tally(map[v1.Standing]int{v1.Matched: 12, v1.Unknown: 1, "odd": 2})
	if diff := cmp.Diff("1 unknown, 12 matched, 2 other", got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
}

func TestClips(t *testing.T) {
	for _, c := range []struct {
		f    func(string, int) string
		in   string
		n    int
		want string
	}{
		{clipText, "abcdef", 6, "abcdef"},
		{clipText, "abcdef", 4, "abc…"},
		{
			clipMiddle, "0123456789", 7,
			"01…6789",
		},
		{clipMiddle, "ok", 7, "ok"},
		{clipText, "ä̈öü", 2, "ä…"},
	} {
		if got := c.f(c.in, c.n); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1: "1 byte", 512: "512 bytes", 4096: "4 KiB", 1536: "1.5 KiB",
		16 << 20: "16 MiB", 3 << 40: "3 TiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}
