package appraise_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// TestOverlap: old and new are valid together until the overlap ends. (Row 54 of the attacks.)
func TestOverlap(t *testing.T) {
	old, fresh := fixture(t, "eventlogs", "uki"), fixture(t, "eventlogs", "uki-cmdline")
	devices := []*bench{bootBench(t, old), bootBench(t, fresh)}
	until := devices[0].now.Add(time.Hour)
	for _, b := range devices {
		b.withDocuments(reference.Documents{Releases: []reference.Release{
			{Manifest: published(t, "2.4.1", 3, old), Until: until}, {Manifest: published(t, "2.5.0", 3, fresh)},
		}})
		b.wantState(b.attest(), result.Trusted)
	}
	devices[0].memo = devices[1].memo
	devices[0].now = until.Add(-time.Minute) // the challenge comes a minute later
	r := devices[0].attest()
	devices[0].wantState(r, result.Warning)
	f := wantFinding(t, r, "release-expired")
	if !strings.Contains(f.Component, "acme/r7/2.4.1") {
		t.Errorf("component %q does not name the release", f.Component)
	}
	devices[1].now = until
	devices[1].wantState(devices[1].attest(), result.Trusted)
}

// TestPeriods: what is not yet valid, or no longer, makes nothing trusted. (Row 34.)
func TestPeriods(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	start := bootBench(t, log).now
	for _, tt := range []struct {
		name        string
		begin, end  time.Time // of the manifest
		from, until time.Time // of this verifier
		want        string
	}{
		{"in its time", start.Add(-time.Hour), start.Add(time.Hour), start.Add(-time.Hour), start.Add(time.Hour), ""},
		{"before the manifest's", start.Add(time.Hour), start.Add(2 * time.Hour), time.Time{}, time.Time{}, "release-not-yet-valid"},
		{"after the manifest's", start.Add(-2 * time.Hour), start.Add(-time.Hour), time.Time{}, time.Time{}, "release-expired"},
		{"before the verifier's", time.Time{}, time.Time{}, start.Add(time.Hour), time.Time{}, "release-not-yet-valid"},
		{"after the verifier's", time.Time{}, start.Add(time.Hour), time.Time{}, start.Add(-time.Hour), "release-expired"},
	} {
		m := published(t, "2.4.1", 3, log)
		m.NotBefore, m.NotAfter = tt.begin, tt.end
		b := bootBench(t, log).withDocuments(reference.Documents{Releases: []reference.Release{{Manifest: m, From: tt.from, Until: tt.until}}})
		r := b.attest()
		if tt.want == "" {
			b.wantState(r, result.Trusted)
			continue
		}
		b.wantState(r, result.Warning)
		wantFinding(t, r, tt.want)
	}
}

// TestRollback: firmware that its vendor signed once, below the minimum SVN in force, is refused and named. (Row 32.)
func TestRollback(t *testing.T) {
	old, fresh := fixture(t, "eventlogs", "uki"), fixture(t, "eventlogs", "uki-cmdline")
	before, after := published(t, "2.4.1", 3, old), published(t, "2.5.0", 4, fresh)
	after.MinSVN = 4
	for name, d := range map[string]reference.Documents{
		"in force":   {Releases: []reference.Release{{Manifest: before}, {Manifest: after}}},
		"superseded": {Releases: []reference.Release{{Manifest: after}}, Past: []reference.Release{{Manifest: before, State: "superseded"}}},
	} {
		b := bootBench(t, old).withDocuments(d)
		r := b.attest()
		b.wantState(r, result.Untrusted)
		f := wantFinding(t, r, "rollback")
		if !strings.Contains(f.Component, "2.4.1") || !strings.Contains(f.Expected, "acme/r7/2.5.0") || !strings.Contains(f.Observed, "SVN 3") {
			t.Errorf("%s: finding %s does not name both releases", name, f.Line())
		}
		b = bootBench(t, fresh).withDocuments(d)
		b.wantState(b.attest(), result.Trusted)
	}
	// A minimum counts only while its release does.
	b := bootBench(t, old).withDocuments(reference.Documents{Releases: []reference.Release{
		{Manifest: before}, {Manifest: after, From: b0(t).now.Add(24 * time.Hour)},
	}})
	b.wantState(b.attest(), result.Trusted)
	// Files of old firmware are no more welcome than its boot.
	before.Files = []manifest.File{{Path: "/bin/vulnerable", Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: make([]byte, 32)}}}
	after.Files = []manifest.File{{Path: "/bin/sound", Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: bytes.Repeat([]byte{1}, 32)}}}
	b.releases(before, after)
	v := b.set.For("Acme", "R7").At(b.now)
	if got := len(v.Alternatives()); got != 1 || v.Alternatives()[0].Name != "acme/r7/2.5.0" {
		t.Errorf("%d documents say which files may run, want the new one", got)
	}
}

