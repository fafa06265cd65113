package web

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func finding(code string, severity result.Severity, submod result.Submod, component, meaning string) result.Finding {
	return result.Finding{
		Code: code, Severity: severity, Submod: submod, Component: component, Meaning: meaning,
		Action: "do this",
	}
}

func TestExplain(t *testing.T) {
	seen := noon.Add(-3 * time.Hour)
	boot := finding("boot-event-changed", result.Critical, result.Boot, `PCR 4, \EFI\BOOT\X`,
		"was replaced: it is not the reference value")
	gone := finding("flash-unavailable", result.Info, result.Flash, "flash region me", "the device could not read it")
	for _, c := range []struct {
		name             string
		d                v1.Device
		findings         []result.Finding
		headline, reason string
		weigh, notes     int
	}{
		{
			"untrusted",
			v1.Device{State: result.Untrusted},
			[]result.Finding{boot, gone},
			"Do not rely on this device",
			`PCR 4, \EFI\BOOT\X was replaced: it is not the reference value.`, 1, 1,
		},
		{"trusted", v1.Device{State: result.Trusted}, nil, "runs exactly what it should", "matches acme-1", 0, 0},
		{
			"stale",
			v1.Device{
				State: result.Stale, Verdict: result.Untrusted,
				LastSeen: &seen,
			},
			[]result.Finding{boot},
			"is silent",
			`Nothing was heard of it for 3 hours. Its last verdict was untrusted. When it last reported: PCR 4`, 1, 0,
		},
		{
			"unsupported",
			v1.Device{State: result.Unsupported},
			nil, "nothing to compare it with",
			"Submit the vendor's manifest", 0, 0,
		},
		{"a state from the future", v1.Device{State: "odd"}, nil, "does not know the state odd", "gives no reason", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &v1.Result{Seq: 1, Result: result.Result{Findings: c.findings, References: []string{"acme-1"}}}
			got := explain(&c.d, r, nil, noon)
			if !strings.Contains(got.Headline, c.headline) || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("headline %q, reason %q; want %q, %q", got.Headline, got.Reason, c.headline, c.reason)
			}
			if len(got.Findings) != c.weigh || len(got.Notes) != c.notes {
				t.Errorf("%d findings, %d notes; want %d, %d", len(got.Findings), len(got.Notes), c.weigh, c.notes)
			}
		})
	}
}

func TestExplainWithoutResult(t *testing.T) {
	for status, want := range map[string]string{
		"pending": "Its TPM is not known here", "approved": "It was let in before it came",
		"active": "no evidence of it was accepted yet",
	} {
		got := explain(&v1.Device{State: result.NeverAttested, Status: status}, nil, nil, noon)
		if !strings.Contains(got.Reason, want) || len(got.Next) == 0 {
			t.Errorf("%s: reason %q, %d steps; want %q and what to do", status, got.Reason, len(got.Next), want)
		}
	}
}

func TestExplainFinding(t *testing.T) {
	d := &v1.Device{ID: strings.Repeat("ab", 32)}
	r := &result.Result{Regions: []result.Region{{Name: "bios", Source: "mtd0", Offset: 0x1000, Length: 4096}}}
	region := finding("flash-changed", result.Critical, result.Flash, "flash region bios",
		"the content is not the reference value")
	region.Observed, region.Nearest = "sha256:"+strings.Repeat("0f", 32), "acme-2"
	got := explainFinding(d, r, &region)
	if got.Where != "4 KiB at 0x1000 of mtd0" || got.Region != "bios" || got.Search != strings.Repeat("0f", 32) {
		t.Errorf("where %q, region %q, search %q", got.Where, got.Region, got.Search)
	}
	if want := "Flash region bios: the content is not the reference value. What was observed is known from acme-2."; got.Words != want {
		t.Errorf("words = %q, want %q", got.Words, want)
	}
	if want := "digest=" + strings.Repeat("0f", 32) + "&finding=flash-changed"; got.OthersQuery != want {
		t.Errorf("query of others = %q, want %q", got.OthersQuery, want)
	}
	var links []string
	for _, s := range got.Steps {
		if s.Link != "" {
			links = append(links, strings.ReplaceAll(s.Link, d.ID, "ID"))
		}
	}
	want := []string{
		"/devices/ID/flash", "/search?q=" + strings.Repeat("0f", 32),
		"/devices/ID/evidence?region=bios#capture",
	}
	if diff := cmp.Diff(want, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	module := finding("boot-event-unknown", result.Critical, result.Boot,
		"PCR 0, module 12345678-1234-1234-1234-123456789ABC", "was measured")
	if got := explainFinding(d, r, &module); got.PCR != 0 || !strings.Contains(got.Where, "module or volume 12345678-") || !got.Novel {
		t.Errorf("PCR %d, where %q, novel %t", got.PCR, got.Where, got.Novel)
	}
	unread := finding("flash-unavailable", result.Warn, result.Flash, "flash region bios", "the device could not read it")
	if explainFinding(d, r, &unread).Novel {
		t.Error("what could not be read is said to be something that no reference value has")
	}
	odd := finding("x", result.Critical, result.Boot, "PCR 99, odd", "was measured")
	if got := explainFinding(d, r, &odd); got.PCR != -1 {
		t.Errorf("PCR %d of %q, want none", got.PCR, odd.Component)
	}
	info := finding("x", result.Info, result.Boot, "PCR 5", "differs")
	if got := explainFinding(d, r, &info); len(got.Steps) != 1 {
		t.Errorf("a finding that changes nothing has %d steps, want 1", len(got.Steps))
	}
}

// A region's name comes from the device: it must not become an option or a path on the operator's command line.
func TestFileName(t *testing.T) {
	for in, want := range map[string]string{
		"bios": "bios.bin", "../../etc/x": "______etc_x.bin", "--output=x": "output_x.bin", "a b;rm -rf": "a_b_rm_-rf.bin",
		"\u202e":                "_.bin",
		strings.Repeat("n", 90): strings.Repeat("n", 40) + ".bin",
	} {
		if got := fileName(in); got != want {
			t.Errorf("fileName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestGaps(t *testing.T) {
	r := &result.Result{
		Findings: []result.Finding{finding("flash-unavailable", result.Info, result.Flash, "flash region me",
			"the device could not read it")},
		Regions: []result.Region{
			{Name: "me", Status: result.RegionUnavailable, Reason: "locked"}, {
				Name:   "gbe",
				Status: result.RegionUnavailable,
			}, {Name: "bios", Left: 4096},
		},
		Strength: result.Strengths{
			Identity: result.Hardware, Boot: result.Hardware, Runtime: result.Hardware,
			Flash: result.SelfAsserted, Platform: result.None,
		},
	}
	want := []gap{
		{"flash region me", "the device could not read it"},
		{
			"flash region gbe",
			"the device could not read it: it gives no reason",
		},
		{"flash region bios", "4 KiB of it are excluded from the digest"},
		{"Hardware", "nothing of it was appraised"},
		{"files that ran", "the list that the kernel keeps of them is empty"},
	}
	if diff := cmp.Diff(want, gapsOf(r)); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}
