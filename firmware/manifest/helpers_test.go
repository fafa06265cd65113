package manifest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
)

func sum(s string) Digest {
	h := sha256.Sum256([]byte(s))
	return Digest{Algorithm: pcr.SHA256, Value: h[:]}
}

// both returns digests of both trusted banks, the second one made up.
func both(s string) Digests {
	d := sum(s)
	return Digests{d, {Algorithm: pcr.SHA384, Value: bytes.Repeat(d.Value[:1], 48)}}
}

func day(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }

// sample is a manifest that uses everything that a manifest has.
func sample() *Manifest {
	return &Manifest{
		ID: "acme/r7/2.5.0", Vendor: "Acme", Model: "R7", Version: "2.5.0", SVN: 7, MinSVN: 5,
		NotBefore: day(1), NotAfter: day(31),
		PCRs: []PCR{
			{Index: 0, Events: []Event{
				{Slot: "firmware-volume/PEIFV", Digests: both("pei 1 GiB"), Note: "with 1 GiB of memory", Required: true},
				{Slot: "firmware-volume/PEIFV", Digests: both("pei 2 GiB"), Note: "with 2 GiB of memory"},
				{Slot: "separator", Digests: Digests{sum("separator")}, Required: true},
			}},
			{Index: 1, Coverage: Partial, Note: "SMBIOS differs between devices"},
			{Index: 4, Coverage: Informative, Values: []Digests{both("value a"), {sum("value b")}}, Events: []Event{
				{Slot: "application/BOOTX64.EFI", Digests: Digests{sum("loader")}},
			}},
		},
		Regions: []Region{
			{Name: "bios", Offset: 0x10000, Length: 0x20000, Digests: Digests{sum("bios")}, Note: "boot firmware", Excluded: []Range{
				{Offset: 0, Length: 0x1000, Reason: "NVRAM variables"}, {Offset: 0x2000, Length: 6, Reason: "MAC address"},
			}},
			{Name: "bootloader", Length: 0x10000, Digests: both("boot")},
		},
		Files: []File{
			{Path: "/usr/bin/ls", Digest: sum("ls")},
			{Path: "/usr/bin/ls", Digest: both("ls")[1]},
			{Path: "/usr/lib/libc.so.6", Digest: sum("libc")},
			{Path: "/init", Digest: sum("init")},
		},
		Supersedes: []Supersession{{ID: "acme/r7/2.4.1", Until: day(15)}, {ID: "acme/r7/2.4.0"}},
		Withdraws:  []Withdrawal{{ID: "acme/r7/2.4.2", Reason: "built from the wrong branch"}},
	}
}

func sampleDenyList() *Manifest {
	return &Manifest{
		ID: "acme/advisory/7", Vendor: "Acme", Advisory: "CVE-2026-12345",
		Denied: []Denial{
			{Digests: both("implant"), Note: "module added to DXEFV"},
			{Component: DeniedEvent, Digests: both("event")},
			{Component: DeniedPCR, Digests: both("pcr")},
			{Component: DeniedRegion, Digests: both("region")},
			{Component: DeniedFile, Digests: Digests{sum("file")}},
		},
		Withdraws: []Withdrawal{{ID: "acme/r7/2.4.2", Reason: "built from the wrong branch"}},
	}
}

// large returns a manifest with n files in directories of 100.
func large(n int) *Manifest {
	m := sample()
	m.Files = make([]File, n)
	for i := range m.Files {
		m.Files[i] = File{Path: fmt.Sprintf("/usr/lib/package-%05d/file-%02d.so", i/100, i%100), Digest: sum(fmt.Sprint(i))}
	}
	return m
}

func mustEncode(t testing.TB, m *Manifest) []byte {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
