package manifest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// show returns a change on one line, with digests shortened.
func show(c Change) string {
	line := fmt.Sprintf("%s %s: %s -> %s", c.Kind, c.Component, c.From, c.To)
	if c.Concern != "" {
		line += " !" + c.Concern
	}
	for _, name := range []string{"x", "ls", "libc", "init", "bios", "separator", "loader", "implant"} {
		for _, d := range both(name) {
			line = strings.ReplaceAll(line, d.String(), d.Algorithm.String()+"("+name+")")
		}
	}
	return line
}

func TestDiff(t *testing.T) {
	const bios = "flash region bios"
	for _, tt := range []struct {
		want   []string
		change func(*Manifest)
	}{
		{nil, func(*Manifest) {}},
		{[]string{"changed version: 2.5.0 -> 2.6.0"}, func(m *Manifest) { m.Version = "2.6.0" }},
		{[]string{"changed id: acme/r7/2.5.0 -> y"}, func(m *Manifest) { m.ID = "y" }},
		{[]string{"changed vendor: Acme -> Evil !another vendor", "changed model: R7 -> R9 !another model"}, func(m *Manifest) {
			m.Vendor, m.Model = "Evil", "R9"
		}},
		{[]string{
			"changed security version number: 7 -> 6 !it went down: security version numbers only rise",
			"removed least security version number: 5 ->  !it went down: security version numbers only rise",
		}, func(m *Manifest) { m.SVN, m.MinSVN = 6, 0 }},
		{[]string{"changed least security version number: 5 -> 6"}, func(m *Manifest) { m.MinSVN = 6 }},
		{[]string{"removed valid from: 2026-03-01T00:00:00Z -> ", "changed valid until: 2026-03-31T00:00:00Z -> 2026-03-30T00:00:00Z"}, func(m *Manifest) {
			m.NotBefore, m.NotAfter = time.Time{}, day(30)
		}},
		{[]string{"changed PCR 0: complete -> partial !less is known of it: because"}, func(m *Manifest) {
			m.PCRs[0].Coverage, m.PCRs[0].Note = Partial, "because"
		}},
		{[]string{"changed PCR 1: partial -> complete", "added PCR 1, value:  -> sha256(x) sha384(x)"}, func(m *Manifest) {
			m.PCRs[1].Coverage, m.PCRs[1].Values = Complete, []Digests{both("x")}
		}},
		{[]string{"removed PCR 1: partial ->  !nothing is known of it any more", "added PCR 2:  -> partial"}, func(m *Manifest) { m.PCRs[1].Index = 2 }},
		{[]string{"changed PCR 0, separator: sha256(separator) -> sha256(x)"}, func(m *Manifest) { m.PCRs[0].Events[2].Digests = Digests{sum("x")} }},
		{[]string{"changed PCR 0, separator: required -> allowed !a boot without it passes now"}, func(m *Manifest) { m.PCRs[0].Events[2].Required = false }},
		{[]string{"removed PCR 4, application/BOOTX64.EFI: sha256(loader) -> ", "added PCR 4, new:  -> sha256(loader)"}, func(m *Manifest) { m.PCRs[2].Events[0].Slot = "new" }},
		{nil, func(m *Manifest) { e := m.PCRs[0].Events; e[0], e[1] = e[1], e[0] }},
		{[]string{"changed " + bios + ", digest: sha256(bios) -> sha256(x)"}, func(m *Manifest) { m.Regions[0].Digests = Digests{sum("x")} }},
		{[]string{"changed " + bios + ", place: 131072 bytes at 0x10000 -> 131072 bytes at 0x20000"}, func(m *Manifest) {
			m.Regions[0].Offset, m.Regions[0].Excluded[1].Offset = 0x20000, 0x2000
		}},
		{[]string{
			"changed " + bios + ", place: 131072 bytes at 0x10000 -> 262144 bytes at 0x10000",
			"changed " + bios + ", excluded: 4096 bytes at 0x0 (NVRAM variables), 6 bytes at 0x2000 (MAC address) -> " +
				"4096 bytes at 0x0 (NVRAM variables), 6 bytes at 0x2000 (MAC address), 16 bytes at 0x30000 (serial number) " +
				"!16 more bytes are excluded than before",
		}, func(m *Manifest) {
			m.Regions[0].Length = 0x40000
			m.Regions[0].Excluded = append(m.Regions[0].Excluded, Range{0x30000, 16, "serial number"})
		}},
		{[]string{
			"changed " + bios + ", excluded: 4096 bytes at 0x0 (NVRAM variables), 6 bytes at 0x2000 (MAC address) -> " +
				"4352 bytes at 0x0 (NVRAM variables), 6 bytes at 0x2000 (MAC address) " +
				"!256 bytes that were measured no longer are: 256 bytes at 0x1000 (NVRAM variables)",
		}, func(m *Manifest) { m.Regions[0].Excluded[0].Length = 0x1100 }},
		{[]string{
			"changed " + bios + ", excluded: 4096 bytes at 0x0 (NVRAM variables), 6 bytes at 0x2000 (MAC address) -> 4096 bytes at 0x0 (NVRAM variables)",
		}, func(m *Manifest) { m.Regions[0].Excluded = m.Regions[0].Excluded[:1] }},
		{[]string{
			"added flash region boot:  -> 65536 bytes at 0x0 sha256(x)",
			"removed flash region bootloader: 65536 bytes at 0x0 sha256(x) ->  !nothing is known of it any more",
		}, func(m *Manifest) { m.Regions[1].Name, m.Regions[1].Digests = "boot", Digests{sum("x")} }},
		{[]string{"changed file /usr/bin/ls: sha256(ls), sha384(ls) -> sha256(x), sha384(ls)"}, func(m *Manifest) { m.Files[0].Digest = sum("x") }},
		{[]string{"removed file /init: sha256(init) -> ", "added file /new:  -> sha256(init)"}, func(m *Manifest) { m.Files[3].Path = "/new" }},
		{[]string{"changed supersedes acme/r7/2.4.1: 2026-03-15T00:00:00Z -> without an end of the overlap"}, func(m *Manifest) {
			m.Supersedes[0].Until = time.Time{}
		}},
		{[]string{"removed withdraws acme/r7/2.4.2: built from the wrong branch -> "}, func(m *Manifest) { m.Withdraws = nil }},
	} {
		m := sample()
		tt.change(m)
		var got []string
		older := sample()
		older.Regions[1].Digests = m.Regions[1].Digests // whose change other rows show
		for _, c := range Diff(older, m) {
			got = append(got, show(c))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Diff: %s", diff)
		}
	}
}

