package fleet

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

func flashDigest(content string) []byte {
	sum := sha256.Sum256([]byte(content))
	return sum[:]
}

// reads gives a device flash memory, of which one region cannot be read, hardware and a tamper line.
func reads(d *appraisetest.Device) {
	d.Flash = &proto.Flash{Regions: []proto.FlashRegion{
		{Name: "env", Source: "mtd:env", Length: 4096, Digest: flashDigest("env"), Excluded: []proto.FlashRange{{Length: 16}}},
		{Name: "modem", Source: "spi:1.0", Unavailable: &proto.Unavailable{Cause: proto.CausePermission, Reason: "not root"}},
		{Name: "u-boot", Source: "mtd:u-boot", Length: 1 << 19, Digest: flashDigest("u-boot")},
	}}
	d.Platform.Devices = []proto.BusDevice{{Bus: "i2c", Address: "3-0050", Name: "24c02"}}
	d.Tamper = []proto.TamperLine{{Name: "lid", State: proto.TamperClosed}}
}

func (r *rig) software() *device {
	r.Helper()
	d, err := appraisetest.NewSoftware()
	if err != nil {
		r.Fatal(err)
	}
	return r.enrolled(d, result.Software)
}

// TestBaselineOfFlash: a baseline has what the device read and told, lacks what it could not read, and says so.
func TestBaselineOfFlash(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	reads(d.Device)
	d.attest(result.Unsupported)
	got, err := r.CreateBaseline(t.Context(), tenant, BaselineSpec{Device: d.ID, Name: "r7", ReportOnlyFlash: []string{"env"}}, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"flash region modem: permission: not root"}, got.Notes); diff != "" {
		t.Errorf("notes: %s", diff)
	}
	b := r.open(got)
	if len(b.Flash) != 2 || !b.Flash[0].ReportOnly || b.Flash[1].ReportOnly || len(b.Inventory) != 1 || !slices.Equal(b.Tamper, []string{"lid"}) {
		t.Errorf("flash %+v, inventory %v, tamper lines %v", b.Flash, b.Inventory, b.Tamper)
	}
	d.attest(result.Trusted)
	d.Flash.Regions[0].Digest = flashDigest("other settings")
	d.attest(result.Trusted)
	d.Flash.Regions[2].Digest = flashDigest("implant")
	receipt := d.attest(result.Untrusted)
	if len(receipt.Reasons) == 0 || !strings.HasPrefix(receipt.Reasons[0], "flash region u-boot: ") {
		t.Errorf("reasons = %q, want the first to name u-boot", receipt.Reasons)
	}
	if got := d.wantPublished(result.Untrusted); got.Strength.Flash != result.SelfAsserted || len(got.Regions) != 3 {
		t.Errorf("published: strength %+v, %d regions", got.Strength, len(got.Regions))
	}
	// A changed region does not keep the operator from accepting it; leaving more out is told.
	d.Flash.Regions[0].Excluded[0].Length = 20
	d.attest(result.Untrusted)
	next, err := r.create(d, "r7-next")
	if err != nil {
		t.Fatal(err)
	}
	if len(next.Notes) != 2 || next.Notes[1] != "flash region env: 20 bytes are excluded, 16 in baseline r7: make sure that this is right" {
		t.Errorf("notes = %q, want that more is excluded", next.Notes)
	}
	d.attest(result.Trusted)

	_, err = r.CreateBaseline(t.Context(), tenant, BaselineSpec{Device: d.ID, Name: "x", ReportOnlyFlash: []string{"modem"}}, "alice")
	wantRefused(t, err, `flash region "modem" was not read, so it cannot be reported: the device read env, u-boot`)
	d.RawFlash = []byte("no CBOR")
	d.attest(result.Warning)
	_, err = r.create(d, "x")
	wantRefused(t, err, "contradicts itself: flash memory")
}

// TestBaselineOfSoftware: a device without a TPM gives reference values of what it says; it is at best warning by them.
func TestBaselineOfSoftware(t *testing.T) {
	r := newRig(t)
	empty := r.software()
	empty.NoFlash = &proto.Unavailable{Cause: proto.CausePending, Reason: "wait"}
	empty.attest(result.Warning)
	_, err := r.create(empty, "x")
	wantRefused(t, err, "nothing to make reference values of (flash memory: pending: wait)")

	d := r.software()
	reads(d.Device)
	d.attest(result.Warning)
	if got := d.results()[0].Result; len(got.Findings) < 2 || got.Findings[1].Code != "no-reference" {
		t.Errorf("findings = %+v, want that there are no references", got.Findings)
	}
	made, err := r.create(d, "soft")
	if err != nil {
		t.Fatal(err)
	}
	if b := r.open(made); b.Bank != 0 || len(b.PCRs) != 0 || len(b.Flash) != 2 {
		t.Errorf("bank %d, %d PCRs, %d flash regions", b.Bank, len(b.PCRs), len(b.Flash))
	}
	d.attest(result.Warning)
	if got := d.results()[0].Result; !slices.Equal(got.References, []string{"soft"}) || got.Findings[0].Code != "software-identity" {
		t.Errorf("references %v, findings %+v", got.References, got.Findings)
	}
	d.Tamper[0].State = proto.TamperOpen
	d.attest(result.Untrusted)
	d.Tamper[0].State = proto.TamperClosed
	d.Flash.Regions[2].Digest = flashDigest("implant")
	d.attest(result.Untrusted)
	d.Flash.Regions[2].Digest = flashDigest("u-boot")
	d.attest(result.Warning)
}

// TestBaselineOfSHA1: only an operator who lists SHA-1 gets reference values in it.
func TestBaselineOfSHA1(t *testing.T) {
	r := newRig(t)
	sim, err := appraisetest.NewIn(pcr.SHA1, fixture(t, "eventlogs", "direct-four-banks"), fixture(t, "ima", "direct-four-banks"))
	if err != nil {
		t.Fatal(err)
	}
	d := r.enrolled(sim, result.Certified)
	d.attest(result.Unsupported)
	_, err = r.create(d, "sha1")
	wantRefused(t, err, "quotes the sha1 bank, which is no basis of trust")
	r.policy.Banks = append(r.policy.Banks, pcr.SHA1)
	r.restart()
	d.attest(result.Unsupported)
	d.baseline("sha1")
	d.attest(result.Trusted)
	r.policy.Banks = r.policy.Banks[:2]
	r.restart()
	d.attest(result.Warning)
}
