package fleet

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// bootDigest returns a digest that only this boot log has, of the first event that differs from the other log.
func bootDigest(t testing.TB, log, other []byte) []byte {
	t.Helper()
	digests := func(raw []byte) (out []string) {
		l, err := eventlog.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.Events {
			out = append(out, string(l.Events[i].Digest(pcr.SHA256)))
		}
		return out
	}
	has := digests(other)
	for _, d := range digests(log) {
		if !slices.Contains(has, d) {
			return []byte(d)
		}
	}
	t.Fatal("the logs have the same events")
	return nil
}

func (r *rig) sightings(digest []byte) []store.Sighting {
	r.Helper()
	got, err := r.store.Sightings(r.Context(), tenant, digest, 0, 0)
	if err != nil {
		r.Fatal(err)
	}
	return got
}

// findings returns the codes of a device's newest result.
func (d *device) codes() (out []string) {
	for _, f := range d.results()[0].Result.Findings {
		out = append(out, f.Code)
	}
	return out
}

// TestDenyList: row 35: what was accepted is deny-listed later; devices that run it become untrusted, and all that ever
// ran it are listed with the time.
func TestDenyList(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	log, implanted := fixture(t, "eventlogs", "grub-secure-boot"), updated(t)
	d, runs := r.healthy(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	m := r.newRelease()
	m.Supersedes = nil
	r.mustSubmit(acme.sign(t, m))
	d.attest(result.Trusted)
	began := r.clock.Now()
	runs.attest(result.Trusted)
	// Another device ran it and was cleaned.
	ran := r.next()
	ran.attest(result.Trusted)
	if err := ran.Boot(log); err != nil {
		t.Fatal(err)
	}
	ran.BootLog = log
	ran.attest(result.Trusted)
	cleaned := r.clock.Now()

	digest := bootDigest(t, implanted, log)
	r.sender.all = nil
	if _, err := r.Deny(t.Context(), tenant, DenialSpec{Digest: "SHA256:" + hex.EncodeToString(digest), Advisory: "CVE-2026-1", Note: "implant"}, "alice"); err != nil {
		t.Fatal(err)
	}
	if got := runs.stored(); got.State != result.Untrusted || !got.StaleAt.Equal(runs.results()[1].Result.StaleAt) ||
		!slices.Contains(runs.codes(), "denied") {
		t.Errorf("a device that did not report since is %s, stale at %s, findings %q; want untrusted by its stored evidence, as old as it is",
			got.State, got.StaleAt, runs.codes())
	}
	for one, want := range map[*device]result.State{ran: result.Trusted, d: result.Trusted} {
		if got := one.stored().State; got != want {
			t.Errorf("a device without the digest is %s, want %s", got, want)
		}
	}
	for one, want := range map[*device]int{runs: 1, ran: 0, d: 0} {
		if got := len(r.sender.take(one.ID, proto.DownChallenge)); got != want {
			t.Errorf("a device got %d challenges when the digest was denied, want %d", got, want)
		}
	}
	got := r.sightings(digest)
	if len(got) != 2 || got[0].Device != runs.ID || !got[0].Until.IsZero() || got[0].First.Before(began) || !strings.Contains(got[0].Place, "PCR 4") {
		t.Errorf("sightings = %+v, want first the device that runs it", got)
	}
	if len(got) == 2 && (got[1].Device != ran.ID || !got[1].Until.Equal(cleaned)) {
		t.Errorf("sighting = %+v, want the device that was cleaned at %s", got[1], cleaned)
	}
	if reasons := runs.attest(result.Untrusted).Reasons; len(reasons) == 0 || !strings.Contains(reasons[0], "CVE-2026-1") {
		t.Errorf("reasons = %q, want the advisory first", reasons)
	}
	if !slices.Contains(runs.codes(), "denied") {
		t.Errorf("findings = %q, want denied", runs.codes())
	}
	ran.attest(result.Trusted)
	d.attest(result.Trusted)
	if err := r.Undeny(t.Context(), tenant, hex.EncodeToString(digest), "alice"); err != nil {
		t.Fatal(err)
	}
	runs.attest(result.Trusted)
	if err := r.Undeny(t.Context(), tenant, hex.EncodeToString(digest), "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestSignedDenyList: a deny-list that a vendor signed is for that vendor's devices, and ends when it is withdrawn.
func TestSignedDenyList(t *testing.T) {
	r := newRig(t)
	acme := r.admit("Acme", "vendor", KeyScope{Vendors: []string{"Acme"}})
	rival := r.admit("Rival", "vendor", KeyScope{Vendors: []string{"Rival"}})
	d := r.healthy()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	d.attest(result.Trusted)
	file := slices.Clone(fileDigests(d.IMA)[3].Digest)
	list := &manifest.Manifest{
		ID: "acme/advisory/1", Vendor: "Acme", Advisory: "ACME-1",
		Denied: []manifest.Denial{{Component: manifest.DeniedFile, Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: file}}, Note: "leaky"}},
	}
	_, err := r.submit(rival.sign(t, list))
	refusedBecause(t, "a rival's deny-list", err, "all models of \"Acme\"")
	foreign := *list
	foreign.ID, foreign.Vendor = "rival/advisory/1", "Rival"
	r.mustSubmit(rival.sign(t, &foreign))
	d.attest(result.Trusted) // it is for Rival's devices
	m := r.mustSubmit(acme.sign(t, list))
	if m.Advisory != "ACME-1" || m.State(r.clock.Now()) != store.ManifestActive {
		t.Errorf("deny-list = %+v", m)
	}
	d.attest(result.Untrusted)
	entries, err := r.DenyList(t.Context(), tenant)
	if err != nil || len(entries) != 2 || entries[0].Issuer != "Acme" || entries[0].Manifest != list.ID || entries[1].Vendor != "Rival" {
		t.Errorf("deny-list = %+v, %v", entries, err)
	}
	if got := r.sightings(file); len(got) != 1 || got[0].Kind != store.SeenFiles || !strings.HasPrefix(got[0].Place, "file /") {
		t.Errorf("sightings = %+v, want the file on one device", got)
	}
	if _, err := r.WithdrawManifest(t.Context(), tenant, list.ID, "false alarm", "alice"); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Trusted)
}

