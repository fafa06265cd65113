package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// request encodes a request's document.
func request(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPolicyVersions(t *testing.T) {
	h := newHarness(t)
	first := decode[v1.Policy](t, h.do("GET", "/v1/policy", ""), 200)
	if first.Version != 0 || !first.InForce || first.Name != "builtin" || !strings.Contains(first.Document, "stale-after: 15m0s") || first.Created != nil {
		t.Errorf("GET /v1/policy = %+v, want the built-in one", first)
	}
	wantProblem(t, h.do("GET", "/v1/policy?version=1", ""), 404, "no version 1")

	// The document that was read can be set as it is, then others after it.
	set := decode[v1.Policy](t, h.do("PUT", "/v1/policy", request(t, v1.NewPolicy{Document: first.Document})), 200)
	if set.Version != 1 || !set.InForce || set.Digest != first.Digest || set.Author != h.actor || set.Created == nil {
		t.Errorf("PUT /v1/policy = %+v, want version 1 by %s", set, h.actor)
	}
	const second = "version: 1\nname: acme\nwaivers:\n" +
		"  - {finding: file-unknown, component: x, groups: ['*'], owner: a, reason: b, expires: 2020-01-01}\n"
	wantProblem(t, h.do("PUT", "/v1/policy", request(t, v1.NewPolicy{Document: second})), 409, "version 0 is not the one in force")
	set = decode[v1.Policy](t, h.do("PUT", "/v1/policy", request(t, v1.NewPolicy{Document: second, BasedOn: 1})), 200)
	if set.Version != 2 || len(set.Notices) != 1 || !strings.Contains(set.Notices[0], "line 4: waiver of file-unknown on x, owner a: expired at") {
		t.Errorf("PUT /v1/policy = %+v, want version 2 and a notice of the expired waiver", set)
	}
	if got := decode[v1.Policy](t, h.do("GET", "/v1/policy", ""), 200); got.Version != 2 || got.Document != second || !got.InForce {
		t.Errorf("GET /v1/policy = %+v, want version 2", got)
	}
	if got := decode[v1.Policy](t, h.do("GET", "/v1/policy?version=1", ""), 200); got.InForce || got.Document != first.Document {
		t.Errorf("GET /v1/policy?version=1 = %+v, want the first, not in force", got)
	}

	list := decode[v1.Policies](t, h.do("GET", "/v1/policy/versions?limit=1", ""), 200)
	if len(list.Policies) != 1 || list.Next != 2 || list.Policies[0].Version != 2 || !list.Policies[0].InForce || list.Policies[0].Document != "" {
		t.Errorf("first page = %+v, want version 2 without its document, and more", list)
	}
	list = decode[v1.Policies](t, h.do("GET", "/v1/policy/versions?before=2", ""), 200)
	if len(list.Policies) != 1 || list.Next != 0 || list.Policies[0].Version != 1 || list.Policies[0].InForce {
		t.Errorf("second page = %+v, want version 1, not in force", list)
	}
	if got := strings.Join(h.events(t), "\n"); strings.Count(got, "set policy") != 2 || !strings.Contains(got, h.actor+": set policy acme, version 2") {
		t.Errorf("events = %s, want one of each version with its operator", got)
	}
}

// TestWrongPolicies: everything that is wrong is named with its line, and nothing is set.
func TestWrongPolicies(t *testing.T) {
	h := newHarness(t)
	body := request(t, v1.NewPolicy{Document: "version: 1\nname: acme\ndefault:\n  imma: required\n  rules: [{name: r, when: 'device.grup == \"a\"', severity: info, message: m}]\n"})
	for _, route := range []string{"PUT /v1/policy", "POST /v1/policy/test"} {
		method, path, _ := strings.Cut(route, " ")
		in := body
		if method == "POST" {
			in = strings.Replace(body, `,"based_on":0`, "", 1)
		}
		p := wantProblem(t, h.do(method, path, in), 422, "the policy document is not correct")
		want := []v1.ProblemDetail{
			{Location: "line 4", Message: `default: unknown key "imma": did you mean "ima"?`},
			{Location: "line 5", Message: `default.rules[0].when: rule r: undefined field 'grup'`},
		}
		if len(p.Errors) != 2 || p.Errors[0] != want[0] || p.Errors[1] != want[1] {
			t.Errorf("%s: errors = %+v, want %+v", route, p.Errors, want)
		}
	}
	for _, c := range []struct {
		method, path, body, says string
		status                   int
	}{
		{"PUT", "/v1/policy", `{"document":"x"}`, "based_on", 422},
		{"PUT", "/v1/policy", `{"document":"","based_on":0}`, "body.document", 422},
		{"PUT", "/v1/policy", `{"document":"x","based_on":-1}`, "body.based_on", 422},
		{"PUT", "/v1/policy", request(t, v1.NewPolicy{Document: strings.Repeat("#", 129<<10)}), "over the limit of 131072 bytes", 422},
		{"PUT", "/v1/policy", request(t, v1.NewPolicy{Document: strings.Repeat("#", 600<<10)}), "too large", 413},
		{"POST", "/v1/policy/test", `{"document":"version: 1\nname: a","limit":201}`, "body.limit", 422},
		{"POST", "/v1/policy/test", `{"document":"version: 1\nname: a","device":"none"}`, "no device", 404},
		{"GET", "/v1/policy?version=0", "", "query.version", 422},
	} {
		wantProblem(t, h.do(c.method, c.path, c.body), c.status, c.says)
	}
	if got := h.events(t); len(got) != 0 {
		t.Errorf("refused requests left events: %q", got)
	}
}

func TestPolicyTestRoute(t *testing.T) {
	h := newHarness(t).signed(t)
	for _, name := range []string{"a", "b", "c"} {
		d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID(name), Label: name, Group: "group-" + name})
		r := result.Result{State: result.Warning, Findings: []result.Finding{{Code: "file-unknown", Severity: result.Warn, Component: "file x", Meaning: "m"}}}
		if err := h.fleet.Record(t.Context(), d.Tenant, d.ID, r); err != nil {
			t.Fatal(err)
		}
	}
	const text = "version: 1\nname: acme\ngroups:\n" +
		"  - {name: first, match: {groups: [group-a]}, severities: {file-unknown: critical}}\n"
	all := decode[v1.PolicyTest](t, h.do("POST", "/v1/policy/test", request(t, v1.NewPolicyTest{Document: text, Limit: 2})), 200)
	if len(all.Devices) != 2 || all.Next == "" || all.BasedOn != 0 || all.Name != "acme" {
		t.Fatalf("first page = %+v, want two devices and more", all)
	}
	rest := decode[v1.PolicyTest](t, h.do("POST", "/v1/policy/test", request(t, v1.NewPolicyTest{Document: text, Limit: 2, After: all.Next})), 200)
	if len(rest.Devices) != 1 || rest.Next != "" {
		t.Errorf("second page = %+v, want one device and no more", rest)
	}
	one := decode[v1.PolicyTest](t, h.do("POST", "/v1/policy/test", request(t, v1.NewPolicyTest{Document: text, Device: "a"})), 200)
	if len(one.Devices) != 1 {
		t.Fatalf("test of one device = %+v", one)
	}
	d := one.Devices[0]
	if d.ID != apitest.ID("a") || d.GroupAfter != "first" || d.Before != result.Warning || d.After != result.Untrusted || len(d.Reasons) != 1 {
		t.Errorf("device = %+v, want warning -> untrusted in group first, with the reason", d)
	}
	if got := h.events(t); len(got) != 0 {
		t.Errorf("a test left events: %q", got)
	}
}
