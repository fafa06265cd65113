package linediff

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func shown(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.String())
	}
	return strings.Join(out, "|")
}

func TestLines(t *testing.T) {
	for _, tt := range []struct{ before, after, want string }{
		{"", "", ""},
		{"a\nb\n", "a\nb\n", ""},
		{"a\n", "a", ""}, // the end of the last line is no line
		{"", "a\nb\n", "+a|+b"},
		{"a\nb\n", "", "-a|-b"},
		{"a\nb\nc\n", "a\nx\nc\n", " a|-b|+x| c"},
		{"a\nb\nc\n", "a\nc\n", " a|-b| c"},
		{"a\nc\n", "a\nb\nc\n", " a|+b| c"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\nx\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\ny\n", " 7| 8| 9|-x|+y"},
		{"x\n1\n2\n3\n4\n5\n6\n7\n8\n9\nx\n", "y\n1\n2\n3\n4\n5\n6\n7\n8\n9\ny\n", "-x|+y| 1| 2| 3|@@| 7| 8| 9|-x|+y"},
	} {
		if got := shown(Lines(tt.before, tt.after)); got != tt.want {
			t.Errorf("Lines(%q, %q) = %s, want %s", tt.before, tt.after, got, tt.want)
		}
	}
}

// TestMiddleGivesBoth: lines that stay or were removed make the old text, lines that stay or were added the new one.
func TestMiddleGivesBoth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() (out []string) {
		for range random.IntN(30) {
			out = append(out, fmt.Sprint(random.IntN(4)))
		}
		return out
	}
	for range 500 {
		a, b := text(), text()
		var before, after []string
		kept := 0
		for _, l := range middle(a, b) {
			if l.Mark != '+' {
				before = append(before, l.Text)
			}
			if l.Mark != '-' {
				after = append(after, l.Text)
			}
			if l.Mark == ' ' {
				kept++
			}
		}
		if strings.Join(before, ",") != strings.Join(a, ",") || strings.Join(after, ",") != strings.Join(b, ",") {
			t.Fatalf("middle(%q, %q) gives %q and %q back", a, b, before, after)
		}
		if kept < common(a, b) {
			t.Fatalf("middle(%q, %q) keeps %d lines, want the most that can stay, %d", a, b, kept, common(a, b))
		}
	}
}

// common is the length of the longest common subsequence, the slow way.
func common(a, b []string) int {
	row := make([]int, len(b)+1)
	for i := range a {
		last := 0
		for k := range b {
			was := row[k+1]
			if a[i] == b[k] {
				row[k+1] = last + 1
			} else {
				row[k+1] = max(row[k+1], row[k])
			}
			last = was
		}
	}
	return row[len(b)]
}

func TestLinesIsBounded(t *testing.T) {
	var a, b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&a, "a%d\n", i)
		fmt.Fprintf(&b, "b%d\n", i)
	}
	if got := Lines(a.String(), b.String()); len(got) != 40_000 {
		t.Errorf("Lines of two large texts has %d lines, want all of both", len(got))
	}
}
