package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func measurement(path string) ima.Measurement {
	sum := sha256.Sum256([]byte(path))
	return ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: sum[:]}
}

// runs lets a device run a program that it did not run before.
func (d *device) runs(path string) {
	d.r.Helper()
	var b ima.Builder
	if err := b.Append(measurement(path)); err != nil {
		d.r.Fatal(err)
	}
	if err := d.Measure(b.Bytes()); err != nil {
		d.r.Fatal(err)
	}
	d.IMA = append(bytes.Clone(d.IMA), b.Bytes()...)
}

// TestDryRun: row 54: a dry run says what real appraisals then show, and switches nothing.
func TestDryRun(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, late, next, busy := r.healthy(), r.healthy(), r.next(), r.next()
	silent := r.healthy() // never attests
	enrolled := silent.stored()
	enrolled.Vendor, enrolled.Model = "Acme", "R7"
	if _, err := r.store.SaveDevice(t.Context(), enrolled); err != nil {
		t.Fatal(err)
	}
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	late.attest(result.Trusted)
	late.runs("/opt/tool") // known to neither, and in a second part of the list
	late.attest(result.Warning)
	late.attest(result.Warning) // nothing new: PCR values and list are those of earlier reports
	busy.attest(result.Untrusted)
	busy.runs("/opt/next")
	busy.attest(result.Untrusted)
	before := []store.Device{old.stored(), late.stored(), next.stored(), busy.stored(), silent.stored()}

	m := r.newRelease()
	m.Files = manifest.SortFiles(append(m.Files, manifest.File{
		Path: "/opt/next", Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: measurement("/opt/next").Digest},
	}))
	signed := acme.sign(t, m)
	got, err := r.DryRun(t.Context(), tenant, signed)
	if err != nil {
		t.Fatal(err)
	}
	type states = map[result.State]int
	want := DryRun{
		Name: "acme/r7/2.5.0", Vendor: "Acme", Model: "R7", Version: "2.5.0", Supersedes: []string{"acme/r7/2.4.1"}, Devices: 4, Unjudged: 1,
		Now:     states{result.Trusted: 1, result.Warning: 1, result.Untrusted: 2},
		Overlap: states{result.Trusted: 3, result.Warning: 1},
		After:   states{result.Trusted: 2, result.Untrusted: 2},
	}
	changes := got.Changes
	got.Changes = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dry run: %s", diff)
	}
	if len(changes) != 5 || !slices.IsSortedFunc(changes, func(a, b DryRunDevice) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("%d changes, want all 5 devices in ascending id", len(changes))
	}
	for _, c := range changes {
		switch c.ID {
		case old.ID:
			if c.Now != result.Trusted || c.Overlap != result.Trusted || c.After != result.Untrusted || len(c.Came) == 0 {
				t.Errorf("old device: %+v", c)
			}
		case next.ID, busy.ID:
			if c.Now != result.Untrusted || c.Overlap != result.Trusted || c.After != result.Trusted || len(c.Went) == 0 {
				t.Errorf("new device: %+v", c)
			}
		case silent.ID:
			if !strings.Contains(c.Problem, "never attested") {
				t.Errorf("silent device: %+v", c)
			}
		}
	}
	after := []store.Device{old.stored(), late.stored(), next.stored(), busy.stored(), silent.stored()}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the dry run changed devices: %s", diff)
	}
	if all, err := r.store.Manifests(t.Context(), tenant); err != nil || len(all) != 1 {
		t.Errorf("%d manifests after the dry run, %v", len(all), err)
	}

	// It was right.
	r.mustSubmit(signed)
	old.attest(result.Trusted)
	next.attest(result.Trusted)
	busy.attest(result.Trusted)
	late.attest(result.Warning)

	// Not signed yet, already there, or a deny-list.
	unsigned := *m
	unsigned.ID, unsigned.Version, unsigned.Supersedes = "acme/r7/2.6.0", "2.6.0", []manifest.Supersession{{ID: "acme/r7/2.5.0"}}
	got, err = r.DryRun(t.Context(), tenant, mustEncode(t, &unsigned))
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "not signed") || !slices.Equal(got.Supersedes, []string{"acme/r7/2.5.0"}) {
		t.Errorf("unsigned: %+v, %v", got.Notes, err)
	}
	got, err = r.DryRun(t.Context(), tenant, signed)
	if err != nil || got.After[result.Trusted] != 3 || len(got.Supersedes) != 0 {
		t.Errorf("a manifest that is there already: %+v, %v, want no change", got, err)
	}
	digest := bootDigest(t, updated(t), fixture(t, "eventlogs", "grub-secure-boot"))
	list := &manifest.Manifest{ID: "l", Vendor: "Acme", Model: "R7", Advisory: "CVE-1", Denied: []manifest.Denial{{
		Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: digest}},
	}}}
	got, err = r.DryRun(t.Context(), tenant, acme.sign(t, list))
	if err != nil || got.After[result.Untrusted] != 2 || got.Now[result.Untrusted] != 0 {
		t.Errorf("a deny-list: %+v, %v, want two devices to become untrusted", got, err)
	}
	_, err = r.DryRun(t.Context(), tenant, newSigner(t, "x").sign(t, m))
	refusedBecause(t, "an unknown signer", err, "no trusted key")
	_, err = r.StartDryRun(t.Context(), tenant, []byte("x"))
	refusedBecause(t, "no manifest", err, "manifest")
}

