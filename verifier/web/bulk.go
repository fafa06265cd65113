package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (s *server) bulkPages() {
	s.get("GET /bulk", "", func(p *page) error { return p.redirect("/devices") }) // where a question is loaded again
	s.post("POST /bulk", (*page).bulk)
	s.post("POST /bulk/run", (*page).runBulk)
	s.get("GET /bulk/{id}", "get-bulk", (*page).bulkProgress)
}

// bulkPage asks whether to do something with many devices.
type bulkPage struct {
	Action   string
	Devices  []string // ids that were chosen; none: all that Filter selects
	Filter   string
	Count    int
	More     bool // there may be more than Count: all are counted next
	Problem  string
	Groups   []v1.ValueCount
	Question string
}

var bulkQuestions = map[string]string{
	"attest":  "Ask for evidence now",
	"approve": "Approve",
	"label":   "Label",
	"remove":  "Remove",
}

// bulkForm reads which devices a form is about.
func (p *page) bulkForm() (bulkPage, v1.BulkAction, error) {
	in := v1.BulkAction{Action: p.r.PostFormValue("action")}
	b := bulkPage{Action: in.Action, Filter: p.r.PostFormValue("filter")}
	refuse := func(text string) (bulkPage, v1.BulkAction, error) {
		return b, in, &v1.Problem{Status: http.StatusUnprocessableEntity, Title: "Cannot be done", Detail: text}
	}
	if b.Question = bulkQuestions[in.Action]; b.Question == "" {
		return refuse("Choose what to do with the devices.")
	}
	if p.r.PostFormValue("scope") == "all" {
		query, err := url.ParseQuery(b.Filter)
		if err != nil {
			return refuse("The filter could not be read: open the list again.")
		}
		in.Filter = deviceFilter(query)
		return b, in, nil
	}
	in.Devices = slices.Clone(p.r.PostForm["device"])
	slices.Sort(in.Devices)
	in.Devices = slices.Compact(in.Devices)
	if len(in.Devices) == 0 {
		return refuse("No device is selected: tick some, or choose all that match.")
	}
	if len(in.Devices) > maxSelected {
		return refuse(fmt.Sprintf("Select at most %d devices, or choose all that match.", maxSelected))
	}
	b.Devices = in.Devices
	return b, in, nil
}

// bulk asks first how many devices an action would be done with, and shows that with a question. Where counting takes
// long, it shows that first, and the page asks again.
func (p *page) bulk() error {
	b, in, err := p.bulkForm()
	if err != nil {
		return err
	}
	in.DryRun, in.Quick = true, p.r.PostFormValue("count") != "all"
	var found v1.Bulk
	if err := p.api(http.MethodPost, "/v1/devices/bulk", in, &found); err != nil {
		return err
	}
	b.Count, b.More = found.Total, found.TotalMore
	if in.Action == "label" && !b.More {
		var facets v1.Facets
		if err := p.api(http.MethodGet, "/v1/fleet/facets", nil, &facets); err != nil {
			return err
		}
		b.Groups = facets.Groups
	}
	return p.show("bulk", b.Question, b)
}

// runBulk begins the action and leads to its progress.
func (p *page) runBulk() error {
	_, in, err := p.bulkForm()
	if err != nil {
		return err
	}
	if in.Action == "label" {
		if err := p.labels(&in); err != nil {
			return err
		}
	}
	if n, err := strconv.Atoi(p.r.PostFormValue("expect")); err == nil && in.Filter != nil {
		in.Expect = &n
	}
	var begun v1.Bulk
	if err := p.api(http.MethodPost, "/v1/devices/bulk", in, &begun); err != nil {
		var problem *v1.Problem
		if errors.As(err, &problem) && problem.Status == http.StatusConflict {
			problem.Detail = "Meanwhile the filter selects other devices than when you looked. Nothing was done: look again."
			p.setNotice(notice{Text: problem.Detail, Problem: true})
			return p.redirect(p.listOf(p.r.PostFormValue("filter")))
		}
		return err
	}
	back := url.Values{}
	if f := p.r.PostFormValue("filter"); f != "" {
		back.Set("filter", f)
	}
	back.Set("action", in.Action)
	return p.redirect(withQuery(pathTo("bulk", begun.ID), back))
}

// labels reads what a form says of group and labels.
func (p *page) labels(in *v1.BulkAction) error {
	group := strings.TrimSpace(p.r.PostFormValue("group"))
	none := p.r.PostFormValue("no-group") != ""
	switch {
	case none && group != "":
		return &v1.Problem{
			Status: http.StatusUnprocessableEntity, Title: "Cannot be done", Detail: "Name a group, or none: not both.",
		}
	case none || group != "":
		in.Group = &group
	}
	if name := strings.TrimSpace(p.r.PostFormValue("label-name")); name != "" {
		in.Labels = map[string]string{name: strings.TrimSpace(p.r.PostFormValue("label-value"))}
	}
	if in.Group == nil && in.Labels == nil {
		return &v1.Problem{
			Status: http.StatusUnprocessableEntity, Title: "Cannot be done",
			Detail: "Say which group or which label the devices shall have.",
		}
	}
	return nil
}

// listOf returns the list of devices with a filter that was sent along.
func (p *page) listOf(filter string) string {
	query, err := url.ParseQuery(filter)
	if err != nil {
		return "/devices"
	}
	return local(withQuery("/devices", query), "/devices")
}

// bulkState is how far an action is.
type bulkState struct {
	v1.Bulk
	Question string
	List     string // the list of devices that it was begun from
}

func (p *page) bulkProgress() error {
	out := bulkState{List: p.listOf(p.r.URL.Query().Get("filter")), Question: bulkQuestions[p.r.URL.Query().Get("action")]}
	if err := p.api(http.MethodGet, pathTo("v1", "bulk", p.r.PathValue("id")), nil, &out.Bulk); err != nil {
		return err
	}
	return p.show("bulkprogress", "Many devices", out)
}
