package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func deviceRoundTrip(s *suite) {
	_, err := s.Device(s.ctx, "t", id("aa"))
	s.want("Device of an empty store", err, store.ErrNotFound)

	full := s.save(fullDevice("t", id("aa")))
	s.same("full device", s.stored("t", full.ID), full)
	bare := s.save(device("t", id("bb")))
	s.same("bare device", s.stored("t", bare.ID), bare)

	// Replacing writes every field, and every field can be emptied again.
	bare.Version = full.Version
	bare.ID = full.ID
	bare = s.save(bare)
	s.same("emptied device", s.stored("t", bare.ID), bare)

	d := device("t", id("cc"))
	zone := time.FixedZone("east", 7200)
	d.LastSeen = epoch.Add(789 * time.Nanosecond).In(zone)
	s.save(d)
	if got := s.stored("t", d.ID).LastSeen; got != epoch {
		s.Errorf("LastSeen = %v, want UTC cut to microseconds, %v", got, epoch)
	}
}

func deviceVersions(s *suite) {
	d := s.save(device("t", id("aa")), store.Event{Kind: "operator", Detail: "created"})

	again := d
	again.Version = 0
	_, err := s.SaveDevice(s.ctx, again, store.Event{Kind: "operator", Detail: "created twice"})
	s.want("SaveDevice of an existing device with version 0", err, store.ErrConflict)

	old := d
	d.Label = "second"
	d = s.save(d)
	old.Label = "lost"
	_, err = s.SaveDevice(s.ctx, old, store.Event{Kind: "operator", Detail: "conflict"})
	s.want("SaveDevice with an old version", err, store.ErrConflict)
	future := d
	future.Version += 5
	_, err = s.SaveDevice(s.ctx, future)
	s.want("SaveDevice with a version that never was", err, store.ErrConflict)

	s.same("device", s.stored("t", d.ID), d)
	s.same("events", s.details("t", d.ID), []string(nil))
	s.same("events of the tenant", s.details("t", ""), []string{"created"})

	absent := device("t", id("bb"))
	absent.Version = 3
	_, err = s.SaveDevice(s.ctx, absent)
	s.want("SaveDevice of a device that is not there", err, store.ErrNotFound)
}

func deviceRecreated(s *suite) {
	first := s.save(device("t", id("aa")))
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", first.ID))
	second := s.save(device("t", id("aa")))
	if second.Version <= first.Version {
		s.Errorf("version after re-creation = %d, want more than %d", second.Version, first.Version)
	}
	_, err := s.SaveDevice(s.ctx, first)
	s.want("SaveDevice with the removed device's version", err, store.ErrConflict)
	s.want("Record with the removed device's version", s.Record(s.ctx, outcome(first, 1)), store.ErrConflict)
}

func deviceRefused(s *suite) {
	for name, change := range map[string]func(*store.Device){
		"no tenant":        func(d *store.Device) { d.Tenant = "" },
		"no id":            func(d *store.Device) { d.ID = "" },
		"negative version": func(d *store.Device) { d.Version = -1 },
		"unknown status":   func(d *store.Device) { d.Status = "enrolled" },
		"stale":            func(d *store.Device) { d.State = result.Stale },
		"no state":         func(d *store.Device) { d.State = "" },
		"NUL":              func(d *store.Device) { d.Model = "a\x00b" },
		"not UTF-8":        func(d *store.Device) { d.Label = "\xff" },
		"label not UTF-8":  func(d *store.Device) { d.Labels = map[string]string{"site": "\xff"} },
	} {
		d := device("t", id("aa"))
		change(&d)
		_, err := s.SaveDevice(s.ctx, d)
		s.want("SaveDevice: "+name, err, store.ErrInvalid)
	}
	_, err := s.SaveDevice(s.ctx, device("t", id("aa")), store.Event{Tenant: "other"})
	s.want("SaveDevice with another tenant's event", err, store.ErrInvalid)
	_, err = s.Device(s.ctx, "t", id("aa"))
	s.want("Device after refused writes", err, store.ErrNotFound)
}

