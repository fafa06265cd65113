package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/notify"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// alerting gives the API a real notifier.
func alerting(t *testing.T, local bool) func(*api.Config) {
	return func(c *api.Config) {
		n, err := notify.New(notify.Config{Store: c.Store, Verifier: "verifier.test", Local: local})
		if err != nil {
			t.Fatal(err)
		}
		c.Alerts = n
	}
}

// addHook adds a webhook and returns its id.
func (h *harness) addHook(t *testing.T, target string) string {
	t.Helper()
	body, err := json.Marshal(v1.AlertChannel{Name: "hook " + target, Kind: "webhook", Target: target, Secret: "a long enough secret"})
	if err != nil {
		t.Fatal(err)
	}
	return decode[v1.AlertChannel](t, h.do("POST", "/v1/alert-channels", string(body)), http.StatusCreated).ID
}

func TestAlertRules(t *testing.T) {
	h := newHarness(t, alerting(t, false))
	hook := h.addHook(t, "https://example.net/hook")
	added := decode[v1.AlertRule](t, h.do("POST", "/v1/alert-rules", fmt.Sprintf(`{"name": "edge", "states": ["untrusted"], "findings": ["silent"],
		"groups": ["edge-*"], "models": ["Acme/*"], "labels": {"site": "*"}, "channels": [%q]}`, hook)), http.StatusCreated)
	if added.ID == "" || added.Severity != result.Warn || added.Wait != 30 || added.Repeat != 14400 || added.Created.IsZero() {
		t.Errorf("added = %+v, want an id and defaults", added)
	}
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		`{"name": "edge"}`:                             {http.StatusConflict, "another alert rule"},
		`{"name": "x", "channels": ["gone"]}`:          {http.StatusUnprocessableEntity, "no channel"},
		`{"name": "x", "states": ["gone"]}`:            {http.StatusUnprocessableEntity, "states"},
		`{"name": "x", "findings": [""]}`:              {http.StatusUnprocessableEntity, "findings: empty"},
		`{"name": "x\u202e"}`:                          {http.StatusUnprocessableEntity, "does not print"},
		`{"name": "x", "severity": "severe"}`:          {http.StatusUnprocessableEntity, "severity"},
		`{"name": "x", "wait_seconds": 100000}`:        {http.StatusUnprocessableEntity, "wait_seconds"},
		`{"name": ""}`:                                 {http.StatusUnprocessableEntity, "name"},
		`{"name": "x", "groups": ["\u0000"]}`:          {http.StatusUnprocessableEntity, "does not print"},
		`{"name": "x", "labels": {"\u001b[31m": "x"}}`: {http.StatusUnprocessableEntity, "does not print"},
		`{"name": "x", "notify": ["` + hook + `"]}`:    {http.StatusUnprocessableEntity, "unexpected property"},
	} {
		wantProblem(t, h.do("POST", "/v1/alert-rules", body), want.status, want.says)
	}
	changed := decode[v1.AlertRule](t, h.do("PUT", "/v1/alert-rules/"+added.ID, `{"name": "edges", "severity": "critical", "disabled": true}`), http.StatusOK)
	if changed.ID != added.ID || changed.Severity != result.Critical || !changed.Disabled || len(changed.Channels) != 0 || !changed.Created.Equal(added.Created) {
		t.Errorf("changed = %+v, want what was sent under the same id", changed)
	}
	list := decode[v1.AlertRules](t, h.do("GET", "/v1/alert-rules", ""), http.StatusOK)
	if len(list.Rules) != 1 || list.Rules[0].Name != "edges" {
		t.Errorf("rules = %+v, want the changed one", list.Rules)
	}
	wantProblem(t, h.do("PUT", "/v1/alert-rules/gone", `{"name": "x"}`), http.StatusNotFound, "no such alert rule")
	if w := h.do("DELETE", "/v1/alert-rules/edges", ""); w.Code != http.StatusNoContent {
		t.Errorf("DELETE = %d %s, want 204", w.Code, w.Body)
	}
	wantProblem(t, h.do("DELETE", "/v1/alert-rules/"+added.ID, ""), http.StatusNotFound, "no such alert rule")
	for _, want := range []string{`alert rule "edge" added`, `alert rule "edges" changed, disabled`, `alert rule "edges" removed`} {
		if events := h.events(t); !slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, want) }) {
			t.Errorf("events = %q, want %q", events, want)
		}
	}
}

