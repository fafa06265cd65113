package appraise_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

func flashDigest(content string) []byte {
	sum := sha256.Sum256([]byte(content))
	return sum[:]
}

// flash returns what a healthy device reads: a boot loader, its environment and a region that cannot be read.
func flash() *proto.Flash {
	return &proto.Flash{Regions: []proto.FlashRegion{
		{Name: "boot0", Source: "block:/dev/mmcblk0boot0", Length: 1 << 20, Digest: flashDigest("boot0")},
		{
			Name: "env", Source: "mtd:env", Length: 1 << 16, Digest: flashDigest("env"),
			Excluded: []proto.FlashRange{{Length: 256}, {Offset: 4096, Length: 4096}},
		},
		{Name: "modem", Source: "spi:1.0", Unavailable: &proto.Unavailable{Cause: proto.CausePermission, Reason: "not root"}},
		{Name: "u-boot", Source: "mtd:u-boot", Offset: 1 << 16, Length: 1 << 19, Digest: flashDigest("u-boot"), Chip: "ef4018"},
	}}
}

func region(d *appraisetest.Device, name string) *proto.FlashRegion {
	for i := range d.Flash.Regions {
		if d.Flash.Regions[i].Name == name {
			return &d.Flash.Regions[i]
		}
	}
	panic(name)
}

// withFlash returns a trusted device with flash memory.
func withFlash(t testing.TB) *bench {
	t.Helper()
	b := newBench(t)
	b.device.Flash = flash()
	b.trusting()
	return b
}

func (b *bench) with(change func(*appraise.Policy)) {
	p := appraise.DefaultPolicy()
	change(&p)
	b.policy = p.Seal()
}

func wantNone(t testing.TB, r result.Result, code string) {
	t.Helper()
	if slices.Contains(codesOf(r), code) {
		t.Errorf("finding %q among %v", code, codesOf(r))
	}
}

func TestFlashOfAHealthyDevice(t *testing.T) {
	b := withFlash(t)
	for range 2 {
		r := b.attest()
		b.wantState(r, result.Trusted)
		if got := r.Submods[result.Flash].Status(); got != "affirming" {
			t.Errorf("flash status = %s, want affirming", got)
		}
		if r.Strength.Flash != result.SelfAsserted || r.Strength.Boot != result.Hardware || r.Strength.Runtime != result.Hardware {
			t.Errorf("strength = %+v, want boot and runtime hardware, flash self-asserted", r.Strength)
		}
		var got []string
		for _, g := range r.Regions {
			got = append(got, g.Name+" "+string(g.Status))
		}
		if diff := cmp.Diff([]string{"boot0 same", "env same", "modem unavailable", "u-boot same"}, got); diff != "" {
			t.Errorf("regions: %s", diff)
		}
		env := r.Regions[1]
		want := result.Region{
			Name: "env", Source: "mtd:env", Length: 1 << 16, Digest: hex.EncodeToString(flashDigest("env")), Status: result.RegionSame,
			Excluded: []result.Span{{Length: 256}, {Offset: 4096, Length: 4096}}, Left: 256 + 4096,
		}
		if diff := cmp.Diff(want, env); diff != "" {
			t.Errorf("region env: %s", diff)
		}
	}
	// What no reference knows could not be read: the golden device itself is not worse than it was.
	if f := wantFinding(t, b.attest(), "flash-unavailable"); f.Severity != result.Info || !strings.Contains(f.Observed, "not root") {
		t.Errorf("finding = %+v, want info with the reason", f)
	}
}

