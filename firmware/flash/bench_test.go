package flash

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/probity-attest/probity/firmware/flash/flashtest"
)

// BenchmarkHash hashes 16 MiB of a file and of a chip beside the bare hashing of the same bytes in memory.
func BenchmarkHash(b *testing.B) {
	const size = 16 << 20
	content := random(size)
	want := sha256.Sum256(content)
	name := filepath.Join(b.TempDir(), "image")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		b.Fatal(err)
	}
	file, err := Machine{}.Open(Source{File, name})
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	chip, err := OpenNOR(flashtest.NewChip(content).Port(), "fake", 0)
	if err != nil {
		b.Fatal(err)
	}
	defer chip.Close()
	exclude := []Range{{0x1000, 0x1000}, {0x10000, 0x40000}, {0x800000, 6}}
	for _, c := range []struct {
		name   string
		source Reader
		region Region
		want   [32]byte
	}{
		{"file", file, Region{Name: "x"}, want},
		{"file-excluded", file, Region{Name: "x", Exclude: exclude}, plainHash(content, exclude)},
		{"fake-NOR", chip, Region{Name: "x"}, want},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				sum, err := Hash(context.Background(), c.source, c.region, HashOptions{})
				if err != nil || sum.Digest != c.want {
					b.Fatalf("Hash = %x, %v, want %x", sum.Digest, err, c.want)
				}
			}
		})
	}
	b.Run("bare-sha256", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if sha256.Sum256(content) != want {
				b.Fatal("other digest")
			}
		}
	})
}
