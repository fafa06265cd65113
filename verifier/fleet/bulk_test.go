package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func plainID(status store.Status, i int) string { return fmt.Sprintf("%032x%032x", len(status), i) }

// plain stores devices that never attested, and returns their ids.
func (r *rig) plain(n int, status store.Status) (ids []string) {
	r.Helper()
	for i := range n {
		d := store.Device{
			Tenant: tenant, ID: plainID(status, i), Status: status, Level: result.Pinned, State: result.NeverAttested,
			Label: fmt.Sprint(status, " ", i), Model: "R7",
		}
		if _, err := r.store.SaveDevice(r.Context(), d); err != nil {
			r.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	return ids
}

// bulked runs an action to its end.
func (r *rig) bulked(spec BulkSpec) (Bulk, Progress) {
	r.Helper()
	id, _, err := r.StartBulk(r.Context(), tenant, spec, "alice")
	if err != nil {
		r.Fatal(err)
	}
	return r.over(id)
}

func (r *rig) over(id string) (Bulk, Progress) {
	r.Helper()
	var done Bulk
	var p Progress
	r.await("the action is over", func() (over bool) {
		var err error
		if done, p, over, err = r.BulkState(tenant, id); err != nil {
			r.Fatal(err)
		}
		return over
	})
	return done, p
}

func (r *rig) details(id string) (out []string) {
	r.Helper()
	events, err := r.store.Events(r.Context(), tenant, id, 0, 0)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range events {
		out = append(out, e.Actor+": "+e.Kind+": "+e.Detail)
	}
	return out
}

func TestBulkLabel(t *testing.T) {
	r := newRig(t)
	r.plain(1500, store.Active) // more than a page
	group := "north"
	spec := BulkSpec{
		Action: BulkLabel, Filter: &store.Filter{Model: "R7"}, Group: &group, Labels: map[string]string{"jurisdiction": "NG", "absent": ""},
	}
	done, p := r.bulked(spec)
	if len(done.Failures) != 0 || p != (Progress{1500, 1500}) {
		t.Fatalf("bulk = %+v, %+v, want 1500 of 1500", done, p)
	}
	all := store.Filter{Tenant: tenant, Group: "north", Labels: map[string]string{"jurisdiction": "NG"}}
	if n, _, err := r.store.Total(t.Context(), all, 0); n != 1500 || err != nil {
		t.Errorf("devices that have it = %d, %v, want 1500", n, err)
	}
	id := plainID(store.Active, 7)
	if got := r.details(id); len(got) != 1 || !strings.HasPrefix(got[0], "alice: operator: changed the device: ") {
		t.Errorf("events = %q, want one that names who did what", got)
	}
	r.bulked(spec) // again: nothing changes
	if got := r.details(id); len(got) != 1 {
		t.Errorf("events after the same again = %q", got)
	}
	d, err := r.store.Device(t.Context(), tenant, id)
	if _, there := d.Labels["absent"]; err != nil || there {
		t.Errorf("labels = %v, %v, want no empty one", d.Labels, err)
	}
}

// TestBulkApprove: what the filter selects changes while the action goes on.
func TestBulkApprove(t *testing.T) {
	r := newRig(t)
	r.plain(1200, store.Pending)
	active := r.plain(1, store.Active)
	if done, p := r.bulked(BulkSpec{Action: BulkApprove, Filter: &store.Filter{Status: store.Pending}}); len(done.Failures) > 0 || p.Done != 1200 {
		t.Errorf("bulk = %+v, %+v, want 1200 done", done, p)
	}
	if n, _, err := r.store.Total(t.Context(), store.Filter{Tenant: tenant, Status: store.Approved}, 0); n != 1200 || err != nil {
		t.Errorf("approved devices = %d, %v, want 1200", n, err)
	}
	unseen := strings.Repeat("ab", 32)
	done, _ := r.bulked(BulkSpec{Action: BulkApprove, Devices: []string{active[0], unseen, "' OR 1=1", active[0]}})
	if len(done.Failures) != 3 {
		t.Fatalf("bulk = %+v, want three failures", done)
	}
	slices.SortFunc(done.Failures, func(a, b BulkFailure) int { return strings.Compare(a.Why, b.Why) })
	for i, why := range []string{"is not a full device id", "is enrolled already", "there is no such device"} {
		if !strings.Contains(done.Failures[i].Why, why) {
			t.Errorf("failure %d = %+v, want %q", i, done.Failures[i], why)
		}
	}
	if _, err := r.store.Device(t.Context(), tenant, unseen); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a device that is not there was made: %v", err)
	}
}

func TestBulkRemove(t *testing.T) {
	r := newRig(t)
	ids := r.plain(3, store.Active)
	var disconnected atomic.Int32
	r.cfg.Disconnect = func(string, string) { disconnected.Add(1) }
	done, p := r.bulked(BulkSpec{Action: BulkRemove, Devices: ids[:2]})
	if len(done.Failures) != 0 || p.Done != 2 || disconnected.Load() != 2 {
		t.Errorf("bulk = %+v, %+v, %d disconnected", done, p, disconnected.Load())
	}
	if _, err := r.store.Device(t.Context(), tenant, ids[2]); err != nil {
		t.Errorf("the third device: %v", err)
	}
}

func TestBulkAttest(t *testing.T) {
	r := newRig(t)
	a, b := r.healthy(), r.healthy()
	waits := r.plain(1, store.Pending)
	done, _ := r.bulked(BulkSpec{Action: BulkAttest, Devices: []string{a.ID, b.ID, waits[0]}})
	if len(done.Failures) != 1 || done.Failures[0].Device != waits[0] || !strings.Contains(done.Failures[0].Why, "has no key") {
		t.Errorf("bulk = %+v, want a failure of the device that waits", done)
	}
	for _, d := range []*device{a, b} {
		if got := r.details(d.ID); got[0] != "alice: operator: asked for evidence now" {
			t.Errorf("events = %q", got)
		}
		if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 1 {
			t.Errorf("device %s was sent %d challenges, want one", d.ID, len(got))
		}
	}
}

// hasty is a store that ends counting early where it may.
type hasty struct{ store.Store }

func (s hasty) Total(ctx context.Context, f store.Filter, upTo int) (n int, more bool, err error) {
	if upTo > 0 {
		return 1, true, nil
	}
	return s.Store.Total(ctx, f, 0)
}

func TestCountBulkQuickly(t *testing.T) {
	r := newRig(t)
	r.plain(3, store.Active)
	r.cfg.Store = hasty{r.store}
	spec := BulkSpec{Action: BulkAttest, Filter: &store.Filter{}}
	if n, more, err := r.CountBulk(t.Context(), tenant, spec, true); n != 1 || !more || err != nil {
		t.Errorf("quick CountBulk = %d, %v, %v, want at least 1", n, more, err)
	}
	three := 3
	for _, spec.Expect = range []*int{nil, &three} { // what is expected is counted to the end
		if n, more, err := r.CountBulk(t.Context(), tenant, spec, spec.Expect != nil); n != 3 || more || err != nil {
			t.Errorf("CountBulk = %d, %v, %v, want 3", n, more, err)
		}
	}
	if _, n, err := r.StartBulk(t.Context(), tenant, spec, "alice"); n != 3 || err != nil {
		t.Errorf("StartBulk = %d, %v, want 3", n, err)
	}
}

func TestBulkRefusals(t *testing.T) {
	r := newRig(t)
	r.plain(3, store.Active)
	three, four := 3, 4
	filter := &store.Filter{Tenant: "another", Limit: 1, After: "f"}
	for _, quick := range []bool{false, true} {
		n, more, err := r.CountBulk(t.Context(), tenant, BulkSpec{Action: BulkRemove, Filter: filter, Expect: &three}, quick)
		if n != 3 || more || err != nil {
			t.Errorf("CountBulk = %d, %v, %v, want 3", n, more, err)
		}
	}
	_, _, err := r.StartBulk(t.Context(), tenant, BulkSpec{Action: BulkRemove, Filter: filter, Expect: &four}, "alice")
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "for 3 devices now, not 4") {
		t.Errorf("StartBulk that expects another number = %v", err)
	}
	if n, _, err := r.store.Total(t.Context(), store.Filter{Tenant: tenant}, 0); n != 3 || err != nil {
		t.Errorf("devices after a refused action = %d, %v", n, err)
	}
	if _, _, _, err := r.BulkState(tenant, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("BulkState of nothing = %v", err)
	}
	id, _, err := r.StartBulk(t.Context(), tenant, BulkSpec{Action: "explode", Devices: []string{plainID(store.Active, 1)}}, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if done, _ := r.over(id); len(done.Failures) != 1 || !strings.Contains(done.Failures[0].Why, "unknown action") {
		t.Errorf("bulk of an unknown action = %+v", done)
	}
	if _, _, _, err := r.BulkState("another", id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("BulkState of another tenant's = %v", err)
	}
}

// TestBulkRaces: evidence that comes meanwhile is not lost, and what keeps changing is told.
func TestBulkRaces(t *testing.T) {
	r := newRig(t)
	ids := r.plain(1, store.Active)
	races := bulkRetries - 1
	r.restart()
	r.cfg.Store = racing{r.store, &races}
	group := "south"
	spec := BulkSpec{Action: BulkLabel, Devices: ids, Group: &group}
	if done, _ := r.bulked(spec); len(done.Failures) != 0 || races != 0 {
		t.Errorf("bulk = %+v with %d races left", done, races)
	}
	d, err := r.store.Device(t.Context(), tenant, ids[0])
	if err != nil || d.Group != "south" || d.Model != "R9" {
		t.Errorf("device = %+v, %v, want both changes", d, err)
	}
	group, races = "west", 1000
	if done, _ := r.bulked(spec); len(done.Failures) != 1 || done.Failures[0].Why != "it kept changing meanwhile" {
		t.Errorf("bulk = %+v, want a failure", done)
	}
}

// racing lets another writer in before a save.
type racing struct {
	store.Store
	left *int
}

func (s racing) SaveDevice(ctx context.Context, d store.Device, events ...store.Event) (int64, error) {
	if *s.left > 0 {
		*s.left--
		other, err := s.Device(ctx, d.Tenant, d.ID)
		if err != nil {
			return 0, err
		}
		other.Model = "R9"
		if _, err := s.Store.SaveDevice(ctx, other); err != nil {
			return 0, err
		}
	}
	return s.Store.SaveDevice(ctx, d, events...)
}
