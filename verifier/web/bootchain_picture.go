package web

import (
	"fmt"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Measures of the picture of a boot chain, in pixels.
const (
	chainIndent  = 36  // left of this is the rail that joins the PCRs
	chainCell    = 26  // from one event to the next
	chainHead    = 30  // height of a lane's heading
	chainNote    = 19  // height of a line about an event that weighs
	chainGap     = 16  // between lanes
	chainChar    = 8.2 // width of a character of a bold line, about
	chainNotes   = 4   // most lines about events in one lane
	maxChainCell = 140 // events of one lane from which on runs of good ones are folded
	foldEnds     = 2   // events that stay visible at each end of a folded run
)

// pictureWidths are the widths that pictures are drawn for: a phone, a tablet or small window, a desk. The style sheet
// shows the one that fits.
var pictureWidths = []pictureWidth{{"narrow", 340}, {"middle", 600}, {"wide", 1120}}

// pictureWidth is a class of the style sheet with the width in pixels that it has room for.
type pictureWidth struct {
	Class string
	Width int
}

// chainPicture is a boot drawn PCR by PCR: a lane for each, its events as marked boxes in the order of measurement.
type chainPicture struct {
	Class         string // of the style sheet: at which width of the window it is shown
	Width, Height int
	Label         string // for those who cannot see it
	Lanes         []chainLane
	RailFrom      int
	RailTo        int
}

// chainLane is one PCR.
type chainLane struct {
	Index    int
	Y        int // of the node on the rail
	Title    string
	Name     string // beside the title, or below it where there is no room
	NameX    int
	NameY    int
	Summary  string
	SumX     int  // its right end, beside the title
	Below    bool // it stands below the title instead
	Standing standingView
	Cells    []chainCellView
	Links    []chainLink
	Notes    []chainNoteView
}

// chainCellView is one event, or a run of good ones.
type chainCellView struct {
	X, Y   int // centre
	View   standingView
	Hollow bool   // not measured
	Title  string // tooltip
	Anchor string // of the row that tells more; empty: the box is not a link
	Folded int    // events that the box stands for; 0: one
}

// chainLink joins two boxes of one line.
type chainLink struct{ X1, X2, Y int }

// chainNoteView is a line about an event that weighs.
type chainNoteView struct {
	Y      int
	Text   string
	Class  string
	Anchor string
}

// drawChain lays a boot out for a width.
func drawChain(b *v1.Boot, at pictureWidth) chainPicture {
	width := at.Width
	p := chainPicture{Class: at.Class, Width: width}
	y, bad := chainGap, 0
	for i := range b.PCRs {
		lane, height := drawLane(&b.PCRs[i], y, width)
		if lane.Standing.Class == "bad" {
			bad++
		}
		p.Lanes = append(p.Lanes, lane)
		y += height + chainGap
	}
	p.Height = y
	if n := len(p.Lanes); n > 0 {
		p.RailFrom, p.RailTo = p.Lanes[0].Y, p.Lanes[n-1].Y
	}
	p.Label = fmt.Sprintf("Boot chain of %s; %d with something that is not as it should be", plural(len(b.PCRs), "PCR"),
		bad)
	return p
}

func drawLane(pcr *v1.BootPCR, y, width int) (chainLane, int) {
	lane := chainLane{
		Index: pcr.Index, Y: y, Title: fmt.Sprintf("PCR %d", pcr.Index), Standing: standingOf(pcr.Standing),
		Summary: laneSummary(pcr), NameX: chainIndent + 60, NameY: y,
	}
	height := chainHead
	room := int(float64(width-lane.NameX) / chainChar)
	if lane.Below = width < 700; lane.Below {
		lane.Name = clipText(pcr.Name, room)
		lane.Summary = clipText(lane.Summary, int(float64(width-chainIndent)/chainChar))
		height += chainNote
	} else {
		lane.Summary, lane.SumX = clipText(lane.Summary, room/2), width
		lane.Name = clipText(pcr.Name, room-len([]rune(lane.Summary))-4)
	}
	columns := (width - chainIndent) / chainCell
	cells := foldEvents(pcr)
	for i := range cells {
		c := &cells[i]
		c.X = chainIndent + chainCell/2 + (i%columns)*chainCell
		c.Y = y + height + (i/columns)*chainCell - 2
		if i%columns > 0 {
			lane.Links = append(lane.Links, chainLink{c.X - chainCell + 10, c.X - 10, c.Y})
		}
	}
	lane.Cells = cells
	height += (len(cells) + columns - 1) / columns * chainCell
	for _, n := range laneNotes(pcr, int(float64(width-chainIndent)/chainChar)) {
		n.Y = y + height + 4
		lane.Notes = append(lane.Notes, n)
		height += chainNote
	}
	if len(lane.Notes) > 0 {
		height += chainNote / 2
	}
	return lane, height
}

// laneSummary says of a PCR how its events and its value stand.
func laneSummary(pcr *v1.BootPCR) string {
	if len(pcr.Events) == 0 {
		return "no events; value " + standingOf(pcr.Standing).Word
	}
	count := map[v1.Standing]int{}
	for i := range pcr.Events {
		count[pcr.Events[i].Standing]++
	}
	s := tally(count)
	if !pcr.Replayed {
		s = "value not explained by the log; " + s
	}
	return s
}

// foldEvents makes boxes of events. Where there are too many, the middle of every run of good ones becomes one box.
func foldEvents(pcr *v1.BootPCR) []chainCellView {
	var out []chainCellView
	fold := len(pcr.Events) > maxChainCell
	for i := 0; i < len(pcr.Events); {
		run := i
		for run < len(pcr.Events) && !weighs(pcr.Events[run].Standing) {
			run++
		}
		if n := run - i - 2*foldEnds; fold && n > 1 {
			for k := range foldEnds {
				out = append(out, eventCell(pcr, i+k))
			}
			out = append(out, chainCellView{
				View: standingOf(v1.Matched), Folded: n, Title: fmt.Sprintf("%d more events, none of which weighs", n),
			})
			for k := range foldEnds {
				out = append(out, eventCell(pcr, run-foldEnds+k))
			}
			i = run
			continue
		}
		out = append(out, eventCell(pcr, i))
		i++
	}
	return out
}

func eventCell(pcr *v1.BootPCR, i int) chainCellView {
	e := &pcr.Events[i]
	c := chainCellView{View: standingOf(e.Standing), Hollow: e.Number == 0, Title: eventTitle(e)}
	if weighs(e.Standing) {
		c.Anchor = eventAnchor(pcr.Index, i)
	}
	return c
}

// eventAnchor is the id of an event's row.
func eventAnchor(pcr, i int) string { return fmt.Sprintf("pcr-%d-event-%d", pcr, i+1) }

func eventTitle(e *v1.BootEvent) string {
	s := e.Type
	if e.Number > 0 {
		s = fmt.Sprintf("%d: %s", e.Number, e.Type)
	}
	if e.Text != "" {
		s += ", " + clipMiddle(e.Text, 120)
	}
	return s + " (" + standingOf(e.Standing).Word + ")"
}

// laneNotes tells of the events that weigh.
func laneNotes(pcr *v1.BootPCR, room int) []chainNoteView {
	var out []chainNoteView
	left := 0
	for i := range pcr.Events {
		e := &pcr.Events[i]
		if !weighs(e.Standing) {
			continue
		}
		if len(out) == chainNotes {
			left++
			continue
		}
		v := standingOf(e.Standing)
		what := e.Text
		if what == "" {
			what = e.Type
		}
		out = append(out, chainNoteView{
			Text: v.Word + ": " + clipMiddle(what, max(8, room-len(v.Word)-2)), Class: v.Class, Anchor: eventAnchor(pcr.Index,
				i),
		})
	}
	if left > 0 {
		out = append(out, chainNoteView{
			Text: fmt.Sprintf("and %d more", left), Class: "warn",
			Anchor: fmt.Sprintf("pcr-%d", pcr.Index),
		})
	}
	return out
}

// plural returns a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	s, _ := num(n) // an int is always a number
	return s + " " + noun + "s"
}
