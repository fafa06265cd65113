package sqlite

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

type millionList struct {
	name string
	f    store.Filter
}

// follow returns how long a list takes: the longest of its pages up to one that has devices, at most 50, and how many
// these are.
func (m million) follow(ctx context.Context, s *Store, f store.Filter) (longest time.Duration, pages int, err error) {
	for {
		var list store.List
		took, err := m.measure(ctx, s, func(ctx context.Context) (err error) {
			list, err = s.List(ctx, f, 1000)
			return err
		})
		longest, pages = max(longest, took), pages+1
		if err != nil || !list.Stopped || len(list.Devices) > 0 || pages == 50 {
			return longest, pages, err
		}
		f.After, f.AfterKey = list.After, list.AfterKey
	}
}

// count returns how long it takes to count what a filter selects, as far as that takes little time, and to the end.
func (m million) count(ctx context.Context, s *Store, f store.Filter) (quick, whole time.Duration, err error) {
	var least, n int
	var more bool
	quick, err = m.measure(ctx, s, func(ctx context.Context) (err error) {
		least, more, err = s.Total(ctx, f, math.MaxInt32)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	n, _, err = s.Total(ctx, f, 0)
	if err == nil && (least > n || least < n && !more) {
		err = fmt.Errorf("counted are %d, more: %v; there are %d", least, more, n)
	}
	return quick, time.Since(start), err
}

// lists are lists with their totals, in all orders.
func (m million) lists(prefix string) (out []millionList) {
	some := m.device(m.n / 2)
	bad := result.Finding{Code: "boot-event-changed", Component: "PCR 4, boot application", Observed: "bad release", Severity: result.Critical}
	last := result.Finding{Code: "boot-difference", Component: "PCR 2", Observed: "last", Severity: result.Info}
	content := sha256.Sum256([]byte(some.Model + some.Firmware))
	filters := []struct {
		name string
		f    store.Filter
	}{
		{"all", store.Filter{}},
		{"trusted", store.Filter{State: result.Trusted}},
		{"untrusted", store.Filter{State: result.Untrusted}},
		{"stale", store.Filter{State: result.Stale}},
		{"untrusted or warning or stale", store.Filter{States: []result.State{result.Untrusted, result.Warning, result.Stale}}},
		{"pending", store.Filter{Status: store.Pending}},
		{"model", store.Filter{Model: some.Model}},
		{"vendor", store.Filter{Vendor: some.Vendor}},
		{"firmware", store.Filter{Firmware: some.Firmware}},
		{"group", store.Filter{Group: "region 199"}},
		{"level", store.Filter{Level: result.Certified}},
		{"vendor, model and group", store.Filter{Vendor: some.Vendor, Model: some.Model, Group: some.Group}},
		{"model and untrusted", store.Filter{Model: some.Model, State: result.Untrusted}},
		{"vendor and trusted", store.Filter{Vendor: some.Vendor, State: result.Trusted}},
		{"vendor of another model: none", store.Filter{Vendor: "Acme", Model: "R1"}},
		{"label, many", store.Filter{Labels: map[string]string{"jurisdiction": "J11"}}},
		{"label, few", store.Filter{Labels: map[string]string{"site": some.Labels["site"]}}},
		{"label and untrusted", store.Filter{Labels: map[string]string{"jurisdiction": "J11"}, State: result.Untrusted}},
		{"label, model and trusted", store.Filter{Labels: map[string]string{"jurisdiction": "J11"}, Model: some.Model, State: result.Trusted}},
		{"two labels", store.Filter{Labels: map[string]string{"jurisdiction": some.Labels["jurisdiction"], "site": some.Labels["site"]}}},
		{"label, last of all", store.Filter{Labels: map[string]string{"zone": "last"}}},
		{"label, last of all, and trusted", store.Filter{Labels: map[string]string{"zone": "last"}, State: result.Trusted}},
		{"label, last of all, and model", store.Filter{Labels: map[string]string{"zone": "last"}, Model: some.Model}},
		{"two labels, one last of all: none", store.Filter{Labels: map[string]string{"zone": "last", "jurisdiction": "J11"}}},
		{"two labels, one last of all", store.Filter{Labels: map[string]string{"zone": "last", "jurisdiction": "J4"}}},
		{"label and finding, half of all", store.Filter{Labels: map[string]string{"jurisdiction": "J11"}, Finding: "boot-difference"}},
		{"finding, half of all, and untrusted", store.Filter{Finding: "boot-difference", State: result.Untrusted}},
		{"finding, half of all, and vendor", store.Filter{Finding: "boot-difference", Vendor: some.Vendor}},
		{"finding, half of all, and group", store.Filter{Finding: "boot-difference", Group: some.Group}},
		{"finding, half of all, and vendor, model and group", store.Filter{Finding: "boot-difference", Vendor: some.Vendor, Model: some.Model, Group: some.Group}},
		{"finding", store.Filter{Finding: "no-reference"}},
		{"finding, few", store.Filter{Finding: "flash-changed"}},
		{"finding, half of all", store.Filter{Finding: "boot-difference"}},
		{"cluster", store.Filter{Cluster: store.ClusterID(&bad)}},
		{"cluster and group", store.Filter{Cluster: store.ClusterID(&bad), Group: some.Group}},
		{"cluster and trusted: none", store.Filter{Cluster: store.ClusterID(&bad), State: result.Trusted}},
		{"cluster, last of all", store.Filter{Cluster: store.ClusterID(&last)}},
		{"cluster and label, last of all", store.Filter{Cluster: store.ClusterID(&last), Labels: map[string]string{"zone": "last"}}},
		{"digest", store.Filter{Digest: content[:]}},
		{"digest that all have", store.Filter{Digest: make([]byte, 32)}},
		{"digest and untrusted", store.Filter{Digest: content[:], State: result.Untrusted}},
		{"text, all", store.Filter{Query: "SITE"}},
		{"text, few", store.Filter{Query: "site00017"}},
		{"text, none", store.Filter{Query: "nowhere"}},
		{"text, a region", store.Filter{Query: "region199"}},
		{"text of 2 characters, none", store.Filter{Query: "zz"}},
		{"text of 1 character, none", store.Filter{Query: "~"}},
		{"text of 2 characters, many", store.Filter{Query: "io"}},
		{"start of an id", store.Filter{Query: some.ID[:8]}},
		{"text and untrusted", store.Filter{Query: "site", State: result.Untrusted}},
		{"text, one of forty", store.Filter{Query: "-07"}},
		{"text, one of a hundred", store.Filter{Query: "site001"}},
		{"text, last of all", store.Filter{Query: "-last"}},
		{"text, last of all, and trusted", store.Filter{Query: "-last", State: result.Trusted}},
		{"text, second half", store.Filter{Query: "region1"}},
		{"text and label: none", store.Filter{Query: "region0", Labels: map[string]string{"zone": "last"}}},
		{"text and finding, half of all", store.Filter{Query: "region1", Finding: "boot-difference"}},
		{"text and model, second half", store.Filter{Query: "region1", Model: some.Model}},
		{"digest and label, last of all", store.Filter{Digest: make([]byte, 32), Labels: map[string]string{"zone": "last"}}},
		{"digest and text, second half", store.Filter{Digest: make([]byte, 32), Query: "region1"}},
		{"text and label, last of all", store.Filter{Query: "-last", Labels: map[string]string{"zone": "last"}}},
		{"text and model", store.Filter{Query: "region19", Model: some.Model}},
	}
	for _, one := range filters {
		for _, by := range []store.Sort{store.ByID, store.ByLabel, store.ByState, store.ByLastSeen, store.BySince} {
			for _, desc := range []bool{false, true} {
				f := one.f
				f.Tenant, f.Now, f.Sort, f.Desc, f.Limit = "t", m.now, by, desc, 101
				name := fmt.Sprintf("%s%s, by %s", prefix, one.name, by)
				if desc {
					name += " descending"
				}
				out = append(out, millionList{name, f})
			}
		}
	}
	middle := store.Filter{Tenant: "t", Now: m.now, Limit: 101, After: some.ID}
	out = append(out, millionList{prefix + "all, by id, from the middle", middle})
	labelled := middle
	labelled.Sort, labelled.AfterKey, labelled.State = store.ByLabel, some.Label, result.Untrusted
	return append(out, millionList{prefix + "untrusted, by label, from the middle", labelled})
}
