package web

import (
	"fmt"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// standingView is how pages show a standing: a word, a mark that needs no colour, and a sentence.
type standingView struct {
	Word  string // of the badge
	Class string // of the style sheet: good, quiet, warn or bad
	// Mark is the outline of the sign in a box of 16 by 16 around the origin, as the attribute d of an SVG path.
	Mark    string
	Meaning string
}

// Marks of standings.
const (
	markCheck = "M-4.5 0.5L-1.5 3.5L4.5-3.5"
	markCross = "M-4-4L4 4M4-4L-4 4"
	markQuery = "M-3-2.2C-3-6.2 3-6.2 3-2.4C3 0 0-0.2 0 2M0 4.6V5"
	markDash  = "M-4 0H4"
	markDot   = "M-1 0H1M0-1V1"
	markBang  = "M0-5V1.6M0 4.6V5"
	markSlash = "M-4 4L4-4"
	markRing  = "M-3.5 0A3.5 3.5 0 1 0 3.5 0A3.5 3.5 0 1 0-3.5 0"
)

var standings = map[v1.Standing]standingView{
	v1.Matched:    {"matched", "good", markCheck, "a reference value has it"},
	v1.Explained:  {"explained", "good", markDot, "fixed by the standard, or follows from the rest"},
	v1.Unknown:    {"unknown", "bad", markQuery, "reference values cover the place and do not have it"},
	v1.Changed:    {"changed", "bad", markCross, "reference values state another content"},
	v1.Missing:    {"missing", "bad", markDash, "reference values require it and it was not measured"},
	v1.Denied:     {"deny-listed", "bad", markCross, "it is on a deny-list"},
	v1.Uncovered:  {"not covered", "quiet", markRing, "no reference value speaks of it"},
	v1.Excluded:   {"excluded", "quiet", markSlash, "the signed reference leaves it out"},
	v1.Unreadable: {"unreadable", "warn", markBang, "the device could not read it"},
}

// standingOf returns how a standing is shown. One that a newer verifier has and this page does not know is shown by its
// name and never as good.
func standingOf(s v1.Standing) standingView {
	if v, ok := standings[s]; ok {
		return v
	}
	return standingView{string(s), "warn", markBang, "this page does not know the standing"}
}

// weighs reports whether a standing is one that an operator must look at.
func weighs(s v1.Standing) bool {
	c := standingOf(s).Class
	return c == "bad" || c == "warn"
}

// standingOrder is the order in which summaries and legends tell of standings.
var standingOrder = []v1.Standing{
	v1.Denied, v1.Changed, v1.Unknown, v1.Missing, v1.Unreadable, v1.Uncovered, v1.Excluded, v1.Matched, v1.Explained,
}

// tally says how many of each standing there are, the worst first, such as "1 unknown, 12 matched".
func tally(count map[v1.Standing]int) string {
	var parts []string
	left := 0
	for _, n := range count {
		left += n
	}
	for _, s := range standingOrder {
		if n := count[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, standingOf(s).Word))
			left -= n
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d other", left))
	}
	return strings.Join(parts, ", ")
}

// clipText shortens s to n characters, the last of which is then an ellipsis.
func clipText(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// clipMiddle shortens s to n characters and keeps its end, by which file names and paths differ.
func clipMiddle(s string, n int) string {
	r := []rune(s)
	if len(r) <= n || n < 5 {
		return clipText(s, n)
	}
	head := (n - 1) / 3
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}
