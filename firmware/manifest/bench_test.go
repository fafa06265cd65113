package manifest

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
)

// BenchmarkManifest measures a manifest of 100,000 files, the size of a whole Linux distribution.
func BenchmarkManifest(b *testing.B) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	m := large(100_000)
	unsigned := mustEncode(b, m)
	meta := Meta{Issuer: "https://acme.example", NotBefore: day(1), NotAfter: day(31)}
	signed, err := Sign(unsigned, key, meta)
	if err != nil {
		b.Fatal(err)
	}
	trust := TrustKeys(key.Public())
	for _, bb := range []struct {
		name string
		do   func() error
	}{
		{"Encode", func() error { _, err := Encode(m); return err }},
		{"Sign", func() error { _, err := Sign(unsigned, key, meta); return err }},
		{"Decode", func() error { _, err := Decode(unsigned); return err }},
		{"Open", func() error { _, _, err := Open(signed, trust, day(2)); return err }},
		{"Diff", func() error { Diff(m, m); return nil }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(unsigned)))
			for b.Loop() {
				if err := bb.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
