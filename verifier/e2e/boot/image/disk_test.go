package image

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

// manyFiles is a tree with everything that FAT does differently: short and long names, cases, an empty file, sizes
// around a cluster, a folder of more than one cluster.
func manyFiles() map[string][]byte {
	files := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":        bytes.Repeat([]byte("efi "), 50000),
		"EFI/BOOT/grubx64.efi":        []byte("grub"),
		"EFI/debian/grub.cfg":         []byte("cfg"),
		"loader/loader.conf":          []byte("conf"),
		"loader/entries/probity.conf": []byte("entry"),
		"a file with a rather long and MixedName of over 26.text": []byte("long"),
		"exactlythirte": []byte("13"),
		"empty":         {},
		"one":           bytes.Repeat([]byte{1}, sectorSize),
		"one.mor":       bytes.Repeat([]byte{2}, sectorSize+1),
		"UPPER.low":     []byte("mixed case of a short name"),
	}
	for i := range 60 {
		files[fmt.Sprintf("many/number %d", i)] = fmt.Append(nil, i)
	}
	return files
}

// TestDiskFiles has the checker of dosfstools look at the partition and mtools read every file.
func TestDiskFiles(t *testing.T) {
	debian.Need(t, debian.Tools)
	files := manyFiles()
	disk, err := Disk(files)
	if err != nil {
		t.Fatal(err)
	}
	first, last := partition(t, disk)
	volume := write(t, "esp", disk[first*sectorSize:(last+1)*sectorSize])
	if out, ok := tool(t, "fsck.fat", "-n", "-v", volume); !ok || strings.Contains(out, "rong") || strings.Contains(out, "iffer") {
		t.Errorf("fsck.fat: %s", out)
	}
	out, ok := tool(t, "mdir", "-i", volume, "-b", "-/", "::")
	if !ok {
		t.Fatalf("mdir: %s", out)
	}
	var listed []string
	for line := range strings.Lines(out) {
		if name := strings.TrimPrefix(strings.TrimSpace(line), "::/"); !strings.HasSuffix(name, "/") {
			listed = append(listed, name)
		}
	}
	slices.Sort(listed)
	if want := slices.Sorted(maps.Keys(files)); !slices.Equal(listed, want) {
		t.Errorf("mdir lists %q, want %q", listed, want)
	}
	dir := t.TempDir()
	if out, ok := tool(t, "mcopy", "-i", volume, "-s", "-n", "::*", dir); !ok {
		t.Fatalf("mcopy: %s", out)
	}
	for name, want := range files {
		if got := read(t, filepath.Join(dir, name)); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, want the %d bytes put in", name, len(got), len(want))
		}
	}
}

// partition checks the partition table as firmware does and returns the first and last sector of the partition.
func partition(t *testing.T, disk []byte) (first, last int) {
	t.Helper()
	total := len(disk) / sectorSize
	sector := func(n int) []byte { return disk[n*sectorSize : (n+1)*sectorSize] }
	if mbr := sector(0); mbr[510] != 0x55 || mbr[511] != 0xaa || mbr[450] != 0xee || int(le.Uint32(mbr[458:])) != total-1 {
		t.Errorf("master boot record % x, want a protective one", mbr[446:462])
	}
	var tables [][]byte
	for _, self := range []int{1, total - 1} {
		h := bytes.Clone(sector(self)[:92])
		if string(h[:8]) != "EFI PART" || int(le.Uint64(h[24:])) != self || int(le.Uint64(h[32:])) != total-self {
			t.Fatalf("header in sector %d: % x", self, h)
		}
		sum := le.Uint32(h[16:])
		clear(h[16:20])
		if got := crc32.ChecksumIEEE(h); got != sum {
			t.Errorf("header in sector %d has checksum %#x, want %#x", self, sum, got)
		}
		at := int(le.Uint64(h[72:]))
		table := disk[at*sectorSize:][:128*128]
		if got := crc32.ChecksumIEEE(table); got != le.Uint32(h[88:]) {
			t.Errorf("table of the header in sector %d has checksum %#x, want %#x", self, le.Uint32(h[88:]), got)
		}
		first, last = int(le.Uint64(table[32:])), int(le.Uint64(table[40:]))
		if lo, hi := int(le.Uint64(h[40:])), int(le.Uint64(h[48:])); first < lo || last > hi || hi >= total-1-32 {
			t.Errorf("partition from %d to %d, usable from %d to %d of %d sectors", first, last, lo, hi, total)
		}
		tables = append(tables, table)
	}
	if !bytes.Equal(tables[0], tables[1]) {
		t.Error("the two tables differ")
	}
	if !bytes.Equal(tables[0][128:], make([]byte, 127*128)) {
		t.Error("more than one partition")
	}
	return first, last
}