// TestFlashFindings has every way in which flash can differ from its reference, and what becomes of it (ATTACKS rows 13
// and 31).
func TestFlashFindings(t *testing.T) {
	content := hex.EncodeToString(flashDigest("implant"))
	tests := []struct {
		name               string
		change             func(d *appraisetest.Device)
		code               string
		severity           result.Severity
		expected, observed string // parts
		status             result.RegionStatus
		only               bool // the one finding on flash beside the modem's
	}{
		{
			"content", func(d *appraisetest.Device) { region(d, "u-boot").Digest = flashDigest("implant") },
			"flash-changed", result.Critical, hex.EncodeToString(flashDigest("u-boot")), content, result.RegionChanged, true,
		},
		{
			"offset", func(d *appraisetest.Device) { region(d, "u-boot").Offset = 0 },
			"flash-geometry", result.Critical, "at 0x10000", "at 0x0", result.RegionChanged, true,
		},
		{
			"length", func(d *appraisetest.Device) {
				r := region(d, "u-boot")
				r.Length, r.Digest = 4096, flashDigest("short")
			},
			"flash-geometry", result.Critical, "524288 bytes", "4096 bytes", result.RegionChanged, true,
		},
		{
			"source", func(d *appraisetest.Device) { region(d, "u-boot").Source = "file:/tmp/u-boot" },
			"flash-geometry", result.Critical, "mtd,", "file,", result.RegionChanged, true,
		},
		{
			"other device of the same kind", func(d *appraisetest.Device) { region(d, "u-boot").Source = "mtd:mtd7" },
			"", "", "", "", result.RegionSame, true,
		},
		{
			"chip", func(d *appraisetest.Device) { region(d, "u-boot").Chip = "c22018" },
			"flash-geometry", result.Critical, "chip ef4018", "chip c22018", result.RegionChanged, true,
		},
		{
			"chip not told", func(d *appraisetest.Device) { region(d, "u-boot").Chip = "" },
			"flash-geometry", result.Critical, "chip ef4018", "chip unknown", result.RegionChanged, true,
		},
		{
			"chip that the reference does not name", func(d *appraisetest.Device) { region(d, "env").Chip = "c22018" },
			"", "", "", "", result.RegionSame, true,
		},
		{"new excluded range", func(d *appraisetest.Device) {
			r := region(d, "u-boot")
			r.Excluded, r.Digest = []proto.FlashRange{{Offset: 16, Length: 32}}, flashDigest("holed")
		}, "flash-excluded", result.Critical, "no excluded range", "32 bytes at 0x10", result.RegionChanged, true},
		{
			"wider excluded range, same digest", func(d *appraisetest.Device) { region(d, "env").Excluded[0].Length = 257 },
			"flash-excluded", result.Critical, "256 bytes at 0x0, 4096 bytes at 0x1000", "257 bytes at 0x0", result.RegionChanged, true,
		},
		{"excluded range over two", func(d *appraisetest.Device) {
			region(d, "env").Excluded = []proto.FlashRange{{Length: 8192}}
		}, "flash-excluded", result.Critical, "", "8192 bytes at 0x0", result.RegionChanged, true},
		{
			"fewer excluded, same digest", func(d *appraisetest.Device) { region(d, "env").Excluded = nil },
			"", "", "", "", result.RegionSame, true,
		},
		{"fewer excluded, other digest", func(d *appraisetest.Device) {
			r := region(d, "env")
			r.Excluded, r.Digest = r.Excluded[:1], flashDigest("implant")
		}, "flash-geometry", result.Critical, "4096 bytes at 0x1000", "256 bytes at 0x0", result.RegionChanged, true},
		{"bad block that changes nothing", func(d *appraisetest.Device) {
			region(d, "u-boot").Bad = []proto.FlashRange{{Offset: 4096, Length: 4096}}
		}, "flash-excluded", result.Critical, "no excluded range", "4096 bytes at 0x1000", result.RegionChanged, true},
		{"bad block", func(d *appraisetest.Device) {
			r := region(d, "u-boot")
			r.Bad, r.Digest = []proto.FlashRange{{Offset: 4096, Length: 4096}}, flashDigest("implant")
		}, "flash-changed", result.Critical, "", content, result.RegionChanged, true},
		{
			"left out", func(d *appraisetest.Device) { d.Flash.Regions = d.Flash.Regions[:3] },
			"flash-missing", result.Warn, hex.EncodeToString(flashDigest("u-boot")), "", result.RegionMissing, true,
		},
		{"unreadable", func(d *appraisetest.Device) {
			*region(d, "u-boot") = proto.FlashRegion{Name: "u-boot", Unavailable: &proto.Unavailable{Cause: proto.CauseIO, Reason: "broken"}}
		}, "flash-unavailable", result.Warn, "", "io-error: broken", result.RegionUnavailable, false},
		{"pending", func(d *appraisetest.Device) {
			*region(d, "u-boot") = proto.FlashRegion{Name: "u-boot", Unavailable: &proto.Unavailable{Cause: proto.CausePending}}
		}, "flash-unavailable", result.Warn, "", "pending", result.RegionUnavailable, false},
		{"region that the references do not know", func(d *appraisetest.Device) {
			spare := proto.FlashRegion{Name: "spare", Source: "mtd:x", Length: 1, Digest: flashDigest("spare")}
			d.Flash.Regions = slices.Insert(d.Flash.Regions, 3, spare)
		}, "flash-unknown", result.Warn, "", hex.EncodeToString(flashDigest("spare")), result.RegionUnknown, true},
		{
			"old digests", func(d *appraisetest.Device) { d.FlashAge = 86401 },
			"flash-old", result.Warn, "at most 24h0m0s", "older", result.RegionSame, true,
		},
		{"digests of a day", func(d *appraisetest.Device) { d.FlashAge = 86400 }, "", "", "", "", result.RegionSame, true},
		{
			"not a message", func(d *appraisetest.Device) { d.RawFlash = []byte("no CBOR") },
			"flash-malformed", result.Warn, "", "", "", true,
		},
		{
			"none at all", func(d *appraisetest.Device) { d.Flash = nil },
			"flash-missing", result.Warn, "", "nothing", "", true,
		},
		{"not permitted", func(d *appraisetest.Device) {
			d.NoFlash = &proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: "the charter keeps it"}
		}, "flash-unavailable", result.Warn, "", "the charter keeps it", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := withFlash(t)
			b.wantState(b.attest(), result.Trusted)
			tt.change(b.device)
			var r result.Result
			for range 2 { // the second from the memo
				r = b.attest()
				var got []result.Finding
				for _, f := range r.Findings {
					if f.Submod == result.Flash && !strings.Contains(f.Component, "modem") {
						got = append(got, f)
					}
				}
				if tt.code == "" {
					b.wantState(r, result.Trusted)
					if len(got) > 0 {
						t.Errorf("findings = %+v, want none", got)
					}
					continue
				}
				b.wantState(r, map[result.Severity]result.State{result.Critical: result.Untrusted, result.Warn: result.Warning}[tt.severity])
				i := slices.IndexFunc(got, func(f result.Finding) bool { return f.Code == tt.code })
				if i < 0 || tt.only && len(got) != 1 {
					t.Fatalf("findings on flash = %+v, want one %s", got, tt.code)
				}
				f := got[i]
				if f.Severity != tt.severity || !strings.Contains(f.Expected, tt.expected) || !strings.Contains(f.Observed, tt.observed) {
					t.Errorf("finding = %+v, want %s, expected %q, observed %q", f, tt.severity, tt.expected, tt.observed)
				}
				want := map[result.Severity]string{result.Critical: "contraindicated", result.Warn: "warning"}[tt.severity]
				if status := r.Submods[result.Flash].Status(); status != want {
					t.Errorf("flash status = %s, want %s", status, want)
				}
			}
			if tt.status != "" && !slices.ContainsFunc(r.Regions, func(g result.Region) bool { return g.Status == tt.status }) {
				t.Errorf("regions = %+v, want one that is %s", r.Regions, tt.status)
			}
		})
	}
}

