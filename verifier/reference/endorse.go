package reference

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// independent sorts endorsers and gives those who share a key one name: they are not two.
func independent(list []Endorser) []Endorser {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b Endorser) int {
		return cmp.Or(strings.Compare(a.Issuer, b.Issuer), strings.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Role, b.Role))
	})
	for changed := true; changed; {
		changed = false
		owner := make(map[string]string)
		for i := range out {
			if first, ok := owner[out[i].KeyID]; ok && first != out[i].Issuer {
				was := out[i].Issuer
				for k := range out {
					if out[k].Issuer == was {
						out[k].Issuer, changed = first, true
					}
				}
			}
			if out[i].KeyID != "" {
				owner[out[i].KeyID] = out[i].Issuer
			}
		}
	}
	return slices.Compact(out)
}

// Lacks says, for people, which endorsers a document lacks of those that are needed by role: "1 of 2 labs". It is empty
// where it lacks none, and for a baseline, which the operator made. Each endorser counts once, whatever roles it has.
func (c *Compiled) Lacks(need map[Role]int) string {
	if c.Kind == KindBaseline || len(need) == 0 {
		return ""
	}
	roles := slices.Sorted(maps.Keys(need))
	m := matching{roles: make(map[string][]Role), taken: make(map[place]string)}
	for _, e := range c.endorsers {
		m.roles[e.Issuer] = append(m.roles[e.Issuer], e.Role)
	}
	m.need = need
	for _, issuer := range slices.Sorted(maps.Keys(m.roles)) {
		m.seat(issuer, make(map[place]bool))
	}
	var lacking []string
	for _, role := range roles {
		have := 0
		for p := range m.taken {
			if p.role == role {
				have++
			}
		}
		if have < need[role] {
			lacking = append(lacking, fmt.Sprintf("%d of %d with role %s", have, need[role], role))
		}
	}
	return strings.Join(lacking, ", ")
}

// Endorsers names who endorsed a document, for people.
func (c *Compiled) Endorsers() string {
	var names []string
	for _, e := range c.endorsers {
		names = append(names, e.Issuer+" ("+string(e.Role)+")")
	}
	return strings.Join(slices.Compact(names), ", ")
}

// place is one of the endorsers that a policy wants of a role.
type place struct {
	role Role
	n    int
}

// matching seats as many endorsers as possible: a maximum bipartite matching by augmenting paths (Kuhn).
type matching struct {
	need  map[Role]int
	roles map[string][]Role
	taken map[place]string
}

func (m *matching) seat(issuer string, tried map[place]bool) bool {
	for _, role := range m.roles[issuer] {
		for n := range min(m.need[role], len(m.roles)) {
			p := place{role, n}
			if tried[p] {
				continue
			}
			tried[p] = true
			if other, ok := m.taken[p]; !ok || m.seat(other, tried) {
				m.taken[p] = issuer
				return true
			}
		}
	}
	return false
}
