package policy

import (
	"slices"
	"strings"

	"github.com/probity-attest/probity/verifier/result"
)

// match says which devices a group is for: all that is set must fit, of a list one. The zero match fits every device.
type match struct {
	groups, vendors, models []string // globs
	levels                  []result.Level
	labels                  map[string]string // label: glob
}

// match reads the key match.
func (f field) match() match {
	m := match{}
	there := 0
	globs := func(to *[]string) func(field) {
		return func(f field) {
			there++
			if *to = f.texts(maxPattern); len(f.node.Content) == 0 {
				f.fail("empty: it would match no device")
			}
		}
	}
	before := len(f.problems)
	f.keys(map[string]func(field){
		"groups": globs(&m.groups), "vendors": globs(&m.vendors), "models": globs(&m.models),
		"identity": func(f field) {
			there++
			for _, e := range f.list(4) {
				m.levels = append(m.levels, result.Level(e.choice("certified", "pinned", "first-use", "software")))
			}
			if len(f.node.Content) == 0 {
				f.fail("empty: it would match no device")
			}
		},
		"labels": func(f field) {
			m.labels = map[string]string{}
			for _, p := range f.pairs("a mapping of labels to what they must be") {
				there++
				m.labels[p.name] = p.text(maxPattern)
			}
		},
	})
	if there == 0 && len(f.problems) == before {
		f.fail("empty: what holds for all devices belongs to default")
	}
	return m
}

func (m *match) matches(d *Device) bool {
	for key, pattern := range m.labels {
		if value, ok := d.Labels[key]; !ok || !glob(pattern, value) {
			return false
		}
	}
	return anyOf(m.groups, d.Group) && anyOf(m.vendors, d.Vendor) && anyOf(m.models, d.Model) &&
		(m.levels == nil || slices.Contains(m.levels, d.Level))
}

// anyOf reports whether s fits one of the patterns, or there are none.
func anyOf(patterns []string, s string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

// glob reports whether s fits a pattern, in which * stands for any characters and ? for any one; all others,
// backslashes and slashes included, for themselves. Its time is bounded by the product of both lengths.
func glob(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, mark := -1, 0 // place of the last *, and of the text that follows what it stands for
	i, k := 0, 0
	for i < len(t) {
		switch {
		case k < len(p) && p[k] == '*':
			star, mark, k = k, i, k+1
		case k < len(p) && (p[k] == '?' || p[k] == t[i]):
			i, k = i+1, k+1
		case star >= 0:
			mark++
			i, k = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(string(p[k:]), "*") == ""
}
