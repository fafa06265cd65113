package ima

import (
	"crypto/sha256"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
)

const benchEntries = 10_000

// BenchmarkAdvance replays 10,000 entries, parsing and visiting included, beside the bare hashing of the same bytes.
func BenchmarkAdvance(b *testing.B) {
	list := build(b, benchEntries-1)
	quoted := quote(b, list, pcr.SHA256, Recomputed)
	perEntry := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEntries, "ns/entry")
		b.ReportAllocs()
	}
	for name, mode := range map[string]Mode{"known-mode": Recomputed, "unknown-mode": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var n int
				if _, _, err := (State{Mode: mode}).Advance(list, pcr.SHA256, quoted, func(Entry) { n++ }); err != nil || n != benchEntries {
					b.Fatal(n, err)
				}
			}
			perEntry(b)
		})
	}
	b.Run("bare-sha256", func(b *testing.B) {
		var data [][]byte
		for s := NewScanner(list); s.Scan(); {
			data = append(data, s.Entry().Data)
		}
		for b.Loop() {
			var in [64]byte
			for _, d := range data {
				*(*[32]byte)(in[32:]) = sha256.Sum256(d)
				*(*[32]byte)(in[:]) = sha256.Sum256(in[:])
			}
			if string(in[:32]) != string(quoted) {
				b.Fatal("other value")
			}
		}
		perEntry(b)
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if n, err := Count(list); n != benchEntries || err != nil {
				b.Fatal(n, err)
			}
		}
		perEntry(b)
	})
}
