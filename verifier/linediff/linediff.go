// Package linediff is the difference between two texts, line by line, as people read it before they change a document.
//
// Limits: the longest common subsequence is looked for in a table; texts whose table would be too large are shown as
// replaced where they begin to differ.
package linediff

import "strings"

// Line is a line of a text that was changed: one that stays, was added or removed, or stands for some that are left out.
type Line struct {
	Mark byte // ' ', '+' or '-'; '@': lines that stay are left out here
	Text string
}

// String returns the line as diff -u shows it.
func (l Line) String() string { return string(l.Mark) + l.Text }

// context is how many unchanged lines are shown around changed ones.
const context = 3

// maxCells bounds the table of Lines; larger texts are shown as replaced where they begin to differ.
const maxCells = 16 << 20

// Lines returns the lines that differ between two texts, with some around them, by their longest common subsequence.
// Equal texts have none.
func Lines(before, after string) []Line {
	a, b := splitLines(before), splitLines(after)
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var all []Line
	for _, s := range a[:start] {
		all = append(all, Line{' ', s})
	}
	all = append(all, middle(a[start:len(a)-end], b[start:len(b)-end])...)
	for _, s := range a[len(a)-end:] {
		all = append(all, Line{' ', s})
	}
	return nearChanges(all)
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// middle compares two texts whose first and last lines differ.
func middle(a, b []string) (out []Line) {
	if (len(a)+1)*(len(b)+1) > maxCells {
		for _, s := range a {
			out = append(out, Line{'-', s})
		}
		for _, s := range b {
			out = append(out, Line{'+', s})
		}
		return out
	}
	width := len(b) + 1
	length := make([]int32, (len(a)+1)*width) // of the longest common subsequence from here on
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if a[i] == b[k] {
				length[i*width+k] = length[(i+1)*width+k+1] + 1
			} else {
				length[i*width+k] = max(length[(i+1)*width+k], length[i*width+k+1])
			}
		}
	}
	i, k := 0, 0
	for i < len(a) || k < len(b) {
		switch {
		case i < len(a) && k < len(b) && a[i] == b[k]:
			out = append(out, Line{' ', a[i]})
			i, k = i+1, k+1
		case k == len(b) || i < len(a) && length[(i+1)*width+k] >= length[i*width+k+1]:
			out = append(out, Line{'-', a[i]})
			i++
		default:
			out = append(out, Line{'+', b[k]})
			k++
		}
	}
	return out
}

// nearChanges leaves out what is far from every change.
func nearChanges(all []Line) (out []Line) {
	shown := make([]bool, len(all))
	for i, l := range all {
		if l.Mark == ' ' {
			continue
		}
		for k := max(0, i-context); k <= min(len(all)-1, i+context); k++ {
			shown[k] = true
		}
	}
	for i, l := range all {
		switch {
		case shown[i]:
			out = append(out, l)
		case i > 0 && shown[i-1]:
			out = append(out, Line{'@', "@"})
		}
	}
	return out
}
