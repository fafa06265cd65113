package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/hostfs"
)

func isOutside(err error) bool { return errors.Is(err, ErrOutside) }

const goodLayout = `# a router
regions:
  - name: u-boot
    source: mtd:mtd0
    length: 512KiB
  - name: u-boot-env
    source: mtd:mtd0
    offset: 0x80000
    length: 0x10000
    exclude:
      - {offset: 0, length: 4 KiB}
      - offset: 0x2000
        length: 6
        reason: "MAC address: \"eth0\""
  - name: rest
    source: "mtd:mtd0"
    offset: 576KiB
  - name: 0.1
    source: block:/dev/mmcblk0boot0
  - name: modem
    source: file:/lib/firmware/*.bin
`

var goodRegions = []Region{
	{Name: "u-boot", Source: Source{MTD, "mtd0"}, Length: 512 << 10},
	{Name: "u-boot-env", Source: Source{MTD, "mtd0"}, Offset: 0x80000, Length: 0x10000, Exclude: []Range{{0, 4096}, {0x2000, 6}}, Reasons: []string{"", `MAC address: "eth0"`}},
	{Name: "rest", Source: Source{MTD, "mtd0"}, Offset: 0x90000},
	{Name: "0.1", Source: Source{Block, "/dev/mmcblk0boot0"}},
	{Name: "modem", Source: Source{File, "/lib/firmware/*.bin"}},
}

func TestParseLayout(t *testing.T) {
	l, err := ParseLayout([]byte(goodLayout))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goodRegions, l.Regions); diff != "" {
		t.Errorf("ParseLayout (-want +got):\n%s", diff)
	}
	again, err := ParseLayout(l.YAML())
	if diff := cmp.Diff(l, again); err != nil || diff != "" {
		t.Errorf("ParseLayout(YAML()) = %v (-want +got):\n%s", err, diff)
	}
	empty, err := ParseLayout((&Layout{}).YAML())
	if err != nil || len(empty.Regions) != 0 {
		t.Errorf("ParseLayout of no regions = %v, %v", empty, err)
	}
}

