package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// listOrders pages through a fleet in each order, both ways, and counts it.
func listOrders(s *suite) {
	fleet(s, "t")
	fleet(s, "other")
	all, err := s.Devices(s.ctx, store.Filter{Tenant: "t", Now: epoch})
	s.must("Devices", err)
	for i := range all {
		d := &all[i]
		d.Label, d.LastSeen, d.Since = fmt.Sprint(i%3), epoch.Add(time.Duration(i%4)*time.Second), epoch.Add(-time.Duration(i%5)*time.Microsecond)
		if i%4 == 3 {
			d.LastSeen = time.Time{}
		}
		all[i] = s.save(*d)
	}
	for _, by := range []store.Sort{store.ByID, store.ByLabel, store.ByState, store.ByLastSeen, store.BySince} {
		want := slices.Clone(all)
		slices.SortStableFunc(want, func(a, b store.Device) int { // by id already
			switch by {
			case store.ByLabel:
				return slices.Compare([]byte(a.Label), []byte(b.Label))
			case store.ByState:
				return slices.Index(store.States, a.Current(epoch)) - slices.Index(store.States, b.Current(epoch))
			case store.ByLastSeen:
				return a.LastSeen.Compare(b.LastSeen)
			case store.BySince:
				return a.Since.Compare(b.Since)
			}
			return 0
		})
		for _, desc := range []bool{false, true} {
			for limit := 1; limit <= 11; limit += 5 {
				f := store.Filter{Tenant: "t", Now: epoch, Sort: by, Desc: desc, Limit: limit}
				s.same(fmt.Sprintf("devices by %s, descending %v, in pages of %d", by, desc, limit), s.paged(f), ids(want))
			}
			slices.Reverse(want)
		}
	}
}

// paged returns the ids of all pages.
func (s *suite) paged(f store.Filter) (out []string) {
	s.Helper()
	for {
		page, err := s.Devices(s.ctx, f)
		s.must("Devices", err)
		out = append(out, ids(page)...)
		if len(page) < f.Limit || len(out) > 1000 {
			return out
		}
		last := &page[len(page)-1]
		f.After, f.AfterKey = last.ID, store.SortKey(f.Sort, last, f.Now)
	}
}

// showed records a result with findings and returns the device as it is then.
func (s *suite) showed(d store.Device, n int, findings ...result.Finding) store.Device {
	s.Helper()
	o := outcome(d, n)
	o.Result.Findings = findings
	s.must("Record", s.Record(s.ctx, o))
	return s.stored(d.Tenant, d.ID)
}

func finding(code, component, observed string, severity result.Severity) result.Finding {
	return result.Finding{
		Code: code, Component: component, Observed: observed, Severity: severity, Submod: result.Boot, Expected: "aa",
		Meaning: "was replaced", Action: "isolate it", FirstSeen: epoch.Add(time.Hour),
	}
}

