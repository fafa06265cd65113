package reference

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
)

// denyList is a deny-list prepared for look-up.
type denyList struct {
	advisory, issuer string
	scope            modelKey // empty parts: any
	id               [sha256.Size]byte
}

// denial is one entry, under its digest.
type denial struct {
	list      *denyList
	component manifest.Component
	note      string
}

func (l *denyList) concerns(m modelKey) bool {
	return (l.scope.vendor == "" || l.scope.vendor == m.vendor) && (l.scope.model == "" || l.scope.model == m.model)
}

// deny gives every model the deny-lists that concern it, also models without documents.
func (b *builder) deny(documents []DenyList) {
	if len(documents) == 0 {
		return
	}
	denials := make(map[string][]denial)
	var lists []*denyList
	for i := range documents {
		d := &documents[i]
		l := &denyList{advisory: d.Advisory, issuer: d.Issuer, scope: modelKey{fold(d.Vendor), fold(d.Model)}}
		h := sha256.New()
		for _, s := range []string{d.Advisory, d.Issuer, l.scope.vendor, l.scope.model} {
			h.Write(encodedNumber(int64(len(s))))
			h.Write([]byte(s))
		}
		for _, e := range d.Entries {
			h.Write([]byte{byte(e.Component)})
			for _, x := range e.Digests {
				h.Write(x.Value)
				denials[string(x.Value)] = append(denials[string(x.Value)], denial{l, e.Component, e.Note})
			}
			h.Write([]byte(e.Note + "\x00"))
		}
		l.id = [sha256.Size]byte(h.Sum(nil))
		lists = append(lists, l)
		switch {
		case l.scope.model != "":
			b.model(d.Vendor, d.Model)
		case l.scope.vendor != "":
			b.vendors[l.scope.vendor] = &Model{scope: modelKey{vendor: l.scope.vendor}}
		default:
			b.others = &Model{}
		}
	}
	slices.SortStableFunc(lists, func(a, b *denyList) int { return strings.Compare(string(a.id[:]), string(b.id[:])) })
	give := func(m *Model, scope modelKey) {
		m.scope, m.denials = scope, denials
		for _, l := range lists {
			if l.concerns(scope) {
				m.lists = append(m.lists, l)
			}
		}
	}
	for key, m := range b.models {
		give(m, key)
	}
	for vendor, m := range b.vendors {
		give(m, modelKey{vendor: vendor})
		m.finish()
	}
	if b.others != nil {
		give(b.others, modelKey{})
		b.others.finish()
	}
}

// HasDenied reports whether there is a deny-list that concerns the model.
func (v *View) HasDenied() bool { return v != nil && len(v.model.lists) > 0 }

// Denied returns the advisory that a digest of a component is denied by, and what the advisory says of it.
func (v *View) Denied(component manifest.Component, digest []byte) (advisory, note string, denied bool) {
	if !v.HasDenied() {
		return "", "", false
	}
	for _, d := range v.model.denials[string(digest)] {
		if (d.component == component || d.component == manifest.AnyComponent) && d.list.concerns(v.model.scope) {
			return d.list.advisory + " (" + d.list.issuer + ")", d.note, true
		}
	}
	return "", "", false
}
