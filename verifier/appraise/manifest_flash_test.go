package appraise_test

import (
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// publishedFlash returns a manifest of a device's boot and of what it reads of its flash, at other places: its offsets are
// those in the vendor's image.
func publishedFlash(t testing.TB, version string, svn uint64, b *bench) *manifest.Manifest {
	t.Helper()
	m := published(t, version, svn, b.device.BootLog)
	for i := range b.device.Flash.Regions {
		r := &b.device.Flash.Regions[i]
		if r.Unavailable != nil {
			continue
		}
		region := manifest.Region{
			Name: r.Name, Offset: uint64(i) << 24, Length: r.Length,
			Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: r.Digest}},
		}
		for _, x := range r.Excluded {
			region.Excluded = append(region.Excluded, manifest.Range{Offset: x.Offset, Length: x.Length, Reason: "settings"})
		}
		m.Regions = append(m.Regions, region)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

func regionIn(m *manifest.Manifest, name string) *manifest.Region {
	for i := range m.Regions {
		if m.Regions[i].Name == name {
			return &m.Regions[i]
		}
	}
	panic(name)
}

func flashBench(t testing.TB) *bench {
	t.Helper()
	b := bootBench(t, fixture(t, "eventlogs", "uki"))
	b.device.Flash = flash()
	return b
}

// TestManifestFlash: what differs from a manifest's regions, and what it does not cover.
func TestManifestFlash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *manifest.Manifest, d *appraisetest.Device, p *appraise.Policy)
		want   string
		state  result.State
	}{
		{"as published", nil, "", result.Trusted},
		{"implant", func(_ *manifest.Manifest, d *appraisetest.Device, _ *appraise.Policy) {
			region(d, "u-boot").Digest = flashDigest("implant")
		}, "flash-changed", result.Untrusted},
		{"range that the manifest does not exclude", func(m *manifest.Manifest, _ *appraisetest.Device, _ *appraise.Policy) {
			regionIn(m, "env").Excluded = regionIn(m, "env").Excluded[:1]
		}, "flash-excluded", result.Untrusted},
		{
			"other length", func(m *manifest.Manifest, _ *appraisetest.Device, _ *appraise.Policy) { regionIn(m, "u-boot").Length++ },
			"flash-geometry", result.Untrusted,
		},
		{"other place in a chip", func(m *manifest.Manifest, d *appraisetest.Device, _ *appraise.Policy) {
			region(d, "u-boot").Source, regionIn(m, "u-boot").Offset = "spi:0.0", 1<<20
		}, "flash-geometry", result.Untrusted},
		{"same place in a chip", func(m *manifest.Manifest, d *appraisetest.Device, _ *appraise.Policy) {
			region(d, "u-boot").Source, regionIn(m, "u-boot").Offset = "spi:0.0", 1<<16
		}, "", result.Trusted},
		{
			"region that the manifest lacks", func(m *manifest.Manifest, _ *appraisetest.Device, _ *appraise.Policy) { m.Regions = m.Regions[1:] },
			"flash-unknown", result.Trusted,
		},
		{"region that the policy requires", func(m *manifest.Manifest, _ *appraisetest.Device, p *appraise.Policy) {
			m.Regions, p.RequiredRegions = m.Regions[1:], []string{"boot0", "u-boot"}
		}, "flash-unknown", result.Warning},
		{"region that the policy requires and nobody covers", func(m *manifest.Manifest, _ *appraisetest.Device, p *appraise.Policy) {
			m.Regions, p.RequiredRegions = nil, []string{"boot0"}
		}, "flash-unknown", result.Warning},
		{"region that the policy requires and cannot be read", func(_ *manifest.Manifest, _ *appraisetest.Device, p *appraise.Policy) {
			p.RequiredRegions = []string{"modem"}
		}, "flash-unavailable", result.Warning},
		{"region that the policy requires and is not there", func(_ *manifest.Manifest, _ *appraisetest.Device, p *appraise.Policy) {
			p.RequiredRegions = []string{"bmc"}
		}, "flash-missing", result.Warning},
		{"no flash where the policy requires a region", func(m *manifest.Manifest, d *appraisetest.Device, p *appraise.Policy) {
			d.Flash, m.Regions, p.RequiredRegions = nil, nil, []string{"bmc"}
		}, "flash-missing", result.Warning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := flashBench(t)
			m, p := publishedFlash(t, "2.4.1", 3, b), *b.policy
			if tt.change != nil {
				tt.change(m, b.device, &p)
			}
			b.policy = p.Seal()
			r := b.releases(m).attest()
			b.wantState(r, tt.state)
			if tt.want != "" {
				wantFinding(t, r, tt.want)
			}
		})
	}
}

