package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/linediff"
	"github.com/probity-attest/probity/verifier/result"
)

// policyPages registers the pages of the policy document.
func (s *server) policyPages() {
	s.get("GET /policy", "get-policy", (*page).policy)
	s.get("GET /policy/versions", "list-policy-versions", (*page).policyVersions)
	s.get("GET /policy/edit", "test-policy", (*page).editPolicy)
	s.post("POST /policy/edit", (*page).testPolicy)
	s.post("POST /policy", (*page).setPolicy)
	s.post("POST /settings", (*page).changeSettings)
}

// policyTabs are the parts of the pages about the policy that the person may see.
func (p *page) policyTabs() []any {
	var out []any
	for _, t := range []struct{ name, path, operation string }{
		{"Document", "/policy", "get-policy"},
		{"Versions", "/policy/versions", "list-policy-versions"},
		{"Change and test", "/policy/edit", "test-policy"},
	} {
		if p.can(t.operation) {
			out = append(out, map[string]any{"Name": t.name, "Path": t.path, "Count": ""})
		}
	}
	return out
}

// policyView is one version of the document.
type policyView struct {
	Tabs     []any
	Policy   v1.Policy
	Lines    []string
	Waivers  []waiverRow
	Settings *v1.Settings // nil: the person may not see them
}

// waiverRow is a waiver of the document, as far as a page shows it. The verifier reads the document strictly; here it
// is only shown, so what this page does not know it leaves out.
type waiverRow struct {
	Finding   string    `yaml:"finding"`
	Component string    `yaml:"component"`
	Groups    []string  `yaml:"groups"`
	Owner     string    `yaml:"owner"`
	Reason    string    `yaml:"reason"`
	Expires   string    `yaml:"expires"`
	Ends      time.Time `yaml:"-"`
	Over      bool      `yaml:"-"`
	Soon      bool      `yaml:"-"`
}

// waiversOf returns the waivers of a document that the verifier accepted.
func waiversOf(document string, now time.Time) []waiverRow {
	var d struct {
		Waivers []waiverRow `yaml:"waivers"`
	}
	if err := yaml.NewDecoder(strings.NewReader(document)).Decode(&d); err != nil {
		return nil // the document itself is shown
	}
	for i := range d.Waivers {
		w := &d.Waivers[i]
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			if t, err := time.Parse(layout, w.Expires); err == nil {
				w.Ends = t
				w.Over = !now.Before(t)
				w.Soon = !w.Over && t.Sub(now) < expiresSoon
			}
		}
	}
	return d.Waivers
}

func (p *page) readPolicy(version string) (v1.Policy, error) {
	var out v1.Policy
	path := "/v1/policy"
	if version != "" {
		path = "/v1/policy?version=" + strconv.Quote(version)
		if n, err := strconv.ParseInt(version, 10, 64); err == nil {
			path = "/v1/policy?version=" + strconv.FormatInt(n, 10)
		}
	}
	return out, p.api(http.MethodGet, path, nil, &out)
}

func (p *page) policy() error {
	v := policyView{Tabs: p.policyTabs()}
	var err error
	if v.Policy, err = p.readPolicy(p.r.URL.Query().Get("version")); err != nil {
		return err
	}
	v.Lines = strings.Split(strings.TrimSuffix(v.Policy.Document, "\n"), "\n")
	v.Waivers = waiversOf(v.Policy.Document, p.Now())
	if p.can("get-settings") {
		v.Settings = &v1.Settings{}
		if err := p.api(http.MethodGet, "/v1/settings", nil, v.Settings); err != nil {
			return err
		}
	}
	return p.show("policy", "Policy", &v)
}

// versionsView is the versions of the document.
type versionsView struct {
	Tabs []any
	v1.Policies
}

func (p *page) policyVersions() error {
	v := versionsView{Tabs: p.policyTabs()}
	path := "/v1/policy/versions"
	if s := p.r.URL.Query().Get("before"); s != "" {
		path += "?before=" + pathTo(s)[1:]
	}
	if err := p.api(http.MethodGet, path, nil, &v.Policies); err != nil {
		return err
	}
	return p.show("policyversions", "Policy versions", &v)
}

// editView is a document that is being written, and what it would change.
type editView struct {
	Tabs     []any
	Document string
	BasedOn  int64
	Problem  *v1.Problem    // nil: nothing is wrong with it
	Test     *v1.PolicyTest // nil: it was not tested yet
	Changed  []v1.PolicyChange
	Same     int
	More     bool // there are devices that were not tested
	Worse    int
	Diff     []changedLine
}

