package main

import (
	"fmt"
	"io"
	"strings"
)

// meter shows on a terminal how long work goes on. Elsewhere it shows nothing.
type meter struct {
	w     io.Writer // nil: nothing is shown
	shown bool
}

// meter returns one on stderr.
func (a *app) meter() *meter {
	if !isTerminal(a.stderr) {
		return &meter{}
	}
	return &meter{w: a.stderr}
}

// at shows that done of total is done; a total of 0 is not known.
func (m *meter) at(what string, done, total uint64) {
	if m.w == nil {
		return
	}
	m.text(gauge(what, done, total))
}

// of shows that done of total things are done.
func (m *meter) of(done, total int, what string) {
	if m.w == nil {
		return
	}
	if total == 0 {
		m.text(what + " ...")
		return
	}
	full := min(done*gaugeWidth/total, gaugeWidth)
	m.text(fmt.Sprintf("[%s%s] %s of %s %s", strings.Repeat("#", full), strings.Repeat(".", gaugeWidth-full), grouped(done),
		grouped(total), what))
}

// text shows a line.
func (m *meter) text(s string) {
	if m.w == nil {
		return
	}
	m.shown = true
	fmt.Fprintf(m.w, "\r\x1b[K%s", safe(s)) // ECMA-48: erase to the end of the line
}

// end leaves the line as it was.
func (m *meter) end() {
	if m.shown {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

const gaugeWidth = 30

// gauge returns a line such as "bios [######....] 42 %  3.4 of 8.0 MiB".
func gauge(what string, done, total uint64) string {
	what = clip(safe(what), gaugeWidth)
	if total == 0 {
		return what + " ..."
	}
	const mib = 1 << 20
	part := min(float64(done)/float64(total), 1)
	full := int(part * gaugeWidth)
	return fmt.Sprintf("%s [%s%s] %3.0f %%  %.1f of %.1f MiB", what, strings.Repeat("#", full), strings.Repeat(".", gaugeWidth-full),
		100*part, float64(done)/mib, float64(total)/mib)
}
