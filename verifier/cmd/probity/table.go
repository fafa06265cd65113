package main

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// cell is the text of one cell and its colour. Text is escaped when the table is written.
type cell struct{ text, colour string }

// table is rows of cells under headings, written with aligned columns.
type table struct {
	app   *app
	heads []string
	rows  [][]cell
	width int // most characters of one cell; 0: no limit
}

func (a *app) table(heads ...string) *table { return &table{app: a, heads: heads} }

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
	head := make([]cell, len(t.heads))
	for i, h := range t.heads {
		head[i] = cell{h, bold}
	}
	rows := append([][]cell{head}, t.rows...)
	width := make([]int, len(t.heads))
	for _, row := range rows {
		for i := range row {
			row[i].text = t.shown(row[i].text)
			width[i] = max(width[i], utf8.RuneCountInString(row[i].text))
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range rows {
		for i, c := range row {
			_, _ = out.WriteString(t.app.paint(c.text, c.colour)) // errors stay until Flush
			if i < len(row)-1 {
				_, _ = out.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		_ = out.WriteByte('\n')
	}
	return out.Flush()
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