// TestNearestFlash: the finding names whose firmware it is.
func TestNearestFlash(t *testing.T) {
	b := withFlash(t)
	other := b.baseline("acme-r9-1.0")
	other.Model = "R9"
	other.Flash[2].Digest = flashDigest("u-boot of R9")
	b.set = compileForTest(b.baseline("acme-r7-2.4.1"), other)
	region(b.device, "u-boot").Digest = flashDigest("u-boot of R9")
	if f := wantFinding(t, b.attest(), "flash-changed"); f.Nearest != "acme-r9-1.0" {
		t.Errorf("nearest = %q, want acme-r9-1.0", f.Nearest)
	}
}

// TestOldAndNewFlash: of several documents the one counts that fits, whichever the boot fits; both are named.
func TestOldAndNewFlash(t *testing.T) {
	b := withFlash(t)
	old := b.baseline("r7-2.4.1")
	updated := b.baseline("r7-2.5.0")
	updated.PCRs[4].Value = bytes.Repeat([]byte{4}, 32)
	updated.Flash[2].Digest = flashDigest("u-boot 2.5.0")
	b.set = compileForTest(old, updated)
	r := b.attest()
	b.wantState(r, result.Trusted)
	if diff := cmp.Diff([]string{"r7-2.4.1"}, r.References); diff != "" {
		t.Errorf("references: %s", diff)
	}
	region(b.device, "u-boot").Digest = flashDigest("u-boot 2.5.0") // flashed, not yet booted
	r = b.attest()
	b.wantState(r, result.Trusted)
	if diff := cmp.Diff([]string{"r7-2.4.1", "r7-2.5.0"}, r.References); diff != "" {
		t.Errorf("references: %s", diff)
	}
	region(b.device, "boot0").Digest = flashDigest("implant") // a part of each is no version of any
	r = b.attest()
	b.wantState(r, result.Untrusted)
	if f := wantFinding(t, r, "flash-changed"); !strings.Contains(f.Component, "boot0") {
		t.Errorf("component = %q, want boot0 alone", f.Component)
	}
}

