package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func wantRefused(t *testing.T, err error, want string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Refused(), want) || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want a refusal that says %q", err, want)
	}
}

func TestAttest(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	for range 2 * askBurst { // an operator is not limited as a device is
		if err := r.Attest(t.Context(), tenant, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	got := r.sender.take(d.ID, proto.DownChallenge)
	if len(got) != 2*askBurst {
		t.Fatalf("%d challenges, want %d", len(got), 2*askBurst)
	}
	if got := d.submit(d.report(got[len(got)-1].message.(*proto.Challenge))); got == nil || got.State != string(result.Unsupported) {
		t.Errorf("receipt = %+v", got)
	}
	r.sender.err = errFault
	if err := r.Attest(t.Context(), tenant, d.ID); !errors.Is(err, errFault) {
		t.Errorf("Attest without a broker = %v", err)
	}
	r.sender.err = nil
	if err := r.Attest(t.Context(), tenant, strings.Repeat("0", 64)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Attest of an unknown device = %v, want ErrNotFound", err)
	}
	if err := r.Attest(t.Context(), "other", d.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Attest of another tenant's device = %v, want ErrNotFound", err)
	}
	waiting, err := r.Approve(t.Context(), tenant, strings.Repeat("1", 64), "alice")
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, r.Attest(t.Context(), tenant, waiting.ID), "approved")
}

func TestApprove(t *testing.T) {
	r := newRig(t)
	id := strings.Repeat("1", 64)
	d, err := r.Approve(t.Context(), tenant, id, "alice")
	if err != nil || d.Status != store.Approved || d.Level != result.Pinned || d.State != result.NeverAttested || d.Version != 1 {
		t.Errorf("Approve of a device that never came = %+v, %v", d, err)
	}
	if d, err = r.Approve(t.Context(), tenant, id, "alice"); err != nil || d.Version != 2 {
		t.Errorf("second Approve = %+v, %v", d, err)
	}
	if got := r.events(id, "approved"); len(got) != 2 {
		t.Errorf("events = %q", got)
	}
	pending := store.Device{
		Tenant: tenant, ID: strings.Repeat("2", 64), Status: store.Pending, State: result.NeverAttested, AKPublic: []byte("ak"), Label: "rack 3",
	}
	if _, err := r.store.SaveDevice(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	if d, err = r.Approve(t.Context(), tenant, pending.ID, "alice"); err != nil || d.Status != store.Approved ||
		string(d.AKPublic) != "ak" || d.Label != "rack 3" {
		t.Errorf("Approve of a pending device = %+v, %v", d, err)
	}
	active := r.healthy()
	_, err = r.Approve(t.Context(), tenant, active.ID, "alice")
	wantRefused(t, err, "enrolled already")
	for _, bad := range []string{"", "1234", strings.Repeat("A", 64), strings.Repeat("1", 63) + "/"} {
		_, err = r.Approve(t.Context(), tenant, bad, "alice")
		wantRefused(t, err, "full device id")
	}
	r.store.before = func(string) error { return errFault }
	if _, err := r.Approve(t.Context(), tenant, id, "alice"); !errors.Is(err, errFault) {
		t.Errorf("Approve with a failing store = %v", err)
	}
}

func TestRemove(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	r.store.before = func(string) error { return errFault }
	if err := r.Remove(t.Context(), tenant, d.ID, "alice"); !errors.Is(err, errFault) || len(r.disconnected) != 0 {
		t.Errorf("Remove with a failing store = %v, disconnected %q", err, r.disconnected)
	}
	r.store.before = nil
	if err := r.Remove(t.Context(), tenant, d.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if d.published() != "" || len(r.disconnected) != 1 || r.disconnected[0] != tenant+"/"+d.ID {
		t.Errorf("published %q, disconnected %q", d.published(), r.disconnected)
	}
	if got := d.events("removed"); len(got) != 1 {
		t.Errorf("events = %q", got)
	}
	if err := r.Remove(t.Context(), tenant, d.ID, "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Remove twice = %v, want ErrNotFound", err)
	}
	again := r.healthy()
	r.sender.err = errFault // a broker that is away does not keep a device
	if err := r.Remove(t.Context(), tenant, again.ID, "alice"); err != nil {
		t.Errorf("Remove without a broker = %v", err)
	}
}

// TestAskManyOfAModel challenges more devices than a page has, and of this model only.
func TestAskManyOfAModel(t *testing.T) {
	r := newRig(t)
	r.many(2100, func(i int, d *store.Device) { d.Model = []string{"R7", "R8", ""}[i%3] })
	for _, model := range []string{"R7", ""} {
		r.sender.all = nil
		if err := r.askModel(t.Context(), tenant, model); err != nil {
			t.Fatal(err)
		}
		r.asking.Wait()
		asked := make(map[string]bool)
		for _, m := range r.sender.all {
			var i int
			if _, err := fmt.Sscanf(m.to.Device, "%x", &i); err != nil || []string{"R7", "R8", ""}[i%3] != model {
				t.Errorf("device %d of another model than %q was asked", i, model)
			}
			asked[m.to.Device] = true
		}
		if len(asked) != 700 || len(r.sender.all) != 700 {
			t.Errorf("model %q: %d devices were asked with %d challenges, want 700", model, len(asked), len(r.sender.all))
		}
	}
}
