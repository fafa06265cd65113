package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// machine returns a device like healthy ones but for its flash memory, in which it has one region.
func (r *rig) machine(log []byte, flash string) *device {
	r.Helper()
	list := fixture(r, "ima", "grub-secure-boot")
	sim, err := appraisetest.New(log, list[split(r.T, list, 1):])
	if err != nil {
		r.Fatal(err)
	}
	sim.Flash = &proto.Flash{Regions: []proto.FlashRegion{{Name: "bios", Source: "mtd:bios", Length: 4096, Digest: flashDigest(flash)}}}
	return r.enrolled(sim, result.Certified)
}

// attested lets a device attest, whatever comes of it.
func (d *device) attested() {
	d.r.Helper()
	d.r.clock.advance(time.Second)
	if got := d.submit(d.report(d.challenged())); got == nil || got.Status != proto.Appraised {
		d.r.Fatalf("receipt = %+v", got)
	}
}

// TestOutliers: row 37: a few devices that differ show, whether a reference covers them or not.
func TestOutliers(t *testing.T) {
	r := newRig(t)
	log, implanted := fixture(t, "eventlogs", "grub-secure-boot"), updated(t)
	var all []*device
	for range 10 {
		all = append(all, r.machine(log, "bios"))
	}
	odd, bios, ran := r.machine(implanted, "bios"), r.machine(log, "implant"), r.machine(log, "bios")
	ran.runs("/tmp/implant")
	all = append(all, odd, bios, ran)
	for i, d := range all {
		d.Flash.Regions = append(d.Flash.Regions, proto.FlashRegion{
			Name: "serial", Source: "mtd:serial", Length: 16, Digest: flashDigest(fmt.Sprint("serial ", i)), // differs by nature
		})
	}
	all[0].Flash.Regions = all[0].Flash.Regions[1:] // and one lacks a region
	for _, d := range all {
		d.attested()
	}
	lone := r.machine(log, "other")
	lone.Platform.Model = "R8"
	lone.attested()

	got, err := r.Outliers(t.Context(), tenant, OutlierSpec{})
	if err != nil || got.Devices != 14 || len(got.Groups) != 2 {
		t.Fatalf("Outliers = %+v, %v, want two groups of 14 devices", got, err)
	}
	g := got.Groups[0]
	if g.Model != "R7" || g.Devices != 13 || len(g.Notes) != 1 || !strings.Contains(g.Notes[0], "differ between most devices") {
		t.Errorf("group = %+v", g)
	}
	which := make(map[string]Outlier)
	for _, o := range g.Outliers {
		for _, d := range o.Devices {
			which[d.ID+" "+o.Component] = o
		}
		if o.Weak || o.Covered || o.Count != 1 || !strings.Contains(o.Meaning, "1 of 13 devices") {
			t.Errorf("outlier %+v, want a strong one of one device that no reference knows", o)
		}
	}
	if o := which[bios.ID+" flash region bios"]; o.Observed == "" || o.Expected == "" || o.Observed == o.Expected || o.Most != 11 {
		t.Errorf("another BIOS: %+v", o)
	}
	if o, ok := which[ran.ID+" file /tmp/implant"]; !ok || o.Expected != "" || !strings.Contains(o.Meaning, "don't have it at all") {
		t.Errorf("a file of its own: %+v", o)
	}
	if o, ok := which[all[0].ID+" flash region bios"]; !ok || o.Observed != "" || !strings.Contains(o.Meaning, "lack") {
		t.Errorf("a region that is lacking: %+v", o)
	}
	boot := 0
	for name := range which {
		if strings.HasPrefix(name, odd.ID+" PCR 4") {
			boot++
		}
	}
	if boot == 0 || len(g.Outliers) != boot+3 {
		t.Errorf("%d outliers, %d of them boot events of the implanted device, want 3 others: %+v", len(g.Outliers), boot, g.Outliers)
	}
	if g := got.Groups[1]; g.Model != "R8" || len(g.Outliers) != 0 || !strings.Contains(g.Notes[0], "too few") {
		t.Errorf("a group of one: %+v", g)
	}

	// What the vendor signed is an outlier all the same, and said to be covered.
	acme := r.vendor()
	m := released(t, "2.5.0", implanted, nil)
	m.Files = []manifest.File{{Path: "/tmp/implant", Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: measurement("/tmp/implant").Digest}}}
	r.mustSubmit(acme.sign(t, m))
	got, err = r.Outliers(t.Context(), tenant, OutlierSpec{Vendor: "acme", Model: "r7"})
	if err != nil || len(got.Groups) != 1 {
		t.Fatalf("Outliers of one model = %d groups, %v", len(got.Groups), err)
	}
	covered := 0
	for _, o := range got.Groups[0].Outliers {
		if o.Covered {
			covered++
		}
	}
	if covered != boot+1 || got.Groups[0].Outliers[0].Covered {
		t.Errorf("%d outliers are covered, want %d, after those that are not", covered, boot+1)
	}
}

// TestSmallGroups: two devices that differ do not say which is odd; of three, one weakly.
func TestSmallGroups(t *testing.T) {
	r := newRig(t)
	log := fixture(t, "eventlogs", "grub-secure-boot")
	good, odd := r.machine(log, "bios"), r.machine(log, "implant")
	good.attested()
	odd.attested()
	for _, want := range []int{0, 1} {
		got, err := r.Outliers(t.Context(), tenant, OutlierSpec{})
		if err != nil || len(got.Groups) != 1 || len(got.Groups[0].Outliers) != want {
			t.Fatalf("Outliers = %+v, %v, want %d", got, err, want)
		}
		if want == 1 && (!got.Groups[0].Outliers[0].Weak || got.Groups[0].Outliers[0].Devices[0].ID != odd.ID) {
			t.Errorf("outlier = %+v, want a weak one", got.Groups[0].Outliers[0])
		}
		third := r.machine(log, "bios")
		third.runs("/bin/of-its-own")
		third.attested()
	}
}