// TestJobs: long work runs on after the request, few at a time, and is told to its own tenant only.
func TestJobs(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.attest(result.Unsupported)
	hold, entered := make(chan struct{}), make(chan struct{}, 8)
	r.store.before = func(op string) error {
		if op == "Devices" {
			entered <- struct{}{}
			<-hold
		}
		return nil
	}
	id, err := r.StartDryRun(t.Context(), tenant, mustEncode(t, r.oldRelease()))
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	if _, _, over, err := r.DryRunState(tenant, id); over || err != nil {
		t.Errorf("state while it runs: over %t, %v", over, err)
	}
	if _, _, _, err := r.DryRunState("other", id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if _, _, _, err := r.OutliersState(tenant, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another kind: %v", err)
	}
	second, err := r.StartOutliers(t.Context(), tenant, OutlierSpec{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.StartOutliers(t.Context(), tenant, OutlierSpec{})
	refusedBecause(t, "a third job", err, "running already")
	close(hold)
	r.await("both jobs are over", func() bool {
		_, _, first, err := r.DryRunState(tenant, id)
		_, _, other, err2 := r.OutliersState(tenant, second)
		return first && other && err == nil && err2 == nil
	})
	got, progress, _, err := r.DryRunState(tenant, id)
	if err != nil || got.Devices != 1 || progress != (Progress{1, 1}) || got.After[result.Trusted] != 1 {
		t.Errorf("dry run = %+v, progress %v, %v", got, progress, err)
	}
	r.store.before = func(op string) error { return errFault }
	failing, err := r.jobs.start(tenant, "outliers", r.clock.Now(), func(ctx context.Context, _ func(Progress)) (any, error) {
		return r.outliers(ctx, tenant, OutlierSpec{}, func(Progress) {})
	})
	if err != nil {
		t.Fatal(err)
	}
	r.await("the failing job is over", func() bool {
		_, _, over, err := r.OutliersState(tenant, failing)
		return over && errors.Is(err, errFault)
	})
	r.store.before = nil
	for range maxJobs + 3 { // the oldest are forgotten
		id, err := r.StartOutliers(t.Context(), tenant, OutlierSpec{})
		if err != nil {
			t.Fatal(err)
		}
		r.await("it is over", func() bool { _, _, over, _ := r.OutliersState(tenant, id); return over })
	}
	if n := len(r.jobs.of); n > maxJobs {
		t.Errorf("%d jobs are remembered, want at most %d", n, maxJobs)
	}
	if _, _, _, err := r.DryRunState(tenant, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the oldest job: %v, want it forgotten", err)
	}
}

// await waits for a condition.
func (r *rig) await(what string, is func() bool) {
	r.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			r.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}