// editPolicy shows the form, with the version to begin with.
func (p *page) editPolicy() error {
	v := editView{Tabs: p.policyTabs()}
	now, err := p.readPolicy("")
	if err != nil {
		return err
	}
	v.Document, v.BasedOn = now.Document, now.Version
	if s := p.r.URL.Query().Get("version"); s != "" {
		old, err := p.readPolicy(s)
		if err != nil {
			return err
		}
		v.Document = old.Document
	}
	return p.show("policyedit", "Change the policy", &v)
}

// testPolicy says what a document would change. The document stays in the form, also when it is wrong.
func (p *page) testPolicy() error {
	v := editView{Tabs: p.policyTabs()}
	if err := p.document(&v); err != nil {
		return err
	}
	now, err := p.readPolicy("")
	if err != nil {
		return err
	}
	v.BasedOn = now.Version
	v.Diff = changedLines(now.Document, v.Document)
	for after := ""; ; {
		var one v1.PolicyTest
		in := v1.NewPolicyTest{Document: v.Document, After: after, Limit: policyTestPage}
		err := p.api(http.MethodPost, "/v1/policy/test", in, &one)
		if errors.As(err, &v.Problem) && v.Problem.Status == http.StatusUnprocessableEntity {
			v.Test = nil
			return p.render(http.StatusUnprocessableEntity, "policyedit", "Change the policy", &v)
		}
		if err != nil {
			return err
		}
		v.Problem = nil
		v.add(&one)
		if after = one.Next; after == "" || len(v.Changed)+v.Same >= maxPolicyTest {
			v.More = after != ""
			break
		}
	}
	return p.show("policyedit", "Change the policy", &v)
}

// add takes in a page of devices.
func (v *editView) add(t *v1.PolicyTest) {
	if v.Test == nil {
		v.Test = t
	}
	for _, c := range t.Devices {
		if c.Before == c.After && c.GroupBefore == c.GroupAfter && c.Note == "" {
			v.Same++
			continue
		}
		if c.Before == result.Trusted && c.After != result.Trusted && c.After != "" {
			v.Worse++
		}
		v.Changed = append(v.Changed, c)
	}
}

// document reads the document of the form: its text, or a file.
func (p *page) document(v *editView) error {
	v.Document = strings.ReplaceAll(p.r.PostFormValue("document"), "\r\n", "\n")
	if p.r.MultipartForm == nil {
		return nil
	}
	f, _, err := p.r.FormFile("file")
	if err != nil {
		return nil // none was chosen
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxForm))
	if err != nil {
		return wrongInput("the file could not be read")
	}
	if len(bytes.TrimSpace(b)) > 0 {
		v.Document = string(b)
	}
	return nil
}

// setPolicy puts a document in force that was tested.
func (p *page) setPolicy() error {
	v := editView{Tabs: p.policyTabs()}
	if err := p.document(&v); err != nil {
		return err
	}
	based, err := strconv.ParseInt(p.r.PostFormValue("based_on"), 10, 64)
	if err != nil || based < 0 {
		return wrongInput("the form does not say which version it follows: open the page again")
	}
	var set v1.Policy
	if err := p.api(http.MethodPut, "/v1/policy", v1.NewPolicy{Document: v.Document, BasedOn: based}, &set); err != nil {
		if errors.As(err, &v.Problem) && v.Problem.Status < 500 {
			v.BasedOn = based
			return p.render(v.Problem.Status, "policyedit", "Change the policy", &v) // the document is not lost
		}
		return err
	}
	return p.done("/policy", "Version "+strconv.FormatInt(set.Version, 10)+" is in force. Devices are asked to attest.")
}

// changeSettings changes what a tenant's operators chose.
func (p *page) changeSettings() error {
	n, err := strconv.Atoi(p.r.PostFormValue("approvals"))
	if err != nil || n < 0 {
		return wrongInput("approvals: want a number")
	}
	proof := p.r.PostFormValue("proof") == "yes"
	in := v1.SettingsPatch{ManifestApprovals: &n, RequireLogProof: &proof}
	if err := p.api(http.MethodPatch, "/v1/settings", in, nil); err != nil {
		return err
	}
	return p.done("/policy", "The settings were changed.")
}

// changedLine is a line of the difference between two documents, as a page shows it.
type changedLine struct {
	Text, Class string
}

// lineClasses are classes of the style sheet.
var lineClasses = map[byte]string{'+': "added", '-': "gone", ' ': "same"}

func changedLines(before, after string) (out []changedLine) {
	for _, l := range linediff.Lines(before, after) {
		if l.Mark == '@' {
			l = linediff.Line{Mark: ' ', Text: "…"}
		}
		out = append(out, changedLine{l.String(), lineClasses[l.Mark]})
	}
	return out
}
