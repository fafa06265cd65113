package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func alertChannel(tenant, id, name string) store.AlertChannel {
	return store.AlertChannel{
		Tenant: tenant, ID: id, Name: name, Kind: "email", Target: "smtp://mail.example.net", To: []string{"a@example.net", "b@example.net"},
		From: "probity@example.net", User: "probity", Secret: `pass"word`, Created: epoch,
	}
}

func alertRule(tenant, id, name string, channels ...string) store.AlertRule {
	return store.AlertRule{
		Tenant: tenant, ID: id, Name: name, States: []result.State{result.Untrusted, result.Stale}, Codes: []string{"boot-event-unknown"},
		Severity: result.Warn, Groups: []string{"edge*"}, Models: []string{"Acme/*"}, Labels: map[string]string{"jurisdiction": "DE"},
		Channels: channels, Wait: time.Minute, Repeat: time.Hour, Created: epoch,
	}
}

func alertRules(s *suite) {
	c := alertChannel("t", "c1", "mail")
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, c, store.Event{Detail: "channel"}))
	s.must("SaveAlertChannel of another tenant", s.SaveAlertChannel(s.ctx, alertChannel("other", "c9", "mail")))
	s.want("SaveAlertChannel with a name that exists", s.SaveAlertChannel(s.ctx, alertChannel("t", "c2", "mail")), store.ErrConflict)
	bad := alertChannel("t", "c2", "bad")
	bad.Target = ""
	s.want("SaveAlertChannel without target", s.SaveAlertChannel(s.ctx, bad), store.ErrInvalid)
	bad = alertChannel("t", "c2", "bad")
	bad.Secret = "hush\x00hush"
	err := s.SaveAlertChannel(s.ctx, bad)
	s.want("SaveAlertChannel with a secret that is no text", err, store.ErrInvalid)
	if err != nil && strings.Contains(err.Error(), "hush") {
		s.Errorf("the error shows the secret: %v", err)
	}
	got, err := s.AlertChannel(s.ctx, "t", "c1")
	s.must("AlertChannel", err)
	s.same("channel", got, c)
	_, err = s.AlertChannel(s.ctx, "other", "c1")
	s.want("AlertChannel of another tenant", err, store.ErrNotFound)

	r := alertRule("t", "r1", "edge", "c1")
	s.must("SaveAlertRule", s.SaveAlertRule(s.ctx, r, store.Event{Detail: "rule"}))
	s.want("SaveAlertRule with another tenant's channel", s.SaveAlertRule(s.ctx, alertRule("t", "r2", "two", "c9"), store.Event{Detail: "no"}),
		store.ErrNotFound)
	s.want("SaveAlertRule with a name that exists", s.SaveAlertRule(s.ctx, alertRule("t", "r2", "edge")), store.ErrConflict)
	bare := alertRule("t", "r2", "bare")
	bare.Wait = 0
	s.want("SaveAlertRule that does not wait", s.SaveAlertRule(s.ctx, bare), store.ErrInvalid)
	s.want("RemoveAlertChannel that a rule tells", s.RemoveAlertChannel(s.ctx, "t", "c1", store.Event{Detail: "no"}), store.ErrConflict)
	s.must("SaveAlertRule", s.SaveAlertRule(s.ctx, alertRule("t", "r0", "a first one")))
	s.must("SaveAlertRule of another tenant", s.SaveAlertRule(s.ctx, alertRule("other", "r1", "edge")))
	list, err := s.AlertRules(s.ctx, "t")
	s.must("AlertRules", err)
	s.same("rules", list, []store.AlertRule{alertRule("t", "r0", "a first one"), r})
	list, err = s.AlertRules(s.ctx, "")
	if err != nil || len(list) != 3 {
		s.Errorf("AlertRules of all tenants = %d rules, %v, want 3", len(list), err)
	}

	changed := r
	changed.Channels, changed.Disabled, changed.Name = nil, true, "edge routers"
	later := changed
	later.Created = epoch.Add(time.Hour) // when it was made does not change
	s.must("SaveAlertRule again", s.SaveAlertRule(s.ctx, later))
	list, err = s.AlertRules(s.ctx, "t")
	s.must("AlertRules", err)
	s.same("changed rule", list[1], changed)
	s.must("RemoveAlertChannel", s.RemoveAlertChannel(s.ctx, "t", "c1", store.Event{Detail: "gone"}))
	s.want("RemoveAlertChannel again", s.RemoveAlertChannel(s.ctx, "t", "c1"), store.ErrNotFound)
	s.want("RemoveAlertRule of another tenant's", s.RemoveAlertRule(s.ctx, "other", "r0"), store.ErrNotFound)
	s.must("RemoveAlertRule", s.RemoveAlertRule(s.ctx, "t", "r1"))
	channels, err := s.AlertChannels(s.ctx, "other")
	if err != nil || len(channels) != 1 || channels[0].ID != "c9" {
		s.Errorf("AlertChannels(other) = %v, %v, want c9", channels, err)
	}
	s.same("events", s.details("t", ""), []string{"gone", "rule", "channel"})
}

