package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
)

// newest returns the finding of a code in the newest result of a device, nil where there is none.
func (d *device) newest(code string) *result.Finding {
	d.r.Helper()
	list, err := d.r.store.Results(d.r.Context(), tenant, d.ID, 0, 1)
	if err != nil || len(list) == 0 {
		d.r.Fatalf("results: %d, %v", len(list), err)
	}
	for i := range list[0].Result.Findings {
		if f := &list[0].Result.Findings[i]; f.Code == code {
			return f
		}
	}
	return nil
}

// TestPeers is ATTACKS row 13: flash memory that contradicts what the rest of the fleet says of the same model and version is a
// finding, also where no reference value speaks of it; a lie must know what the others say.
func TestPeers(t *testing.T) {
	r := newRig(t)
	log := fixture(t, "eventlogs", "grub-secure-boot")
	var all []*device
	for i := range peerLeast - 1 {
		d := r.machine(log, "bios")
		d.Flash.Regions = append(d.Flash.Regions, proto.FlashRegion{
			Name: "serial", Source: "mtd:serial", Length: 16, Digest: flashDigest(fmt.Sprint("serial ", i)), // differs by nature
		})
		d.attested()
		all = append(all, d)
	}
	odd := r.machine(log, "implant")
	odd.Flash.Regions = append(odd.Flash.Regions, proto.FlashRegion{
		Name: "serial", Source: "mtd:serial", Length: 16, Digest: flashDigest("serial x"),
	})
	odd.attested()
	if f := odd.newest("flash-outlier"); f != nil {
		t.Errorf("finding %+v of the report in which the device says what it is", f)
	}
	odd.attested()
	f := odd.newest("flash-outlier")
	if f == nil || f.Severity != result.Warn || f.Component != "flash region bios" ||
		!strings.Contains(f.Expected, fmt.Sprintf("(%d of %d devices", peerLeast-1, peerLeast)) {
		t.Fatalf("finding of a device that differs from its peers = %+v", f)
	}
	for _, d := range all {
		d.attested()
		if f := d.newest("flash-outlier"); f != nil {
			t.Errorf("finding of a device like its peers = %+v", f)
		}
	}
	// Another version is another group: the first device that is updated contradicts nobody.
	first := all[0]
	first.Flash.Regions[0].Digest = flashDigest("bios 2")
	first.Platform.FirmwareVersion = "3.0"
	first.attested()
	first.attested()
	if f := first.newest("flash-outlier"); f != nil {
		t.Errorf("finding of the first device of a version = %+v", f)
	}
}

// TestPeersAreNotAskedWithoutEnd: devices name their group themselves, and each new one costs a look at the fleet.
func TestPeersAreNotAskedWithoutEnd(t *testing.T) {
	p, now := newPeers(), time.Unix(1_800_000_000, 0)
	looks := 0
	for i := range 10 * peerBurst {
		if _, look := p.due(fmt.Sprint(i), now); look {
			looks++
		}
	}
	if looks != peerBurst {
		t.Errorf("%d looks at once, want %d", looks, peerBurst)
	}
	for i := range 3 * maxPeers {
		now = now.Add(peerEvery)
		p.due(fmt.Sprint("x", i), now)
	}
	if len(p.of) > maxPeers {
		t.Errorf("%d groups remembered, want at most %d", len(p.of), maxPeers)
	}
	p = newPeers()
	if _, look := p.due("group", now); !look {
		t.Fatal("nobody looks")
	}
	if _, look := p.due("group", now); look {
		t.Error("two look at the same time")
	}
	p.found("group", nil, now.Add(peerFresh))
	if _, look := p.due("group", now.Add(peerFresh-1)); look {
		t.Error("looked again before it is time")
	}
	if _, look := p.due("group", now.Add(peerFresh)); !look {
		t.Error("not looked again when it is time")
	}
}