func b0(t testing.TB) *bench { return bootBench(t, fixture(t, "eventlogs", "uki")) }

// TestEndorsers: what the vendor alone vouches for is not enough where the policy wants a lab too. (Row 37.)
func TestEndorsers(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	vendor := reference.Endorser{Issuer: "Acme", Role: reference.RoleVendor, KeyID: "1"}
	lab := reference.Endorser{Issuer: "Lab", Role: reference.RoleLab, KeyID: "2"}
	for _, tt := range []struct {
		name string
		list []reference.Endorser
		need map[reference.Role]int
		want result.State
	}{
		{"vendor, nothing demanded", []reference.Endorser{vendor}, nil, result.Trusted},
		{"vendor alone", []reference.Endorser{vendor}, map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 1}, result.Untrusted},
		{"vendor and lab", []reference.Endorser{vendor, lab}, map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 1}, result.Trusted},
		{
			"vendor as its own lab",
			[]reference.Endorser{vendor, {Issuer: "Acme", Role: reference.RoleLab, KeyID: "3"}},
			map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 1},
			result.Untrusted,
		},
		{
			"one key under two names",
			[]reference.Endorser{vendor, {Issuer: "Lab", Role: reference.RoleLab, KeyID: "1"}},
			map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 1},
			result.Untrusted,
		},
		{"nobody", nil, map[reference.Role]int{reference.RoleVendor: 1}, result.Untrusted},
	} {
		b := bootBench(t, log).withDocuments(reference.Documents{Releases: []reference.Release{{Manifest: published(t, "2.4.1", 3, log), Endorsers: tt.list}}})
		p := *b.policy
		p.Endorsers = tt.need
		b.policy = p.Seal()
		r := b.attest()
		b.wantState(r, tt.want)
		if tt.want == result.Untrusted {
			if f := wantFinding(t, r, "endorsers-missing"); !strings.Contains(f.Expected, "0 of 1") {
				t.Errorf("%s: %s does not say what is missing", tt.name, f.Line())
			}
		}
		// Where a document with all endorsers fits as well, the other one does no harm.
		base := b.baseline("own")
		b.withDocuments(reference.Documents{
			Baselines: []reference.Baseline{base}, Releases: []reference.Release{{Manifest: published(t, "2.4.1", 3, log), Endorsers: tt.list}},
		})
		b.wantState(b.attest(), result.Trusted)
	}
}

// TestEndorsersOfEqualReleases: of two releases that a device fits equally, in boot, flash and files, only the one that
// enough vouch for counts.
func TestEndorsersOfEqualReleases(t *testing.T) {
	d, err := appraisetest.New(fixture(t, "eventlogs", "uki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := benchFor(t, d)
	d.Flash, d.IMA = flash(), listOf(t, ran("/bin/sh", "sh"))
	if err := d.Measure(d.IMA); err != nil {
		t.Fatal(err)
	}
	base := b.baseline("own")
	vendor := reference.Endorser{Issuer: "Acme", Role: reference.RoleVendor, KeyID: "1"}
	alone, vouched := publishedFlash(t, "2.4.1", 3, b), publishedFlash(t, "2.4.2", 3, b)
	file := manifest.File{Path: "/bin/sh", Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: base.Files[0].Digest}}
	alone.Files = []manifest.File{file}
	need := *b.policy
	need.Endorsers = map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 1}
	b.policy = need.Seal()
	releases := []reference.Release{
		{Manifest: alone, Endorsers: []reference.Endorser{vendor}},
		{Manifest: vouched, Endorsers: []reference.Endorser{vendor, {Issuer: "Lab", Role: reference.RoleLab, KeyID: "2"}}},
	}
	other := manifest.Digest{Algorithm: pcr.SHA256, Value: bytes.Repeat([]byte{9}, 32)}
	for _, tt := range []struct {
		name  string
		files []manifest.File // of the release that counts
		want  result.State
		code  string
	}{
		{"the same file", []manifest.File{file}, result.Trusted, ""},
		{"no files", nil, result.Trusted, ""},
		{"another file", []manifest.File{{Path: "/bin/sh", Digest: other}}, result.Untrusted, "file-changed"},
	} {
		vouched.Files = tt.files
		b.withDocuments(reference.Documents{Releases: releases})
		r := b.attest()
		b.wantState(r, tt.want)
		if tt.code != "" {
			wantFinding(t, r, tt.code)
		}
		if want := []string{vouched.ID}; !slices.Equal(r.References, want) {
			t.Errorf("%s: references %v, want %v", tt.name, r.References, want)
		}
	}
	// Nor for the flash of a device whose boot fits a document that says nothing of flash.
	base.Flash, vouched.Files = nil, []manifest.File{file}
	b.withDocuments(reference.Documents{Baselines: []reference.Baseline{base}, Releases: releases})
	r := b.attest()
	b.wantState(r, result.Trusted)
	if want := []string{base.Name, vouched.ID}; !slices.Equal(r.References, want) {
		t.Errorf("references %v, want %v", r.References, want)
	}
}