func TestReportOnlyFlash(t *testing.T) {
	b := newBench(t)
	b.device.Flash = flash()
	base := reference.Baseline{Name: "r7", Vendor: "Acme", Model: "R7"}
	if err := appraise.ReferenceValues(&base, b.device.Bank, b.device.BootLog, b.device.IMA, nil); err != nil {
		t.Fatal(err)
	}
	b.claimed(&base, "env")
	b.set = compileForTest(base)
	b.wantState(b.attest(), result.Trusted)
	for name, change := range map[string]func(*proto.FlashRegion){
		"content":  func(r *proto.FlashRegion) { r.Digest = flashDigest("other") },
		"excluded": func(r *proto.FlashRegion) { r.Excluded = []proto.FlashRange{{Length: 4096}} },
		"place":    func(r *proto.FlashRegion) { r.Offset = 512 },
	} {
		b.device.Flash = flash()
		change(region(b.device, "env"))
		r := b.attest()
		b.wantState(r, result.Trusted)
		if f := wantFinding(t, r, "flash-difference"); f.Severity != result.Info || r.Regions[1].Status != result.RegionReported {
			t.Errorf("%s: finding %s, region %s, want info, reported", name, f.Severity, r.Regions[1].Status)
		}
	}
	*region(b.device, "env") = proto.FlashRegion{Name: "env", Unavailable: &proto.Unavailable{Cause: proto.CausePending}}
	b.wantState(b.attest(), result.Trusted)
	b.device.Flash.Regions = slices.Delete(b.device.Flash.Regions, 1, 2)
	b.wantState(b.attest(), result.Trusted)
}

// TestFlashPolicy: what each value of policy.flash makes of a device with and without references, with and without
// flash.
func TestFlashPolicy(t *testing.T) {
	tests := []struct {
		policy     appraise.Requirement
		referenced bool
		reads      bool
		want       result.State
		codes      []string // on flash, with the severity's first letter
	}{
		{appraise.Ignored, true, true, result.Trusted, nil},
		{appraise.Ignored, true, false, result.Trusted, nil},
		{appraise.Reference, true, true, result.Trusted, []string{"i flash-unavailable"}},
		{appraise.Reference, true, false, result.Warning, []string{"w flash-missing"}},
		{appraise.Reference, false, true, result.Trusted, []string{"i flash-unknown", "i flash-unavailable"}},
		{appraise.Reference, false, false, result.Trusted, nil},
		{appraise.Required, true, true, result.Warning, []string{"w flash-unavailable"}},
		{appraise.Required, false, true, result.Warning, []string{"w flash-unknown", "w flash-unavailable"}},
		{appraise.Required, false, false, result.Warning, []string{"w flash-missing"}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, references %t, reads %t", tt.policy, tt.referenced, tt.reads), func(t *testing.T) {
			b := newBench(t)
			b.with(func(p *appraise.Policy) { p.Flash = tt.policy })
			b.device.Flash = flash()
			base := b.baseline("r7")
			if !tt.referenced {
				base.Flash = nil
			}
			b.set = compileForTest(base)
			if !tt.reads {
				b.device.Flash = nil
			}
			r := b.attest()
			b.wantState(r, tt.want)
			var got []string
			for _, f := range r.Findings {
				if f.Submod == result.Flash {
					got = append(got, string(f.Severity)[:1]+" "+f.Code)
				}
			}
			if diff := cmp.Diff(tt.codes, got); diff != "" {
				t.Errorf("findings on flash: %s", diff)
			}
			if shown := len(r.Regions) > 0; shown != (tt.reads && tt.policy != appraise.Ignored) {
				t.Errorf("%d regions shown", len(r.Regions))
			}
		})
	}
	t.Run("the age counts where flash does", func(t *testing.T) {
		b := withFlash(t)
		b.with(func(p *appraise.Policy) { p.FlashMaxAge = time.Hour })
		b.device.FlashAge = 3601
		r := b.attest()
		wantFinding(t, r, "flash-old")
		if r.FlashAge != 3601 {
			t.Errorf("age = %d s, want 3601", r.FlashAge)
		}
		base := b.baseline("r7")
		base.Flash = nil
		b.set = compileForTest(base)
		wantNone(t, b.attest(), "flash-old")
	})
	t.Run("ignored flash is not even asked for", func(t *testing.T) {
		b := withFlash(t)
		b.with(func(p *appraise.Policy) { p.Flash = appraise.Ignored })
		message := b.report()
		encoded, err := proto.Encode(b.device.Flash)
		if err != nil {
			t.Fatal(err)
		}
		delete(b.contents, proto.Sum(encoded))
		if _, err := b.appraise(message); err != nil {
			t.Errorf("Appraise: %v, want no content missing", err)
		}
	})
}

