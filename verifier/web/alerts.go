package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// alertPages registers alerts, who is told of them, and how that went.
func (s *server) alertPages() {
	s.get("GET /alerts", "list-alerts", (*page).alerts)
	s.get("GET /alerts/rules", "list-alert-rules", (*page).alertRules)
	s.get("GET /alerts/rules/{id}", "list-alert-rules", (*page).alertRule)
	s.get("GET /alerts/channels", "list-alert-channels", (*page).alertChannels)
	s.get("GET /alerts/channels/{id}", "list-alert-channels", (*page).alertChannel)
	s.get("GET /alerts/deliveries", "list-deliveries", (*page).deliveries)
	s.get("GET /alerts/{id}", "get-alert", (*page).alert)

	s.post("POST /alerts", (*page).acknowledge)
	s.post("POST /alerts/rules", (*page).saveRule)
	s.post("POST /alerts/rules/{id}", (*page).saveRule)
	s.post("POST /alerts/rules/{id}/remove", (*page).removeRule)
	s.post("POST /alerts/channels", (*page).saveChannel)
	s.post("POST /alerts/channels/{id}", (*page).saveChannel)
	s.post("POST /alerts/channels/{id}/test", (*page).testChannel)
	s.post("POST /alerts/channels/{id}/remove", (*page).removeChannel)
	s.post("POST /alerts/deliveries", (*page).retryDelivery)
}

// alertTabs are the parts of the pages about alerts that the person may see.
func (p *page) alertTabs() []any {
	var out []any
	for _, t := range []struct{ name, path, operation string }{
		{"Alerts", "/alerts", "list-alerts"},
		{"Rules", "/alerts/rules", "list-alert-rules"},
		{"Channels", "/alerts/channels", "list-alert-channels"},
		{"Deliveries", "/alerts/deliveries", "list-deliveries"},
	} {
		if p.can(t.operation) {
			out = append(out, map[string]any{"Name": t.name, "Path": t.path, "Count": ""})
		}
	}
	return out
}

// tellingView is a page of who is told what, and how that went.
type tellingView struct {
	Tabs       []any
	Rules      []v1.AlertRule
	Channels   []v1.AlertChannel
	Names      map[string]string // of channels, by id
	Deliveries *v1.Deliveries
}

// alertRow is an alert with a link to the devices that show it.
type alertRow struct {
	*v1.Alert
	Link   string // empty: there is none
	Others bool   // the list has all silent devices, not only those of the alert
}

// alertRowOf finds out which list of devices an alert is about.
func alertRowOf(a *v1.Alert) alertRow {
	row := alertRow{Alert: a}
	switch {
	case a.Devices == 0:
	case a.Cluster != "":
		row.Link = withQuery("/devices", url.Values{"cluster": {a.Cluster}})
	case a.Devices == 1 && len(a.Sample) == 1:
		row.Link = pathTo("devices", a.Sample[0].ID)
	case a.Code == "silent":
		row.Link, row.Others = withQuery("/devices", url.Values{"state": {string(result.Stale)}}), true
	}
	return row
}

// alertsView is a page of alerts.
type alertsView struct {
	Tabs   []any
	Alerts []alertRow
	Next   string
}

// alertView is one alert and how it was told.
type alertView struct {
	Alert      alertRow
	Deliveries *v1.Deliveries // nil: the person may not see them
}

// listed reads one page of a list, by the parameters state and before of the page's address and by further ones.
func (p *page) listed(path string, query url.Values, out any) error {
	for _, name := range []string{"state", "before"} {
		if s := p.r.URL.Query().Get(name); s != "" {
			query.Set(name, s)
		}
	}
	return p.api(http.MethodGet, withQuery(path, query), nil, out)
}

func (p *page) alerts() error {
	var list v1.Alerts
	if err := p.listed("/v1/alerts", url.Values{}, &list); err != nil {
		return err
	}
	v := alertsView{Tabs: p.alertTabs(), Next: list.Next}
	for i := range list.Alerts {
		v.Alerts = append(v.Alerts, alertRowOf(&list.Alerts[i]))
	}
	return p.show("alerts", "Alerts", &v)
}

func (p *page) alert() error {
	id := p.r.PathValue("id")
	var a v1.Alert
	if err := p.api(http.MethodGet, pathTo("v1", "alerts", id), nil, &a); err != nil {
		return err
	}
	v := alertView{Alert: alertRowOf(&a)}
	if p.can("list-deliveries") {
		v.Deliveries = &v1.Deliveries{}
		if err := p.listed("/v1/deliveries", url.Values{"alert": {id}}, v.Deliveries); err != nil {
			return err
		}
	}
	return p.show("alert", a.Title, &v)
}

func (p *page) acknowledge() error {
	if err := p.api(http.MethodPost, pathTo("v1", "alerts", p.r.PostFormValue("alert"), "acknowledge"), nil,
		nil); err != nil {
		return err
	}
	return p.done(p.back("/alerts"), "You took the alert on: it is not told again while it lasts.")
}

func (p *page) deliveries() error {
	v := tellingView{Tabs: p.alertTabs(), Deliveries: &v1.Deliveries{}}
	if err := p.listed("/v1/deliveries", url.Values{}, v.Deliveries); err != nil {
		return err
	}
	return p.show("deliveries", "Deliveries", &v)
}