func resolve(s *suite) {
	for _, d := range []struct{ prefix, label string }{
		{"abcd1", "one"}, {"abcd2", "two"}, {"beef", "twin"}, {"cafe", "twin"}, {"dead", "abcd2"}, {"fade", "100% _x"}, {"0a0a", id("beef")},
	} {
		dev := device("t", id(d.prefix))
		dev.Label = d.label
		s.save(dev)
	}
	s.save(device("other", id("abcd3")))
	for _, test := range []struct {
		in, want string
		err      error
	}{
		{in: id("abcd1"), want: id("abcd1")},
		{in: "abcd1", want: id("abcd1")},
		{in: "one", want: id("abcd1")},
		{in: "beef", want: id("beef")},
		{in: id("beef"), want: id("beef")}, // a full id wins over a label that spells it
		{in: "100% _x", want: id("fade")},
		{in: "abcd", err: store.ErrAmbiguous},
		{in: "twin", err: store.ErrAmbiguous},
		{in: "abcd2", err: store.ErrAmbiguous}, // prefix of one, label of another
		{in: "bee", err: store.ErrNotFound},    // shorter than 4
		{in: "abcd3", err: store.ErrNotFound},  // another tenant's
		{in: "%%%%", err: store.ErrNotFound},
		{in: "____", err: store.ErrNotFound},
		{in: "abc%", err: store.ErrNotFound},
		{in: "ABCD1", err: store.ErrNotFound},
		{in: "100", err: store.ErrNotFound},
		{in: "", err: store.ErrNotFound},
		{in: "' OR '1'='1", err: store.ErrNotFound},
		{in: id("abcd1") + "0", err: store.ErrNotFound},
	} {
		d, err := s.Resolve(s.ctx, "t", test.in)
		if test.err != nil {
			s.want(fmt.Sprintf("Resolve(%q)", test.in), err, test.err)
		} else if err != nil || d.ID != test.want {
			s.Errorf("Resolve(%q) = %s, %v, want %s", test.in, d.ID, err, test.want)
		}
	}
}

// fleet stores one device for each current state at epoch, and returns their ids.
func fleet(s *suite, tenant string) map[result.State][]string {
	byState := make(map[result.State][]string)
	add := func(n int, stored result.State, staleAt time.Time, current result.State) {
		d := device(tenant, id(fmt.Sprintf("%04x", n)))
		d.State, d.StaleAt = stored, staleAt
		s.save(d)
		byState[current] = append(byState[current], d.ID)
	}
	later := epoch.Add(time.Microsecond)
	add(0, result.Trusted, later, result.Trusted)
	add(1, result.Trusted, epoch, result.Stale)
	add(2, result.Warning, later, result.Warning)
	add(3, result.Untrusted, later, result.Untrusted)
	add(4, result.Untrusted, epoch.Add(-time.Hour), result.Stale)
	add(5, result.Unsupported, later, result.Unsupported)
	add(6, result.NeverAttested, time.Time{}, result.NeverAttested)
	add(7, result.NeverAttested, epoch, result.NeverAttested) // never attested does not become stale
	add(8, result.Trusted, time.Time{}, result.Trusted)       // no deadline, no staleness
	add(9, result.Trusted, later, result.Trusted)
	return byState
}