// selection: every filter alone, and together.
func selection(s *suite) {
	digest := sha256.Sum256([]byte("loader"))
	boot := finding("boot-event-changed", "PCR 4", "bb", result.Critical)
	waived := boot
	waived.Severity = result.Info
	for i, group := range []string{"north", "south"} {
		for j, model := range []string{"R7", "R8"} {
			d := device("t", id(fmt.Sprintf("%d%d", i, j)))
			d.Group, d.Model, d.Vendor, d.Firmware = group, model, "Acme", fmt.Sprint("2.", j)
			d.Labels = map[string]string{"jurisdiction": []string{"NG", "DE"}[j], "rack": fmt.Sprint(i, j)}
			d.Level = []result.Level{result.Certified, result.Software}[i]
			d = s.save(d)
			o := outcome(d, i*2+j)
			o.Result.Findings = nil
			switch {
			case i == 0:
				o.Result.Findings = []result.Finding{boot}
				o.Seen = []store.Seen{{
					Content: sha256.Sum256([]byte("log")), Kind: store.SeenBoot, Digests: []store.SeenDigest{{Digest: digest[:], Place: "PCR 4"}},
				}}
			case j == 0:
				o.Result.Findings = []result.Finding{waived, finding("ima-violation", "IMA", "", result.Warn)}
			}
			s.must("Record", s.Record(s.ctx, o))
		}
	}
	s.save(device("u", id("ff")))
	a, b, c, d := id("00"), id("01"), id("10"), id("11")
	for _, test := range []struct {
		f    store.Filter
		want []string
	}{
		{store.Filter{}, []string{a, b, c, d}},
		{store.Filter{Vendor: "Acme"}, []string{a, b, c, d}},
		{store.Filter{Vendor: "acme"}, nil},
		{store.Filter{Firmware: "2.1"}, []string{b, d}},
		{store.Filter{Level: result.Software}, []string{c, d}},
		{store.Filter{Group: "north", Model: "R8"}, []string{b}},
		{store.Filter{Group: "west"}, nil},
		{store.Filter{Labels: map[string]string{"jurisdiction": "NG"}}, []string{a, c}},
		{store.Filter{Labels: map[string]string{"jurisdiction": "NG", "rack": "1 0"}}, []string{c}},
		{store.Filter{Labels: map[string]string{"jurisdiction": "NG", "rack": "0 1"}}, nil},
		{store.Filter{Labels: map[string]string{"jurisdiction": "FR"}}, nil},
		{store.Filter{Finding: "boot-event-changed"}, []string{a, b, c}},
		{store.Filter{Finding: "ima-violation"}, []string{c}},
		{store.Filter{Finding: "' OR 1=1 --"}, nil},
		{store.Filter{Cluster: store.ClusterID(&boot)}, []string{a, b}},
		{store.Filter{Cluster: store.ClusterID(&waived)}, []string{c}},
		{store.Filter{Cluster: store.ClusterID(&boot), Group: "south"}, nil},
		{store.Filter{Digest: digest[:]}, []string{a, b}},
		{store.Filter{Digest: digest[:], Model: "R7"}, []string{a}},
		{store.Filter{Digest: digest[:16]}, nil},
		{store.Filter{Query: "r8", Labels: map[string]string{"jurisdiction": "DE"}}, []string{b, d}},
		{store.Filter{States: []result.State{result.Untrusted, result.Stale}, Model: "R7"}, []string{a, c}},
		{store.Filter{State: result.Warning}, nil},
		{store.Filter{Status: store.Active, Level: result.Certified, Finding: "boot-event-changed", Query: "north"}, nil},
	} {
		test.f.Tenant, test.f.Now, test.f.Limit = "t", epoch, 3
		s.same(fmt.Sprintf("devices of %+v", test.f), s.paged(test.f), test.want)
		n, more, err := s.Total(s.ctx, test.f, 3)
		if want := min(len(test.want), 3); err != nil || n != want || more != (len(test.want) > 3) {
			s.Errorf("Total(%+v, 3) = %d, %v, %v, want %d of %d", test.f, n, more, err, want, len(test.want))
		}
	}
	_, _, err := s.Total(s.ctx, store.Filter{}, 0)
	s.want("Total without a tenant", err, store.ErrInvalid)
	facets, err := s.Facets(s.ctx, "t")
	s.must("Facets", err)
	s.same("facets", facets, store.Facets{
		Vendors:   []store.ValueCount{{Value: "Acme", Devices: 4}},
		Models:    []store.ValueCount{{Value: "R7", Devices: 2}, {Value: "R8", Devices: 2}},
		Firmwares: []store.ValueCount{{Value: "2.0", Devices: 2}, {Value: "2.1", Devices: 2}},
		Groups:    []store.ValueCount{{Value: "north", Devices: 2}, {Value: "south", Devices: 2}},
		Codes:     []store.ValueCount{{Value: "boot-event-changed", Devices: 2}, {Value: "ima-violation", Devices: 1}},
		Labels: map[string][]store.ValueCount{
			"jurisdiction": {{Value: "DE", Devices: 2}, {Value: "NG", Devices: 2}},
			"rack":         {{Value: "0 0", Devices: 1}, {Value: "0 1", Devices: 1}, {Value: "1 0", Devices: 1}, {Value: "1 1", Devices: 1}},
		},
	})
	empty, err := s.Facets(s.ctx, "nobody")
	s.must("Facets", err)
	s.same("facets of nobody", empty, store.Facets{})
}