// TestExcludedGrew: a version that leaves more out of a digest than the one before is told of, also where that one was
// superseded. (Row 31.)
func TestExcludedGrew(t *testing.T) {
	b := flashBench(t)
	fresh, old := publishedFlash(t, "2.10.0", 3, b), publishedFlash(t, "2.9.0", 3, b)
	regionIn(old, "env").Excluded = regionIn(old, "env").Excluded[:1]
	for name, d := range map[string]reference.Documents{
		"both":       {Releases: []reference.Release{{Manifest: old}, {Manifest: fresh}}},
		"superseded": {Releases: []reference.Release{{Manifest: fresh}}, Past: []reference.Release{{Manifest: old, State: "superseded"}}},
	} {
		b := flashBench(t).withDocuments(d)
		r := b.attest()
		b.wantState(r, result.Warning)
		f := wantFinding(t, r, "excluded-grew")
		if !strings.Contains(f.Component, "env") || !strings.Contains(f.Expected, old.ID) || !strings.Contains(f.Observed, "4096 bytes at 0x1000") {
			t.Errorf("%s: %s does not name region, ranges and the version before", name, f.Line())
		}
	}
	b.releases(fresh)
	b.wantState(b.attest(), result.Trusted)
	shrunk := publishedFlash(t, "2.11.0", 3, b)
	regionIn(shrunk, "env").Excluded = nil
	region(b.device, "env").Excluded = nil
	regionIn(shrunk, "env").Digests[0].Value = flashDigest("all of env")
	region(b.device, "env").Digest = flashDigest("all of env")
	b.releases(fresh, shrunk)
	b.wantState(b.attest(), result.Trusted)
}

// TestFlashRollback: old flash content under a new boot is a rollback too. (Row 32.)
func TestFlashRollback(t *testing.T) {
	b := flashBench(t)
	old := publishedFlash(t, "2.4.1", 3, b)
	fresh := publishedFlash(t, "2.5.0", 4, b)
	fresh.MinSVN = 4
	regionIn(fresh, "u-boot").Digests = manifest.Digests{{Algorithm: pcr.SHA256, Value: flashDigest("new u-boot")}}
	b.releases(old, fresh)
	r := b.attest()
	b.wantState(r, result.Untrusted)
	f := wantFinding(t, r, "rollback")
	if f.Submod != result.Flash || !strings.Contains(f.Component, "2.4.1") {
		t.Errorf("finding %s of %s, want one on the flash that names the release", f.Line(), f.Submod)
	}
	region(b.device, "u-boot").Digest = flashDigest("new u-boot")
	b.wantState(b.attest(), result.Trusted)
}

// TestDeniedRegion: denied flash content is found, with references and without.
func TestDeniedRegion(t *testing.T) {
	b := flashBench(t)
	m := publishedFlash(t, "2.4.1", 3, b)
	bad := reference.DenyList{Advisory: "CVE-2026-3", Issuer: "CERT", Entries: []manifest.Denial{{
		Component: manifest.DeniedRegion, Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: flashDigest("u-boot")}},
	}}}
	for _, d := range []reference.Documents{
		{Releases: []reference.Release{{Manifest: m}}, Denied: []reference.DenyList{bad}}, {Denied: []reference.DenyList{bad}},
	} {
		r := b.withDocuments(d).attest()
		b.wantState(r, result.Untrusted)
		if f := wantFinding(t, r, "denied"); f.Submod != result.Flash || !strings.Contains(f.Component, "u-boot") {
			t.Errorf("finding %s of %s, want one on u-boot", f.Line(), f.Submod)
		}
	}
	b.releases(m)
	b.wantState(b.attest(), result.Trusted)
}
