package reference

import (
	"cmp"
	"slices"
	"strings"
)

// Growth is a flash region that leaves more out of its digest than the version before it did. What hides something
// would begin so.
type Growth struct {
	Before  string // name of the document of the version before
	Was, Is []Range
}

// Grown returns how a flash region's excluded ranges grew, false where they did not.
func (c *Compiled) Grown(region string) (Growth, bool) {
	g, ok := c.grown[region]
	return g, ok
}

// growths compares every manifest with the one before it.
func (m *Model) growths() {
	for _, c := range m.documents {
		if c.head == nil || !c.HasFlash() {
			continue
		}
		before := m.before(c)
		if before == nil {
			continue
		}
		for i := range c.regions {
			now := &c.regions[i]
			was := before.Region(now.Name)
			if was == nil || !exceeds(now.Excluded, was.Excluded) {
				continue
			}
			if c.grown == nil {
				c.grown = make(map[string]Growth)
			}
			c.grown[now.Name] = Growth{Before: before.label(), Was: was.Excluded, Is: now.Excluded}
		}
	}
}

// before returns the manifest of the version before c: the newest of those that it supersedes, else of those that are
// older than it. It is nil where there is none.
func (m *Model) before(c *Compiled) *Compiled {
	var superseded, older *Compiled
	for _, o := range m.documents {
		if o == c || o.head == nil || !o.HasFlash() {
			continue
		}
		for _, s := range c.head.Supersedes {
			if s.ID == o.Name && (superseded == nil || newer(o, superseded)) {
				superseded = o
			}
		}
		if newer(c, o) && (older == nil || newer(o, older)) {
			older = o
		}
	}
	if superseded != nil {
		return superseded
	}
	return older
}

// newer reports whether a is of a newer version than b: by SVN, then by the version's numbers and words.
func newer(a, b *Compiled) bool {
	return cmp.Or(cmp.Compare(a.SVN, b.SVN), compareVersions(a.Firmware, b.Firmware)) > 0
}

// compareVersions compares version names so that 2.10 comes after 2.9.
func compareVersions(a, b string) int {
	x, y := words(a), words(b)
	return slices.CompareFunc(x, y, func(v, w string) int {
		if isDigit(v[0]) && isDigit(w[0]) {
			v, w = strings.TrimLeft(v, "0"), strings.TrimLeft(w, "0")
			return cmp.Or(cmp.Compare(len(v), len(w)), strings.Compare(v, w))
		}
		return strings.Compare(v, w)
	})
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// words cuts a text between digits and others, leaving punctuation out.
func words(s string) []string {
	var out []string
	for s != "" {
		n := 1
		for n < len(s) && isDigit(s[n]) == isDigit(s[0]) && !strings.ContainsRune(".-_+~ ", rune(s[n])) {
			n++
		}
		if !strings.ContainsRune(".-_+~ ", rune(s[0])) {
			out = append(out, s[:n])
		}
		s = s[n:]
	}
	return out
}

// exceeds reports whether ranges hold a byte that is in none of others. Those of a document do not touch each other.
func exceeds(ranges, others []Range) bool {
	for _, r := range ranges {
		if !slices.ContainsFunc(others, func(o Range) bool {
			return r.Offset >= o.Offset && r.Offset+r.Length <= o.Offset+o.Length
		}) {
			return true
		}
	}
	return false
}