func listFilters(s *suite) {
	byState := fleet(s, "t")
	for _, state := range []result.State{
		result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported,
	} {
		list, err := s.Devices(s.ctx, store.Filter{Tenant: "t", State: state, Now: epoch})
		s.must("Devices", err)
		s.same(fmt.Sprintf("devices %s", state), ids(list), byState[state])
		for _, d := range list {
			if got := d.Current(epoch); got != state {
				s.Errorf("device %s listed as %s is %s", d.ID, state, got)
			}
		}
	}
	d := fullDevice("t", id("ff01"))
	d.Status, d.Model, d.Group, d.Label, d.Vendor = store.Pending, "MODEL x_1", "north", "100% Büro", "Acme_Corp"
	s.save(d)
	d.ID, d.Model, d.Group, d.Label, d.Vendor, d.Version = id("ff02"), "Model xy1", "south", "100 percent", "AcmeXCorp", 0
	s.save(d)
	for _, test := range []struct {
		filter store.Filter
		want   []string
	}{
		{store.Filter{Status: store.Pending}, []string{id("ff01"), id("ff02")}},
		{store.Filter{Model: "MODEL x_1"}, []string{id("ff01")}},
		{store.Filter{Model: "model x_1"}, nil},
		{store.Filter{Group: "north"}, []string{id("ff01")}},
		{store.Filter{Query: "model X"}, []string{id("ff01"), id("ff02")}},
		{store.Filter{Query: "x_1"}, []string{id("ff01")}},
		{store.Filter{Query: "e_c"}, []string{id("ff01")}},
		{store.Filter{Query: "100%"}, []string{id("ff01")}},
		{store.Filter{Query: "%"}, []string{id("ff01")}},
		{store.Filter{Query: `\`}, nil},
		{store.Filter{Query: "' OR 1=1 --"}, nil},
		{store.Filter{Query: "FF0"}, []string{id("ff01"), id("ff02")}},
		{store.Filter{Query: "percentMODEL"}, nil}, // not across fields
		{store.Filter{Query: "model", Group: "south", Status: store.Pending, Model: "Model xy1"}, []string{id("ff02")}},
		{store.Filter{Tenant: "nobody"}, nil},
	} {
		if test.filter.Tenant == "" {
			test.filter.Tenant = "t"
		}
		test.filter.Now = epoch
		list, err := s.Devices(s.ctx, test.filter)
		s.must("Devices", err)
		s.same(fmt.Sprintf("devices of %+v", test.filter), ids(list), test.want)
	}
}

func listPages(s *suite) {
	var want []string
	for n := range 25 {
		want = append(want, s.save(device("t", id(fmt.Sprintf("%02x", n*7)))).ID)
	}
	slices.Sort(want)
	for _, limit := range []int{1, 4, 25, 26} {
		var got []string
		f := store.Filter{Tenant: "t", Limit: limit}
		for {
			page, err := s.Devices(s.ctx, f)
			s.must("Devices", err)
			if len(page) > limit {
				s.Fatalf("page of %d devices, limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, ids(page)...)
			f.After = page[len(page)-1].ID
		}
		s.same(fmt.Sprintf("pages of %d", limit), got, want)
	}
	for n := range 120 {
		s.save(device("many", id(fmt.Sprintf("%02x", n))))
	}
	page, err := s.Devices(s.ctx, store.Filter{Tenant: "many"})
	if err != nil || len(page) != 100 {
		s.Errorf("Devices without limit = %d devices, %v, want 100", len(page), err)
	}
}

func listAllTenants(s *suite) {
	want := make(map[string]int)
	for n := range 9 {
		for _, tenant := range []string{"a", "b", "c"}[:1+n%3] {
			s.save(device(tenant, id(fmt.Sprintf("%02x", n))))
			want[tenant+id(fmt.Sprintf("%02x", n))] = 1
		}
	}
	for limit := 1; limit < 6; limit++ {
		got := make(map[string]int)
		for f := (store.Filter{Limit: limit}); ; {
			page, err := s.Devices(s.ctx, f)
			s.must("Devices", err)
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				got[d.Tenant+d.ID]++
			}
			f.After = page[len(page)-1].ID
		}
		s.same(fmt.Sprintf("devices of all tenants in pages of %d", limit), got, want)
	}
}

func overdue(s *suite) {
	byState := fleet(s, "t")
	list, err := s.Overdue(s.ctx, epoch, 0)
	s.must("Overdue", err)
	slices.Reverse(byState[result.Stale]) // fleet stores the one that is silent for longer last
	s.same("overdue devices", ids(list), byState[result.Stale])
	list, err = s.Overdue(s.ctx, epoch, 1)
	s.must("Overdue", err)
	s.same("longest overdue device", ids(list), byState[result.Stale][:1])
	for _, d := range list {
		d.Silenced = true
		s.save(d)
	}
	list, err = s.Overdue(s.ctx, epoch, 0)
	s.must("Overdue", err)
	s.same("overdue devices that are not silenced", ids(list), byState[result.Stale][1:])
	list, err = s.Overdue(s.ctx, epoch.Add(-24*time.Hour), 0)
	s.must("Overdue", err)
	s.same("overdue devices the day before", ids(list), []string(nil))
}

func counts(s *suite) {
	got, err := s.Counts(s.ctx, "t", epoch)
	s.must("Counts", err)
	s.same("counts of an empty store", got, map[result.State]int{})
	want := make(map[result.State]int)
	for state, list := range fleet(s, "t") {
		want[state] = len(list)
	}
	s.save(device("other", id("aa")))
	got, err = s.Counts(s.ctx, "t", epoch)
	s.must("Counts", err)
	s.same("counts", got, want)
	got, err = s.Counts(s.ctx, "t", epoch.Add(time.Hour))
	s.must("Counts", err)
	s.same("counts an hour later", got, map[result.State]int{result.Stale: 7, result.NeverAttested: 2, result.Trusted: 1})
	got, err = s.Counts(s.ctx, "", epoch)
	s.must("Counts", err)
	want[result.NeverAttested]++
	s.same("counts of all tenants", got, want)
}

// hostileText stores what a device or an operator may have typed to break out of a statement.
func hostileText(s *suite) {
	for n, text := range []string{
		`'; DROP TABLE devices; --`, `" OR ""="`, `%_\`, "\n\r\t\v", "\u202ereversed", "<script>alert(1)</script>", "../../etc/passwd",
		"?1 $1 :a @b", "Ⅷ İ ß", "{}", "𝕏",
	} {
		d := fullDevice("t'"+text, fmt.Sprintf("%04d%s", n, text))
		d.Label, d.Model, d.Vendor, d.Group, d.Labels = text, text, text, text, map[string]string{text: text}
		d = s.save(d, store.Event{At: epoch, Device: d.ID, Kind: text, Actor: text, Detail: text})
		s.same("device", s.stored(d.Tenant, d.ID), d)
		for _, lookup := range []string{text, d.ID, d.ID[:4]} {
			if got, err := s.Resolve(s.ctx, d.Tenant, lookup); err != nil || got.ID != d.ID {
				s.Errorf("Resolve(%q) = %q, %v, want %q", lookup, got.ID, err, d.ID)
			}
		}
		list, err := s.Devices(s.ctx, store.Filter{Tenant: d.Tenant, Model: text, Group: text, Query: text})
		s.must("Devices", err)
		s.same("devices", ids(list), []string{d.ID})
		s.same("events", s.details(d.Tenant, d.ID), []string{text})
		s.must("Record", s.Record(s.ctx, outcome(d, 1)))
		s.must("RemoveDevice", s.RemoveDevice(s.ctx, d.Tenant, d.ID))
	}
	_, err := s.Devices(s.ctx, store.Filter{Tenant: "\xff\x00", Query: "\x00", Model: "\xff"})
	s.must("Devices by text that cannot be stored", err)
	_, err = s.Resolve(s.ctx, "t", "\x00\xff\x00\xff")
	s.want("Resolve of text that cannot be stored", err, store.ErrNotFound)
	_, err = s.Device(s.ctx, "t", "\x00")
	s.want("Device of text that cannot be stored", err, store.ErrNotFound)
}
