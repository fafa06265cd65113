package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (s *server) devicesPages() {
	s.get("GET /devices", "list-devices", (*page).devices)
	s.get("GET /devices/export", "export-devices", (*page).export)
	s.bulkPages()
}

// deviceParameters are those of the list of devices that select: they are the same in the addresses of the dashboard
// and of the API, so that an address is a saved filter.
var deviceParameters = []string{
	"state", "status", "vendor", "model", "firmware", "group", "level", "finding", "cluster", "digest", "label", "q",
}

// deviceQuery returns what the address of the page selects.
func (p *page) deviceQuery() url.Values {
	out, asked := url.Values{}, p.r.URL.Query()
	for _, name := range deviceParameters {
		for _, v := range asked[name] {
			if v != "" {
				out.Add(name, v)
			}
		}
	}
	return out
}

// deviceFilter is the same as a document.
func deviceFilter(query url.Values) *v1.DeviceFilter {
	f := &v1.DeviceFilter{
		Status: query.Get("status"), Vendor: query.Get("vendor"), Model: query.Get("model"), Firmware: query.Get("firmware"),
		Group: query.Get("group"), Level: query.Get("level"), Finding: query.Get("finding"), Cluster: query.Get("cluster"),
		Digest: query.Get("digest"), Query: query.Get("q"),
	}
	for _, s := range query["state"] {
		f.State = append(f.State, result.State(s))
	}
	for _, l := range query["label"] {
		if name, value, ok := strings.Cut(l, "="); ok {
			if f.Labels == nil {
				f.Labels = map[string]string{}
			}
			f.Labels[name] = value
		}
	}
	return f
}

// devicesPage is what the page of devices shows.
type devicesPage struct {
	v1.Devices
	Facets  v1.Facets
	Counts  v1.Counts
	Cluster *v1.Cluster // that the list is about
	Filter  string      // the selection as a query
	Set     []chosen    // filters that have no field of their own on the page
	Any     bool        // there is a filter
	Labels  []labelFacet
}

type chosen struct{ Name, Text, Value, Without string }

type labelFacet struct {
	Name   string
	Values []v1.ValueCount
}

// devices lists devices. What is chosen stands in the address.
func (p *page) devices() error {
	selection := p.deviceQuery()
	out := devicesPage{Filter: selection.Encode(), Any: len(selection) > 0}
	query := p.deviceQuery()
	query.Set("sort", defaultSort)
	for _, name := range []string{"after", "sort", "order", "limit"} {
		if v := p.r.URL.Query().Get(name); v != "" {
			query.Set(name, v)
		}
	}
	err := p.ask(
		question{withQuery("/v1/devices", query), &out.Devices},
		question{"/v1/fleet/facets", &out.Facets},
		question{"/v1/counts", &out.Counts},
	)
	if err != nil {
		return err
	}
	if id := selection.Get("cluster"); id != "" {
		var c v1.Cluster
		if err := p.api(http.MethodGet, pathTo("v1", "fleet", "clusters", id), nil, &c); err == nil {
			out.Cluster = &c // one that nobody shows any more has no words: the list is empty and says so
		}
	}
	out.Set = p.chosen(selection, out.Cluster)
	for name, values := range out.Facets.Labels {
		out.Labels = append(out.Labels, labelFacet{name, values})
	}
	slices.SortFunc(out.Labels, func(a, b labelFacet) int { return strings.Compare(a.Name, b.Name) })
	return p.show("devices", "Devices", out)
}

// chosen returns the filters that are set and have no field of their own.
func (p *page) chosen(selection url.Values, cluster *v1.Cluster) (out []chosen) {
	v := view{page: p}
	for _, f := range []struct{ name, text string }{
		{"cluster", "failure"},
		{"digest", "has digest"},
		{"level", "identity"},
		{"status", "status"},
		{"vendor", "vendor"},
	} {
		value := selection.Get(f.name)
		if value == "" {
			continue
		}
		c := chosen{Name: f.name, Text: f.text, Value: value, Without: v.With(f.name, "")}
		if f.name == "cluster" && cluster != nil {
			c.Value = cluster.Component
		}
		out = append(out, c)
	}
	for _, l := range selection["label"] {
		out = append(out, chosen{Name: "label", Text: "label", Value: l, Without: v.Toggle("label", l)})
	}
	return out
}

// export hands the selection over as a file.
func (p *page) export() error {
	query := p.deviceQuery()
	query.Set("format", "csv")
	if p.r.URL.Query().Get("format") == "json" {
		query.Set("format", "json")
	}
	return p.forward(withQuery("/v1/devices/export", query))
}

// defaultSort puts first what asks for attention.
const defaultSort = "state"

// order is a column by which the list can be put in order.
type order struct {
	Name   string
	Sorted string // value of aria-sort; empty: it is not by this one
	Link   string // puts the list in this order, or turns it round
}

// Order returns a column of the list: sort as the API has it, and whether it begins with the newest.
func (v *view) Order(sort, name string, newest bool) order {
	query := without(v.r.URL.Query(), cursors...)
	out, next := order{Name: name}, ""
	if cmp.Or(query.Get("sort"), defaultSort) == sort {
		down := query.Get("order") == "desc" || query.Get("order") == "" && newest
		out.Sorted, next = "ascending", "desc"
		if down {
			out.Sorted, next = "descending", "asc"
		}
	}
	query.Set("sort", sort)
	if query.Del("order"); next != "" {
		query.Set("order", next)
	}
	out.Link = withQuery(v.r.URL.Path, query)
	return out
}

// States are all states, in the order in which they are shown.
func (v *view) States() []result.State { return states }
