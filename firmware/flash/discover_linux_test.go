package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/hostfs"
)

func mtdSource(n int) Source { return Source{MTD, fmt.Sprintf("mtd%d", n)} }

func TestDiscover(t *testing.T) {
	partitioned := map[string]string{}
	mtdFiles(partitioned, "spi0/mtd", "mtd0", "spi0.0", "nor", "16777216", "")
	mtdFiles(partitioned, "spi0/mtd/mtd0", "mtd1", "u-boot", "nor", "524288", "65536")
	mtdFiles(partitioned, "spi0/mtd/mtd0", "mtd2", "firmware", "nor", "15728640", "1048576")
	mtdFiles(partitioned, "spi0/mtd/mtd0/mtd2", "mtd10", "kernel", "nor", "1048576", "0")

	flat := map[string]string{} // kernels without CONFIG_MTD_PARTITIONED_MASTER
	mtdFiles(flat, "spi0/mtd", "mtd0", "BIOS", "nor", "65536", "0")
	mtdFiles(flat, "spi0/mtd", "mtd1", "BIOS", "nor", "65536", "65536")
	mtdFiles(flat, "nand/mtd", "mtd2", "RedBoot config", "nand", "134217728", "")
	mtdFiles(flat, "nand/mtd", "mtd3", "../ä\t", "nand", "131072", "")
	mtdFiles(flat, "nand/mtd", "mtd4", "", "nand", "131072", "")
	mtdFiles(flat, "nand/mtd", "mtd5", strings.Repeat("long", 50), "nand", "131072", "")
	mtdFiles(flat, "slot/mtd", "mtd6", "empty slot", "absent", "0", "")

	emmc := map[string]string{}
	for _, name := range []string{"mmcblk0", "mmcblk0boot0", "mmcblk0boot1", "mmcblk0rpmb", "mmcblk0p1", "mmcblk1bootx", "sda"} {
		emmc["sys/block/"+name+"/size"] = "8192\n"
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []Region
	}{
		"nothing": {map[string]string{"sys/x": ""}, nil},
		"a whole chip with partitions": {partitioned, []Region{
			{Name: "spi0.0@0x0", Source: mtdSource(0), Length: 0x10000},
			{Name: "spi0.0@0x90000", Source: mtdSource(0), Offset: 0x90000, Length: 0x70000},
			{Name: "u-boot", Source: mtdSource(1), Length: 0x80000},
			{Name: "firmware@0x100000", Source: mtdSource(2), Offset: 0x100000, Length: 0xe00000},
			{Name: "kernel", Source: mtdSource(10), Length: 0x100000},
		}},
		"partitions alone": {flat, []Region{
			{Name: "BIOS", Source: mtdSource(0), Length: 65536},
			{Name: "BIOS@mtd1", Source: mtdSource(1), Length: 65536},
			{Name: "RedBoot config", Source: mtdSource(2), Length: 128 << 20},
			{Name: "mtd3..___", Source: mtdSource(3), Length: 131072},
			{Name: "mtd4", Source: mtdSource(4), Length: 131072},
			{Name: strings.Repeat("long", 10), Source: mtdSource(5), Length: 131072},
		}},
		"eMMC": {emmc, []Region{
			{Name: "mmcblk0boot0", Source: Source{Block, "/dev/mmcblk0boot0"}},
			{Name: "mmcblk0boot1", Source: Source{Block, "/dev/mmcblk0boot1"}},
		}},
	} {
		got, errs := Machine{Root: fakeRoot(t, c.files)}.Discover()
		if diff := cmp.Diff(c.want, got); diff != "" || len(errs) > 0 {
			t.Errorf("%s: Discover: %v (-want +got):\n%s", name, errs, diff)
		}
		for _, r := range got {
			if err := r.Valid(); err != nil {
				t.Errorf("%s: Discover: region %+v: %v", name, r, err)
			}
		}
		if _, err := ParseLayout((&Layout{Regions: got}).YAML()); err != nil {
			t.Errorf("%s: what was discovered is no layout: %v", name, err)
		}
	}
}

func TestDiscoverErrors(t *testing.T) {
	files := map[string]string{}
	mtdFiles(files, "a/mtd", "mtd0", "good", "nor", "65536", "")
	mtdFiles(files, "a/mtd", "mtd1", "bad size", "nor", "many", "")
	mtdFiles(files, "a/mtd", "mtd2", "long attribute", strings.Repeat("x", maxAttribute+1), "65536", "")
	files["sys/class/mtd/mtd3"] = "->../../gone"
	files["sys/block"] = "a file"
	got, errs := Machine{Root: fakeRoot(t, files)}.Discover()
	if want := []Region{{Name: "good", Source: mtdSource(0), Length: 65536}}; !cmp.Equal(got, want) {
		t.Errorf("Discover = %v, want %v", got, want)
	}
	if len(errs) != 4 || !errors.Is(errs[1], hostfs.ErrTooLarge) || !errors.Is(errs[2], fs.ErrNotExist) || !errors.Is(errs[3], syscall.ENOTDIR) {
		t.Errorf("Discover: errors %v, want four: size, attribute, gone, sys/block", errs)
	}
}

