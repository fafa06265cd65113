package main

import (
	"strings"
	"unicode/utf8"
)

// Widths of running text, in columns.
const (
	plainWidth = 100 // where the output is no terminal
	leastWidth = 40
	mostWidth  = 120 // longer lines are hard to read
)

// runningWidth returns how wide running text may be.
func (a *app) runningWidth() int {
	n := a.columns
	if n == 0 {
		return plainWidth
	}
	return min(max(n-1, leastWidth), mostWidth)
}

// wrap breaks a text, which is escaped, into lines of at most width characters, at spaces. A word that is longer than a line
// is broken, so that no terminal breaks it where it likes.
func wrap(s string, width int) []string {
	width = max(width, 1)
	var lines []string
	line, n := "", 0
	for _, word := range strings.Fields(s) {
		length := utf8.RuneCountInString(word)
		if n > 0 && n+1+length <= width {
			line, n = line+" "+word, n+1+length
			continue
		}
		if n > 0 {
			lines = append(lines, line)
		}
		for ; length > width; length -= width {
			head := string([]rune(word)[:width])
			lines, word = append(lines, head), word[len(head):]
		}
		line, n = word, length
	}
	if n > 0 {
		lines = append(lines, line)
	}
	return lines
}

// writeWrapped writes text under a label: "label  text", continued under the text. Both are escaped here; an empty text is
// not written, and a label that is too long is cut.
func writeWrapped(b *strings.Builder, indent, labelWidth int, label, text string, width int) {
	label = clip(safe(label), max(labelWidth, 1))
	start := indent
	if labelWidth > 0 {
		start += labelWidth + 2
	}
	for i, line := range wrap(safe(text), max(width-start, leastWidth/2)) {
		head := strings.Repeat(" ", start)
		if i == 0 && labelWidth > 0 {
			head = strings.Repeat(" ", indent) + label + strings.Repeat(" ", labelWidth+2-utf8.RuneCountInString(label))
		}
		b.WriteString(head + line + "\n")
	}
}