// scan marks all devices that have to be compared with the rules.
func (s *suite) scan() {
	s.Helper()
	for {
		more, err := s.ScanAlerts(s.ctx, 2)
		s.must("ScanAlerts", err)
		if !more {
			return
		}
	}
}

// work returns the ids of devices that changed.
func (s *suite) work() (out []string) {
	s.Helper()
	list, err := s.AlertWork(s.ctx, 100)
	s.must("AlertWork", err)
	for _, w := range list {
		out = append(out, w.Device.Tenant+"/"+w.Device.ID[:4])
	}
	return out
}

// match is what a device shows of a rule.
func match(rule, component string) store.AlertMatch {
	f := result.Finding{
		Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot, Component: component, Observed: "bb",
		Meaning: "is unknown", Action: "look", FirstSeen: epoch,
	}
	return store.AlertMatch{Rule: rule, Key: store.FindingKey(&f), Cluster: true, Finding: f}
}

// apply compares all devices that changed: each shows what show says.
func (s *suite) apply(tenant string, show func(w *store.AlertWork) []store.AlertMatch) {
	s.Helper()
	list, err := s.AlertWork(s.ctx, 100)
	s.must("AlertWork", err)
	var changes []store.AlertChange
	for i := range list {
		changes = append(changes, store.AlertChange{Work: list[i].Seq, Device: list[i].Device.ID, Matches: show(&list[i])})
	}
	s.must("ApplyAlerts", s.ApplyAlerts(s.ctx, tenant, changes, epoch.Add(time.Minute)))
}

// alertWork: what changes a device puts it on the list, once; what does not, does not.
func alertWork(s *suite) {
	loud := fullDevice("t", id("aaaa"))
	loud.Silenced = false
	first := s.save(loud)
	s.save(fullDevice("other", id("cccc")))
	s.must("Record", s.Record(s.ctx, outcome(first, 1)))
	s.same("work without rules", s.work(), []string(nil))
	s.must("SaveAlertRule", s.SaveAlertRule(s.ctx, alertRule("t", "r1", "edge")))
	second := s.save(device("t", id("bbbb")))
	s.scan()
	s.same("work after the first rule", s.work(), []string{"t/aaaa", "t/bbbb"})
	list, err := s.AlertWork(s.ctx, 1)
	s.must("AlertWork", err)
	o := outcome(loud, 1)
	want := o.Device
	want.Agent, want.EKPublic, want.EKIssuer, want.AKPublic, want.TLSPublic, want.CertSerial = "", nil, "", nil, nil, ""
	want.CertExpires, want.EnrolledAt, want.Record, want.Result, want.Version = time.Time{}, time.Time{}, nil, nil, 0
	s.same("device of the work", list[0].Device, want)
	s.same("its findings", list[0].Findings, o.Result.Findings)
	s.apply("t", func(*store.AlertWork) []store.AlertMatch { return nil })
	s.same("work when it is done", s.work(), []string(nil))

	record := func(n int, change func(*store.Outcome)) {
		s.Helper()
		o := outcome(s.stored("t", id("aaaa")), n)
		if change != nil {
			change(&o)
		}
		s.must("Record", s.Record(s.ctx, o))
	}
	record(2, nil)
	s.same("work after the same findings", s.work(), []string(nil))
	record(3, func(o *store.Outcome) { o.Result.Findings[0].Observed = "cc" })
	second.Group = "edge"
	second = s.save(second)
	s.same("work after another finding and another group", s.work(), []string{"t/aaaa", "t/bbbb"})
	record(4, func(o *store.Outcome) {
		o.Result.Findings, o.Device.State, o.Result.State = nil, result.Trusted, result.Trusted
	})
	s.same("work after another change", s.work(), []string{"t/bbbb", "t/aaaa"})
	stale := list[0].Seq
	s.must("ApplyAlerts of an old change", s.ApplyAlerts(s.ctx, "t", []store.AlertChange{{Work: stale, Device: id("aaaa")}}, epoch))
	s.same("work after an old change was dealt with", s.work(), []string{"t/bbbb", "t/aaaa"})
	s.apply("t", func(*store.AlertWork) []store.AlertMatch { return nil })
	d := s.stored("t", id("aaaa"))
	d.Silenced = true
	s.save(d)
	s.same("work after silence", s.work(), []string{"t/aaaa"})
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", id("aaaa")))
	s.same("work after removal", s.work(), []string(nil))
	s.must("RescanAlerts", s.RescanAlerts(s.ctx))
	s.scan()
	s.same("work after a new scan", s.work(), []string{"t/bbbb"})
}

