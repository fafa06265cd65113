package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// devicePages registers the pages of one device.
func (s *server) devicePages() {
	s.get("GET /devices/{id}", "get-device", (*page).device)
	s.get("GET /devices/{id}/boot", "get-boot", (*page).deviceBoot)
	s.get("GET /devices/{id}/files", "get-files", (*page).deviceFiles)
	s.get("GET /devices/{id}/flash", "get-flash", (*page).deviceFlash)
	s.get("GET /devices/{id}/timeline", "get-timeline", (*page).deviceTimeline)
	s.get("GET /devices/{id}/evidence", "get-freshness", (*page).deviceEvidence)
	s.get("GET /devices/{id}/diff", "compare-devices", (*page).deviceDiff)
	s.get("GET /devices/{id}/download/{what}", "", (*page).downloadEvidence)
	s.get("GET /devices/{id}/captures/{capture}/raw", "get-capture-raw", (*page).downloadCapture)

	s.post("POST /devices/{id}/attest", (*page).attestDevice)
	s.post("POST /devices/{id}/approve", (*page).approveDevice)
	s.post("POST /devices/{id}/label", (*page).labelDevice)
	s.post("POST /devices/{id}/remove", (*page).removeDevice)
	s.post("POST /devices/{id}/captures", (*page).captureDevice)
	s.post("POST /devices/{id}/captures/{capture}/remove", (*page).removeCapture)
	s.post("POST /devices/{id}/baseline", (*page).baselineOfDevice)
}

// deviceView is what every page of a device shows above its own part.
type deviceView struct {
	Device *v1.Device
	Base   string // address of the device's first page
	Why    string // the state in a sentence
	Tabs   []map[string]any
	Newest *v1.Result // nil: none
	// Chosen is the result that the page is about where that is not the newest: the parameter result.
	Chosen int64
	Query  string // "?result=N", or empty, to stay with the chosen result on other tabs
	Part   any    // what the page itself shows
}

// deviceOf reads the device that the address names. Where it names it by its label or the start of its id, the
// browser is led to the address that does not change; done is then true.
func (p *page) deviceOf() (v *deviceView, done bool, err error) {
	name := p.r.PathValue("id")
	var d v1.Device
	if err := p.api(http.MethodGet, pathTo("v1", "devices", name), nil, &d); err != nil {
		return nil, false, err
	}
	if d.ID != name {
		rest := strings.TrimPrefix(p.r.URL.EscapedPath(), pathTo("devices", name))
		if strings.Contains(strings.TrimPrefix(rest, "/"), "/") || strings.ContainsAny(rest, "%") {
			rest = ""
		}
		return nil, true, p.redirect(withQuery(pathTo("devices", d.ID)+rest, p.r.URL.Query()))
	}
	v = &deviceView{Device: &d, Base: pathTo("devices", d.ID)}
	if v.Newest, err = p.newestResult(d.ID); err != nil {
		return nil, false, err
	}
	if n, err := strconv.ParseInt(p.r.URL.Query().Get("result"), 10, 64); err == nil && n > 0 &&
		(v.Newest == nil || n != v.Newest.Seq) {
		v.Chosen, v.Query = n, fmt.Sprintf("?result=%d", n)
	}
	v.Why = explain(&d, v.Newest, nil, p.Now()).Reason
	v.Tabs = v.tabs(p)
	return v, false, nil
}

// newestResult returns a device's newest result, nil where there is none or the person may not see results.
func (p *page) newestResult(id string) (*v1.Result, error) {
	if !p.can("list-results") {
		return nil, nil
	}
	var list v1.Results
	if err := p.api(http.MethodGet, pathTo("v1", "devices", id, "results")+"?limit=1", nil, &list); err != nil {
		return nil, err
	}
	if len(list.Results) == 0 {
		return nil, nil
	}
	return &list.Results[0], nil
}

func (v *deviceView) tabs(p *page) []map[string]any {
	weight := 0
	if v.Newest != nil {
		for i := range v.Newest.Findings {
			if v.Newest.Findings[i].Severity != result.Info {
				weight++
			}
		}
	}
	var out []map[string]any
	for _, t := range []struct{ name, path, operation string }{
		{"Explanation", "", "get-device"},
		{"Boot chain", "/boot", "get-boot"},
		{"Files", "/files", "get-files"},
		{"Flash map", "/flash", "get-flash"},
		{"Timeline", "/timeline", "get-timeline"},
		{"Evidence", "/evidence", "get-freshness"},
		{"Compare", "/diff", "compare-devices"},
	} {
		if !p.can(t.operation) {
			continue
		}
		tab := map[string]any{"Name": t.name, "Path": v.Base + t.path, "Query": "", "Count": ""}
		switch t.path {
		case "":
			if weight > 0 {
				tab["Count"] = strconv.Itoa(weight)
			}
		case "/boot", "/files", "/flash", "/evidence":
			tab["Query"] = v.Query
		}
		out = append(out, tab)
	}
	return out
}

