package fleet

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// TestTwoPeople: a manifest counts only once enough people other than its submitter consented, each once; until then
// nothing of it counts, and it changes nothing of others.
func TestTwoPeople(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	if err := r.SetManifestApprovals(t.Context(), tenant, 2, "root"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, maxApprovals + 1} {
		refusedBecause(t, "a foolish number", r.SetManifestApprovals(t.Context(), tenant, n, "root"), "want 0 to")
	}
	old.attest(result.Trusted) // what counted before goes on
	r.sender.all = nil
	m := r.mustSubmit(acme.sign(t, r.newRelease()))
	if m.Needs != 2 || !m.Awaits() || m.State(r.clock.Now()) != store.ManifestSubmitted || m.Counts(r.clock.Now()) {
		t.Errorf("manifest = %+v, want it to await two", m)
	}
	if got := len(r.sender.take(next.ID, proto.DownChallenge)); got != 0 {
		t.Errorf("devices got %d challenges for a manifest that does not count", got)
	}
	next.attest(result.Untrusted)
	if before, err := r.Manifest(t.Context(), tenant, "acme/r7/2.4.1"); err != nil || before.SupersededBy != "" {
		t.Errorf("the older one = %+v, %v, want it untouched", before, err)
	}

	approve := func(who string) (store.Manifest, error) {
		return r.ApproveManifest(t.Context(), tenant, "acme/r7/2.5.0", "looks good", who)
	}
	_, err := approve("bob")
	refusedBecause(t, "the submitter approves", err, "you submitted")
	if m, err = approve("carol"); err != nil || !m.Awaits() || m.Approved != 1 {
		t.Fatalf("after the first approval: %+v, %v", m, err)
	}
	_, err = approve("carol")
	refusedBecause(t, "the same person again", err, "approved \"acme/r7/2.5.0\" already")
	next.attest(result.Untrusted)
	// One consent less is wanted from now on: what was submitted before keeps what held then.
	if err := r.SetManifestApprovals(t.Context(), tenant, 1, "root"); err != nil {
		t.Fatal(err)
	}
	next.attest(result.Untrusted)
	r.sender.all = nil
	at := r.clock.Now()
	if m, err = approve("dave"); err != nil || m.Awaits() || m.State(at) != store.ManifestActive || m.From.Before(at) {
		t.Fatalf("after the second approval: %+v, %v, want it to count from now on", m, err)
	}
	if got := len(r.sender.take(next.ID, proto.DownChallenge)); got != 1 {
		t.Errorf("the device got %d challenges when the manifest began to count, want 1", got)
	}
	next.attest(result.Trusted)
	before, err := r.Manifest(t.Context(), tenant, "acme/r7/2.4.1")
	if err != nil || before.SupersededBy != "acme/r7/2.5.0" || before.Until.IsZero() {
		t.Errorf("the older one = %+v, %v, want it superseded after the overlap", before, err)
	}
	_, err = approve("erin")
	refusedBecause(t, "approved once too often", err, "awaits no approval")
	_, list, err := r.Approvals(t.Context(), tenant, "acme/r7/2.5.0")
	if err != nil || len(list) != 2 || list[0].Actor != "carol" || list[1].Actor != "dave" || list[0].Note != "looks good" {
		t.Errorf("Approvals() = %+v, %v", list, err)
	}
	for kind, want := range map[string]int{"manifest-approved": 2, "manifest-activated": 1, "manifest-changed": 1} {
		if got := r.events("", kind); len(got) != want {
			t.Errorf("%d events %s, want %d: %q", len(got), kind, want, got)
		}
	}
	r.restart()
	next.attest(result.Trusted)
	old.attest(result.Trusted)
}

