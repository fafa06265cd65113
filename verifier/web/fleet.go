package web

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (s *server) fleetPages() { s.get("GET /{$}", "", (*page).fleet) }

// ranges are the times that the fleet page looks back.
var ranges = []struct {
	Name, Text string
	Long       time.Duration
	Points     int
}{
	{"6h", "6 hours", 6 * time.Hour, 72},
	{"24h", "24 hours", 24 * time.Hour, 96},
	{"7d", "7 days", 7 * 24 * time.Hour, 84},
	{"30d", "30 days", 30 * 24 * time.Hour, 90},
}

const (
	fleetClusters = 25 // that the fleet page shows
	fleetChanges  = 12
)

// fleet is what the fleet page shows.
type fleet struct {
	v1.Summary
	List    v1.Clusters
	History v1.History
	Chart   chart
	Recent  v1.Changes
	Range   string
	Ranges  any
	Oldest  int // devices in the largest bucket of ages, for its scale
}

// fleet shows the fleet at one moment. Who may not see devices is led to what they may see.
func (p *page) fleet() error {
	if !p.can("get-fleet-summary") {
		for _, s := range navigation {
			for _, l := range s.Pages {
				if l.Path != "/" && p.can(l.operation) {
					return p.redirect(l.Path)
				}
			}
		}
	}
	out := fleet{Range: "24h", Ranges: ranges}
	if err := p.api(http.MethodGet, "/v1/fleet/summary", nil, &out.Summary); err != nil {
		return err
	}
	if out.Total == 0 && out.Pending == 0 && p.can("create-token") && !p.fragment() {
		return p.redirect("/welcome")
	}
	chosen := ranges[1]
	for _, r := range ranges {
		if r.Name == p.r.URL.Query().Get("range") {
			chosen = r
		}
	}
	out.Range = chosen.Name
	now := p.Now().UTC().Truncate(time.Minute)
	err := p.ask(
		question{withQuery("/v1/fleet/clusters", url.Values{"limit": {strconv.Itoa(fleetClusters)}}), &out.List},
		question{withQuery("/v1/fleet/changes", url.Values{"limit": {strconv.Itoa(fleetChanges)}}), &out.Recent},
		question{withQuery("/v1/fleet/history", url.Values{
			"from": {now.Add(-chosen.Long).Format(time.RFC3339)}, "to": {now.Format(time.RFC3339)},
			"points": {strconv.Itoa(chosen.Points)},
		}), &out.History},
	)
	if err != nil {
		return err
	}
	out.Chart = draw(out.History, chosen.Long)
	for _, a := range out.Ages {
		out.Oldest = max(out.Oldest, a.Devices)
	}
	return p.show("fleet", "Fleet", out)
}

// Tiles are the states with their counts. None is ever left out or added to another.
func (f fleet) Tiles() []tile {
	out := make([]tile, 0, len(states))
	for _, s := range states {
		out = append(out, tile{s, f.States[s]})
	}
	return out
}

// Unsupported is how many devices there is nothing to compare with.
func (f fleet) Unsupported() int { return f.States[result.Unsupported] }

type tile struct {
	State   result.State
	Devices int
}

// NoticePath returns the page of what a notice is about, empty if this person has none.
func (v *view) NoticePath(n v1.Notice) string {
	switch {
	case n.Kind == "manifest" && v.can("get-manifest"), n.Kind == "approval" && v.can("get-manifest"):
		return pathTo("manifests", n.Object)
	case n.Kind == "waiver" && v.can("get-policy"):
		return "/policy"
	case n.Kind == "vendor-key" && v.can("list-vendor-keys"):
		return "/vendors"
	case n.Kind == "pending":
		return "/devices?status=pending"
	case n.Kind == "token" && v.can("list-tokens"):
		return "/tokens"
	}
	return ""
}
