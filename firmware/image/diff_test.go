package image_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

func diff(t *testing.T, a, b []byte) *image.Difference {
	t.Helper()
	return image.Diff(mustParse(t, a), mustParse(t, b))
}

// An implant in a packed volume is found and named, and nothing else: the rest of the image was packed anew.
func TestDiffImplant(t *testing.T) {
	b := firmware()
	evil := must(imagetest.Implant(b, imagetest.DXEVolume, implantGUID, "Implant", imagetest.Program(0x8664, 12, []byte("evil"))))
	d := diff(t, b, evil)
	if len(d.Changes) != 1 || len(d.Moved) != 0 || d.Same() {
		t.Fatalf("changes: %v, want the implant alone", changes(d))
	}
	c := d.Changes[0]
	wantIn := []string{
		"image", "volume FVMAIN_COMPACT 48db5e17-707c-472d-91cd-1613e7ef51b0",
		"volume file FVMAIN_COMPACT file 9e21fd93-9c72-4c15-8c4b-e77f1db2d792",
		"lzma section LZMA ee4e5898-3914-4259-9d6e-dc7bd79403cf", "volume image section",
		"volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
	}
	if c.Op != image.OpAdded || c.Type != "driver" || c.Name != "Implant" || c.GUID != implantGUID || c.Old != nil || c.New == nil {
		t.Errorf("change: %+v", c)
	}
	if d := cmp.Diff(wantIn, c.In); d != "" {
		t.Errorf("in (-want +got):\n%s", d)
	}
	want := "added driver Implant deadbeef-0000-4000-8000-000000000001 at 0x7b7c of the unpacked lzma section at 0x10090, 1080 bytes, " +
		"in volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"
	if c.String() != want {
		t.Errorf("String() = %q, want %q", c.String(), want)
	}
	back := diff(t, evil, b)
	if len(back.Changes) != 1 || back.Changes[0].Op != image.OpRemoved || back.Changes[0].Name != "Implant" {
		t.Errorf("the other way round: %v", changes(back))
	}
	j, err := json.Marshal(d)
	if err != nil || !bytes.Contains(j, []byte(`"guid":"deadbeef-0000-4000-8000-000000000001"`)) {
		t.Errorf("JSON: %s, %v", j, err)
	}
}

func TestImplantRefuses(t *testing.T) {
	b := firmware()
	for _, c := range []struct {
		name    string
		b       []byte
		payload int
		want    string
	}{
		{"no such volume", imagetest.UImage("k", 2, nil), 1, "no firmware volume"},
		{"too large", b, 1 << 20, "free"},
		{"not an image", nil, 1, "empty"},
	} {
		got, err := imagetest.Implant(c.b, imagetest.DXEVolume, implantGUID, "I", make([]byte, c.payload))
		if got != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
	if got, err := imagetest.AddModule(append(volumeOf(), volumeOf()...), implantGUID, "I", nil); got != nil || err == nil {
		t.Errorf("two volumes: %v, want an error", err)
	}
}

func TestDiffSame(t *testing.T) {
	b := firmware()
	if d := diff(t, b, bytes.Clone(b)); !d.Same() || len(d.Moved) != 0 {
		t.Errorf("changes: %v", changes(d))
	}
	longer := append(bytes.Clone(b), bytes.Repeat([]byte{0xff}, 4096)...)
	if d := diff(t, b, longer); !d.Same() {
		t.Errorf("more erased flash: %v", changes(d))
	}
}

func TestDiffModules(t *testing.T) {
	module := func(i int, code string) []byte {
		return imagetest.Module(imagetest.ModuleGUID(i), fmt.Sprintf("Driver%d", i), imagetest.Program(0x8664, 11, []byte(code)))
	}
	old := volumeOf(module(0, "zero"), module(1, "one"), module(2, "two"), module(3, "three"))
	now := volumeOf(module(0, "zero"), module(1, "ONE"), module(4, strings.Repeat("four", 400)), module(3, "three"))
	d := diff(t, old, now)
	want := []string{
		"changed driver Driver1 d0000001-5b1d-4c4e-9a37-70726f626974: pe32 section at 0x4d0, 1028 bytes, in volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
		"added driver Driver4 d0000004-5b1d-4c4e-9a37-70726f626974 at 0x8e8, 2616 bytes, in volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
		"removed driver Driver2 d0000002-5b1d-4c4e-9a37-70726f626974 at 0x8e8, 1080 bytes, in volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
	}
	got := changes(d)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]image.HexRange{{Offset: 4 + 512, Length: 3, Old: "6f6e65", New: "4f4e45"}}, d.Changes[0].Hex); diff != "" {
		t.Errorf("hex of Driver1 (-want +got):\n%s", diff)
	}
	if len(d.Moved) != 1 || d.Moved[0].Name != "Driver3" || d.Moved[0].New.Offset-d.Moved[0].Old.Offset != 2616-1080 {
		t.Errorf("moved: %+v", d.Moved)
	}
}

