package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/store"
)

// TestNotices: what is due now comes first, then what ends soon in the order in which it ends; what is far off is not
// told.
func TestNotices(t *testing.T) {
	r := newRig(t)
	if got, err := r.Notices(t.Context(), tenant); len(got) != 0 || err != nil {
		t.Fatalf("Notices of an empty store = %+v, %v", got, err)
	}
	r.plain(2, store.Pending)
	now := r.clock.Now()
	day := 24 * time.Hour
	for i, until := range []time.Time{now.Add(3 * day), now.Add(40 * day), now.Add(-day), {}} {
		k := store.VendorKey{
			Tenant: tenant, ID: strings.Repeat(fmt.Sprint(i), 64), Name: fmt.Sprint("Acme ", i), Role: "vendor", Public: []byte{1},
			Vendors: []string{"*"}, Models: []string{"*"}, Until: until, Added: now,
		}
		if err := r.store.AddVendorKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	for i, token := range []store.Token{
		{Operator: true, Role: "admin", Name: "ci", Expires: now.Add(2 * day)},
		{Operator: true, Role: "admin", Expires: now.Add(60 * day)},
		{Operator: true, Role: "admin", Revoked: true, Expires: now.Add(day)},
		{Operator: true, Role: "admin", Created: now, Expires: now.Add(day)}, // nobody meant it to last
		{Operator: true, Role: "admin", Created: now.Add(-5 * day), Expires: now.Add(3 * day)},
		{Expires: now.Add(day)},
	} {
		token.ID, token.Tenant, token.Hash = fmt.Sprint("token", i), tenant, make([]byte, 32)
		if err := r.store.AddToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	r.setPolicy(fmt.Sprintf(`
waivers:
  - finding: flash-changed
    component: "*"
    groups: ["*"]
    owner: alice
    reason: hotfix
    expires: %s
`, now.Add(5*day).Format(time.DateOnly)))
	got, err := r.Notices(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range got {
		lines = append(lines, strings.Join([]string{n.Kind, n.Object, n.Text}, "|"))
	}
	want := []string{
		"pending||2 devices wait for approval",
		"token|token0|API token ci expires",
		"vendor-key|" + strings.Repeat("0", 64) + "|key " + short(strings.Repeat("0", 64)) + " of Acme 0 expires",
		"waiver||waiver of flash-changed on *, owner alice expires",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("Notices -want +got:\n%s", diff)
	}
}

// TestManifestNotices: a manifest in force is told of when it ends soon, but not while another has taken its place; one
// that waits for people is told of at once.
func TestManifestNotices(t *testing.T) {
	r := newRig(t)
	v := r.vendor()
	m := r.oldRelease()
	m.NotAfter = r.clock.Now().Add(60 * 24 * time.Hour)
	r.mustSubmit(v.sign(t, m))
	notices := func() (out []string) {
		t.Helper()
		got, err := r.Notices(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range got {
			out = append(out, n.Kind+" "+n.Object)
		}
		return out
	}
	if got := notices(); got != nil {
		t.Errorf("notices of a manifest that lasts = %q", got)
	}
	r.clock.advance(40 * 24 * time.Hour)
	if diff := cmp.Diff([]string{"manifest " + m.ID}, notices()); diff != "" {
		t.Errorf("notices 20 days before its end -want +got:\n%s", diff)
	}
	if err := r.SetManifestApprovals(t.Context(), tenant, 1, "bob"); err != nil {
		t.Fatal(err)
	}
	next := r.newRelease()
	r.mustSubmit(v.sign(t, next))
	if diff := cmp.Diff([]string{"approval " + next.ID, "manifest " + m.ID}, notices()); diff != "" {
		t.Errorf("notices with one that waits -want +got:\n%s", diff)
	}
	r.clock.advance(30 * 24 * time.Hour)
	for _, n := range notices() {
		if n == "manifest "+m.ID {
			t.Errorf("a manifest whose time is over still %q", n)
		}
	}
}
