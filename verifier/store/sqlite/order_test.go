package sqlite

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// badLoader is a digest that a third of planFleet has.
var badLoader = sha256.Sum256([]byte("bad"))

// planFleet fills a store with so many devices that the way a list is read matters.
func planFleet(t *testing.T, s *Store, n int, now time.Time) {
	t.Helper()
	err := s.writer.do(t.Context(), func(tx *tx) error {
		for i := range n {
			d := store.Device{
				Tenant: "t", ID: fmt.Sprintf("%064x", i*7919%n), Label: fmt.Sprintf("lift %d", i), Status: store.Active,
				Level: result.Pinned, State: result.Trusted, StaleAt: now.Add(time.Hour), LastSeen: now.Add(-time.Duration(i) * time.Second), Since: now,
				Model: fmt.Sprintf("R%d", i%2), Group: fmt.Sprint("g", i%100), Labels: map[string]string{"jurisdiction": []string{"NG", "DE"}[i%2]},
			}
			if i%1000 == 7 {
				d.State = result.Untrusted
			}
			if i%4 > 0 {
				d.Level = result.Certified
			}
			if i%3 == 0 {
				d.Labels["loader"] = "bad" // as badLoader says
			}
			p, err := profileOf(&d)
			if err != nil {
				return err
			}
			if _, err := tx.insertDevice(&d, p); err != nil {
				return err
			}
			content := sha256.Sum256([]byte(d.Labels["loader"]))
			seen := &store.Seen{Content: content, Kind: store.SeenBoot, Digests: []store.SeenDigest{{Digest: content[:]}}}
			if err := tx.see(&d, &sightings{came: []*store.Seen{seen}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestListPlans checks that lists are read through indexes: what matches little is collected, and what matches much
// comes in an index's order without sorting all of it.
func TestListPlans(t *testing.T) {
	s, now := newTest(t), time.Now()
	planFleet(t, s, 20_000, now)
	s.effort.collect = 1000
	sorts := []store.Sort{store.ByID, store.ByLabel, store.ByLastSeen, store.BySince}
	for name, test := range map[string]struct {
		f       store.Filter
		collect bool // few match: they are collected, but for those that are counted and in an order of their own
	}{
		"nothing":            {},
		"state":              {store.Filter{State: result.Untrusted}, true},
		"states":             {store.Filter{States: []result.State{result.Trusted, result.Stale}}, false},
		"query":              {store.Filter{Query: "lift 1234"}, true},
		"query that all do":  {store.Filter{Query: "lift"}, false},
		"short query":        {store.Filter{Query: "zz"}, true},
		"short, all do":      {store.Filter{Query: "l"}, false},
		"query and state":    {store.Filter{Query: "lift", State: result.Untrusted}, true},
		"model":              {store.Filter{Model: "R1"}, false},
		"group":              {store.Filter{Group: "g7"}, true},
		"model and group":    {store.Filter{Model: "R1", Group: "g7"}, true},
		"label":              {store.Filter{Labels: map[string]string{"jurisdiction": "NG"}}, false},
		"label and state":    {store.Filter{Labels: map[string]string{"jurisdiction": "NG"}, State: result.Untrusted}, true},
		"status":             {store.Filter{Status: store.Active}, false},
		"status that no has": {store.Filter{Status: store.Pending}, true},
	} {
		for _, by := range sorts {
			for _, after := range []string{"", fmt.Sprintf("%064x", 9000)} {
				f := test.f
				f.Tenant, f.Now, f.Sort, f.After, f.AfterKey = "t", now, by, after, "0"
				collect := test.collect && (name != "state" || by == store.ByLabel)
				checkPlan(t, s, fmt.Sprintf("%s by %s", name, by), f, collect)
			}
		}
	}
}

func checkPlan(t *testing.T, s *Store, name string, f store.Filter, few bool) {
	t.Helper()
	err := s.snapshot(t.Context(), "plan", func(r *reader) error {
		sel, err := r.selection(f, true)
		if err != nil || sel.none {
			return err
		}
		if sel = sel.in(statesOf(f)); sel.none {
			return nil
		}
		d := sel.drive(100, true)
		if few = few && !sel.sortsClasses(); few != sel.few(d) {
			t.Errorf("%s: few = %v, want %v", name, !few, few)
		}
		parts, err := sel.parts(100)
		if err != nil {
			return err
		}
		for _, part := range parts {
			q := sel.query(part, 100, sel.start(), &entry{key: sel.afterKey(), id: fmt.Sprintf("%064x", 18_000)})
			plan, err := explainPlan(s, q.text, q.args...)
			if err != nil {
				return err
			}
			collected := strings.Contains(plan, "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)")
			ordered := strings.Contains(plan, "SEARCH d USING") && strings.Contains(plan, "INDEX devices_") &&
				!strings.Contains(plan, "TEMP B-TREE FOR ORDER BY")
			sorted := strings.Contains(plan, "COVERING INDEX devices_of_class_in_label") && sel.sortsClasses()
			if !collected && !ordered && !sorted || strings.Contains(plan, "SCAN d\n") {
				t.Errorf("%s: %s\nplan reads too much:\n%s", name, q.text, plan)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// boundless is more effort than a list of the tests needs.
const boundless = 1 << 30

// TestListAgrees checks every filter, order and cursor against what a list of all devices says.
func TestListAgrees(t *testing.T) {
	s, now := newTest(t), time.Now()
	planFleet(t, s, 300, now)
	all, err := s.Devices(t.Context(), store.Filter{Tenant: "t", Now: now, Limit: 1000})
	if err != nil || len(all) != 300 {
		t.Fatalf("Devices = %d devices, %v, want 300", len(all), err)
	}
	for i := range all { // equal keys, and silence that is written down, that is not, and that is ahead of its time
		d := &all[i]
		d.Label, d.Since = fmt.Sprint(i%9), now.Add(-time.Duration(i%11)*time.Minute)
		switch {
		case i%5 == 1:
			d.StaleAt = now.Add(-time.Minute)
		case i%5 == 2:
			d.StaleAt, d.Silenced = now.Add(-time.Minute), true
		case i%25 == 3:
			d.Silenced = true
		case i%25 == 4:
			d.State, d.LastSeen, d.StaleAt = result.NeverAttested, time.Time{}, time.Time{}
		}
		if _, err := s.SaveDevice(t.Context(), *d); err != nil {
			t.Fatal(err)
		}
	}
	filters := []store.Filter{
		{},
		{State: result.Trusted},
		{State: result.Stale},
		{States: []result.State{result.Stale, result.Untrusted, result.NeverAttested}},
		{Model: "R1", States: []result.State{result.Trusted, result.Stale}},
		{Group: "g7"},
		{Labels: map[string]string{"jurisdiction": "NG"}, State: result.Stale},
		{Labels: map[string]string{"jurisdiction": "NG", "site": "x"}},
		{Query: "4"},
		{Query: "R1", State: result.Stale},
		{Query: "4", Model: "R1"},
		{Status: store.Pending},
		{Status: store.Active},
		{Status: store.Active, State: result.Stale},
		{Level: result.Certified, States: []result.State{result.Untrusted, result.Stale}},
		{Level: result.Pinned},
		{Level: result.Software},
		{Digest: badLoader[:]},
		{Digest: badLoader[:], State: result.Stale, Model: "R1"},
		{Digest: badLoader[:], Labels: map[string]string{"loader": "bad"}, Query: "7"},
	}
	stops := 0
	for _, f := range filters {
		f.Tenant, f.Now = "t", now
		for _, by := range []store.Sort{"", store.ByLabel, store.ByState, store.ByLastSeen, store.BySince} {
			for _, desc := range []bool{false, true} {
				f.Sort, f.Desc = by, desc
				// As it is for few devices, as for many, as while many are silent that are not written down, and where little
				// is read for a page.
				for _, effort := range []effort{
					defaultEffort,
					{collect: 50, index: 1000, late: 20_000, walk: boundless, count: boundless},
					{late: 20_000, walk: boundless, count: boundless},
					{late: 5, walk: boundless, count: boundless},
					{late: 20_000, walk: 500, stretch: 300, time: time.Hour, count: 500},
					{collect: 20, index: 500, late: 20_000, first: 50, walk: 1200, stretch: 300, time: time.Hour, count: 600},
					{collect: 200, index: 1000, late: 5, first: 20, walk: 4000, stretch: 300, time: time.Hour, count: 900},
					{late: 20_000, walk: 900, stretch: 300, count: 900},
				} {
					s.effort = effort
					stops += checkList(t, s, f, all)
				}
			}
		}
	}
	if stops < 1000 {
		t.Errorf("lists were stopped %d times: too little was tested", stops)
	}
}

// checkList returns how often a list was stopped before its page was full.
func checkList(t *testing.T, s *Store, f store.Filter, all []store.Device) (stops int) {
	t.Helper()
	want := []string{}
	ordered := slices.Clone(all)
	slices.SortFunc(ordered, func(a, b store.Device) int {
		if f.Desc {
			a, b = b, a
		}
		return compareDevices(&f, &a, &b)
	})
	for i := range ordered {
		if matches(&f, &ordered[i]) {
			want = append(want, ordered[i].ID)
		}
	}
	upTo := 0
	if s.effort.walk < boundless {
		upTo = len(all)
	}
	got := []string{}
	for f.Limit = 37; ; {
		list, err := s.List(t.Context(), f, upTo)
		if err != nil || list.Total > len(want) || list.Total < len(want) && !list.More || (list.More || list.Stopped) && upTo == 0 {
			t.Fatalf("List(%+v) = %d devices of %d, %v, %v, %v, want %d", f, len(list.Devices), list.Total, list.More, list.Stopped, err, len(want))
		}
		page := list.Devices
		for i := range page {
			got = append(got, page[i].ID)
		}
		if list.Stopped {
			if f.After == list.After && f.AfterKey == list.AfterKey || len(page) >= f.Limit {
				t.Fatalf("List(%+v) was stopped after %d devices at %s, %s", f, len(page), list.AfterKey, list.After)
			}
			f.After, f.AfterKey, stops = list.After, list.AfterKey, stops+1
			continue
		}
		if len(page) < f.Limit {
			break
		}
		last := &page[len(page)-1]
		f.After, f.AfterKey = last.ID, store.SortKey(f.Sort, last, f.Now)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Devices(%+v) in pages = %d devices, want %d\ngot  %.20q\nwant %.20q", f, len(got), len(want), got, want)
	}
	for _, upTo := range []int{0, 10, len(want)} {
		n, more, err := s.Total(t.Context(), f, upTo)
		wantMore := upTo > 0 && len(want) > upTo
		if s.effort.walk < boundless && more && n <= min(upTo, len(want)) {
			continue // that was stopped
		}
		if wantN := len(want); err != nil || more != wantMore || !more && n != wantN || more && n != upTo {
			t.Errorf("Total(%+v, %d) = %d, %v, %v, want %d, %v", f, upTo, n, more, err, wantN, wantMore)
		}
	}
	return stops
}

func compareDevices(f *store.Filter, a, b *store.Device) int {
	c := 0
	switch f.Sort {
	case store.ByLabel:
		c = strings.Compare(a.Label, b.Label)
	case store.ByState:
		c = slices.Index(store.States, a.Current(f.Now)) - slices.Index(store.States, b.Current(f.Now))
	case store.ByLastSeen:
		c = a.LastSeen.Compare(b.LastSeen)
	case store.BySince:
		c = a.Since.Compare(b.Since)
	}
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	return c
}

func matches(f *store.Filter, d *store.Device) bool {
	states := statesOf(*f)
	for name, value := range f.Labels {
		if d.Labels[name] != value {
			return false
		}
	}
	if f.Digest != nil && d.Labels["loader"] != "bad" {
		return false
	}
	search := strings.ToLower(strings.Join([]string{d.Label, d.Model, d.Vendor, d.ID}, "\n"))
	return (len(states) == 0 || slices.Contains(states, d.Current(f.Now))) && (f.Status == "" || f.Status == d.Status) &&
		(f.Level == "" || f.Level == d.Level) &&
		(f.Model == "" || f.Model == d.Model) && (f.Group == "" || f.Group == d.Group) && strings.Contains(search, strings.ToLower(f.Query))
}