// Entries of a deny-list that are gone are worth a look, new ones are not.
func TestDiffDenied(t *testing.T) {
	older, newer := sampleDenyList(), sampleDenyList()
	newer.Denied = newer.Denied[1:]
	const name = "denied any component sha256(implant) sha384(implant)"
	var got []string
	for _, c := range append(Diff(older, newer), Diff(newer, older)...) {
		got = append(got, show(c))
	}
	want := []string{
		"removed " + name + ": module added to DXEFV ->  !it is no longer denied",
		"added " + name + ":  -> module added to DXEFV",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff: %s", diff)
	}
}

func TestNewlyExcluded(t *testing.T) {
	for _, tt := range []struct {
		name         string
		older, newer Region
		want         []Range
	}{
		{"nothing", Region{Length: 100}, Region{Length: 100}, nil},
		{"the same", Region{Length: 100, Excluded: []Range{{10, 5, "a"}}}, Region{Length: 100, Excluded: []Range{{10, 5, "b"}}}, nil},
		{"new", Region{Length: 100}, Region{Length: 100, Excluded: []Range{{10, 5, "b"}}}, []Range{{10, 5, "b"}}},
		{"grown on both sides", Region{Length: 100, Excluded: []Range{{10, 5, "a"}}}, Region{Length: 100, Excluded: []Range{{8, 9, "b"}}}, []Range{{8, 2, "b"}, {15, 2, "b"}}},
		{"over two", Region{Length: 100, Excluded: []Range{{10, 5, "a"}, {20, 5, "a"}}}, Region{Length: 100, Excluded: []Range{{12, 10, "b"}}}, []Range{{15, 5, "b"}}},
		{"shrunk", Region{Length: 100, Excluded: []Range{{10, 50, "a"}}}, Region{Length: 100, Excluded: []Range{{12, 2, "b"}}}, nil},
		{"same bytes of a region that begins later", Region{Offset: 1000, Length: 100, Excluded: []Range{{50, 5, "a"}}}, Region{Offset: 1040, Length: 60, Excluded: []Range{{10, 5, "b"}}}, nil},
		{"same offset of a region that begins later", Region{Offset: 1000, Length: 100, Excluded: []Range{{50, 5, "a"}}}, Region{Offset: 1040, Length: 60, Excluded: []Range{{50, 5, "b"}}}, []Range{{50, 5, "b"}}},
		{"beyond the older region", Region{Length: 100}, Region{Length: 200, Excluded: []Range{{90, 50, "b"}}}, []Range{{90, 10, "b"}}},
		{"moved", Region{Length: 100, Excluded: []Range{{10, 5, "a"}}}, Region{Offset: 100, Length: 100, Excluded: []Range{{10, 6, "b"}}}, []Range{{15, 1, "b"}}},
		{"moved and longer", Region{Length: 100}, Region{Offset: 100, Length: 200, Excluded: []Range{{90, 50, "b"}}}, []Range{{90, 10, "b"}}},
	} {
		if diff := cmp.Diff(tt.want, NewlyExcluded(&tt.older, &tt.newer)); diff != "" {
			t.Errorf("%s: NewlyExcluded: %s", tt.name, diff)
		}
	}
}