// TestAwaitingOverlap: what the submitter wanted of the overlap holds from the activation on.
func TestAwaitingOverlap(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	if err := r.SetManifestApprovals(t.Context(), tenant, 1, "root"); err != nil {
		t.Fatal(err)
	}
	overlap := time.Hour
	s := Submission{Signed: acme.sign(t, r.newRelease()), Overlap: &overlap}
	if _, err := r.SubmitManifest(t.Context(), tenant, s, "bob"); err != nil {
		t.Fatal(err)
	}
	_, err := r.SupersedeManifest(t.Context(), tenant, "acme/r7/2.4.1", "acme/r7/2.5.0", 0, "bob")
	refusedBecause(t, "superseded by what awaits approval", err, "awaits approval")
	r.clock.advance(24 * time.Hour)
	at := r.clock.Now()
	if _, err := r.ApproveManifest(t.Context(), tenant, "acme/r7/2.5.0", "", "carol"); err != nil {
		t.Fatal(err)
	}
	if old, err := r.Manifest(t.Context(), tenant, "acme/r7/2.4.1"); err != nil || !old.Until.Equal(at.Add(overlap)) {
		t.Errorf("the older one ends at %s, %v, want %s", old.Until, err, at.Add(overlap))
	}
}

// TestRefuse: a manifest that is refused is withdrawn; one whose key was revoked meanwhile cannot be approved.
func TestRefuse(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	if err := r.SetManifestApprovals(t.Context(), tenant, 1, "root"); err != nil {
		t.Fatal(err)
	}
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	m, err := r.RefuseManifest(t.Context(), tenant, "acme/r7/2.4.1", "not what we ordered", "carol")
	if err != nil || m.Withdrawn.IsZero() || m.Reason != "refused: not what we ordered" {
		t.Errorf("refused: %+v, %v", m, err)
	}
	_, err = r.ApproveManifest(t.Context(), tenant, "acme/r7/2.4.1", "", "dave")
	refusedBecause(t, "approved after all", err, "was withdrawn")
	d := r.healthy()
	d.attest(result.Unsupported)

	other := r.newRelease()
	other.Supersedes = nil
	r.mustSubmit(acme.sign(t, other))
	if _, err := r.RevokeVendorKey(t.Context(), tenant, acme.id, r.clock.Now(), "stolen", "root"); err != nil {
		t.Fatal(err)
	}
	_, err = r.ApproveManifest(t.Context(), tenant, "acme/r7/2.5.0", "", "carol")
	refusedBecause(t, "approved although its key was stolen", err, "none of the signatures")
}

// TestDenyListAwaits: a signed deny-list denies nothing before it is approved.
func TestDenyListAwaits(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	d := r.healthy()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	d.attest(result.Trusted)
	if err := r.SetManifestApprovals(t.Context(), tenant, 1, "root"); err != nil {
		t.Fatal(err)
	}
	bad := bootDigest(t, fixture(t, "eventlogs", "grub-secure-boot"), updated(t))
	r.mustSubmit(acme.sign(t, &manifest.Manifest{
		ID: "acme/deny/1", Vendor: "Acme", Model: "R7", Advisory: "CVE-2026-7",
		Denied: []manifest.Denial{{Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: bad}}}},
	}))
	if list, err := r.DenyList(t.Context(), tenant); err != nil || len(list) != 0 {
		t.Errorf("deny-list = %+v, %v, want nothing", list, err)
	}
	d.attest(result.Trusted)
	r.sender.all = nil
	if _, err := r.ApproveManifest(t.Context(), tenant, "acme/deny/1", "", "carol"); err != nil {
		t.Fatal(err)
	}
	if got := len(r.sender.take(d.ID, proto.DownChallenge)); got == 0 {
		t.Error("the device that has what is denied now was not asked to attest")
	}
	d.attest(result.Untrusted)
	if got, err := r.Search(t.Context(), tenant, "cve-2026-7", "", 10); err != nil || got.Kind != "advisory" || got.Now != 1 ||
		!slices.ContainsFunc(got.Hits, func(h hit) bool { return h.Kind == "device" && h.Object == d.ID }) {
		t.Errorf("search for the advisory = %+v, %v, want the device", got, err)
	}
	if got, err := r.Search(t.Context(), tenant, strings.ToUpper(hex.EncodeToString(bad)), "", 10); err != nil || got.Kind != "digest" ||
		!slices.ContainsFunc(got.Hits, func(h hit) bool { return h.Kind == "denylist" && h.Object == "CVE-2026-7" }) {
		t.Errorf("search for the digest = %+v, %v, want the deny-list", got, err)
	}
}
