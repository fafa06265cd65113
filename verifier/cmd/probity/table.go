package main

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// cell is the text of one cell and its colour. Text is escaped when the table is written.
type cell struct{ text, colour string }

// heading is what stands above a column; one that is extra is only shown with -o wide.
type heading struct {
	name  string
	extra bool
}

// table is rows of cells under headings, written with aligned columns.
type table struct {
	app   *app
	heads []heading
	rows  [][]cell
	width int // most characters of one cell; 0: no limit
}

// table returns an empty table. Headings that begin with "+" are extra.
func (a *app) table(heads ...string) *table {
	t := &table{app: a, heads: make([]heading, len(heads))}
	for i, h := range heads {
		t.heads[i].name, t.heads[i].extra = strings.CutPrefix(h, "+")
	}
	return t
}

// add appends a row without colours.
func (t *table) add(texts ...string) {
	row := make([]cell, len(texts))
	for i, s := range texts {
		row[i] = cell{text: s}
	}
	t.rows = append(t.rows, row)
}

// write writes the table. Empty cells show as "-".
func (t *table) write(w io.Writer) error {
	wide := t.app.output == "wide"
	if wide {
		t.width = 0
	}
	var columns []int // that are shown
	head := make([]cell, len(t.heads))
	for i, h := range t.heads {
		head[i] = cell{h.name, bold}
		if wide || !h.extra {
			columns = append(columns, i)
		}
	}
	rows := append([][]cell{head}, t.rows...)
	width := make([]int, len(t.heads))
	for _, row := range rows {
		for i := range row {
			row[i].text = t.shown(row[i].text)
			width[i] = max(width[i], utf8.RuneCountInString(row[i].text))
		}
	}
	if !wide {
		t.fit(width, columns)
	}
	out := bufio.NewWriter(w)
	for _, row := range rows {
		for n, i := range columns {
			text := clip(row[i].text, width[i])
			_, _ = out.WriteString(t.app.paint(text, row[i].colour)) // errors stay until Flush
			if n < len(columns)-1 {
				_, _ = out.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)+2))
			}
		}
		_ = out.WriteByte('\n')
	}
	return out.Flush()
}

// leastColumn is how narrow a column may become, so that rows fit on a terminal: ids stay whole.
const leastColumn = 16

// fit makes the widest columns narrower until a row fits on the terminal's line, as far as that is possible.
func (t *table) fit(width, columns []int) {
	if t.app.columns == 0 {
		return
	}
	over := 2*(len(columns)-1) - t.app.columns
	for _, i := range columns {
		over += width[i]
	}
	for ; over > 0; over-- {
		widest := columns[0]
		for _, i := range columns {
			if width[i] >= width[widest] {
				widest = i
			}
		}
		if width[widest] <= leastColumn {
			return
		}
		width[widest]--
	}
}

func (t *table) shown(s string) string {
	if s == "" {
		return "-"
	}
	s = safe(s)
	if t.width > 0 {
		s = clip(s, t.width)
	}
	return s
}
