package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// chart is the history of a fleet as a picture: areas, one on the other, one for each state. It needs no script; with
// one, the same data becomes a chart that can be read point by point.
type chart struct {
	Areas  []area
	Ticks  []tick // of time, from left to right
	Levels []tick // of devices, from the top
	Empty  bool
}

type area struct {
	State  result.State
	Points string // of a polygon
}

type tick struct {
	At   float64
	Text string
}

// Size of the picture in its own units.
const (
	chartWidth, chartHeight = 900.0, 220.0
	chartLeft, chartBottom  = 44.0, 24.0
	chartTop                = 8.0
)

// draw lays out a history. Series that are shorter than the times, which an API of another version may send, count as 0.
func draw(h v1.History, long time.Duration) chart {
	n, highest := len(h.At), 0
	sum := make([]int, n)
	for i := range n {
		for _, s := range states {
			sum[i] += at(h.States[s], i)
		}
		highest = max(highest, sum[i])
	}
	if n < 2 || highest == 0 {
		return chart{Empty: true}
	}
	top := roundUp(highest)
	x := func(i int) float64 { return chartLeft + (chartWidth-chartLeft)*float64(i)/float64(n-1) }
	y := func(v int) float64 {
		return chartTop + (chartHeight-chartBottom-chartTop)*(1-float64(v)/float64(top))
	}
	var out chart
	base := make([]int, n)
	for _, s := range states {
		var up, down strings.Builder
		seen := false
		for i := range n {
			v := at(h.States[s], i)
			seen = seen || v > 0
			fmt.Fprintf(&up, "%.1f,%.1f ", x(i), y(base[i]+v))
		}
		for i := n - 1; i >= 0; i-- {
			fmt.Fprintf(&down, "%.1f,%.1f ", x(i), y(base[i]))
			base[i] += at(h.States[s], i)
		}
		if seen {
			out.Areas = append(out.Areas, area{s, up.String() + strings.TrimSpace(down.String())})
		}
	}
	layout := "15:04"
	if long > 48*time.Hour {
		layout = "2 Jan"
	}
	const times = 6
	for k := range times {
		i := (n - 1) * (2*k + 1) / (2 * times)
		out.Ticks = append(out.Ticks, tick{x(i), time.Unix(h.At[i], 0).UTC().Format(layout)})
	}
	for _, v := range []int{top, top / 2, 0} {
		text, _ := num(v) // never fails: an int
		out.Levels = append(out.Levels, tick{y(v), text})
	}
	return out
}

func at(series []int, i int) int {
	if i < len(series) {
		return max(series[i], 0)
	}
	return 0
}

// roundUp returns the next even number with one leading digit that counts, for the scale.
func roundUp(n int) int {
	step := 1
	for step*10 < n {
		step *= 10
	}
	return max(2, (n+step-1)/step*step+(n+step-1)/step%2*step)
}

// bar draws the states of a fleet as one bar: shares of its width.
func bar(counts map[result.State]int) template.HTML {
	total := 0
	for _, s := range states {
		total += max(counts[s], 0)
	}
	var b strings.Builder
	b.WriteString(`<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">`)
	from := 0.0
	for _, s := range states {
		if n := max(counts[s], 0); n > 0 {
			width := 1000 * float64(n) / float64(total)
			fmt.Fprintf(&b, `<rect class="fill-%s" x="%.2f" y="0" width="%.2f" height="10"/>`, s, from, width)
			from += width
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// meter draws part of whole as a bar.
func meter(part, whole int) template.HTML {
	width := 0.0
	if whole > 0 {
		width = 1000 * float64(min(max(part, 0), whole)) / float64(whole)
	}
	return template.HTML(fmt.Sprintf(`<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" `+
		`aria-hidden="true"><rect class="fill-accent" x="0" y="0" width="%.2f" height="10"/></svg>`, width))
}
