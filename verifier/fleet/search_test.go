package fleet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

type hit = v1.Hit

// searched returns a search's hits of a kind.
func (r *rig) searched(query, kind string) (v1.Search, []hit) {
	r.Helper()
	s, err := r.Search(r.Context(), tenant, query, "", 100)
	if err != nil {
		r.Fatalf("Search(%q) = %v", query, err)
	}
	return s, slices.DeleteFunc(slices.Clone(s.Hits), func(h hit) bool { return h.Kind != kind })
}

// TestSearch: a digest, a file, a GUID and a text lead to the devices that have or had it, and to the documents.
func TestSearch(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	next.baseline("golden")
	ran := r.next()
	ran.attest(result.Trusted)
	ran.runs("/opt/Tool.bin")
	ran.attest(result.Warning)
	gone := r.clock.Now().Add(time.Minute)
	ran.reboot()
	ran.attest(result.Trusted)

	digest := hex.EncodeToString(bootDigest(t, updated(t), fixture(t, "eventlogs", "grub-secure-boot")))
	s, devices := r.searched("sha256:"+digest, "device")
	if s.Kind != "digest" || s.Devices != 2 || s.Now != 2 || len(devices) != 2 || !strings.HasPrefix(devices[0].Place, "PCR 4, ") {
		t.Errorf("digest: %+v, want two devices", s)
	}
	if _, found := r.searched(digest, "baseline"); len(found) != 1 || found[0].Object != "golden" || !strings.HasPrefix(found[0].Place, "PCR 4, ") {
		t.Errorf("digest in baselines: %+v", found)
	}
	if _, found := r.searched(digest, "manifest"); len(found) != 0 {
		t.Errorf("digest in manifests: %+v, want none", found)
	}
	s, devices = r.searched("opt/tool.b", "device")
	if s.Kind != "file" || s.Devices != 1 || s.Now != 0 || len(devices) != 1 || devices[0].Object != ran.ID ||
		devices[0].Until == nil || !devices[0].Until.Equal(gone) || devices[0].Place != "file /opt/Tool.bin" {
		t.Errorf("file: %+v, want the device that had it until %s", s, gone)
	}
	// A file that the manifest and all devices have.
	path := r.oldRelease().Files[0].Path
	s, devices = r.searched(path, "device")
	if s.Devices != 3 || len(devices) < 3 {
		t.Errorf("%s: %+v, want all three devices", path, s)
	}
	if _, found := r.searched(path, "manifest"); len(found) != 1 || found[0].Object != "acme/r7/2.4.1" || !strings.Contains(found[0].Place, path) {
		t.Errorf("%s in manifests: %+v", path, found)
	}
	// The namespace of SecureBoot, which every EFI machine measures.
	s, devices = r.searched("{8BE4DF61-93CA-11D2-AA0D-00E098032B8C}", "device")
	if s.Kind != "guid" || s.Devices != 3 || len(devices) < 3 || !strings.HasPrefix(devices[0].Place, "PCR 7") {
		t.Errorf("GUID: %+v, want all three devices", s)
	}
	if s, found := r.searched("acme/r7", "manifest"); len(found) != 1 || s.Kind != "file" {
		t.Errorf("id of a manifest: %+v", s)
	}
	if s, found := r.searched("Acme R7", "manifest"); len(found) != 1 || s.Kind != "text" || found[0].Name != "active" {
		t.Errorf("vendor and model: %+v", s)
	}
	if s, _ := r.searched("CVE-2026-99999", "device"); s.Kind != "advisory" || len(s.Hits) != 0 || s.Devices != 0 {
		t.Errorf("an advisory that nobody has: %+v", s)
	}
	for _, query := range []string{"", " a ", "\x00\x00\x00\x00", "a\x1b[31m", strings.Repeat("x", 300)} {
		_, err := r.Search(t.Context(), tenant, query, "", 10)
		refusedBecause(t, fmt.Sprintf("search for %q", query), err, "characters that print")
	}
	if s, err := r.Search(t.Context(), "other", digest, "", 10); err != nil || len(s.Hits) != 0 || s.Devices != 0 {
		t.Errorf("another tenant finds %+v, %v", s, err)
	}
}

// TestSearchPages: pages come without gaps and repetitions, and only the first tells of documents.
func TestSearchPages(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	for range 7 {
		r.healthy().attest(result.Trusted)
	}
	whole, err := r.Search(t.Context(), tenant, "PCR 4", "", 500)
	if err != nil || whole.Devices != 7 || whole.Next != "" || whole.More {
		t.Fatalf("search = %+v, %v", whole, err)
	}
	var paged []hit
	pages := 0
	for after := ""; ; pages++ {
		page, err := r.Search(t.Context(), tenant, "PCR 4", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, page.Hits...)
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff(whole.Hits, paged); diff != "" || pages < 3 {
		t.Errorf("%d pages differ from the whole (-want +got):\n%s", pages, diff)
	}
}

// TestCoverage: of which devices a manifest is, which rely on it, and how these fare as time goes by.
func TestCoverage(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	m := r.oldRelease()
	m.NotBefore, m.NotAfter = r.clock.Now().Truncate(time.Second), r.clock.Now().Add(72*time.Hour).Truncate(time.Second)
	r.mustSubmit(acme.sign(t, m))
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	want := func(devices, relying int, states map[result.State]int) {
		t.Helper()
		got, err := r.Coverage(t.Context(), tenant, "acme/r7/2.4.1")
		if err != nil {
			t.Fatal(err)
		}
		if got.Devices != devices || got.Relying != relying || !cmp.Equal(got.States, states) || got.Expires == nil || !got.Expires.Equal(m.NotAfter) {
			t.Errorf("coverage = %+v, want %d devices, %v", got, devices, states)
		}
	}
	want(2, 2, map[result.State]int{result.Trusted: 1, result.Untrusted: 1})
	r.clock.advance(time.Hour)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(2, 2, map[result.State]int{result.Stale: 2})
	old.attest(result.Trusted)
	want(2, 2, map[result.State]int{result.Trusted: 1, result.Stale: 1})
	if err := r.Remove(t.Context(), tenant, next.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	want(1, 1, map[result.State]int{result.Trusted: 1})
	next = r.next()
	next.attest(result.Untrusted)
	later := r.newRelease()
	later.Supersedes = nil
	r.mustSubmit(acme.sign(t, later))
	next.attest(result.Trusted)
	want(2, 1, map[result.State]int{result.Trusted: 1})
}