// clusters: identical failures count together, waived ones apart, and go when nobody shows them.
func clusters(s *suite) {
	bad, worse, minor := finding("a", "x", "1", result.Warn), finding("b", "y", "2", result.Critical), finding("c", "z", "3", result.Info)
	var all []store.Device
	for i := range 4 {
		d := device("t", id(fmt.Sprintf("a%d", i)))
		d.Vendor, d.Model, d.Group = "Acme", []string{"R7", "R8"}[i/3], "north"
		d = s.save(d)
		late := bad
		late.FirstSeen = epoch.Add(time.Duration(10-i) * time.Minute)
		late.Expected = fmt.Sprint(i)
		all = append(all, s.showed(d, i, late, minor))
	}
	all[0] = s.showed(all[0], 10, bad, worse)
	other := s.save(device("u", id("b0")))
	s.showed(other, 1, bad)
	list, err := s.Clusters(s.ctx, "t", result.Warn, 10)
	s.must("Clusters", err)
	if len(list) != 2 || list[0].Finding.Code != "b" || list[1].Finding.Code != "a" || list[0].ID != store.ClusterID(&worse) {
		s.Fatalf("Clusters = %+v, want b, which is worse, then a", list)
	}
	want := bad
	want.Expected, want.FirstSeen = "0", epoch.Add(10*time.Minute)
	s.same("cluster", list[1], store.Cluster{
		ID: store.ClusterID(&bad), Finding: want, Devices: 4, Since: epoch.Add(7 * time.Minute),
		Models: []store.ValueCount{{Value: "Acme R7", Devices: 3}, {Value: "Acme R8", Devices: 1}},
		Groups: []store.ValueCount{{Value: "north", Devices: 4}},
	})
	for least, n := range map[result.Severity]int{result.Info: 3, result.Warn: 2, result.Critical: 1} {
		list, err := s.Clusters(s.ctx, "t", least, 10)
		count, e := s.CountClusters(s.ctx, "t", least, 10)
		if err != nil || e != nil || len(list) != n || count != n {
			s.Errorf("Clusters(%s) = %d, %v, CountClusters = %d, %v, want %d", least, len(list), err, count, e, n)
		}
	}
	if n, err := s.CountClusters(s.ctx, "t", result.Info, 2); n != 2 || err != nil {
		s.Errorf("CountClusters up to 2 = %d, %v", n, err)
	}
	one, err := s.Cluster(s.ctx, "t", list[0].ID)
	s.must("Cluster", err)
	s.same("cluster by id", one, list[0])
	_, err = s.Cluster(s.ctx, "u", list[0].ID)
	s.want("Cluster of another tenant", err, store.ErrNotFound)
	waived := worse
	waived.Severity = result.Info
	all[0] = s.showed(all[0], 11, waived)
	_, err = s.Cluster(s.ctx, "t", store.ClusterID(&worse))
	s.want("Cluster that nobody shows any more", err, store.ErrNotFound)
	if one, err = s.Cluster(s.ctx, "t", store.ClusterID(&waived)); err != nil || one.Finding.Severity != result.Info {
		s.Errorf("Cluster of what is waived = %+v, %v", one, err)
	}
	for _, d := range all {
		s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", d.ID))
	}
	if n, err := s.CountClusters(s.ctx, "t", result.Info, 10); n != 0 || err != nil {
		s.Errorf("CountClusters without devices = %d, %v", n, err)
	}
}