func TestDiffKinds(t *testing.T) {
	volume := func(variables ...imagetest.Variable) []byte { return must(imagetest.NVRAM(64<<10, variables...)) }
	v := func(name, data string) imagetest.Variable {
		return imagetest.Variable{GUID: implantGUID, Name: name, Data: []byte(data)}
	}
	fit := func(kernel, tree string) []byte {
		return imagetest.FIT(true, imagetest.FITImage{Name: "kernel", Type: "kernel", Data: []byte(kernel)},
			imagetest.FITImage{Name: "fdt", Type: "flat_dt", Data: []byte(tree)})
	}
	uki := func(cmdline string) []byte {
		return imagetest.UKI("252", []string{".linux"}, imagetest.ProgramSection{Name: ".cmdline", Data: []byte(cmdline)},
			imagetest.ProgramSection{Name: ".linux", Data: []byte("kernel")})
	}
	patch := func(b []byte, at int, s string) []byte {
		b = bytes.Clone(b)
		copy(b[at:], s)
		return b
	}
	module := imagetest.Module(implantGUID, "Module", imagetest.Program(0x8664, 11, nil))
	full := volumeOf(module)
	attributes := bytes.Clone(full)
	attributes[44] ^= 1
	imagetest.Checksum(attributes)
	kind := bytes.Clone(module)
	kind[18]++ // of file
	kind[16]-- // its checksum
	flash := imagetest.Flash(full)
	for _, c := range []struct {
		name string
		a, b []byte
		want []string // beginnings
	}{
		{"variables", volume(v("A", "1"), v("B", "2")), volume(v("A", "1"), v("B", "3"), v("C", "4")), []string{"changed variable B", "added variable C"}},
		{"FIT image", fit("kernel", "tree"), fit("KERNEL", "tree"), []string{"changed FIT image kernel", "changed FIT Probity's test image: header"}},
		{"UKI", uki("quiet"), uki("debug"), []string{"changed program section .cmdline"}},
		{"uImage", imagetest.UImage("old", 2, []byte("k")), imagetest.UImage("new", 2, []byte("k")), []string{"changed uImage new"}},
		{"volume header", full, attributes, []string{"changed volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1: header"}},
		{"file header", full, volumeOf(kind), []string{"changed PEI and DXE module Module deadbeef-0000-4000-8000-000000000001: header"}},
		{"free space", full, patch(full, 12000, "hidden"), []string{"added data at 0x2ee0, 6 bytes"}},
		{"erased flash", flash, patch(flash, 4096+6000, "hidden"), []string{"added data at 0x2770, 6 bytes, in region me"}},
		{"volume removed", flash, patch(flash, 12<<10+40, "nofv"), []string{"added data", "removed volume DXEFV"}},
		{"data", []byte("some data"), []byte("same data"), []string{"changed data at 0x0, 9 bytes"}},
		{"another form", []byte("some data"), full, []string{"added volume", "removed data"}},
		{"two alike", append(volumeOf(), volumeOf(module)...), append(volumeOf(module), volumeOf()...), nil},
	} {
		got := changes(diff(t, c.a, c.b))
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %d changes", c.name, got, len(c.want))
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("%s: change %d is %q, want %q", c.name, i, got[i], c.want[i])
			}
		}
	}
}

// Packed again with the same contents is told apart from changed contents.
func TestDiffRepacked(t *testing.T) {
	raw := imagetest.Section(imagetest.SectionRaw, noise(500)...)
	a := must(imagetest.LZMASection(raw))
	b := bytes.Clone(a)
	b[24+2] ^= 0x40 // size of the dictionary: does not matter here
	d := diff(t, volumeOf(sections(a)), volumeOf(sections(b)))
	if len(d.Changes) != 1 || !strings.Contains(d.Changes[0].Detail, "contents are the same") {
		t.Errorf("changes: %v", changes(d))
	}
}

func TestDiffHex(t *testing.T) {
	a := bytes.Repeat([]byte("x"), 4096)
	b := bytes.Clone(a)
	for i := range 20 {
		b[i*100] = 'y'
	}
	copy(b[300:], bytes.Repeat([]byte("z"), 60))
	d := diff(t, a, append(b, "tail"...))
	if len(d.Changes) != 1 {
		t.Fatalf("changes: %v", changes(d))
	}
	hex := d.Changes[0].Hex
	if len(hex) != image.MaxHexRanges {
		t.Fatalf("%d ranges, want %d", len(hex), image.MaxHexRanges)
	}
	if hex[1] != (image.HexRange{Offset: 100, Length: 1, Old: "78", New: "79"}) {
		t.Errorf("second range: %+v", hex[1])
	}
	if r := hex[3]; r.Offset != 300 || r.Length != 60 || len(r.New) != 2*image.MaxHexBytes {
		t.Errorf("long range: %+v", r)
	}
}

// More changes than anybody reads are counted, not listed.
func TestDiffBounded(t *testing.T) {
	files := func(first int) []byte {
		var all [][]byte
		for i := range 3000 {
			all = append(all, imagetest.File(imagetest.ModuleGUID(first+i), imagetest.FileRaw, []byte{1, 2, 3, 4}))
		}
		return must(imagetest.Volume(imagetest.DXEVolume, 1<<20, all...))
	}
	d := diff(t, files(0), files(10000))
	if len(d.Changes) != image.MaxChanges || d.Omitted != 6000-image.MaxChanges {
		t.Errorf("%d changes, %d omitted, want %d and %d", len(d.Changes), d.Omitted, image.MaxChanges, 6000-image.MaxChanges)
	}
}