func TestAlertChannels(t *testing.T) {
	h := newHarness(t, alerting(t, false))
	const secret = "super-secret-key"
	w := h.do("POST", "/v1/alert-channels", `{"name": "am", "kind": "alertmanager", "target": "https://am.example.net", "secret": "`+secret+`"}`)
	added := decode[v1.AlertChannel](t, w, http.StatusCreated)
	if !added.HasSecret || strings.Contains(w.Body.String(), secret) {
		t.Errorf("added = %s, want that it has a secret, not the secret", w.Body)
	}
	for body, says := range map[string]string{
		`{"name": "x", "kind": "webhook", "target": "http://127.0.0.1/", "secret": "` + secret + `"}`:       "alerts.allow-local",
		`{"name": "x", "kind": "webhook", "target": "http://169.254.169.254/", "secret": "` + secret + `"}`: "alerts.allow-local",
		`{"name": "x", "kind": "webhook", "target": "https://example.net"}`:                                 "at least 16",
		`{"name": "x", "kind": "webhook", "target": "https://u:` + secret + `@example.net"}`:                "no credentials",
		`{"name": "x", "kind": "pigeon", "target": "https://example.net"}`:                                  "kind",
		`{"name": "x", "kind": "email", "target": "smtp://mail.example.net", "from": "a@b.c"}`:              "recipients",
	} {
		p := wantProblem(t, h.do("POST", "/v1/alert-channels", body), http.StatusUnprocessableEntity, says)
		if strings.Contains(p.Error(), secret) {
			t.Errorf("the problem shows the secret: %s", p.Error())
		}
	}
	wantProblem(t, h.do("POST", "/v1/alert-channels", `{"name": "am", "kind": "syslog", "target": "udp://siem.example.net"}`), http.StatusConflict, "name")

	// Whoever may not read the secret cannot have it sent elsewhere.
	same := decode[v1.AlertChannel](t, h.do("PUT", "/v1/alert-channels/"+added.ID,
		`{"name": "alertmanager", "kind": "alertmanager", "target": "https://am.example.net"}`), http.StatusOK)
	if !same.HasSecret || same.Name != "alertmanager" {
		t.Errorf("changed = %+v, want the new name and the old secret", same)
	}
	if c, err := h.store.AlertChannel(t.Context(), apitest.Tenant, added.ID); err != nil || c.Secret != secret {
		t.Errorf("stored secret = %q, %v, want the old one", c.Secret, err)
	}
	for _, target := range []string{"https://evil.example.net", "https://am.example.net:444"} {
		wantProblem(t, h.do("PUT", "/v1/alert-channels/"+added.ID, `{"name": "alertmanager", "kind": "alertmanager", "target": "`+target+`"}`),
			http.StatusUnprocessableEntity, "give the secret again")
	}
	rule := decode[v1.AlertRule](t, h.do("POST", "/v1/alert-rules", `{"name": "r", "channels": ["`+added.ID+`"]}`), http.StatusCreated)
	wantProblem(t, h.do("DELETE", "/v1/alert-channels/"+added.ID, ""), http.StatusConflict, "alert rules use it")
	h.do("DELETE", "/v1/alert-rules/"+rule.ID, "")
	if w := h.do("DELETE", "/v1/alert-channels/alertmanager", ""); w.Code != http.StatusNoContent {
		t.Errorf("DELETE = %d %s, want 204", w.Code, w.Body)
	}
	list := h.do("GET", "/v1/alert-channels", "")
	if got := decode[v1.AlertChannels](t, list, http.StatusOK); len(got.Channels) != 0 {
		t.Errorf("channels = %+v, want none", got)
	}
	if events := strings.Join(h.events(t), "\n"); strings.Contains(events, secret) || !strings.Contains(events, `alert channel "am" added`) {
		t.Errorf("events = %s, want that it was added, without its secret", events)
	}
	none := newHarness(t)
	wantProblem(t, none.do("POST", "/v1/alert-channels", `{"name": "s", "kind": "syslog", "target": "udp://siem.example.net"}`),
		http.StatusServiceUnavailable, "sends no alerts")
}

// TestAlertChannelTest: a test goes out at once, and the answer says how it went; what failed can be sent again only if it
// was given up.
func TestAlertChannelTest(t *testing.T) {
	got := make(chan string, 10)
	status := http.StatusTeapot
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get(notify.HeaderID)
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	h := newHarness(t, alerting(t, true))
	id := h.addHook(t, receiver.URL)
	failed := decode[v1.Delivery](t, h.do("POST", "/v1/alert-channels/"+id+"/test", ""), http.StatusOK)
	if failed.State != "dead" || !strings.Contains(failed.Error, "418") || failed.Alert != "" || <-got != failed.Key {
		t.Errorf("test = %+v, want why it failed", failed)
	}
	status = http.StatusNoContent
	sent := decode[v1.Delivery](t, h.do("POST", "/v1/alert-channels/"+id+"/test", ""), http.StatusOK)
	if sent.State != "sent" || sent.Error != "" || sent.Sent == nil {
		t.Errorf("test = %+v, want it sent", sent)
	}
	list := decode[v1.Deliveries](t, h.do("GET", "/v1/deliveries?limit=1", ""), http.StatusOK)
	if len(list.Deliveries) != 1 || list.Deliveries[0].ID != sent.ID || list.Next != sent.ID {
		t.Errorf("deliveries = %+v, want the newest and how to go on", list)
	}
	list = decode[v1.Deliveries](t, h.do("GET", fmt.Sprintf("/v1/deliveries?state=dead&before=%d", sent.ID), ""), http.StatusOK)
	if len(list.Deliveries) != 1 || list.Deliveries[0].ID != failed.ID || list.Next != 0 {
		t.Errorf("dead deliveries = %+v, want the one that failed", list)
	}
	wantProblem(t, h.do("POST", fmt.Sprintf("/v1/deliveries/%d/retry", sent.ID), ""), http.StatusConflict, "not given up")
	wantProblem(t, h.do("POST", "/v1/deliveries/999/retry", ""), http.StatusNotFound, "")
	if w := h.do("POST", fmt.Sprintf("/v1/deliveries/%d/retry", failed.ID), ""); w.Code != http.StatusAccepted {
		t.Errorf("retry = %d %s, want 202", w.Code, w.Body)
	}
	if c := decode[v1.AlertChannels](t, h.do("GET", "/v1/alert-channels", ""), http.StatusOK); c.Channels[0].Last == nil || c.Channels[0].Failing != "" {
		t.Errorf("channel = %+v, want when it last worked", c.Channels[0])
	}
}