func alerts(s *suite) {
	for n, name := range []string{"aaaa", "bbbb", "cccc"} {
		d := fullDevice("t", id(name))
		d.Label = fmt.Sprint("router ", n)
		s.save(d)
	}
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, alertChannel("t", "c1", "mail")))
	s.must("SaveAlertRule", s.SaveAlertRule(s.ctx, alertRule("t", "r1", "edge", "c1")))
	s.scan()
	s.apply("t", func(w *store.AlertWork) []store.AlertMatch {
		if w.Device.ID == id("cccc") {
			return []store.AlertMatch{match("r1", "PCR 9"), match("gone", "PCR 9")}
		}
		return []store.AlertMatch{match("r1", "PCR 4")}
	})
	due, err := s.DueAlerts(s.ctx, epoch, 10)
	s.must("DueAlerts", err)
	if len(due) != 2 {
		s.Fatalf("DueAlerts() = %d alerts, want one of each finding", len(due))
	}
	slices.SortFunc(due, func(a, b store.Alert) int { return b.Devices - a.Devices })
	a := due[0]
	want := store.Alert{
		Seq: a.Seq, Tenant: "t", ID: a.ID, Rule: "r1", RuleName: "edge", Cluster: fmt.Sprintf("%x", match("", "PCR 4").Key),
		Finding: match("", "PCR 4").Finding, State: store.AlertGathering, Devices: 2, Peak: 2,
		Sample: []store.AlertDevice{{ID: id("aaaa"), Label: "router 0"}, {ID: id("bbbb"), Label: "router 1"}},
		Models: []store.AlertValue{{Value: "Acme R7", Devices: 2}}, Groups: []store.AlertValue{{Value: "edge", Devices: 2}},
		Since: epoch.Add(time.Minute), Updated: epoch.Add(time.Minute), Changed: a.Changed,
	}
	s.same("alert", a, want)

	at := epoch.Add(2 * time.Minute)
	a.State, a.Updated, a.Told, a.ToldDevices, a.Tellings, a.Refreshed, a.Due = store.AlertFiring, at, at, 2, 1, at, at.Add(time.Hour)
	s.must("TellAlert", s.TellAlert(s.ctx, a, []store.Delivery{delivery("k1", a.ID, "c1")}, store.Event{Detail: "told"}))
	s.want("TellAlert of what changed", s.TellAlert(s.ctx, a, []store.Delivery{delivery("k2", a.ID, "c1")}), store.ErrConflict)
	got, err := s.Alert(s.ctx, "t", a.ID)
	s.must("Alert", err)
	a.Changed = got.Changed
	s.same("told alert", got, a)
	told, err := s.ToldChannels(s.ctx, "t", a.ID)
	s.must("ToldChannels", err)
	s.same("told channels", told, []string{"c1"})
	_, err = s.Alert(s.ctx, "other", a.ID)
	s.want("Alert of another tenant", err, store.ErrNotFound)
	left, err := s.DueAlerts(s.ctx, at, 10)
	if err != nil || len(left) != 1 || left[0].ID == a.ID {
		s.Errorf("DueAlerts() after telling = %v, %v, want the other one", left, err)
	}

	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", id("aaaa")))
	got, err = s.Alert(s.ctx, "t", a.ID)
	if err != nil || got.Devices != 1 || got.Peak != 2 || !got.Due.IsZero() {
		s.Errorf("alert after a device was removed = %+v, %v, want 1 device, at most 2, due", got, err)
	}
	s.want("AcknowledgeAlert of another tenant", s.AcknowledgeAlert(s.ctx, "other", a.ID, "alice", at), store.ErrNotFound)
	s.must("AcknowledgeAlert", s.AcknowledgeAlert(s.ctx, "t", a.ID, "alice", at, store.Event{Detail: "acknowledged"}))
	s.want("AcknowledgeAlert again", s.AcknowledgeAlert(s.ctx, "t", a.ID, "bob", at, store.Event{Detail: "no"}), store.ErrConflict)

	s.must("RemoveAlertRule", s.RemoveAlertRule(s.ctx, "t", "r1"))
	due, err = s.DueAlerts(s.ctx, at, 10)
	s.must("DueAlerts", err)
	for _, a := range due {
		if a.Devices != 0 || len(a.Sample) == 0 && a.Tellings > 0 {
			s.Errorf("alert of a removed rule = %+v, want no device but what it showed last", a)
		}
		a.State, a.Resolved, a.Updated = store.AlertResolved, at, at
		s.must("TellAlert", s.TellAlert(s.ctx, a, nil))
	}
	s.want("AcknowledgeAlert of what is over", s.AcknowledgeAlert(s.ctx, "t", a.ID, "bob", at), store.ErrConflict)
	all, err := s.Alerts(s.ctx, "t", "", 0, 10)
	if err != nil || len(all) != 2 || all[0].Seq < all[1].Seq {
		s.Errorf("Alerts() = %v, %v, want two, newest first", all, err)
	}
	page, err := s.Alerts(s.ctx, "t", store.AlertResolved, all[0].Seq, 10)
	if err != nil || len(page) != 1 || page[0].ID != all[1].ID {
		s.Errorf("Alerts(resolved) before the newest = %v, %v, want the other", page, err)
	}
	for state, want := range map[store.AlertState]int{store.AlertFiring: 0, store.AlertResolved: 2} {
		if found, err := s.Alerts(s.ctx, "t", state, 0, 10); err != nil || len(found) != want {
			s.Errorf("Alerts(%s) = %d, %v, want %d", state, len(found), err, want)
		}
	}
	s.must("PruneAlerts", s.PruneAlerts(s.ctx, at))
	if all, err = s.Alerts(s.ctx, "t", "", 0, 10); err != nil || len(all) != 2 {
		s.Errorf("Alerts() after pruning older ones = %d, %v, want 2", len(all), err)
	}
	s.must("PruneAlerts", s.PruneAlerts(s.ctx, at.Add(time.Second)))
	if all, err = s.Alerts(s.ctx, "t", "", 0, 10); err != nil || len(all) != 0 {
		s.Errorf("Alerts() after pruning = %d, %v, want none", len(all), err)
	}
	s.same("events", s.details("t", ""), []string{"acknowledged", "told"})
}

