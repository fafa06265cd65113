package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

func volumeOf(files ...[]byte) []byte {
	return must(imagetest.Volume(imagetest.DXEVolume, 16<<10, files...))
}

func sections(b ...[]byte) []byte {
	return imagetest.File(implantGUID, imagetest.FileFreeform, imagetest.Join(b...))
}

// noise returns bytes that hardly pack.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestRefused(t *testing.T) {
	put := func(b []byte, at int, v uint32) []byte {
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	checked := func(b []byte) []byte { imagetest.Checksum(b); return b }
	packed := must(imagetest.LZMASection(imagetest.Section(imagetest.SectionRaw, noise(2000)...)))
	broken := bytes.Clone(packed)
	for i := 60; i < len(broken); i++ {
		broken[i] = 0xff
	}
	largest := volumeOf()
	flash := imagetest.Flash(volumeOf())
	const region = 0x40 // of the descriptor
	overlapping := append(volumeOf(), volumeOf()...)
	binary.LittleEndian.PutUint64(overlapping[32:], 24<<10) // the first one covers half of the second
	a, b := imagetest.FITImage{Name: "a", Type: "kernel", Data: []byte("aaaa")}, imagetest.FITImage{Name: "b", Type: "kernel", Data: []byte("bbbb")}
	same := imagetest.FIT(true, a, b)
	offsets := 0
	for i := 56; i < len(same); i += 4 { // properties of four bytes with the value 4: size of a, offset of b, size of b
		if binary.BigEndian.Uint32(same[i:]) == 4 && binary.BigEndian.Uint32(same[i-8:]) == 4 && binary.BigEndian.Uint32(same[i-12:]) == 3 {
			if offsets++; offsets == 2 {
				same[i+3] = 2
			}
		}
	}
	beyond := imagetest.FIT(true, a)
	tree := imagetest.DeviceTree(imagetest.Node{})
	for _, c := range []struct {
		name, want string
		b          []byte
	}{
		{"nothing", "empty", nil},
		{"volume that is cut", "cut off or volumes overlap", volumeOf()[:10000]},
		{"volumes that overlap", "cut off or volumes overlap", checked(overlapping)},
		{"volume in itself", "shorter than its header", checked(put(largest, 32, 8))},
		{"extended header outside", "extended header", checked(put(largest, 52, 0x0200ffff))},
		{"extended header too large", "extended header", put(largest, 96+16, 1<<30)},
		{"file over the end", "left in the volume", put(volumeOf(sections()), 120+20, 0xf8ffffff)},
		{"file of no bytes", "shorter than its header", put(volumeOf(sections()), 120+20, 0xf8000000)},
		{"section of no bytes", "shorter than its header", volumeOf(sections([]byte{0, 0, 0, 0x19, 1, 2, 3, 4}))},
		{"section over the end", "section of 0x1000 bytes", volumeOf(sections([]byte{0, 0x10, 0, 0x19, 1, 2, 3, 4}))},
		{"large section over the end", "left", volumeOf(sections([]byte{0xff, 0xff, 0xff, 0x19, 0, 0, 0, 0xf0}))},
		{"large section without size", "needs 8 bytes", volumeOf(sections([]byte{0xff, 0xff, 0xff, 0x19}))},
		{"volume section without volume", "no firmware volume", volumeOf(sections(imagetest.Section(imagetest.SectionVolume, []byte("none")...)))},
		{"guided section without header", "shorter than its header", volumeOf(sections(imagetest.Section(2, 1, 2, 3)))},
		{"guided section with data outside", "data at 0xffff", volumeOf(sections(append([]byte{28, 0, 0, 2}, append(implantGUID[:], 0xff, 0xff, 1, 0, 0, 0, 0, 0)...)))},
		{"packed section that is cut", "cannot be unpacked", volumeOf(sections(imagetest.GUIDedSection(imagetest.GUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf"), packed[24:60])))},
		{"packed section that is damaged", "cannot be unpacked", volumeOf(sections(broken))},
		{"compression section without header", "shorter than its header", volumeOf(sections(imagetest.Section(1, 0)))},
		{"compressed section of noise", "cannot be unpacked", volumeOf(sections(imagetest.Section(1, 9, 0, 0, 0, 1, 9, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3)))},
		{"freeform section without GUID", "lacks its GUID", volumeOf(sections(imagetest.Section(0x18, 1, 2)))},
		{"region beyond the chip", "cut off", put(flash, region+4, 0x7ff00003)},
		{"regions that overlap", "overlaps", put(flash, region+8, 0x00030002)},
		{"no regions", "without regions", put(put(put(flash, region, 0x7fff), region+4, 0x7fff), region+8, 0x7fff)},
		{"regions outside of the descriptor", "exceeds the descriptor", put(put(flash, 20, 0x00ff0003), 24, 0)},
		{"variable over the end", "left in the store", put(must(imagetest.NVRAM(64<<10, imagetest.Variable{Name: "V"})), 72+28+40, 1<<30)},
		{"variable store over the end", "variable store of", put(must(imagetest.NVRAM(64<<10)), 72+16, 1<<30)},
		{"uImage that is cut", "cut off", imagetest.UImage("k", 2, []byte("kernel"))[:66]},
		{"uImage of endless components", "does not end", imagetest.UImage("k", 4, []byte{0, 0, 0, 1})},
		{"uImage component over the end", "component 0 of", imagetest.UImage("k", 4, []byte{1, 0, 0, 0, 0, 0, 0, 0})},
		{"devicetree that is cut", "cut off", tree[:len(tree)-1]},
		{"FIT whose data are cut", "cut off", beyond[:len(beyond)-1]},
		{"FIT whose data overlap", "overlaps", same},
		{"option ROM that is cut", "cut off", imagetest.OptionROM(1, 2, imagetest.Program(0x8664, 11, nil))[:600]},
		{"program that is cut", "cut off", imagetest.Program(0x8664, 11, []byte("code"))[:1000]},
	} {
		wantRefused(t, c.name, c.b, c.want)
	}
}

// An image that is cut anywhere inside its volumes is refused; cut at the end of one, it is a shorter image.
func TestCut(t *testing.T) {
	b := firmware()
	for n := 1; n < len(b); n += 997 {
		m, err := image.Parse(b[:n])
		if err == nil {
			inVolume := n > 72 && n < 64<<10 || n > 64<<10+72 && n < len(b)-16<<10
			if inVolume {
				t.Fatalf("cut to %#x of %#x bytes: no error, %v", n, len(b), outline(m))
			}
			checkTree(t, m, n)
		}
	}
}

// bomb returns a volume with n sections that each unpack to size bytes.
func bomb(n, size int) []byte {
	section := must(imagetest.LZMASection(imagetest.Section(imagetest.SectionRaw, make([]byte, size)...)))
	all := make([][]byte, n)
	for i := range all {
		all[i] = section
	}
	f := imagetest.File(implantGUID, imagetest.FileFreeform, imagetest.Join(all...))
	return must(imagetest.Volume(imagetest.DXEVolume, (len(f)+8191)&^4095, f))
}

// nested returns a section in n packed sections.
func nested(n int) []byte {
	s := imagetest.Section(imagetest.SectionRaw, 1, 2, 3, 4)
	for range n {
		s = must(imagetest.LZMASection(s))
	}
	return s
}

// allocated returns how many bytes f allocates in all, and how long it takes.
func allocated(f func()) (bytes uint64, took time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, took
}

func TestBombs(t *testing.T) {
	claim := must(imagetest.LZMASection(imagetest.Section(imagetest.SectionRaw, 1)))
	binary.LittleEndian.PutUint64(claim[24+5:], 1<<40)
	files := bytes.Repeat(imagetest.File(implantGUID, imagetest.FilePad, nil), 1_000_000)
	million := must(imagetest.Volume(imagetest.DXEVolume, (len(files)+8191)&^4095, files))
	deep := imagetest.Section(imagetest.SectionRaw, 1)
	for range 100 {
		deep = imagetest.Section(0x03, deep...) // disposable sections hold sections
	}
	for _, c := range []struct {
		name, want string
		b          []byte
		most       uint64
		unpacked   int
	}{
		{"header that claims a terabyte", "allowed", volumeOf(sections(claim)), 4 << 20, image.MaxUnpacked},
		{"many that are small alone", "has unpacked to", bomb(20, 1<<20), 64 << 20, 10 << 20},
		{"one in another", "nest more than 40 deep", volumeOf(sections(nested(60))), 64 << 20, image.MaxUnpacked},
		{"sections in sections", "nest more than 40 deep", volumeOf(sections(deep)), 4 << 20, image.MaxUnpacked},
		{"a million files", "more than 200000 parts", million, 200 << 20, image.MaxUnpacked},
		{"larger than any chip", "want at most", make([]byte, image.MaxSize+1), 1 << 20, image.MaxUnpacked},
	} {
		var m *image.Image
		var err error
		n, took := allocated(func() { m, err = image.ParseWithin(c.b, c.unpacked, image.MaxParts) })
		if m != nil || !errors.Is(err, image.ErrLimit) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrLimit with %q", c.name, err, c.want)
		}
		if n > c.most {
			t.Errorf("%s: allocates %d bytes, want at most %d", c.name, n, c.most)
		}
		if took > time.Minute {
			t.Errorf("%s: takes %v", c.name, took)
		}
		if c.unpacked < image.MaxUnpacked {
			continue
		}
		if m, err := (image.Config{Lenient: true}).Parse(c.b); m != nil || !errors.Is(err, image.ErrLimit) {
			t.Errorf("%s, lenient: %v, want ErrLimit", c.name, err)
		}
	}
}

// A volume that holds its own bytes, again and again, as far as they go.
func TestSelfReference(t *testing.T) {
	b := volumeOf(imagetest.File(implantGUID, imagetest.FileRaw, make([]byte, 12<<10)))
	for at := 120 + 24; at+200 < 12<<10; at += 256 {
		copy(b[at:], b[:120])
		binary.LittleEndian.PutUint64(b[at+32:], uint64(12<<10-at))
		imagetest.Checksum(b[at:])
	}
	n, took := allocated(func() {
		m, err := image.Parse(b)
		var e *image.FormatError
		if err == nil {
			checkTree(t, m, len(b))
		} else if !errors.As(err, &e) {
			t.Errorf("Parse = %v, want a FormatError", err)
		}
	})
	if n > 8<<20 || took > 10*time.Second {
		t.Errorf("%d bytes allocated in %v", n, took)
	}
}

// A lenient parser keeps what is damaged and splits the rest.
func TestLenient(t *testing.T) {
	good := imagetest.Module(implantGUID, "Good", imagetest.Program(0x8664, 11, nil))
	bad := imagetest.File(imagetest.ModuleGUID(7), imagetest.FileDriver, append(imagetest.Name("Bad"), 0, 0, 0, 0x19, 1, 2, 3, 4))
	b := append(volumeOf(good, bad, good), volumeOf()[:10000]...)
	wantRefused(t, "damaged", b, "shorter than its header")
	m, err := image.Config{Lenient: true}.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, m, len(b))
	names := map[string]int{}
	for _, f := range m.Find(image.KindFile) {
		names[f.Name]++
	}
	if names["Good"] != 2 || names[""] != 1 {
		t.Errorf("files by name: %v, want two of Good and one without", names)
	}
	p := m.Problems()
	if len(p) != 2 || !strings.Contains(p[0].Problem, "cut off") || p[0].Kind != image.KindImage || !strings.Contains(p[1].Problem, "shorter than its header") ||
		p[1].GUID != imagetest.ModuleGUID(7) {
		t.Errorf("problems: %v", outline(m))
	}
	if _, err := (image.Config{Lenient: true}).Parse(bytes.Repeat(volumeOf(bad), image.MaxDamaged+1)); !errors.Is(err, image.ErrLimit) {
		t.Errorf("%d damaged parts: %v, want ErrLimit", image.MaxDamaged+1, err)
	}
}
