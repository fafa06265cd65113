package corim

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// corpus is where vectors of another implementation stand (veraison/corim, Apache-2.0). They aren't part of the
// project.
const corpus = "../../../../shared/corpus/corim"

// vectors returns the corpus by file name. It skips the test visibly where the corpus isn't there.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	out := corpusFiles(t)
	if len(out) == 0 {
		t.Skipf("no vectors at %s: the corpus of CoRIMs is not here", corpus)
	}
	return out
}

func corpusFiles(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(corpus, "*.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte, len(paths))
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = b
	}
	return out
}

// annotated returns the bytes of a listing: hexadecimal, "xx*n" for n times the byte xx, "//" before a comment, and
// "<n ... >" as nothing but a mark for the reader.
func annotated(t testing.TB, listing string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(listing) {
		line, _, _ = strings.Cut(line, "//")
		for word := range strings.FieldsSeq(line) {
			digits, times, repeated := strings.Cut(word, "*")
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("listing: %q: %v", word, err)
			}
			n := 1
			if repeated {
				if n, err = strconv.Atoi(times); err != nil {
					t.Fatalf("listing: %q: %v", word, err)
				}
			}
			for range n {
				out = append(out, b...)
			}
		}
	}
	return out
}
