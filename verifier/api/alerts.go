package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/notify"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Alerts is what the API needs of the part of the verifier that tells alerts; *notify.Notifier is one.
type Alerts interface {
	// Check reports what keeps a channel from working; what wraps notify.ErrChannel is meant for the client.
	Check(c *store.AlertChannel) error
	// Test sends a test through a channel, once, and returns the delivery, which says how it went.
	Test(ctx context.Context, c *store.AlertChannel, actor string) (store.Delivery, error)
	// Wake makes it look for work now.
	Wake()
}

var _ Alerts = (*notify.Notifier)(nil)

// What a rule says that does not say otherwise.
const (
	alertWait   = 30 * time.Second
	alertRepeat = 4 * time.Hour
)

type alertRuleID struct {
	ID string `path:"id" maxLength:"64" doc:"id or name"`
}

type newAlertRule struct{ Body v1.AlertRule }

type changeAlertRule struct {
	ID   string `path:"id" maxLength:"64" doc:"id"`
	Body v1.AlertRule
}

type listAlerts struct {
	State  string `query:"state" enum:"gathering,firing,acknowledged,resolved"`
	Before string `query:"before" maxLength:"20" pattern:"^[1-9][0-9]*$" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

type alertID struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *server) registerAlerts(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-alert-rules", Method: http.MethodGet, Path: "/v1/alert-rules", Summary: "List alert rules",
	}, s.alertRules)
	register(s, doc, huma.Operation{
		OperationID: "add-alert-rule", Method: http.MethodPost, Path: "/v1/alert-rules", DefaultStatus: http.StatusCreated,
		Summary: "Add an alert rule; all devices are compared with it",
	}, s.addAlertRule)
	register(s, doc, huma.Operation{
		OperationID: "change-alert-rule", Method: http.MethodPut, Path: "/v1/alert-rules/{id}",
		Summary: "Replace an alert rule; all devices are compared with it",
	}, s.changeAlertRule)
	register(s, doc, huma.Operation{
		OperationID: "remove-alert-rule", Method: http.MethodDelete, Path: "/v1/alert-rules/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Remove an alert rule; its alerts end",
	}, s.removeAlertRule)
	register(s, doc, huma.Operation{
		OperationID: "list-alerts", Method: http.MethodGet, Path: "/v1/alerts", Summary: "List alerts, newest first",
	}, s.alerts)
	register(s, doc, huma.Operation{
		OperationID: "get-alert", Method: http.MethodGet, Path: "/v1/alerts/{id}", Summary: "Show an alert",
	}, s.alert)
	register(s, doc, huma.Operation{
		OperationID: "acknowledge-alert", Method: http.MethodPost, Path: "/v1/alerts/{id}/acknowledge",
		Summary: "Say that somebody takes care of an alert: it is told again only when it ends",
	}, s.acknowledgeAlert)
	s.registerChannels(doc)
}

func (s *server) alertRules(ctx context.Context, p principal, _ *empty) (*body[v1.AlertRules], error) {
	found, err := s.Store.AlertRules(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	out := v1.AlertRules{Rules: []v1.AlertRule{}}
	for i := range found {
		out.Rules = append(out.Rules, ruleDocument(&found[i]))
	}
	return &body[v1.AlertRules]{out}, nil
}

func (s *server) addAlertRule(ctx context.Context, p principal, in *newAlertRule) (*body[v1.AlertRule], error) {
	known, err := s.Store.AlertRules(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	if len(known) >= maxAlertRules {
		return nil, problemf(http.StatusConflict, "there are %d alert rules already: remove one, or let one select more", len(known))
	}
	r, err := s.rule(ctx, p, newAlertID(), &in.Body)
	if err != nil {
		return nil, err
	}
	r.Created = store.Micro(s.Now())
	return s.saveRule(ctx, p, r, "added")
}

func (s *server) changeAlertRule(ctx context.Context, p principal, in *changeAlertRule) (*body[v1.AlertRule], error) {
	was, err := s.findRule(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.rule(ctx, p, was.ID, &in.Body)
	if err != nil {
		return nil, err
	}
	r.Created = was.Created
	return s.saveRule(ctx, p, r, "changed")
}

func (s *server) saveRule(ctx context.Context, p principal, r *store.AlertRule, what string) (*body[v1.AlertRule], error) {
	state := ""
	if r.Disabled {
		state = ", disabled"
	}
	err := s.Store.SaveAlertRule(ctx, *r, s.event(p, "", fmt.Sprintf("alert rule %q %s%s", r.Name, what, state)))
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "name: another alert rule has it")
	}
	if err != nil {
		return nil, err
	}
	s.wakeAlerts()
	return &body[v1.AlertRule]{ruleDocument(r)}, nil
}

func (s *server) removeAlertRule(ctx context.Context, p principal, in *alertRuleID) (*empty, error) {
	r, err := s.findRule(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Store.RemoveAlertRule(ctx, p.tenant, r.ID, s.event(p, "", fmt.Sprintf("alert rule %q removed", r.Name))); err != nil {
		return nil, err
	}
	s.wakeAlerts()
	return nil, nil
}

// findRule returns a rule by its id or, where none has it, its name.
func (s *server) findRule(ctx context.Context, p principal, id string) (*store.AlertRule, error) {
	found, err := s.Store.AlertRules(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	for _, same := range []func(*store.AlertRule) bool{
		func(r *store.AlertRule) bool { return r.ID == id }, func(r *store.AlertRule) bool { return r.Name == id },
	} {
		for i := range found {
			if same(&found[i]) {
				return &found[i], nil
			}
		}
	}
	return nil, problemf(http.StatusNotFound, "there is no such alert rule")
}

// rule reads a rule and checks what the schema cannot.
func (s *server) rule(ctx context.Context, p principal, id string, in *v1.AlertRule) (*store.AlertRule, error) {
	texts := map[string]string{"name": in.Name}
	for what, list := range map[string][]string{"findings": in.Codes, "groups": in.Groups, "models": in.Models} {
		for i, text := range list {
			if text == "" && what != "groups" {
				return nil, problemf(http.StatusUnprocessableEntity, "%s: empty", what)
			}
			texts[what+"."+strconv.Itoa(i)] = text
		}
	}
	for name, pattern := range in.Labels {
		texts["labels."+name], texts["name of labels."+name] = pattern, name
	}
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	for _, state := range in.States {
		switch state {
		case result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported:
		default:
			return nil, problemf(http.StatusUnprocessableEntity, "states: want trusted, warning, untrusted, stale, never-attested or unsupported")
		}
	}
	channels, err := s.Store.AlertChannels(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	for _, c := range in.Channels {
		if !slices.ContainsFunc(channels, func(known store.AlertChannel) bool { return known.ID == c }) {
			return nil, problemf(http.StatusUnprocessableEntity, "channels: there is no channel with the id %q", clip(c))
		}
	}
	return &store.AlertRule{
		Tenant: p.tenant, ID: id, Name: in.Name, States: in.States, Codes: in.Codes, Severity: cmp.Or(in.Severity, result.Warn),
		Groups: in.Groups, Models: in.Models, Labels: maps.Clone(in.Labels), Channels: in.Channels,
		Wait:     cmp.Or(time.Duration(in.Wait)*time.Second, alertWait),
		Repeat:   cmp.Or(time.Duration(in.Repeat)*time.Second, alertRepeat),
		Disabled: in.Disabled,
	}, nil
}

func (s *server) alerts(ctx context.Context, p principal, in *listAlerts) (*body[v1.Alerts], error) {
	var before int64
	if in.Before != "" {
		n, err := strconv.ParseInt(in.Before, 10, 64)
		if err != nil {
			return nil, problemf(http.StatusUnprocessableEntity, "before: want next of the page before")
		}
		before = n
	}
	found, err := s.Store.Alerts(ctx, p.tenant, store.AlertState(in.State), before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := v1.Alerts{Alerts: []v1.Alert{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = strconv.FormatInt(found[in.Limit-1].Seq, 10)
	}
	for i := range found {
		out.Alerts = append(out.Alerts, alertDocument(&found[i]))
	}
	return &body[v1.Alerts]{out}, nil
}

func (s *server) alert(ctx context.Context, p principal, in *alertID) (*body[v1.Alert], error) {
	a, err := s.Store.Alert(ctx, p.tenant, in.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, problemf(http.StatusNotFound, "no alert has this id; those that ended are not kept for ever")
	}
	if err != nil {
		return nil, err
	}
	return &body[v1.Alert]{alertDocument(&a)}, nil
}

func (s *server) acknowledgeAlert(ctx context.Context, p principal, in *alertID) (*body[v1.Alert], error) {
	a, err := s.Store.Alert(ctx, p.tenant, in.ID)
	if err != nil {
		return nil, err
	}
	err = s.Store.AcknowledgeAlert(ctx, p.tenant, in.ID, p.actor(), s.Now().UTC(), s.event(p, "", "alert acknowledged: "+notify.Title(&a)))
	if errors.Is(err, store.ErrConflict) {
		if a, err = s.Store.Alert(ctx, p.tenant, in.ID); err != nil {
			return nil, err
		}
		if a.State == store.AlertAcknowledged {
			return nil, problemf(http.StatusConflict, "%s acknowledged it already", a.Actor)
		}
		return nil, problemf(http.StatusConflict, "it is over: no device shows it any more")
	}
	if err != nil {
		return nil, err
	}
	if a, err = s.Store.Alert(ctx, p.tenant, in.ID); err != nil {
		return nil, err
	}
	s.wakeAlerts()
	return &body[v1.Alert]{alertDocument(&a)}, nil
}

func (s *server) wakeAlerts() {
	if s.Alerts != nil {
		s.Alerts.Wake()
	}
}

// newAlertID returns an id of a rule or a channel.
func newAlertID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func ruleDocument(r *store.AlertRule) v1.AlertRule {
	out := v1.AlertRule{
		ID: r.ID, Name: r.Name, States: r.States, Codes: r.Codes, Severity: r.Severity, Groups: r.Groups, Models: r.Models, Labels: r.Labels,
		Channels: r.Channels, Wait: int64(r.Wait / time.Second), Repeat: int64(r.Repeat / time.Second), Disabled: r.Disabled,
		Created: r.Created.UTC(),
	}
	if out.Channels == nil {
		out.Channels = []string{}
	}
	return out
}

func alertDocument(a *store.Alert) v1.Alert {
	f := &a.Finding
	out := v1.Alert{
		ID: a.ID, Rule: a.RuleName, RuleID: a.Rule, Title: notify.Title(a), Code: f.Code, Severity: f.Severity, Submod: f.Submod,
		Component: f.Component, Expected: f.Expected, Observed: f.Observed, Nearest: f.Nearest, Meaning: f.Meaning,
		Action: f.Action, Cluster: a.Cluster, State: string(a.State),
		Devices: a.Devices, Peak: a.Peak, Sample: []v1.Candidate{}, Models: countDocuments(a.Models), Groups: countDocuments(a.Groups),
		Since: a.Since.UTC(), Updated: a.Updated.UTC(), Told: moment(a.Told), Resolved: moment(a.Resolved), Actor: a.Actor,
	}
	for _, d := range a.Sample {
		out.Sample = append(out.Sample, v1.Candidate{ID: d.ID, Label: d.Label})
	}
	return out
}

func countDocuments(in []store.AlertValue) []v1.ValueCount {
	out := []v1.ValueCount{}
	for _, v := range in {
		if strings.TrimSpace(v.Value) != "" {
			out = append(out, v1.ValueCount{Value: v.Value, Devices: v.Devices})
		}
	}
	return out
}