// TestFlashContentIsAskedForOnce: like every content, and a false size is refused.
func TestFlashContentIsAskedForOnce(t *testing.T) {
	b := withFlash(t)
	message := b.report()
	contents := b.contents
	b.contents = map[proto.Digest][]byte{}
	_, err := b.appraise(message)
	missing, ok := err.(*appraise.MissingError)
	if !ok || len(missing.Digests) != 4 {
		t.Fatalf("error = %v, want four missing contents (platform, boot log, IMA list, flash)", err)
	}
	b.contents = contents
	if _, err := b.appraise(message); err != nil {
		t.Fatal(err)
	}
	b.device.ForgeClaims = func(c *proto.Claims) { c.Flash.Regions.Content.Size++ }
	b.memo = &appraise.Memo{}
	_, err = b.appraise(b.report())
	wantRejection(t, err, proto.CodeMalformed)
}

// TestFlashThatNoReferenceCovers: a change between two reports is told, and stays told until references cover the
// region (ATTACKS row 13).
func TestFlashThatNoReferenceCovers(t *testing.T) {
	b := newBench(t)
	base := b.baseline("r7") // from before the agent read flash
	b.set = compileForTest(base)
	b.device.Flash = flash()
	r := b.attest()
	b.wantState(r, result.Trusted)
	wantNone(t, r, "flash-differs")
	f := wantFinding(t, r, "flash-unknown")
	if f.Component != "flash regions boot0, env, u-boot" {
		t.Errorf("component = %q, want all three at once", f.Component)
	}
	region(b.device, "u-boot").Digest = flashDigest("other")
	for range 2 {
		r = b.attest()
		b.wantState(r, result.Trusted)
		f = wantFinding(t, r, "flash-differs")
		if f.Component != "flash region u-boot" || !strings.HasPrefix(f.Expected, hex.EncodeToString(flashDigest("u-boot"))) ||
			f.Observed != hex.EncodeToString(flashDigest("other")) {
			t.Errorf("finding = %+v", f)
		}
	}
	// It does not go away by not being told for a while.
	kept := b.device.Flash
	for _, hide := range []func(){
		func() { b.device.Flash = nil },
		func() { b.device.NoFlash = &proto.Unavailable{Cause: proto.CausePending} },
		func() { b.device.Flash = &proto.Flash{Regions: kept.Regions[:1]} },
		func() { b.device.RawFlash = []byte{0xff} },
	} {
		hide()
		b.attest()
		b.device.Flash, b.device.NoFlash, b.device.RawFlash = kept, nil, nil
		wantFinding(t, b.attest(), "flash-differs")
	}
	b.with(func(p *appraise.Policy) { p.Flash = appraise.Required })
	if f := wantFinding(t, b.attest(), "flash-differs"); f.Severity != result.Warn {
		t.Errorf("severity = %s where flash is required, want warning", f.Severity)
	}
	b.trusting()
	wantNone(t, b.attest(), "flash-differs")
	if len(b.record.Seen) != 0 {
		t.Errorf("%d regions remembered, want none that a reference covers", len(b.record.Seen))
	}
}

// TestManyRegions: what a record, a result and its findings carry of flash is bounded.
func TestManyRegions(t *testing.T) {
	b := newBench(t).trusting()
	fill := func(digest string) {
		b.device.Flash = &proto.Flash{}
		for i := range proto.MaxFlashRegions {
			name := fmt.Sprintf("%03d", i) + strings.Repeat("x", 200)
			b.device.Flash.Regions = append(b.device.Flash.Regions, proto.FlashRegion{
				Name: name, Source: "mtd:x", Length: 1, Digest: flashDigest(digest + name),
			})
		}
	}
	fill("a")
	b.attest()
	fill("b")
	r := b.attest()
	if len(r.Findings) > 32 || len(r.Regions) != result.MaxRegions || len(b.record.Seen) > 32 {
		t.Errorf("%d findings, %d regions, %d remembered: want at most 32, %d and 32", len(r.Findings), len(r.Regions), len(b.record.Seen), result.MaxRegions)
	}
}