func (p *page) retryDelivery() error {
	if err := p.api(http.MethodPost, pathTo("v1", "deliveries", p.r.PostFormValue("delivery"), "retry"), nil,
		nil); err != nil {
		return err
	}
	return p.done(p.back("/alerts/deliveries"), "It is sent again.")
}

// channels reads all channels, none where the person may not see them.
func (p *page) channels() ([]v1.AlertChannel, map[string]string, error) {
	names := map[string]string{}
	if !p.can("list-alert-channels") {
		return nil, names, nil
	}
	var list v1.AlertChannels
	if err := p.api(http.MethodGet, "/v1/alert-channels", nil, &list); err != nil {
		return nil, nil, err
	}
	for i := range list.Channels {
		names[list.Channels[i].ID] = list.Channels[i].Name
	}
	return list.Channels, names, nil
}

func (p *page) alertRules() error {
	v := tellingView{Tabs: p.alertTabs()}
	var list v1.AlertRules
	err := p.api(http.MethodGet, "/v1/alert-rules", nil, &list)
	if err != nil {
		return err
	}
	v.Rules = list.Rules
	if v.Channels, v.Names, err = p.channels(); err != nil {
		return err
	}
	return p.show("alertrules", "Alert rules", &v)
}

// ruleView is the form of one rule.
type ruleView struct {
	Tabs     []any
	Rule     v1.AlertRule // of a new one: empty
	New      bool
	Channels []v1.AlertChannel
	Labels   string // one NAME=VALUE a line
}

// Chosen reports whether the rule has a state or tells a channel.
func (v *ruleView) Chosen(what string) bool {
	return slices.Contains(v.Rule.Channels, what) || slices.Contains(v.Rule.States, result.State(what))
}

// RepeatHours is how often the alert is told again, in hours.
func (v *ruleView) RepeatHours() int64 { return v.Rule.Repeat / int64(time.Hour/time.Second) }

// States is all states, for the form.
func (v *ruleView) States() []result.State { return states }

// newID is in the place of the id of what does not exist yet.
const newID = "new"

func (p *page) alertRule() error {
	v := ruleView{Tabs: p.alertTabs()}
	var err error
	if v.Channels, _, err = p.channels(); err != nil {
		return err
	}
	id := p.r.PathValue("id")
	if id == newID {
		v.New = true
		v.Rule.Severity, v.Rule.Wait, v.Rule.Repeat = result.Warn, 30, 14400 // as the API has it where nothing is said
		return p.show("alertrule", "New alert rule", &v)
	}
	var list v1.AlertRules
	if err := p.api(http.MethodGet, "/v1/alert-rules", nil, &list); err != nil {
		return err
	}
	i := slices.IndexFunc(list.Rules, func(r v1.AlertRule) bool { return r.ID == id })
	if i < 0 {
		return p.notFound()
	}
	v.Rule = list.Rules[i]
	v.Rule.Severity = cmp.Or(v.Rule.Severity, result.Warn)
	for _, l := range labelsOf(&v1.Device{Labels: v.Rule.Labels}) {
		v.Labels += l.Name + "=" + l.Value + "\n"
	}
	return p.show("alertrule", v.Rule.Name, &v)
}

// saveRule makes a rule, or changes the one that the address names.
func (p *page) saveRule() error {
	f := p.r.PostForm
	in := v1.AlertRule{
		Name: strings.TrimSpace(f.Get("name")), Codes: listOf(f.Get("findings")),
		Severity: result.Severity(f.Get("severity")),
		Groups:   listOf(f.Get("groups")), Models: listOf(f.Get("models")), Channels: f["channel"],
		Disabled: f.Get("disabled") == "yes",
	}
	for _, s := range f["state"] {
		in.States = append(in.States, result.State(s))
	}
	var err error
	if in.Labels, err = labelLines(f.Get("labels")); err != nil {
		return err
	}
	if in.Wait, err = seconds(f.Get("wait"), time.Second, "wait"); err != nil {
		return err
	}
	if in.Repeat, err = seconds(f.Get("repeat"), time.Hour, "repeat"); err != nil {
		return err
	}
	if in.Channels == nil {
		in.Channels = []string{}
	}
	method, path := http.MethodPost, "/v1/alert-rules"
	if id := p.r.PathValue("id"); id != "" {
		method, path = http.MethodPut, pathTo("v1", "alert-rules", id)
		in.ID = id
	}
	if err := p.save(method, path, &in); err != nil {
		return err
	}
	return p.done("/alerts/rules", "The rule "+in.Name+" is in force.")
}

// seconds reads a number of units.
func seconds(text string, unit time.Duration, what string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, wrongInput("%s %q: want a number", what, clipText(text, 20))
	}
	return n * int64(unit/time.Second), nil
}

func (p *page) removeRule() error {
	if err := p.api(http.MethodDelete, pathTo("v1", "alert-rules", p.r.PathValue("id")), nil, nil); err != nil {
		return err
	}
	return p.done("/alerts/rules", "The rule was deleted.")
}