func TestParseDigest(t *testing.T) {
	good := strings.Repeat("aB", 32)
	for _, s := range []string{good, "sha256:" + good, " SHA256:" + good + " ", good + good[:32], "sha512:" + good + good} {
		if _, err := ParseDigest(s); err != nil {
			t.Errorf("ParseDigest(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "sha256:", "sha1:" + good[:40], good[:62], "sha384:" + good, "md5:" + good, "xyz", good + ":"} {
		if d, err := ParseDigest(s); err == nil || d != nil {
			t.Errorf("ParseDigest(%q) = %x, %v, want an error", s, d, err)
		}
	}
	r := newRig(t)
	for name, spec := range map[string]DenialSpec{
		"no advisory": {Digest: good}, "control characters": {Digest: good, Advisory: "a\x1b"}, "long note": {Digest: good, Advisory: "a", Note: strings.Repeat("x", 2000)},
	} {
		if _, err := r.Deny(t.Context(), tenant, spec, "alice"); !errors.As(err, new(*RefusedError)) {
			t.Errorf("Deny with %s = %v, want a refusal", name, err)
		}
	}
}

// TestSeenOnce: an unchanged device writes nothing to the index, and what many devices have is indexed once.
func TestSeenOnce(t *testing.T) {
	r := newRig(t)
	reads := 0
	r.store.before = func(op string) error {
		if op == "Content" {
			reads++
		}
		return nil
	}
	d, other := r.healthy(), r.healthy()
	d.attest(result.Unsupported)
	other.attest(result.Unsupported)
	first, err := r.store.SightingsOf(t.Context(), tenant, d.ID)
	if err != nil || len(first) != 3 { // boot log, PCRs, files
		t.Fatalf("%d sightings, %v, want 3", len(first), err)
	}
	reads = 0
	d.attest(result.Unsupported)
	again, err := r.store.SightingsOf(t.Context(), tenant, d.ID)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("sightings after the same evidence = %+v, %v, want %+v", again, err, first)
	}
	if reads != 0 {
		t.Errorf("%d contents were read for what is indexed", reads)
	}
}
