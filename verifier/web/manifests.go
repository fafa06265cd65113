package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// expiresSoon is how long before its end a validity is pointed out.
const expiresSoon = 30 * 24 * time.Hour

// manifestPages registers the pages of reference values: manifests, baselines, deny-list.
func (s *server) manifestPages() {
	s.get("GET /manifests", "list-manifests", (*page).manifests)
	s.get("GET /manifests/{name}", "get-manifest", (*page).manifest)
	s.get("GET /manifests/submit", "start-dry-run", (*page).submitForm)
	s.get("GET /dry-runs/{job}", "start-dry-run", (*page).dryRunResult)
	s.get("GET /baselines", "list-baselines", (*page).baselines)
	s.get("GET /denylist", "get-deny-list", (*page).denyList)

	s.post("POST /manifests/submit", (*page).tryManifest)
	s.post("POST /dry-runs/{job}", (*page).submitTried)
	s.post("POST /manifests/{name}/withdraw", (*page).withdrawManifest)
	s.post("POST /manifests/{name}/supersede", (*page).supersedeManifest)
	s.post("POST /manifests/{name}/approve", (*page).approveManifest)
	s.post("POST /baselines", (*page).createBaseline)
	s.post("POST /baselines/{name}/retire", (*page).retireBaseline)
	s.post("POST /denylist", (*page).deny)
	s.post("POST /denylist/{digest}/remove", (*page).undeny)
}

// manifestRow is one manifest of the list.
type manifestRow struct {
	*v1.Manifest
	Ends *time.Time // when the first of its validity, its place and its endorsements ends
	Soon bool
	Over bool
	Good []v1.Endorsement // that count
}

// rowOf judges a manifest's validity at a time.
func rowOf(m *v1.Manifest, now time.Time) manifestRow {
	row := manifestRow{Manifest: m}
	for i := range m.Endorsements {
		e := &m.Endorsements[i]
		if e.Void == "" {
			row.Good = append(row.Good, *e)
			row.Ends = sooner(row.Ends, e.NotAfter)
		}
	}
	row.Ends = sooner(sooner(row.Ends, m.NotAfter), m.Until)
	if row.Ends != nil {
		row.Over = !now.Before(*row.Ends)
		row.Soon = !row.Over && row.Ends.Sub(now) < expiresSoon
	}
	return row
}