// TestDenied: what is on a deny-list is refused, wherever it is and although a manifest has it. (Row 35.)
func TestDenied(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	m := published(t, "2.4.1", 3, log)
	loader := register(m, 4).Events[len(register(m, 4).Events)-1].Digests
	b := bootBench(t, log).releases(m)
	value := manifest.Digests{{Algorithm: pcr.SHA256, Value: b.device.Bank.Value(4)}}
	b.wantState(b.attest(), result.Trusted)
	for _, tt := range []struct {
		name string
		list reference.DenyList
		want bool
	}{
		{"event", reference.DenyList{Entries: []manifest.Denial{{Component: manifest.DeniedEvent, Digests: loader}}}, true},
		{"any component", reference.DenyList{Vendor: "ACME", Entries: []manifest.Denial{{Digests: loader}}}, true},
		{"PCR", reference.DenyList{Vendor: "Acme", Model: "r7", Entries: []manifest.Denial{{Component: manifest.DeniedPCR, Digests: value}}}, true},
		{"only as a file", reference.DenyList{Entries: []manifest.Denial{{Component: manifest.DeniedFile, Digests: loader}}}, false},
		{"another vendor's", reference.DenyList{Vendor: "Other", Entries: []manifest.Denial{{Digests: loader}}}, false},
		{"another model's", reference.DenyList{Vendor: "Acme", Model: "R8", Entries: []manifest.Denial{{Digests: loader}}}, false},
	} {
		tt.list.Advisory, tt.list.Issuer = "CVE-2026-1", "CERT"
		b.withDocuments(reference.Documents{Releases: []reference.Release{{Manifest: m}}, Denied: []reference.DenyList{tt.list}})
		r := b.attest() // with the memo of the time before
		if !tt.want {
			b.wantState(r, result.Trusted)
			continue
		}
		b.wantState(r, result.Untrusted)
		if f := wantFinding(t, r, "denied"); !strings.Contains(f.Expected, "CVE-2026-1 (CERT)") {
			t.Errorf("%s: %s does not name the advisory", tt.name, f.Line())
		}
		b.withDocuments(reference.Documents{Denied: []reference.DenyList{tt.list}}) // also where nothing else is known
		b.wantState(b.attest(), result.Untrusted)
	}
}

// TestDeniedFile: the files of a list that was appraised before are looked at again.
func TestDeniedFile(t *testing.T) {
	d, err := appraisetest.New(fixture(t, "eventlogs", "uki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := benchFor(t, d)
	d.IMA = slices.Concat(listOf(t, ran("/bin/sh", "sh")), listOf(t, ran("/bin/door", "door")))
	if err := d.Measure(d.IMA); err != nil {
		t.Fatal(err)
	}
	b.trusting()
	base := b.baseline("own")
	b.wantState(b.attest(), result.Trusted)
	b.wantState(b.attest(), result.Trusted)
	door := base.Files[slices.IndexFunc(base.Files, func(f reference.File) bool { return string(f.Path) == "/bin/door" })].Digest
	b.withDocuments(reference.Documents{Baselines: []reference.Baseline{base}, Denied: []reference.DenyList{{
		Advisory: "CVE-2026-2", Issuer: "CERT",
		Entries: []manifest.Denial{{Component: manifest.DeniedFile, Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: door}}, Note: "a backdoor"}},
	}}})
	r := b.attest()
	b.wantState(r, result.Untrusted)
	f := wantFinding(t, r, "denied")
	if f.Component != "file /bin/door" || f.Submod != result.Runtime || !strings.Contains(f.Expected, "a backdoor") {
		t.Errorf("finding %s of %s, want the file", f.Line(), f.Submod)
	}
}
