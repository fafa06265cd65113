package tcgrim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// canonical returns n and what is in it in Canonical XML 1.0 without comments (W3C Recommendation of 15 March 2001), as
// the apex of a document subset: namespaces in scope and attributes such as xml:lang are inherited (section 2.4). The
// element without is left out.
func canonical(n, without *node) []byte {
	var c canonicaliser
	c.without = without
	scope := map[string]string{}
	apex := *n
	for e := n.parent; e != nil; e = e.parent { // the nearest one counts
		for prefix, uri := range e.declares {
			if _, nearer := scope[prefix]; !nearer {
				scope[prefix] = uri
			}
		}
		for _, a := range e.attrs {
			same := func(o attr) bool { return o.prefix == "xml" && o.local == a.local }
			if a.prefix == "xml" && !slices.ContainsFunc(apex.attrs, same) {
				apex.attrs = append(slices.Clip(apex.attrs), a)
			}
		}
	}
	maps.Copy(scope, n.declares)
	apex.declares = scope
	c.element(&apex, map[string]string{})
	return []byte(c.b.String())
}

type canonicaliser struct {
	b       strings.Builder
	without *node
}

// element writes n inside an element that has written the namespaces of scope.
func (c *canonicaliser) element(n *node, scope map[string]string) {
	name := n.local
	if n.prefix != "" {
		name = n.prefix + ":" + n.local
	}
	c.b.WriteString("<" + name)
	scope = c.namespaces(n, scope)
	attrs := slices.Clone(n.attrs)
	slices.SortFunc(attrs, func(a, b attr) int {
		x, _ := n.attributeNamespace(a)
		y, _ := n.attributeNamespace(b)
		return cmp.Or(strings.Compare(x, y), strings.Compare(a.local, b.local))
	})
	for _, a := range attrs {
		if a.prefix != "" {
			a.local = a.prefix + ":" + a.local
		}
		c.b.WriteString(" " + a.local + `="` + attributeEscapes.Replace(a.value) + `"`)
	}
	c.b.WriteString(">")
	for _, child := range n.children {
		switch x := child.(type) {
		case text:
			c.b.WriteString(textEscapes.Replace(string(x)))
		case *node:
			if x != c.without {
				c.element(x, scope)
			}
		}
	}
	c.b.WriteString("</" + name + ">")
}

// namespaces writes the declarations of n that aren't those of scope, the default one first, and returns the new scope.
func (c *canonicaliser) namespaces(n *node, scope map[string]string) map[string]string {
	if len(n.declares) == 0 {
		return scope
	}
	scope = maps.Clone(scope)
	for _, prefix := range slices.Sorted(maps.Keys(n.declares)) {
		uri := n.declares[prefix]
		if scope[prefix] == uri { // also xmlns="" where there is no default namespace
			continue
		}
		scope[prefix] = uri
		name := "xmlns"
		if prefix != "" {
			name += ":" + prefix
		}
		c.b.WriteString(" " + name + `="` + attributeEscapes.Replace(uri) + `"`)
	}
	return scope
}

// Escapes of section 2.3.
var (
	attributeEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
	textEscapes      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
)
