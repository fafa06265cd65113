package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// tell looks after the alerts that are due.
func (n *Notifier) tell(ctx context.Context) error {
	now := n.cfg.Now()
	due, err := n.cfg.Store.DueAlerts(ctx, now, alertPage)
	if err != nil || len(due) == 0 {
		return err
	}
	rules, err := n.cfg.Store.AlertRules(ctx, "")
	if err != nil {
		return err
	}
	byID := make(map[string]*store.AlertRule, len(rules))
	for i := range rules {
		byID[rules[i].Tenant+"/"+rules[i].ID] = &rules[i]
	}
	slices.SortFunc(due, bySeverity)
	for i := range due {
		err := n.tellOne(ctx, due[i], byID[due[i].Tenant+"/"+due[i].Rule], now)
		if err != nil && !errors.Is(err, store.ErrConflict) { // a device came or went: it is due again
			return err
		}
	}
	return nil
}

// Reasons for telling an alert.
const (
	began = "firing"
	lasts = "repeat"
	grew  = "grown"
	ended = "resolved"
	trial = "test"
)

// tellOne moves one alert on and tells it if there is reason to. rule is nil when it was removed.
func (n *Notifier) tellOne(ctx context.Context, a store.Alert, rule *store.AlertRule, now time.Time) error {
	wait, repeat := defaultWait, defaultRepeat
	if rule != nil {
		wait, repeat = rule.Wait, rule.Repeat
	}
	why := advance(&a, wait, repeat, now)
	channels, told, err := n.channels(ctx, &a, rule)
	if err != nil {
		return err
	}
	switch open := a.Tellings > 0 && a.Devices > 0 && a.State != store.AlertResolved; {
	case why != "":
		a.Told, a.ToldDevices, a.Refreshed = now, a.Devices, now
	case !open:
	default:
		why, channels = behind(&a, channels, told, now)
	}
	if a.State != store.AlertResolved && slices.ContainsFunc(channels, forgets) {
		a.Due = earlier(a.Due, a.Refreshed.Add(refreshEvery))
	}
	if why == "" {
		return n.cfg.Store.TellAlert(ctx, a, nil)
	}
	a.Tellings++
	return n.deliver(ctx, a, why, channels, now)
}

// behind returns the channels that have to be told although nothing happened: those that the rule did not have when the
// alert was told, and those that forget what they do not hear of again.
func behind(a *store.Alert, channels []store.AlertChannel, told []string, now time.Time) (why string, out []store.AlertChannel) {
	refresh := !now.Before(a.Refreshed.Add(refreshEvery))
	for _, c := range channels {
		switch {
		case !slices.Contains(told, c.ID) && a.State == store.AlertFiring:
			why = began
		case refresh && forgets(c):
			why, a.Refreshed = cmp.Or(why, lasts), now
		default:
			continue
		}
		out = append(out, c)
	}
	if why == "" {
		return "", channels
	}
	return why, out
}

// deliver records what is told with what is to be sent.
func (n *Notifier) deliver(ctx context.Context, a store.Alert, why string, channels []store.AlertChannel, now time.Time) error {
	m := n.message(&a, why, now)
	body, err := m.encode()
	if err != nil {
		return err
	}
	var out []store.Delivery
	for _, c := range channels {
		d := store.Delivery{
			Tenant: a.Tenant, Key: fmt.Sprintf("%s-%d-%s", a.ID, a.Tellings, c.ID), Alert: a.ID, Channel: c.ID, Name: c.Name,
			Subject: subject(why, m), Message: body, State: store.DeliveryWaiting, Created: now, Next: now, Expires: now.Add(giveUpAfter),
		}
		if c.Kind != KindEmail {
			out = append(out, d)
			continue
		}
		key := d.Key
		for i, to := range c.To {
			if slices.Contains(c.To[:i], to) {
				continue
			}
			d.Key, d.Recipient = fmt.Sprintf("%s-%d", key, i), to
			out = append(out, d)
		}
	}
	var events []store.Event
	if why == began || why == ended {
		events = append(events, store.Event{At: now, Kind: "alert", Actor: "verifier", Detail: subject(why, m)})
	}
	if err := n.cfg.Store.TellAlert(ctx, a, out, events...); err != nil {
		return err
	}
	n.cfg.Metrics.told.WithLabelValues(why, string(a.Finding.Severity)).Inc()
	n.cfg.Log.Info("alert", "tenant", a.Tenant, "alert", a.ID, "rule", a.RuleName, "why", why, "title", m.Title, "channels", len(channels))
	return nil
}

// subject says in one line what is told and why.
func subject(why string, m *Message) string { return clip(why+": "+m.Title, maxText) }

// advance moves an alert to the state that it has at now, sets when it is due next, and returns why it has to be told,
// if it has to be.
func advance(a *store.Alert, wait, repeat time.Duration, now time.Time) (why string) {
	switch {
	case a.Devices > 0:
		a.Emptied = time.Time{}
	case a.Emptied.IsZero():
		a.Emptied = now
	}
	if a.Due.IsZero() {
		a.Updated = now
	}
	a.Due = far(now)
	if !a.Emptied.IsZero() && !now.Before(a.Emptied.Add(wait)) {
		a.State, a.Resolved, a.Updated = store.AlertResolved, now, now
		if a.Tellings == 0 {
			return "" // it was over before anybody was told
		}
		return ended
	}
	if !a.Emptied.IsZero() {
		a.Due = a.Emptied.Add(wait)
	}
	switch a.State {
	case store.AlertGathering:
		if first := a.Since.Add(wait); now.Before(first) {
			a.Due = earlier(a.Due, first)
			return ""
		}
		if a.Devices == 0 {
			return "" // it ends now, or gets devices again
		}
		a.State = store.AlertFiring
		a.Due = earlier(a.Due, now.Add(repeat))
		return began
	case store.AlertFiring:
		again := a.Told.Add(repeat)
		switch {
		case a.Devices > 0 && a.Devices >= 2*a.ToldDevices && !now.Before(a.Told.Add(wait)):
			why, again = grew, now.Add(repeat)
		case a.Devices > 0 && !now.Before(again):
			why, again = lasts, now.Add(repeat)
		case a.Devices >= 2*a.ToldDevices && a.Devices > 0:
			again = earlier(again, a.Told.Add(wait))
		}
		if a.Devices > 0 {
			a.Due = earlier(a.Due, again)
		}
	}
	return why
}

// channels returns whom an alert is told, the channels of its rule, or when it ended those that heard of it, and the ids
// of those that heard of it.
func (n *Notifier) channels(ctx context.Context, a *store.Alert, rule *store.AlertRule) (_ []store.AlertChannel, told []string, err error) {
	if told, err = n.cfg.Store.ToldChannels(ctx, a.Tenant, a.ID); err != nil {
		return nil, nil, err
	}
	var ids []string
	switch {
	case a.State == store.AlertResolved:
		ids = told
	case rule != nil:
		ids = rule.Channels
	}
	if len(ids) == 0 {
		return nil, told, nil
	}
	all, err := n.cfg.Store.AlertChannels(ctx, a.Tenant)
	if err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(all, func(c store.AlertChannel) bool { return c.Disabled || !slices.Contains(ids, c.ID) }), told, nil
}

// forgets reports whether a channel leads to what takes an alert for resolved that it hears no more of. Alertmanager
// repeats by itself what it hears of.
func forgets(c store.AlertChannel) bool { return c.Kind == KindAlertmanager }

// far is when an alert is looked at that nothing happens to.
func far(now time.Time) time.Time { return now.Add(rescanEvery) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
