package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func record(s *suite) {
	d := s.save(fullDevice("t", id("aa")))
	first := outcome(d, 1)
	s.must("Record", s.Record(s.ctx, first, store.Event{At: epoch, Device: d.ID, Kind: "state-changed", Actor: "verifier", Detail: "bad"}))

	got := s.stored("t", d.ID)
	want := first.Device
	want.Version = got.Version
	s.same("device", got, want)
	if got.Version <= d.Version {
		s.Errorf("version = %d, want more than %d", got.Version, d.Version)
	}
	list := s.results("t", d.ID)
	if len(list) != 1 {
		s.Fatalf("Results() = %d results, want 1", len(list))
	}
	s.same("result", list[0].Result, first.Result)
	if list[0].EAR != first.EAR || list[0].Seq <= 0 {
		s.Errorf("stored result = %d %q, want a positive sequence number and %q", list[0].Seq, list[0].EAR, first.EAR)
	}
	message, err := s.Evidence(s.ctx, "t", d.ID, first.Result.Evidence)
	s.must("Evidence", err)
	s.same("evidence", message, first.Evidence)
	s.same("events", s.details("t", d.ID), []string{"bad"})

	// The same evidence may be appraised again, under another policy for example: it is kept once, with two results.
	again := outcome(got, 1)
	again.EAR, again.Result.Policy, again.Result.State = "ear.again", "other", result.Trusted
	again.Device.Result = []byte(again.EAR)
	s.must("Record of the same evidence", s.Record(s.ctx, again))
	list = s.results("t", d.ID)
	if len(list) != 2 || list[0].EAR != again.EAR || list[1].EAR != first.EAR || list[0].Seq <= list[1].Seq {
		s.Errorf("Results() after the same evidence = %+v, want two, newest first", list)
	}
	got = s.stored("t", d.ID)
	s.same("newest result of the device", string(got.Result), again.EAR)

	// Saving the device leaves its newest result as it is, and can replace it.
	got.Label = "renamed"
	got = s.save(got)
	s.same("newest result after SaveDevice", string(s.stored("t", d.ID).Result), again.EAR)
	got.Result = []byte("replaced")
	s.save(got)
	s.same("replaced result", string(s.stored("t", d.ID).Result), "replaced")

	for _, digest := range []string{"", "zz", first.Result.Evidence[2:], strings.Repeat("0", 64), "' OR ''='"} {
		_, err = s.Evidence(s.ctx, "t", d.ID, digest)
		s.want("Evidence of "+digest, err, store.ErrNotFound)
	}
	_, err = s.Evidence(s.ctx, "t", id("bb"), first.Result.Evidence)
	s.want("Evidence of another device", err, store.ErrNotFound)
}

// recordProfile checks that Record writes every field of the device, also those that a report seldom changes.
func recordProfile(s *suite) {
	d := s.save(device("t", id("aa")))
	full := fullDevice("t", d.ID)
	full.Version = d.Version
	o := outcome(full, 1)
	s.must("Record", s.Record(s.ctx, o))
	got := s.stored("t", d.ID)
	o.Device.Version = got.Version
	s.same("device", got, o.Device)

	// The device's newest result need not be the outcome's.
	o = outcome(got, 2)
	o.Device.Result, o.Device.Firmware = []byte("kept"), "9"
	s.must("Record", s.Record(s.ctx, o))
	got = s.stored("t", d.ID)
	o.Device.Version = got.Version
	s.same("device with a result of its own", got, o.Device)
}

