package fleet

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// forgetful returns a rig, and a function after which its store has no sightings, as one that an old version filled.
func forgetful(t *testing.T) (*rig, func()) {
	t.Helper()
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "old.db")
	open := func() {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		r.store.Store = s
		r.restart()
	}
	open()
	return r, func() {
		t.Helper()
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, q := range []string{
			`DELETE FROM seen`, `DELETE FROM indexed_guids`, `DELETE FROM indexed_digests`, `DELETE FROM unindexed`, `DELETE FROM indexed`,
			`DELETE FROM relying`, `INSERT INTO unseen (device) SELECT row FROM devices WHERE state <> 'never-attested'`,
		} {
			if _, err := db.Exec(q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		open()
	}
}

// TestIndexPast: what was stored before sightings were kept is found afterwards as if they had been: the same digests,
// GUIDs and files on the same devices at the same times, and the same coverage.
func TestIndexPast(t *testing.T) {
	r, forget := forgetful(t)
	acme := r.vendor()
	old, ran, next := r.healthy(), r.next(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	old.attest(result.Trusted)
	old.runs("/opt/tool")
	old.attest(result.Warning)
	for range 3 {
		ran.attest(result.Untrusted)
	}
	// One is cleaned, and another one runs something until it boots.
	log := fixture(t, "eventlogs", "grub-secure-boot")
	if err := ran.Boot(log); err != nil {
		t.Fatal(err)
	}
	ran.Device.BootLog = log
	ran.reboot()
	ran.attest(result.Trusted)
	next.runs("/opt/next")
	next.attest(result.Untrusted)
	next.reboot()
	next.attest(result.Untrusted)

	queries := []string{"PCR 4", "/opt/tool", "/opt/next", "8be4df61-93ca-11d2-aa0d-00e098032b8c", "/usr"}
	onlyDevices := func() (found []v1.Search) {
		for _, q := range queries {
			s, devices := r.searched(q, "device")
			slices.SortFunc(devices, func(a, b hit) int {
				return slices.Compare([]string{a.Object, a.First.String(), a.Digest}, []string{b.Object, b.First.String(), b.Digest})
			})
			s.Hits = devices
			found = append(found, s)
		}
		return found
	}
	before := onlyDevices()
	covered, err := r.Coverage(t.Context(), tenant, "acme/r7/2.4.1")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range before {
		if s.Devices == 0 {
			t.Fatalf("nothing is found for %q to begin with", queries[i])
		}
	}
	forget()
	if got := onlyDevices(); got[0].Devices != 0 {
		t.Fatalf("the store forgot nothing: %+v", got[0])
	}
	if err := r.IndexPast(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Which place of several with one digest is told, and the order of those that are first seen together, differ.
	if diff := cmp.Diff(before, onlyDevices(), cmpopts.IgnoreFields(hit{}, "Place")); diff != "" {
		t.Errorf("found after indexing (-want +got):\n%s", diff)
	}
	if again, err := r.Coverage(t.Context(), tenant, "acme/r7/2.4.1"); err != nil || !cmp.Equal(covered, again) {
		t.Errorf("coverage = %+v, %v, want %+v", again, err, covered)
	}
	if left, err := r.store.Unseen(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("%d devices are left, %v", len(left), err)
	}
}

// TestIndexPastAfterRecord: devices go on reporting while their past is looked at, and removed ones hold up nothing.
func TestIndexPastAfterRecord(t *testing.T) {
	r, forget := forgetful(t)
	d, gone := r.healthy(), r.healthy()
	d.attest(result.Unsupported)
	first := r.clock.Now()
	gone.attest(result.Unsupported)
	forget()
	d.attest(result.Unsupported)
	if err := r.Remove(t.Context(), tenant, gone.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	// The device reports while it is looked at: it is looked at again.
	reported := false
	r.store.after = func(op string) error {
		if op == "Evidence" && !reported {
			reported = true
			d.attest(result.Unsupported)
		}
		return nil
	}
	if err := r.IndexPast(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !reported {
		t.Error("no evidence was read")
	}
	r.store.after = nil
	s, found := r.searched("PCR 4", "device")
	if s.Devices != 1 || s.Now != 1 {
		t.Fatalf("search = %+v, want the device that is left", s)
	}
	for _, h := range found {
		if h.Object != d.ID || !h.First.Equal(first) || h.Until != nil {
			t.Errorf("hit = %+v, want it since the first report at %s", h, first)
		}
	}
}

// TestIndexPastFails: a store that fails ends nothing; with the context, indexing ends.
func TestIndexPastFails(t *testing.T) {
	r, forget := forgetful(t)
	r.healthy().attest(result.Unsupported)
	forget()
	r.store.before = func(op string) error {
		if op == "Evidence" {
			return errFault
		}
		return nil
	}
	if more, err := r.indexSome(t.Context()); !errors.Is(err, errFault) || more {
		t.Errorf("indexSome() = %v, %v, want the store's error", more, err)
	}
	if left, err := r.store.Unseen(t.Context(), 10); err != nil || len(left) != 1 {
		t.Errorf("%d devices are left, %v, want the one that could not be read", len(left), err)
	}
	r.store.before = nil
	if more, err := r.indexSome(t.Context()); err != nil || !more {
		t.Errorf("indexSome() = %v, %v", more, err)
	}
	if more, err := r.indexSome(t.Context()); err != nil || more {
		t.Errorf("indexSome() at the end = %v, %v", more, err)
	}
}

// TestPast: when something was there, found from the newest result backwards.
func TestPast(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC) }
	seen := func(kind string, contents ...byte) (out []store.Seen) {
		for _, c := range contents {
			out = append(out, store.Seen{Kind: kind, Content: [32]byte{c}})
		}
		return out
	}
	p := &past{at: make(map[[32]byte]int), lost: make(map[string]time.Time)}
	for _, r := range []struct {
		hour int
		boot string
		seen []store.Seen
	}{
		{9, "c", slices.Concat(seen(store.SeenBoot, 1), seen(store.SeenFiles, 7))},
		{8, "b", nil}, // evidence that is gone
		{7, "b", slices.Concat(seen(store.SeenBoot, 2), seen(store.SeenFiles, 6))},
		{6, "b", slices.Concat(seen(store.SeenBoot, 2), seen(store.SeenFiles, 5))},
		{5, "a", seen(store.SeenBoot, 1)},
		{4, "a", seen(store.SeenBoot, 3)},
	} {
		p.add(&store.StoredResult{Result: result.Result{At: at(r.hour), BootID: r.boot}}, r.seen)
	}
	type span struct{ First, Until time.Time }
	got := make(map[byte]span)
	for _, s := range p.list {
		got[s.Content[0]] = span{s.First, s.Until}
	}
	want := map[byte]span{
		1: {at(5), time.Time{}}, 2: {at(6), at(9)}, 3: {at(4), at(5)}, // boot logs
		7: {at(9), time.Time{}}, 6: {at(7), at(9)}, 5: {at(6), at(9)}, // parts of lists stay until the next boot
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("past (-want +got):\n%s", diff)
	}
}