func TestParseLayoutRefuses(t *testing.T) {
	region := func(lines string) string { return "regions:\n  - name: a\n    source: mtd:a\n" + lines }
	for name, c := range map[string]struct {
		text, key, want string
		line            int
	}{
		"empty":          {"", "", "is empty", 0},
		"only a comment": {"# none\n", "", "is empty", 0},
		"null":           {"---\n", "", "want a mapping", 2},
		"not YAML":       {"regions: [", "", "did not find", 0},
		"a list":         {"- name: a\n", "", "want a mapping", 1},
		"unknown key":    {"region: []\n", "", `did you mean "regions"?`, 1},
		"strange key":    {"regions: []\nxyzzyxyzzy: 1\n", "", "known are regions", 2},
		"key twice":      {"regions: []\nregions: []\n", "", "stands twice", 2},
		"no regions":     {"{}\n", "", "want the key regions", 1},
		"second":         {"regions: []\n---\nregions: []\n", "", "second document", 2},
		"second broken":  {"regions: []\n---\n[", "", "did not find", 0},
		"not a list":     {"regions: 5\n", "regions", "want a list", 1},
		"scalar region":  {"regions: [a]\n", "regions[0]", "want a mapping", 1},
		"unknown in region": {
			region("    lenght: 5\n"), "regions[0]", `unknown key "lenght": did you mean "length"?`, 4,
		},
		"no source":       {"regions:\n- name: a\n", "regions[0]", "want the key source", 2},
		"no name":         {"regions:\n- source: mtd:a\n", "regions[0]", "want the key name", 2},
		"bad name":        {"regions:\n- name: a/b\n  source: mtd:a\n", "regions[0].name", "want letters", 2},
		"null name":       {"regions:\n- name: ~\n  source: mtd:a\n", "regions[0].name", "want a value", 2},
		"bad source":      {"regions:\n- name: a\n  source: usb:a\n", "regions[0].source", "unknown", 3},
		"source a list":   {"regions:\n- name: a\n  source: [a]\n", "regions[0].source", "want a value", 3},
		"zero length":     {region("    length: 0\n"), "regions[0].length", "at least 1 byte", 4},
		"octal":           {region("    length: 010\n"), "regions[0].length", "want bytes such as", 4},
		"negative":        {region("    offset: -1\n"), "regions[0].offset", "want bytes such as", 4},
		"decimal unit":    {region("    length: 64KB\n"), "regions[0].length", "want bytes such as", 4},
		"hex with unit":   {region("    length: 0x10KiB\n"), "regions[0].length", "hexadecimal", 4},
		"fraction":        {region("    length: 1.5MiB\n"), "regions[0].length", "want bytes such as", 4},
		"underscore":      {region("    length: 1_000\n"), "regions[0].length", "want bytes such as", 4},
		"over 64 bits":    {region("    length: 17179869184GiB\n"), "regions[0].length", "more than 64 bits", 4},
		"beyond all":      {region("    offset: 0xffffffffffffffff\n    length: 2\n"), "regions[0].length", "every address", 5},
		"exclude no list": {region("    exclude: 5\n"), "regions[0].exclude", "want a list", 4},
		"exclude half":    {region("    exclude:\n    - offset: 5\n"), "regions[0].exclude[0]", "want the key length", 5},
		"exclude zero":    {region("    exclude:\n    - {offset: 5, length: 0}\n"), "regions[0].exclude[0].length", "at least 1", 5},
		"exclude outside": {
			region("    length: 8\n    exclude:\n    - {offset: 0, length: 1}\n    - {offset: 5, length: 4}\n"),
			"regions[0].exclude[1]", "outside the region", 7,
		},
		"exclude reason": {
			region("    exclude:\n    - {offset: 5, length: 1, reason: \"a\\nb\"}\n"), "regions[0].exclude[0].reason", "printed", 5,
		},
		"exclude all":  {region("    length: 8\n    exclude: [{offset: 0, length: 8}]\n"), "regions[0].exclude", "nothing is left", 5},
		"exclude typo": {region("    exclude:\n    - {ofset: 5, length: 1}\n"), "regions[0].exclude[0]", `did you mean "offset"?`, 5},
		"same name":    {region("  - name: a\n    source: mtd:b\n"), "regions[1].name", "in line 2 already", 4},
		"overlap": {
			region("    length: 64KiB\n  - name: b\n    source: mtd:a\n    offset: 0xffff\n"),
			"regions[1]", `overlaps "a"`, 5,
		},
		"overlap of open end": {region("  - name: b\n    source: mtd:a\n    offset: 1GiB\n"), "regions[1]", `overlaps "a"`, 4},
		"anchor":              {"regions: &x []\n", "regions", "anchors", 1},
		"alias":               {region("    offset: &x 5\n    length: *x\n"), "regions[0].offset", "anchors", 4},
		"merge":               {"x: &x {name: a}\n", "", "unknown key", 1},
		"tag":                 {"regions:\n- name: !!binary YQ==\n  source: mtd:a\n", "regions[0].name", "tags are not allowed", 2},
		"too many": {
			"regions:\n" + strings.Repeat("- {name: a, source: mtd:a}\n", MaxRegions+1), "regions", "at most 128", 2,
		},
		"too large": {strings.Repeat("#", MaxLayoutSize+1), "", "limit", 0},
		"deep":      {strings.Repeat("[", 60000), "", "", 0},
	} {
		l, err := ParseLayout([]byte(c.text))
		var e *LayoutError
		if l != nil || !errors.As(err, &e) {
			t.Errorf("%s: ParseLayout = %v, %v, want nil and a LayoutError", name, l, err)
			continue
		}
		if e.Line != c.line || e.Key != c.key || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: ParseLayout = line %d, key %q: %s\nwant line %d, key %q: %s", name, e.Line, e.Key, e.Detail, c.line, c.key, c.want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1": 1, "4096": 4096, "0x0": 0, "0x1000": 4096, "0xDEADbeef": 0xdeadbeef, "64KiB": 64 << 10, "16 MiB": 16 << 20,
		"1GiB": 1 << 30, "18446744073709551615": 1<<64 - 1, "0xffffffffffffffff": 1<<64 - 1, "0KiB": 0,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " 1", "1 ", "KiB", "1K", "1kB", "1KB", "1 kib", "1  KiB", "01", "00", "0X10", "0x", "0x+1", "0x1 KiB", "0x1_0", "+1", "-1",
		"1e3", "1.0", "18446744073709551616", "18446744073709551615KiB", "0x10000000000000000", "١", "one",
	} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestLayoutCheck(t *testing.T) {
	l, err := ParseLayout([]byte(goodLayout))
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	size := func(s Source) (uint64, error) {
		asked[s.String()]++
		return map[Kind]uint64{MTD: 1 << 20, Block: 4 << 20}[s.Kind], nil
	}
	if err := l.Check(size); err != nil {
		t.Errorf("Check with large chips = %v", err)
	}
	if want := map[string]int{"mtd:mtd0": 1, "block:/dev/mmcblk0boot0": 1}; !cmp.Equal(asked, want) {
		t.Errorf("Check asked for %v, want %v", asked, want)
	}
	err = l.Check(func(s Source) (uint64, error) {
		if s.Kind == Block {
			return 0, fmt.Errorf("%v: %w", s, fs.ErrPermission)
		}
		return 0x80001, nil
	})
	for _, want := range []string{`"u-boot-env": 0x10000 bytes at 0x80000 of mtd:mtd0`, `"rest"`, `"0.1": block:/dev`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check with a small chip = %v, want %q in it", err, want)
		}
	}
	if !isOutside(err) || !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), `"u-boot":`) {
		t.Errorf("Check with a small chip = %v", err)
	}
}

func TestLoadLayout(t *testing.T) {
	dir := t.TempDir()
	good, bad, large := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "large")
	for name, text := range map[string]string{good: goodLayout, bad: "regions: 5", large: strings.Repeat("\n", MaxLayoutSize+1)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := LoadLayout(good); err != nil || len(l.Regions) != len(goodRegions) {
		t.Errorf("LoadLayout(good) = %v, %v", l, err)
	}
	var e *LayoutError
	for _, name := range []string{bad, large} {
		if l, err := LoadLayout(name); l != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), name) {
			t.Errorf("LoadLayout(%s) = %v, %v, want a LayoutError with the file's name", filepath.Base(name), l, err)
		}
	}
	if _, err := LoadLayout(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadLayout(none) = %v, want ErrNotExist", err)
	}
	if _, err := LoadLayout(dir); !errors.Is(err, hostfs.ErrNotRegular) {
		t.Errorf("LoadLayout(folder) = %v, want ErrNotRegular", err)
	}
}
