package image_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// seeds returns small images of every kind.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	module := imagetest.Module(implantGUID, "Module", imagetest.Program(0x8664, 11, []byte("code")))
	volume := must(imagetest.Volume(imagetest.DXEVolume, 4096, module))
	packed := must(imagetest.LZMASection(imagetest.Section(imagetest.SectionVolume, volume...)))
	out := [][]byte{
		volume, must(imagetest.Volume(imagetest.MainVolume, 4096, imagetest.File(implantGUID, imagetest.FileVolume, packed))),
		must(imagetest.NVRAM(8192, imagetest.Variable{GUID: implantGUID, Name: "V", Data: []byte("data")})), imagetest.Flash(volume),
		imagetest.FIT(false, imagetest.FITImage{Name: "k", Type: "kernel", Data: []byte("kernel")}),
		imagetest.FIT(true, imagetest.FITImage{Name: "k", Type: "kernel", Data: []byte("kernel")}),
		imagetest.UImage("k", 4, []byte{0, 0, 0, 1, 0, 0, 0, 0, 'k'}), imagetest.Microcode(1, 2, 976),
		imagetest.OptionROM(1, 2, imagetest.Program(0x8664, 11, nil)), imagetest.UKI("252", []string{".linux"}),
		append(bytes.Repeat([]byte{0xff}, 256), "data"...),
		must(imagetest.Volume(imagetest.DXEVolume, 4096, imagetest.File(implantGUID, imagetest.FilePad, []byte("x")))),
	}
	if len(out) < 12 {
		f.Fatalf("only %d seeds", len(out))
	}
	return out
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const unpacked, parts = 1 << 20, 10_000
		m, err := image.ParseWithin(b, unpacked, parts)
		if err != nil {
			var e *image.FormatError
			if m != nil || !errors.As(err, &e) || e.Offset < 0 || e.Where == "" {
				t.Fatalf("Parse = %v, %v, want nil and a FormatError", m, err)
			}
		} else {
			if m.Unpacked > unpacked || m.Parts > parts {
				t.Fatalf("%d bytes unpacked, %d parts", m.Unpacked, m.Parts)
			}
			checkTree(t, m, len(b))
			for _, v := range m.Find(image.KindVolume) {
				if len(v.Digest(pcr.SHA256)) != 32 || v.Label() == "" || v.Place() == "" {
					t.Fatalf("volume %v", v)
				}
			}
			if d := image.Diff(m, m); !d.Same() || len(d.Moved) > 0 {
				t.Fatalf("differs from itself: %v", changes(d))
			}
		}
		lenient, err := image.Config{Lenient: true}.Parse(b)
		if err != nil && !errors.Is(err, image.ErrLimit) && len(b) > 0 {
			var e *image.FormatError
			if !errors.As(err, &e) {
				t.Fatalf("lenient: %v, want a FormatError", err)
			}
		}
		if err == nil {
			checkTree(t, lenient, len(b))
		}
	})
}

func FuzzDiff(f *testing.F) {
	all := seeds(f)
	for i, s := range all {
		f.Add(uint8(i), s)
		f.Add(uint8(i), all[(i+1)%len(all)])
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		now, err := image.ParseWithin(b, 1<<20, 10_000)
		if err != nil {
			return
		}
		a := all[int(which)%len(all)]
		old := mustParse(t, a)
		d := image.Diff(old, now)
		if len(d.Changes) > image.MaxChanges {
			t.Fatalf("%d changes", len(d.Changes))
		}
		for i := range d.Changes {
			c := &d.Changes[i]
			if c.String() == "" || c.Old == nil && c.New == nil || len(c.Hex) > image.MaxHexRanges ||
				(c.Op == image.OpChanged && c.Old != nil && c.New != nil && c.Old.SHA256 == c.New.SHA256) {
				t.Fatalf("change: %+v", c)
			}
		}
		again := image.Diff(now, old)
		if d.Same() != again.Same() {
			t.Fatalf("one way %v, the other %v", changes(d), changes(again))
		}
	})
}
