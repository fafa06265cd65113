package corim

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A payload as other tools write it: nested directories, single items without arrays, roots, files without hash.
func TestCoSWIDPaths(t *testing.T) {
	r := &reader{spent: &budget{}, b: annotated(t, `
a5 00 6161 01 6173 02 a2 181f 6165 1821 01
06 a2 // payload
  10 82 // directories
    a3 1818 63757372 1819 612f 181a // "usr" in the root "/"
      a2 10 a2 1818 6362696e 181a a1 11 82 // "bin", with two files
           a2 07 82 01 41aa 1818 626c73
           a2 07 82 07 41bb 1818 626c73
         11 a2 14 05 1818 6178 // a file with a size, without hash
    a3 181a a1 11 a1 1818 6179 1818 6162 17 6161 // path elements before name and location
  11 a3 07 82 01 41cc 1818 64696e6974 1819 612f // "/init"
0c 00`)}
	got := r.coswid()
	if r.err != nil {
		t.Fatal(r.err)
	}
	digest := func(alg int64, b byte) Digest { return Digest{Algorithm: alg, Value: []byte{b}} }
	want := []File{
		{"/usr/bin/ls", digest(SHA256, 0xaa)},
		{"/usr/bin/ls", digest(SHA384, 0xbb)},
		{Path: "/usr/x"},
		{Path: "a/b/y"},
		{"/init", digest(SHA256, 0xcc)},
	}
	if diff := cmp.Diff(want, got.Files); diff != "" {
		t.Error(diff)
	}
}

// The directory that a file stands in is written as RFC 9393 has it: location, name and root apart.
func TestCoSWIDDirectory(t *testing.T) {
	c := &CoSWID{ID: ID{Text: "a"}, SoftwareName: "s", Entities: []Entity{{Name: "e", Roles: []int64{1}}}}
	d := Digest{Algorithm: SHA256, Value: []byte{0xaa}}
	c.Files = []File{{"/usr/local/bin/x", d}, {"/x", d}}
	w := &writer{}
	w.coswid(c)
	want := annotated(t, `
a5 00 6161 01 6173 02 a2 181f 6165 1821 01
06 a2
  10 a4 17 697573722f6c6f63616c 1818 6362696e 1819 612f 181a a1 11 a2 07 82 01 41aa 1818 6178
  11 a3 07 82 01 41aa 1818 6178 1819 612f
0c 00`)
	if !bytes.Equal(w.b, want) {
		t.Errorf("coswid = %x, want %x", w.b, want)
	}
}