func TestDiskReproducible(t *testing.T) {
	a, err := Disk(manyFiles())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // maps have another order each time
		if b, err := Disk(manyFiles()); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("Disk of equal files gives other bytes (error %v)", err)
		}
	}
	// Firmware measures the partition table: it may not depend on what the files hold.
	files := manyFiles()
	files["empty"] = []byte("no longer")
	b, err := Disk(files)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a[:firstSector*sectorSize], b[:firstSector*sectorSize]) {
		t.Error("Disk with another file has another partition table")
	}
	if bytes.Equal(a, b) {
		t.Error("Disk with another file gives equal bytes")
	}
}

func TestDiskLarge(t *testing.T) {
	large := bytes.Repeat([]byte("a file of more clusters than the smallest volume has"), 800_000)
	disk, err := Disk(map[string][]byte{"a/large": large})
	if err != nil {
		t.Fatal(err)
	}
	partition(t, disk)
	if !bytes.Contains(disk, large) {
		t.Error("the file is not in one piece")
	}
	_, err = newVolume(map[string][]byte{"x": make([]byte, (maxClusters+1)*sectorSize)})
	wantError(t, "volume beyond the limit", err, "limit")
}

func TestDiskInvalid(t *testing.T) {
	for _, names := range [][]string{
		{""},
		{"/a"},
		{"a/"},
		{"../a"},
		{"a//b"},
		{"a/./b"},
		{"a:b"},
		{"a\\b"},
		{"a."},
		{" a"},
		{"é"},
		{strings.Repeat("x", 256)},
		{"a", "A"},
		{"a", "a/b"},
		{"a/b", "A/B"},
	} {
		files := make(map[string][]byte)
		for _, n := range names {
			files[n] = []byte("x")
		}
		if disk, err := Disk(files); err == nil || disk != nil {
			t.Errorf("Disk(%q) = %d bytes, %v, want an error", names, len(disk), err)
		}
	}
}

func TestNameEntries(t *testing.T) {
	for name, want := range map[string]string{
		"BOOTX64.EFI": "BOOTX64 EFI\x20\x00", "grub.cfg": "GRUB    CFG\x20\x18", "BOOT.cfg": "BOOT    CFG\x20\x10",
		"linux": "LINUX      \x20\x08", "EFI": "EFI        \x20\x00",
	} {
		e, err := nameEntries(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(e[:13]); got != want || len(e) != entrySize {
			t.Errorf("nameEntries(%q) = %q in %d bytes, want %q in one entry", name, got, len(e), want)
		}
	}
}

func TestLayouts(t *testing.T) {
	uki, err := BootUKI("arm64", []byte("u"))
	if err != nil || string(uki["EFI/BOOT/BOOTAA64.EFI"]) != "u" || len(uki) != 1 {
		t.Errorf("BootUKI(arm64) = %q, %v", uki, err)
	}
	sd, err := BootSystemd("amd64", []byte("sd"), []byte("k"), []byte("i"), "a=b c")
	if err != nil || string(sd["EFI/BOOT/BOOTX64.EFI"]) != "sd" || string(sd["probity/linux"]) != "k" ||
		!strings.Contains(string(sd["loader/entries/probity.conf"]), "\noptions a=b c\n") {
		t.Errorf("BootSystemd(amd64) = %q, %v", sd, err)
	}
	grub := BootGRUB([]byte("shim"), []byte("grub"), []byte("k"), []byte("i"), "a=b")
	if string(grub["EFI/BOOT/BOOTX64.EFI"]) != "shim" || !strings.HasPrefix(string(grub["EFI/debian/grub.cfg"]), "linux /probity/linux a=b\n") {
		t.Errorf("BootGRUB = %q", grub)
	}
	for _, f := range []map[string][]byte{uki, sd, grub} {
		if _, err := Disk(f); err != nil {
			t.Errorf("Disk of a layout: %v", err)
		}
	}
	_, err = BootUKI("arm", nil)
	wantError(t, "BootUKI(arm)", err, "arm")
	_, err = BootSystemd("mips", nil, nil, nil, "")
	wantError(t, "BootSystemd(mips)", err, "mips")
}
