package web

import (
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// searchPages registers the search for everything that a digest, file, GUID or advisory occurs in.
func (s *server) searchPages() {
	s.get("GET /search", "search", (*page).search)
}

// searchView is what was found.
type searchView struct {
	Query  string
	Found  *v1.Search // nil: nothing was asked for
	Groups []hitGroup
	What   string // what the query was taken for, in words
	Past   int    // devices that had it and have it no longer
	// Digest is the query where it is a digest that could be put on the deny-list.
	Digest string
	Denied bool
	Filter string // list of devices that have it now; empty: there is none
}

// hitGroup is the hits of one kind.
type hitGroup struct {
	Kind, Title, Why string
	Hits             []v1.Hit
}

var hitKinds = []hitGroup{
	{Kind: "denylist", Title: "Deny-list", Why: "known to be bad"},
	{Kind: "finding", Title: "Findings", Why: "of the devices' newest results"},
	{Kind: "device", Title: "Devices", Why: "that have it or once had it, by all evidence that is kept"},
	{Kind: "manifest", Title: "Manifests", Why: "published by vendors"},
	{Kind: "baseline", Title: "Baselines", Why: "taken from devices here"},
}

// queryKinds says in words what a query was taken for.
var queryKinds = map[string]string{
	"digest": "a digest", "guid": "a GUID", "file": "a file", "advisory": "an advisory", "text": "text",
}

// search shows the blast radius of something: every device, manifest and time that it occurs.
func (p *page) search() error {
	v := searchView{Query: strings.TrimSpace(p.r.URL.Query().Get("q"))}
	if v.Query == "" {
		return p.show("search", "Search", &v)
	}
	ask := url.Values{"q": {v.Query}}
	if s := p.r.URL.Query().Get("after"); s != "" {
		ask.Set("after", s)
	}
	v.Found = &v1.Search{}
	if err := p.api(http.MethodGet, withQuery("/v1/search", ask), nil, v.Found); err != nil {
		return err
	}
	v.fill()
	return p.show("search", "Search", &v)
}

func (v *searchView) fill() {
	v.What = queryKinds[v.Found.Kind]
	v.Past = max(0, v.Found.Devices-v.Found.Now)
	known := map[string]bool{}
	for _, g := range hitKinds {
		known[g.Kind] = true
		for _, h := range v.Found.Hits {
			if h.Kind == g.Kind {
				g.Hits = append(g.Hits, h)
			}
		}
		if len(g.Hits) > 0 {
			v.Groups = append(v.Groups, g)
		}
		v.Denied = v.Denied || g.Kind == "denylist" && len(g.Hits) > 0
	}
	other := hitGroup{Kind: "other", Title: "Elsewhere"}
	for _, h := range v.Found.Hits {
		if !known[h.Kind] {
			other.Hits = append(other.Hits, h)
		}
	}
	if len(other.Hits) > 0 {
		v.Groups = append(v.Groups, other)
	}
	if m := digestPattern.FindStringSubmatch(strings.ToLower(v.Query)); m != nil && len(m[1]) >= 64 {
		v.Digest = m[1]
		v.Filter = "/devices?digest=" + m[1]
	}
}