// manyAlerts: one code on a hundred components does not make a hundred alerts.
func manyAlerts(s *suite) {
	s.must("SaveAlertRule", s.SaveAlertRule(s.ctx, alertRule("t", "r1", "edge")))
	const devices = store.MaxAlertsOfCode + 10
	for n := range devices {
		s.save(device("t", id(fmt.Sprintf("%04d", n))))
	}
	s.apply("t", func(w *store.AlertWork) []store.AlertMatch { return []store.AlertMatch{match("r1", w.Device.ID)} })
	all, err := s.Alerts(s.ctx, "t", "", 0, 1000)
	s.must("Alerts", err)
	if len(all) != store.MaxAlertsOfCode+1 || all[0].Devices != 10 || all[0].Cluster != "" || all[0].Finding.Observed != "" {
		s.Errorf("%d alerts, the newest with %+v, want %d and one more of 10 devices without a cluster", len(all), all[0], store.MaxAlertsOfCode)
	}
	counts, err := s.AlertCounts(s.ctx)
	if err != nil || counts.Open[result.Critical][store.AlertGathering] != len(all) || counts.Backlog != 0 {
		s.Errorf("AlertCounts() = %+v, %v, want %d critical", counts, err, len(all))
	}
	// A device that shows something else is in that alert only.
	d := s.stored("t", id("0000"))
	d.Group = "moved"
	s.save(d)
	s.apply("t", func(*store.AlertWork) []store.AlertMatch { return []store.AlertMatch{match("r1", id("0001"))} })
	first, err := s.Alert(s.ctx, "t", all[len(all)-1].ID)
	second, err2 := s.Alert(s.ctx, "t", all[len(all)-2].ID)
	if err != nil || err2 != nil || first.Devices != 0 || second.Devices != 2 {
		s.Errorf("devices of the alerts = %d and %d, %v, %v, want 0 and 2", first.Devices, second.Devices, err, err2)
	}
	d = s.stored("t", id("0000"))
	d.Group = "moved again"
	s.save(d)
	s.apply("t", func(*store.AlertWork) []store.AlertMatch { return nil })
	if second, err = s.Alert(s.ctx, "t", second.ID); err != nil || second.Devices != 1 {
		s.Errorf("devices of the alert after one shows nothing = %d, %v, want 1", second.Devices, err)
	}
}

