package image

import "crypto/sha256"

// key is what two parts must share to be matched.
type key struct {
	kind Kind
	what string
	guid GUID
	name string
}

func (p *Part) key() key {
	k := key{kind: p.Kind}
	switch p.Kind {
	case KindVolume, KindFile, KindNVRAM:
		k.guid = p.GUID
	case KindVariable:
		k.guid, k.name, k.what = p.GUID, p.Name, p.Type
	case KindSection:
		k.guid, k.what = p.GUID, p.Type
	case KindRegion, KindMicrocode, KindOptionROM, KindProgramPart, KindFITImage, KindConfiguration, KindUImagePart:
		k.name = p.Name
	}
	return k
}

// match finds for every part of now its partner in old, nil if it has none, and the parts of old that are no partner.
// Among parts of the same key, those of the same content are partners first, then the others in their order.
func match(old, now []*Part) (partner []*Part, removed []*Part) {
	type group struct{ old, now []int }
	groups := make(map[key]*group)
	at := func(k key) *group {
		g := groups[k]
		if g == nil {
			g = &group{}
			groups[k] = g
		}
		return g
	}
	for i, p := range old {
		g := at(p.key())
		g.old = append(g.old, i)
	}
	for i, p := range now {
		g := at(p.key())
		g.now = append(g.now, i)
	}
	partner, taken := make([]*Part, len(now)), make([]bool, len(old))
	pair := func(i, j int) { partner[j], taken[i] = old[i], true }
	for _, g := range groups {
		if len(g.old) == 1 && len(g.now) == 1 {
			pair(g.old[0], g.now[0])
			continue
		}
		same := make(map[[32]byte][]int, len(g.old))
		for _, i := range g.old {
			sum := sha256.Sum256(old[i].data)
			same[sum] = append(same[sum], i)
		}
		for _, j := range g.now {
			sum := sha256.Sum256(now[j].data)
			if s := same[sum]; len(s) > 0 {
				pair(s[0], j)
				same[sum] = s[1:]
			}
		}
		rest := g.old
		for _, j := range g.now {
			for len(rest) > 0 && taken[rest[0]] {
				rest = rest[1:]
			}
			if partner[j] == nil && len(rest) > 0 {
				pair(rest[0], j)
			}
		}
	}
	for i, p := range old {
		if !taken[i] {
			removed = append(removed, p)
		}
	}
	return partner, removed
}