// trends follows three devices through two hours.
func trends(s *suite) {
	start := epoch.Truncate(time.Hour)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	report := func(name string, n, minutes int, state result.State, was result.State) {
		s.Helper()
		d := s.stored("t", id(name))
		o := outcome(d, n)
		o.Device.State, o.Device.LastSeen, o.Device.StaleAt, o.Device.Silenced = state, at(minutes), at(minutes+30), false
		if state != was {
			o.Device.Since = at(minutes)
		}
		s.must("Record", s.Record(s.ctx, o, store.Event{
			At: at(minutes), Device: d.ID, Kind: "state-changed", Detail: fmt.Sprintf("%s -> %s: PCR 4: was replaced", was, state),
		}))
	}
	for i, name := range []string{"aa", "bb", "cc"} {
		d := device("t", id(name))
		d.Since, d.Label, d.Vendor, d.Model = at(i), name, "Acme", "R7"
		s.save(d)
		report(name, 1, 5+i, result.Trusted, result.NeverAttested)
	}
	s.save(device("other", id("aa")))
	report("aa", 2, 20, result.Untrusted, result.Trusted)
	report("aa", 3, 40, result.Untrusted, result.Untrusted)
	d := s.stored("t", id("bb")) // silent since minute 36, which was written down
	d.Silenced, d.Since = true, at(36)
	s.save(d)
	report("bb", 2, 50, result.Trusted, result.Stale)
	report("cc", 2, 60, result.Trusted, result.Stale) // silent since minute 37, which nobody wrote down
	// aa is silent since minute 70, which nobody wrote down yet.
	now := at(75)
	history, err := s.History(s.ctx, "t", at(80), now, 10*time.Minute, 9)
	s.must("History", err)
	s.same("history", history, store.History{
		At: []time.Time{at(0), at(10), at(20), at(30), at(40), at(50), at(60), at(70), at(80)},
		States: map[result.State][]int{
			result.Trusted:   {0, 3, 3, 2, 0, 0, 1, 2, 2},
			result.Untrusted: {0, 0, 0, 1, 1, 1, 1, 1, 0},
			result.Stale:     {0, 0, 0, 0, 2, 2, 1, 0, 1},
		},
		Reports: []int{0, 3, 0, 1, 0, 1, 1, 1, 0},
	})
	_, err = s.History(s.ctx, "t", now, now, time.Second, 9)
	s.want("History in steps of a second", err, store.ErrInvalid)
	moves, err := s.Moves(s.ctx, "t", at(10))
	s.must("Moves", err)
	s.same("moves", moves, []store.Move{
		{From: result.Stale, To: result.Trusted, Devices: 2},
		{From: result.Trusted, To: result.Stale, Devices: 2},
		{From: result.Trusted, To: result.Untrusted, Devices: 1},
	})
	changes, err := s.Changes(s.ctx, "t", 0, 2)
	s.must("Changes", err)
	if len(changes) != 2 || changes[0].Device != id("cc") || changes[0].Label != "cc" || changes[0].Model != "R7" ||
		changes[0].From != result.Stale || changes[0].To != result.Trusted || changes[0].Why != "PCR 4: was replaced" {
		s.Errorf("Changes = %+v", changes)
	}
	rest, err := s.Changes(s.ctx, "t", changes[1].Seq, 0)
	if err != nil || len(rest) != 5 {
		s.Errorf("Changes before = %d, %v, want 5", len(rest), err)
	}
	ages, err := s.Ages(s.ctx, "t", now, []time.Duration{20 * time.Minute, 30 * time.Minute})
	s.must("Ages", err)
	s.same("ages", ages, []int{1, 1, 1})
	ages, err = s.Ages(s.ctx, "t", now.Add(50*time.Hour), []time.Duration{time.Hour, 49*time.Hour + 50*time.Minute, 100 * time.Hour})
	s.must("Ages", err)
	s.same("ages days later", ages, []int{0, 0, 3, 0})
}