func TestDiscoverIsBounded(t *testing.T) {
	files := map[string]string{}
	for i := range MaxRegions + 3 {
		mtdFiles(files, "a/mtd", fmt.Sprintf("mtd%d", i), "same", "nor", "65536", "")
	}
	got, errs := Machine{Root: fakeRoot(t, files)}.Discover()
	if len(got) != MaxRegions || len(errs) != 1 || !strings.Contains(errs[0].Error(), "3 are left out") {
		t.Errorf("Discover = %d regions, %v, want %d and an error", len(got), errs, MaxRegions)
	}
}

// TestGaps gives a chip of 100 bytes partitions that sysfs should never show.
func TestGaps(t *testing.T) {
	for name, c := range map[string]struct{ parts, want []Range }{
		"unsorted":        {[]Range{{50, 10}, {0, 10}}, []Range{{10, 40}, {60, 40}}},
		"overlapping":     {[]Range{{0, 60}, {50, 20}, {55, 5}}, []Range{{70, 30}}},
		"touching":        {[]Range{{0, 50}, {50, 50}}, nil},
		"beyond the end":  {[]Range{{90, 100}, {200, 5}}, []Range{{0, 90}}},
		"beyond all":      {[]Range{{90, 1<<64 - 1}}, []Range{{0, 90}, {90, 10}}},
		"empty":           {[]Range{{20, 0}}, []Range{{0, 20}, {20, 80}}},
		"twice the same":  {[]Range{{10, 90}, {10, 90}}, []Range{{0, 10}}},
		"larger than all": {[]Range{{0, 1000}}, nil},
	} {
		whole := mtdInfo{chip: Chip{Size: 100, Label: "chip"}}
		var parts []mtdInfo
		for _, p := range c.parts {
			parts = append(parts, mtdInfo{offset: p.Offset, chip: Chip{Size: p.Length}})
		}
		var got []Range
		for _, r := range gaps(map[string]bool{}, whole, parts) {
			got = append(got, Range{r.Offset, r.Length})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: gaps (-want +got):\n%s", name, diff)
		}
	}
}

func TestOpenMTDErrors(t *testing.T) {
	files := map[string]string{}
	mtdFiles(files, "a/mtd", "mtd0", "bios", "nor", "65536", "")
	mtdFiles(files, "a/mtd", "mtd1", "twice", "nor", "65536", "")
	mtdFiles(files, "a/mtd", "mtd2", "twice", "nor", "65536", "")
	mtdFiles(files, "a/mtd", "mtd3", "slot", "absent", "0", "")
	maps.Copy(files, map[string]string{"dev/mtd0ro": "not a device"})
	root := fakeRoot(t, files)
	m := Machine{Root: root}
	var unsupported *UnsupportedError
	for name, c := range map[string]struct {
		is   func(error) bool
		want string
	}{
		"none":  {is(fs.ErrNotExist), `["bios" "twice" "twice" "slot"]`},
		"mtd9":  {is(fs.ErrNotExist), "mtd9"},
		"twice": {func(error) bool { return true }, "mtd:mtd1, mtd:mtd2"},
		"mtd3":  {as(&unsupported), "absent"},
		"bios":  {is(errNotMTD), "want character device 90:1"},
		"mtd1":  {is(fs.ErrNotExist), "/dev/mtd1"},
	} {
		r, err := m.Open(Source{MTD, name})
		if r != nil || err == nil || !c.is(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(mtd:%s) = %v, %v, want an error with %q", name, r, err, c.want)
		}
	}
}

// TestOpenMTDNode gives a device's name to nodes of other devices.
func TestOpenMTDNode(t *testing.T) {
	files := map[string]string{"dev/x": ""}
	mtdFiles(files, "a/mtd", "mtd0", "bios", "nor", "65536", "")
	root := fakeRoot(t, files)
	node := filepath.Join(root, "dev/mtd0ro")
	for name, c := range map[string]struct {
		mode   uint32
		number int
		want   error
	}{
		"null":         {syscall.S_IFCHR, 1<<8 | 3, errNotMTD},
		"writable one": {syscall.S_IFCHR, mtdMajor << 8, errNotMTD},
		"next device":  {syscall.S_IFCHR, mtdMajor<<8 | 3, errNotMTD},
		"block device": {syscall.S_IFBLK, mtdMajor<<8 | 1, errNotMTD},
	} {
		if err := syscall.Mknod(node, c.mode|0o600, c.number); err != nil {
			t.Skipf("mknod: %v: run as root to test nodes of devices", err)
		}
		if _, err := (Machine{Root: root}).Open(Source{MTD, "bios"}); !errors.Is(err, c.want) {
			t.Errorf("%s: Open = %v, want %v", name, err, c.want)
		}
		if err := os.Remove(node); err != nil {
			t.Fatal(err)
		}
	}
	// The right number, of a device that does not exist here, or is opened.
	if err := syscall.Mknod(node, syscall.S_IFCHR|0o600, mtdMajor<<8|1); err != nil {
		t.Fatal(err)
	}
	r, err := Machine{Root: root}.Open(Source{MTD, "bios"})
	if err == nil {
		err = r.Close()
	}
	if errors.Is(err, errNotMTD) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of the right node = %v", err)
	}
}