func delivery(key, alert, channel string) store.Delivery {
	return store.Delivery{
		Tenant: "t", Key: key, Alert: alert, Channel: channel, Name: "mail", Subject: "firing: bad", Message: []byte(`{"a":1}`),
		State:   store.DeliveryWaiting,
		Created: epoch, Next: epoch, Expires: epoch.Add(time.Hour),
	}
}

func deliveries(s *suite) {
	for _, c := range []string{"c1", "c2"} {
		s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, alertChannel("t", c, "channel "+c)))
	}
	add := func(d store.Delivery) store.Delivery {
		s.Helper()
		n, err := s.AddDelivery(s.ctx, d)
		s.must("AddDelivery", err)
		d.ID = n
		return d
	}
	first, second := add(delivery("k1", "a1", "c1")), add(delivery("k2", "a1", "c1"))
	third, other := add(delivery("k3", "a2", "c1")), add(delivery("k4", "a1", "c2"))
	_, err := s.AddDelivery(s.ctx, delivery("k1", "a1", "c1"))
	s.want("AddDelivery with a key that exists", err, store.ErrConflict)
	due := func(now time.Time) []string {
		s.Helper()
		list, err := s.DueDeliveries(s.ctx, now, 10)
		s.must("DueDeliveries", err)
		var keys []string
		for _, d := range list {
			keys = append(keys, d.Key)
		}
		return keys
	}
	s.same("due before their time", due(epoch.Add(-time.Second)), []string(nil))
	s.same("due", due(epoch), []string{"k1", "k3", "k4"}) // k2 is of the same alert as k1
	list, err := s.DueDeliveries(s.ctx, epoch, 10)
	s.must("DueDeliveries", err)
	s.same("delivery", list[0], first)

	first.Attempts, first.Error, first.Next = 1, "refused", epoch.Add(time.Minute)
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, first))
	s.same("due after a failure", due(epoch), []string{"k3", "k4"})
	c, err := s.AlertChannel(s.ctx, "t", "c1")
	if err != nil || c.Failing != "refused" || !c.Last.IsZero() {
		s.Errorf("channel after a failure = %+v, %v", c, err)
	}
	s.Reopen()
	s.same("due after a restart", due(epoch.Add(time.Minute)), []string{"k1", "k3", "k4"})
	first.Attempts, first.Error, first.State, first.Sent = 2, "", store.DeliverySent, epoch.Add(time.Minute)
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, first))
	s.want("SettleDelivery of what was sent", s.SettleDelivery(s.ctx, first), store.ErrConflict)
	s.same("due after a success", due(epoch), []string{"k2", "k3", "k4"})
	if c, err = s.AlertChannel(s.ctx, "t", "c1"); err != nil || c.Failing != "" || !c.Last.Equal(first.Sent) {
		s.Errorf("channel after a success = %+v, %v", c, err)
	}

	disabled := alertChannel("t", "c1", "channel c1")
	disabled.Disabled = true
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, disabled))
	s.same("due while a channel is disabled", due(epoch), []string{"k4"})
	s.must("ExpireDeliveries", s.ExpireDeliveries(s.ctx, epoch.Add(time.Hour)))
	got, err := s.Deliveries(s.ctx, "t", store.DeliveryFilter{State: store.DeliveryDead}, 0, 10)
	s.must("Deliveries", err)
	s.same("dead", keys(got), []string{"k4", "k3", "k2"})
	if got[0].Error == "" || got[0].Message != nil {
		s.Errorf("dead delivery = %+v, want a reason and no message", got[0])
	}
	of, err := s.Deliveries(s.ctx, "t", store.DeliveryFilter{State: store.DeliveryDead, Alert: "a1"}, 0, 10)
	s.must("Deliveries", err)
	s.same("dead of an alert", keys(of), []string{"k4", "k2"})
	s.want("RetryDelivery of another tenant", s.RetryDelivery(s.ctx, "other", third.ID, epoch, epoch.Add(time.Hour)), store.ErrNotFound)
	s.want("RetryDelivery of what was sent", s.RetryDelivery(s.ctx, "t", first.ID, epoch, epoch.Add(time.Hour)), store.ErrConflict)
	s.must("RetryDelivery", s.RetryDelivery(s.ctx, "t", other.ID, epoch, epoch.Add(2*time.Hour), store.Event{Detail: "again"}))
	s.same("due after a retry", due(epoch), []string{"k4"})
	s.must("RemoveAlertChannel", s.RemoveAlertChannel(s.ctx, "t", "c2"))
	s.want("RetryDelivery without channel", s.RetryDelivery(s.ctx, "t", other.ID, epoch, epoch.Add(time.Hour)), store.ErrConflict)
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, alertChannel("t", "c3", "channel c3")))
	full, well, late := delivery("k5", "a1", "c3"), delivery("k6", "a1", "c3"), delivery("k7", "a1", "c3")
	full.Recipient, well.Recipient, late.Recipient = "a@example.net", "b@example.net", "a@example.net"
	full, well, late = add(full), add(well), add(late)
	s.same("due for two recipients", due(epoch), []string{"k5", "k6"}) // k7 is for whom k5 is for
	full.Attempts, full.Error, full.Next = 1, "mailbox is full", epoch.Add(time.Minute)
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, full))
	well.Attempts, well.State, well.Sent = 1, store.DeliverySent, epoch
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, well))
	if c, err = s.AlertChannel(s.ctx, "t", "c3"); err != nil || c.Failing != full.Error || !c.Last.Equal(epoch) {
		s.Errorf("channel that one recipient waits for = %+v, %v, want that it fails for that one", c, err)
	}
	s.Reopen()
	list, err = s.DueDeliveries(s.ctx, epoch.Add(time.Minute), 10)
	s.must("DueDeliveries", err)
	s.same("due of one recipient", list, []store.Delivery{full})
	full.State, full.Error, full.Sent = store.DeliverySent, "", epoch.Add(time.Minute)
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, full))
	if c, err = s.AlertChannel(s.ctx, "t", "c3"); err != nil || c.Failing != "" {
		s.Errorf("channel that nobody waits for = %+v, %v, want that it works", c, err)
	}
	late.Attempts, late.Error, late.Next = 1, "mailbox is gone", epoch.Add(time.Hour)
	s.must("SettleDelivery", s.SettleDelivery(s.ctx, late))
	without := alertChannel("t", "c3", "channel c3")
	without.To = without.To[1:]
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, without))
	if c, err = s.AlertChannel(s.ctx, "t", "c3"); err != nil || c.Failing != "" {
		s.Errorf("channel that lost who could not be reached = %+v, %v, want that it works", c, err)
	}
	s.want("SettleDelivery of who was taken away", s.SettleDelivery(s.ctx, late), store.ErrConflict)
	s.want("RetryDelivery of who was taken away", s.RetryDelivery(s.ctx, "t", late.ID, epoch, epoch.Add(time.Hour)), store.ErrConflict)
	s.must("SaveAlertChannel", s.SaveAlertChannel(s.ctx, alertChannel("t", "c3", "channel c3")))
	s.must("RetryDelivery", s.RetryDelivery(s.ctx, "t", late.ID, epoch, epoch.Add(time.Hour)))
	s.must("RemoveAlertChannel", s.RemoveAlertChannel(s.ctx, "t", "c3"))
	counts, err := s.AlertCounts(s.ctx)
	if err != nil || counts.Deliveries[store.DeliveryDead] != 4 || counts.Deliveries[store.DeliveryWaiting] != 0 {
		s.Errorf("AlertCounts() = %+v, %v, want 4 dead", counts, err)
	}
	page, err := s.Deliveries(s.ctx, "t", store.DeliveryFilter{}, third.ID, 1)
	s.must("Deliveries", err)
	s.same("page", keys(page), []string{second.Key})
	s.must("PruneAlerts", s.PruneAlerts(s.ctx, epoch.Add(time.Second)))
	if got, err = s.Deliveries(s.ctx, "t", store.DeliveryFilter{}, 0, 10); err != nil || len(got) != 0 {
		s.Errorf("Deliveries() after pruning = %d, %v, want none", len(got), err)
	}
	s.same("events", s.details("t", ""), []string{"again"})
}

func keys(list []store.Delivery) (out []string) {
	for _, d := range list {
		out = append(out, d.Key)
	}
	return out
}