func recordOrNothing(s *suite) {
	d := s.save(device("t", id("aa")))
	event := store.Event{At: epoch, Device: d.ID, Detail: "must not appear"}
	old := d
	d = s.save(d)

	s.want("Record with an old version", s.Record(s.ctx, outcome(old, 1), event), store.ErrConflict)
	absent := device("t", id("bb"))
	absent.Version = 1
	s.want("Record of a device that is not there", s.Record(s.ctx, outcome(absent, 1), event), store.ErrNotFound)
	created := device("t", id("cc"))
	if err := s.Record(s.ctx, outcome(created, 1), event); err == nil {
		s.Error("Record with version 0 succeeded, want an error: an outcome creates no device")
	}
	s.same("device", s.stored("t", d.ID), d)
	for _, id := range []string{d.ID, absent.ID, created.ID} {
		s.same("results", s.results("t", id), []store.StoredResult(nil))
		s.same("events", s.details("t", id), []string(nil))
	}
	_, err := s.Evidence(s.ctx, "t", d.ID, outcome(d, 1).Result.Evidence)
	s.want("Evidence", err, store.ErrNotFound)
	_, err = s.Device(s.ctx, "t", created.ID)
	s.want("Device", err, store.ErrNotFound)
}

func recordRefused(s *suite) {
	d := s.save(device("t", id("aa")))
	for name, change := range map[string]func(*store.Outcome){
		"another tenant's result": func(o *store.Outcome) { o.Result.Tenant = "other" },
		"another device's result": func(o *store.Outcome) { o.Result.Device = id("bb") },
		"another evidence":        func(o *store.Outcome) { o.Evidence = []byte("other") },
		"stale":                   func(o *store.Outcome) { o.Device.State = result.Stale },
		"EAR not UTF-8":           func(o *store.Outcome) { o.EAR = "\xff" },
	} {
		o := outcome(d, 1)
		change(&o)
		s.want("Record: "+name, s.Record(s.ctx, o), store.ErrInvalid)
	}
	s.want("Record with another tenant's event", s.Record(s.ctx, outcome(d, 1), store.Event{Tenant: "other"}), store.ErrInvalid)
	s.same("device", s.stored("t", d.ID), d)
	s.same("results", s.results("t", d.ID), []store.StoredResult(nil))
}

func resultsPages(s *suite) {
	d := s.save(device("t", id("aa")))
	noise := s.save(device("t", id("bb")))
	var want []string
	for n := range 12 {
		s.must("Record", s.Record(s.ctx, outcome(d, n)))
		s.must("Record", s.Record(s.ctx, outcome(noise, n)))
		want = append(want, outcome(d, n).EAR)
		d, noise = s.stored("t", d.ID), s.stored("t", noise.ID)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 5, 12} {
		var got []string
		for before := int64(0); ; {
			page, err := s.Results(s.ctx, "t", d.ID, before, limit)
			s.must("Results", err)
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				got = append(got, r.EAR)
			}
			before = page[len(page)-1].Seq
		}
		s.same(fmt.Sprintf("pages of %d", limit), got, want)
	}
}

func removeDevice(s *suite) {
	s.want("RemoveDevice of nothing", s.RemoveDevice(s.ctx, "t", id("aa"), store.Event{Detail: "no"}), store.ErrNotFound)
	d := s.save(device("t", id("aa")), store.Event{At: epoch, Device: id("aa"), Detail: "created"})
	kept := s.save(device("t", id("bb")))
	s.must("Record", s.Record(s.ctx, outcome(d, 1)))
	s.must("Record", s.Record(s.ctx, outcome(kept, 1)))
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", d.ID, store.Event{At: epoch, Device: d.ID, Detail: "removed"}))

	_, err := s.Device(s.ctx, "t", d.ID)
	s.want("Device", err, store.ErrNotFound)
	_, err = s.Evidence(s.ctx, "t", d.ID, outcome(d, 1).Result.Evidence)
	s.want("Evidence", err, store.ErrNotFound)
	s.same("results", s.results("t", d.ID), []store.StoredResult(nil))
	s.same("events", s.details("t", d.ID), []string{"removed", "created"})
	if got := s.results("t", kept.ID); len(got) != 1 {
		s.Errorf("results of the other device = %d, want 1", len(got))
	}
	s.save(device("t", d.ID))
	s.same("results of the device created again", s.results("t", d.ID), []store.StoredResult(nil))
}
