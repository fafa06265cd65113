package image_test

import (
	"testing"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// large are two firmwares of 4 MiB with 120 modules: the second has an implant.
func large(b *testing.B) (old, now []byte) {
	b.Helper()
	old = must(imagetest.Firmware(imagetest.Config{Size: 4 << 20, Modules: 120, ModuleSize: 32 << 10}))
	now = must(imagetest.Implant(old, imagetest.DXEVolume, implantGUID, "Implant", imagetest.Program(0x8664, 11, []byte("evil"))))
	return old, now
}

func BenchmarkParse(b *testing.B) {
	old, _ := large(b)
	b.SetBytes(int64(len(old)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := image.Parse(old); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiff splits and compares two images of 4 MiB, as image diff does.
func BenchmarkDiff(b *testing.B) {
	old, now := large(b)
	b.SetBytes(int64(len(old) + len(now)))
	b.ReportAllocs()
	for b.Loop() {
		x, err := image.Parse(old)
		if err != nil {
			b.Fatal(err)
		}
		y, err := image.Parse(now)
		if err != nil {
			b.Fatal(err)
		}
		if d := image.Diff(x, y); len(d.Changes) != 1 {
			b.Fatalf("%d changes, want 1", len(d.Changes))
		}
	}
}

// BenchmarkDiffOnly compares two images that are already split.
func BenchmarkDiffOnly(b *testing.B) {
	old, now := large(b)
	x, y := must(image.Parse(old)), must(image.Parse(now))
	b.SetBytes(int64(len(old) + len(now)))
	for b.Loop() {
		image.Diff(x, y)
	}
}

// BenchmarkDigest hashes all volumes of an image as firmware measures them.
func BenchmarkDigest(b *testing.B) {
	old, _ := large(b)
	volumes := must(image.Parse(old)).Find(image.KindVolume)
	for b.Loop() {
		for _, v := range volumes {
			v.Digest(pcr.SHA256)
		}
	}
}