func TestAlerts(t *testing.T) {
	h := newHarness(t, alerting(t, false))
	ctx, now := t.Context(), time.Now().UTC()
	rule := decode[v1.AlertRule](t, h.do("POST", "/v1/alert-rules", `{"name": "boot"}`), http.StatusCreated)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "<b>router</b>", Vendor: "Acme", Model: "R7", State: result.NeverAttested})
	match := func(component string) []store.AlertMatch {
		f := result.Finding{Code: "boot-event-unknown", Severity: result.Critical, Component: component, Meaning: "is unknown", Action: "look"}
		return []store.AlertMatch{{Rule: rule.ID, Key: store.FindingKey(&f), Cluster: true, Finding: f}}
	}
	for _, component := range []string{"PCR 4", "PCR 9"} {
		if err := h.store.ApplyAlerts(ctx, apitest.Tenant, []store.AlertChange{{Device: d.ID, Matches: match(component)}}, now); err != nil {
			t.Fatal(err)
		}
	}
	due, err := h.store.DueAlerts(ctx, now, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range due {
		a.State, a.Tellings, a.Told, a.Due = store.AlertFiring, 1, now, now.Add(time.Hour)
		if err := h.store.TellAlert(ctx, a, nil); err != nil {
			t.Fatal(err)
		}
	}
	list := decode[v1.Alerts](t, h.do("GET", "/v1/alerts?limit=1", ""), http.StatusOK)
	if len(list.Alerts) != 1 || list.Next == "" {
		t.Fatalf("alerts = %+v, want the newest and how to go on", list)
	}
	a := list.Alerts[0]
	if a.Title != "1 device: PCR 9: is unknown; Acme R7" || a.Devices != 1 || a.State != "firing" || len(a.Sample) != 1 ||
		a.Sample[0].Label != "<b>router</b>" || a.Rule != "boot" || a.Cluster == "" || a.Models[0].Value != "Acme R7" {
		t.Errorf("alert = %+v", a)
	}
	older := decode[v1.Alerts](t, h.do("GET", "/v1/alerts?before="+list.Next, ""), http.StatusOK)
	if len(older.Alerts) != 1 || older.Alerts[0].Devices != 0 || older.Next != "" {
		t.Errorf("older alerts = %+v, want the one that the device left", older)
	}
	wantProblem(t, h.do("GET", "/v1/alerts?before=99999999999999999999", ""), http.StatusUnprocessableEntity, "before")
	wantProblem(t, h.do("POST", "/v1/alerts/gone/acknowledge", ""), http.StatusNotFound, "")
	taken := decode[v1.Alert](t, h.do("POST", "/v1/alerts/"+a.ID+"/acknowledge", ""), http.StatusOK)
	if taken.State != "acknowledged" || taken.Actor != h.actor {
		t.Errorf("acknowledged = %+v, want by %s", taken, h.actor)
	}
	wantProblem(t, h.do("POST", "/v1/alerts/"+a.ID+"/acknowledge", ""), http.StatusConflict, "acknowledged it already")
	if one := decode[v1.Alert](t, h.do("GET", "/v1/alerts/"+a.ID, ""), http.StatusOK); one.State != "acknowledged" {
		t.Errorf("alert = %+v, want it acknowledged", one)
	}
	found := decode[v1.Alerts](t, h.do("GET", "/v1/alerts?state=acknowledged", ""), http.StatusOK)
	if len(found.Alerts) != 1 || found.Alerts[0].ID != a.ID {
		t.Errorf("acknowledged alerts = %+v, want the one", found)
	}
	other := apitest.AddToken(t, h.store, store.Token{Operator: true, Tenant: "other"})
	if w := h.as(other, "GET", "/v1/alerts/"+a.ID, ""); w.Code != http.StatusNotFound {
		t.Errorf("another tenant's alert: %d, want 404", w.Code)
	}
}
