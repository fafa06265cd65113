package manifest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"
)

// unsignedSeeds returns generated manifests and damaged ones, and the corpus of CoRIMs where it is there.
func unsignedSeeds(f *testing.F) [][]byte {
	small := &Manifest{ID: "a", Vendor: "V", Model: "M", Version: "1"}
	var out [][]byte
	for _, m := range []*Manifest{sample(), sampleDenyList(), small, golden[0].m, golden[1].m} {
		b := mustEncode(f, m)
		out = append(out, b, b[:len(b)/2], bytes.Replace(b, []byte{0xa1}, []byte{0xbf}, 1), bytes.Replace(b, []byte("profile:1"), []byte("profile:2"), 1))
	}
	paths, err := filepath.Glob("../../../shared/corpus/corim/*.cbor")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			out = append(out, b)
		}
	}
	return out
}

func FuzzDecode(f *testing.F) {
	for _, b := range unsignedSeeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if m != nil {
				t.Fatalf("Decode = %v beside %v", m, err)
			}
			return
		}
		again, err := Encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("Encode(Decode(b)) = %x, %v, want %x", again, err, b)
		}
		if changes := Diff(m, m); len(changes) > 0 {
			t.Fatalf("a manifest differs from itself: %v", changes)
		}
		Lint(m)
	})
}

func FuzzOpen(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // the processes of a fuzzer need the same
	original := mustSign(f, sample(), key)
	f.Add(original)
	for _, b := range unsignedSeeds(f) {
		f.Add(b)
	}
	f.Add(mustSign(f, sampleDenyList(), key))
	trust := func(Signature) []crypto.PublicKey { return []crypto.PublicKey{key.Public()} }
	issued := map[string]bool{string(original): true, string(mustSign(f, sampleDenyList(), key)): true}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, s, err := Open(b, trust, day(2))
		if (m == nil) != (err != nil) || (s == nil) != (err != nil) {
			t.Fatalf("Open = %v, %v, %v", m, s, err)
		}
		if err == nil && !issued[string(b)] {
			t.Fatalf("opened what the key never signed: %x", b)
		}
		unsigned, _, err := Unverified(b)
		if err == nil && !bytes.Contains(b, unsigned) {
			t.Fatal("the payload isn't part of the document")
		}
	})
}