func sooner(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// manifestsView is the list of manifests.
type manifestsView struct {
	Rows    []manifestRow
	States  []stateCount
	Vendors []v1.ValueCount
	Waiting int // submitted, not yet counted
	Total   int
}

// stateCount is how many manifests are in a state; a filter.
type stateCount struct {
	State string
	Count int
}

var manifestStates = []string{"active", "submitted", "superseded", "withdrawn", "void"}

func (p *page) manifests() error {
	var list v1.Manifests
	if err := p.api(http.MethodGet, "/v1/manifests", nil, &list); err != nil {
		return err
	}
	query := p.r.URL.Query()
	v := manifestsView{Total: len(list.Manifests)}
	states, vendors := map[string]int{}, map[string]int{}
	text := strings.ToLower(query.Get("q"))
	for i := range list.Manifests {
		m := &list.Manifests[i]
		states[m.State]++
		vendors[m.Vendor]++
		if s := query.Get("state"); s != "" && s != m.State {
			continue
		}
		if s := query.Get("vendor"); s != "" && s != m.Vendor {
			continue
		}
		if !strings.Contains(strings.ToLower(m.Name+" "+m.Vendor+" "+m.Model+" "+m.Version+" "+m.Advisory+" "+m.Digest),
			text) {
			continue
		}
		v.Rows = append(v.Rows, rowOf(m, p.Now()))
	}
	v.Waiting = states["submitted"]
	for _, s := range manifestStates {
		if states[s] > 0 {
			v.States = append(v.States, stateCount{s, states[s]})
		}
	}
	for name, n := range vendors {
		if name != "" {
			v.Vendors = append(v.Vendors, v1.ValueCount{Value: name, Devices: n})
		}
	}
	slices.SortFunc(v.Vendors, func(a, b v1.ValueCount) int { return strings.Compare(a.Value, b.Value) })
	slices.SortStableFunc(v.Rows, func(a, b manifestRow) int { return b.Submitted.Compare(a.Submitted) })
	return p.show("manifests", "Manifests", &v)
}

// manifestView is one manifest.
type manifestView struct {
	manifestRow
	Coverage  *v1.Coverage // nil: the person may not see it
	States    []stateShare
	Approvals *approvals
	Others    []v1.Manifest // of the same vendor and model, that may take its place
	Base      string
}

// approvals is who consented to a manifest's activation. Whether one more consent counts is the API's to say.
type approvals struct {
	Given     []v1.Approval
	Needed    int
	Left      int  // that are still needed
	Waits     bool // it does not count until they have come
	Mine      bool // the person consented already
	Submitted bool // the person submitted it
}

// stateShare is how many devices are in a state.
type stateShare struct {
	State   result.State
	Devices int
}

// shares returns counts in the order in which states are shown, without those that are 0.
func shares(counts map[result.State]int) []stateShare {
	var out []stateShare
	for _, s := range states {
		if n := counts[s]; n > 0 {
			out = append(out, stateShare{s, n})
		}
	}
	return out
}

func (p *page) manifest() error {
	at := pathTo("v1", "manifests", p.r.PathValue("name"))
	var m v1.Manifest
	if err := p.api(http.MethodGet, at, nil, &m); err != nil {
		return err
	}
	v := manifestView{manifestRow: rowOf(&m, p.Now()), Base: pathTo("manifests", m.Digest)}
	v.Approvals = approvalsOf(&m, p.me.Name)
	if p.can("get-manifest-coverage") {
		v.Coverage = &v1.Coverage{}
		if err := p.api(http.MethodGet, at+"/coverage", nil, v.Coverage); err != nil {
			return err
		}
		v.States = shares(v.Coverage.States)
	}
	if p.can("supersede-manifest") && m.Model != "" {
		var list v1.Manifests
		query := url.Values{"vendor": {m.Vendor}, "model": {m.Model}, "state": {"active"}}
		if err := p.api(http.MethodGet, withQuery("/v1/manifests", query), nil, &list); err != nil {
			return err
		}
		v.Others = slices.DeleteFunc(list.Manifests, func(o v1.Manifest) bool { return o.Digest == m.Digest })
	}
	return p.show("manifest", m.Name, &v)
}

// tryManifest takes a manifest in and begins to find out what it would change. Nothing is switched.
func (p *page) tryManifest() error {
	document, err := p.upload("manifest")
	if err != nil {
		return err
	}
	var job v1.Job
	if err := p.call(call{method: http.MethodPost, path: "/v1/dry-runs", body: document, kind: "application/cose"},
		&job); err != nil {
		return err
	}
	p.uploads.keep(p.owner(), job.ID, document)
	return p.redirect(pathTo("dry-runs", job.ID))
}

func (p *page) submitForm() error { return p.show("submit", "Submit a manifest", nil) }

// dryRunView is what a manifest would change.
type dryRunView struct {
	v1.DryRun
	Job     string
	Held    bool // the manifest is still here and can be submitted
	Columns []dryRunColumn
	Worse   int // devices that would be trusted no more
	Better  int
}

// dryRunColumn is devices by state in one situation.
type dryRunColumn struct {
	Name, Why string
	Total     int
	States    []stateShare
}

func (p *page) dryRunResult() error {
	job := p.r.PathValue("job")
	v := dryRunView{Job: job}
	if err := p.api(http.MethodGet, pathTo("v1", "dry-runs", job), nil, &v.DryRun); err != nil {
		return err
	}
	_, v.Held = p.uploads.get(p.owner(), job)
	if !v.Over && !p.fragment() {
		p.w.Header().Set("Refresh", "3") // without JavaScript; with it, the part that changes is fetched again
	}
	columns := []struct {
		name, why string
		states    map[result.State]int
	}{
		{"Now", "with the reference values in force", v.Now},
		{"Both valid", "with this manifest beside them", v.Overlap},
		{"Afterwards", "with this manifest in the place of those that it supersedes", v.After},
	}
	for _, c := range columns {
		if len(c.states) == 0 {
			continue
		}
		column := dryRunColumn{Name: c.name, Why: c.why, States: shares(c.states)}
		for _, s := range column.States {
			column.Total += s.Devices
		}
		v.Columns = append(v.Columns, column)
	}
	for i := range v.Changes {
		c := &v.Changes[i]
		switch {
		case c.Now == result.Trusted && c.After != result.Trusted && c.After != "":
			v.Worse++
		case c.Now != result.Trusted && c.After == result.Trusted:
			v.Better++
		}
	}
	return p.show("dryrun", "What this manifest would change", &v)
}

// submitTried puts in what was tried out.
func (p *page) submitTried() error {
	job := p.r.PathValue("job")
	document, ok := p.uploads.get(p.owner(), job)
	if !ok {
		return wrongInput("the verifier does not hold this manifest any more: upload it again")
	}
	query := url.Values{}
	switch overlap := p.r.PostFormValue("overlap"); overlap {
	case "", "manifest":
	default:
		days, err := strconv.Atoi(overlap)
		if err != nil || days < 0 || days > 1830 {
			return wrongInput("overlap %q: want a number of days", clipText(overlap, 20))
		}
		query.Set("overlap_seconds", strconv.Itoa(days*24*60*60))
	}
	var m v1.Manifest
	c := call{method: http.MethodPost, path: withQuery("/v1/manifests", query), body: document, kind: "application/cose"}
	if err := p.call(c, &m); err != nil {
		return err
	}
	p.uploads.drop(p.owner(), job)
	text := "The manifest was submitted and counts from now on."
	switch {
	case m.State == "submitted":
		text = "The manifest was submitted. It counts as soon as enough people have approved it."
	case !m.Counts:
		text = "The manifest was submitted. It does not count yet: see below what is missing."
	}
	return p.done(pathTo("manifests", m.Digest), text)
}

func (p *page) withdrawManifest() error {
	name := p.r.PathValue("name")
	in := v1.Withdrawal{Reason: strings.TrimSpace(p.r.PostFormValue("reason"))}
	if err := p.api(http.MethodPost, pathTo("v1", "manifests", name, "withdraw"), in, nil); err != nil {
		return err
	}
	return p.done(pathTo("manifests", name), "The manifest was withdrawn. Devices that relied on it are judged again.")
}

func (p *page) supersedeManifest() error {
	name := p.r.PathValue("name")
	days, err := strconv.Atoi(p.r.PostFormValue("overlap"))
	if err != nil || days < 0 || days > 1830 {
		return wrongInput("overlap: want a number of days")
	}
	in := v1.Supersession{By: p.r.PostFormValue("by"), Overlap: int64(days) * 24 * 60 * 60}
	if err := p.api(http.MethodPost, pathTo("v1", "manifests", name, "supersede"), in, nil); err != nil {
		return err
	}
	return p.done(pathTo("manifests", name), "The newer manifest takes the place of this one.")
}