// overview is the first page of a device.
type overview struct {
	*explanation
	Labels []pair
}

// pair is a name with its value.
type pair struct{ Name, Value string }

func (p *page) device() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	var similar *v1.SimilarFindings
	if v.Newest != nil && len(v.Newest.Findings) > 0 && p.can("get-similar") {
		similar = &v1.SimilarFindings{}
		if err := p.api(http.MethodGet, pathTo("v1", "devices", v.Device.ID, "similar"), nil, similar); err != nil {
			return err
		}
	}
	v.Part = &overview{explain(v.Device, v.Newest, similar, p.Now()), labelsOf(v.Device)}
	return p.show("device", deviceName(v.Device), v)
}

// deviceName is how titles and messages call a device.
func deviceName(d *v1.Device) string {
	if d.Label != "" {
		return d.Label
	}
	return short(d.ID)
}

// labelsOf returns a device's labels in the order of their names.
func labelsOf(d *v1.Device) []pair {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		out = append(out, pair{name, d.Labels[name]})
	}
	return out
}

// detail reads what the API says of the chosen result into out. A device that has none is no error: found is then
// false.
func (p *page) detail(v *deviceView, what string, query url.Values, out any) (found bool, err error) {
	if query == nil {
		query = url.Values{}
	}
	if v.Chosen > 0 {
		query.Set("result", strconv.FormatInt(v.Chosen, 10))
	}
	err = p.api(http.MethodGet, withQuery(pathTo("v1", "devices", v.Device.ID, what), query), nil, out)
	var problem *v1.Problem
	if errors.As(err, &problem) && problem.Status == http.StatusNotFound && v.Chosen == 0 {
		return false, nil
	}
	return err == nil, err
}

// attestDevice and those below receive the forms of a device's pages.
func (p *page) attestDevice() error {
	id := p.r.PathValue("id")
	if err := p.api(http.MethodPost, pathTo("v1", "devices", id, "attest"), nil, nil); err != nil {
		return err
	}
	return p.done(p.back(pathTo("devices", id)),
		"The device was asked for evidence. This page shows its answer as soon as it comes.")
}

func (p *page) approveDevice() error {
	id := p.r.PathValue("id")
	var d v1.Device
	if err := p.api(http.MethodPost, pathTo("v1", "devices", id, "approve"), nil, &d); err != nil {
		return err
	}
	return p.done(pathTo("devices", id), deviceName(&d)+" was let in.")
}

func (p *page) labelDevice() error {
	id := p.r.PathValue("id")
	label, group := strings.TrimSpace(p.r.PostFormValue("label")), strings.TrimSpace(p.r.PostFormValue("group"))
	patch := v1.DevicePatch{Label: &label, Group: &group, Labels: map[string]string{}}
	for _, name := range p.r.PostForm["was"] { // a label whose line was emptied is removed
		patch.Labels[name] = ""
	}
	set, err := labelLines(p.r.PostFormValue("labels"))
	if err != nil {
		return err
	}
	for name, value := range set {
		patch.Labels[name] = value
	}
	if err := p.api(http.MethodPatch, pathTo("v1", "devices", id), patch, nil); err != nil {
		return err
	}
	return p.done(pathTo("devices", id), "Changed.")
}

// labelLines reads labels, one NAME=VALUE a line.
func labelLines(text string) (map[string]string, error) {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || value == "" {
			return nil, wrongInput("labels: %q is not NAME=VALUE; write one label a line", clipText(line, 60))
		}
		out[name] = value
	}
	return out, nil
}

// wrongInput returns the refusal of a form that no request to the API can be made of.
func wrongInput(format string, a ...any) *v1.Problem {
	return &v1.Problem{
		Status: http.StatusUnprocessableEntity, Title: http.StatusText(http.StatusUnprocessableEntity),
		Detail: fmt.Sprintf(format, a...),
	}
}

func (p *page) removeDevice() error {
	id := p.r.PathValue("id")
	if p.r.PostFormValue("sure") != "yes" {
		return wrongInput("not removed: tick the box that says you are sure")
	}
	if err := p.api(http.MethodDelete, pathTo("v1", "devices", id), nil, nil); err != nil {
		return err
	}
	return p.done("/devices", "Device "+short(id)+" was removed. What happened to it stays in the audit log.")
}

func (p *page) baselineOfDevice() error {
	id := p.r.PathValue("id")
	var made v1.Baseline
	in := v1.NewBaseline{Device: id, Name: strings.TrimSpace(p.r.PostFormValue("name"))}
	if err := p.api(http.MethodPost, "/v1/baselines", in, &made); err != nil {
		return err
	}
	text := "Baseline " + made.Name + " was made."
	if len(made.Notes) > 0 {
		text += " Note: " + strings.Join(made.Notes, "; ") + "."
	}
	return p.done(pathTo("devices", id), text)
}
