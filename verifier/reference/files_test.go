package reference_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

// contentOf returns the digest of a file that is nothing but its number.
func contentOf(n int) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return sum[:]
}

// system is a manifest of a root file system with n files. Files from changed on are those of version v alone.
func system(v, n, changed int) *manifest.Manifest {
	m := &manifest.Manifest{ID: fmt.Sprintf("acme/r7/2.%d", v), Vendor: "Acme", Model: "R7", Version: fmt.Sprintf("2.%d", v), SVN: 1}
	m.Files = make([]manifest.File, n)
	for i := range n {
		path, content := fmt.Sprintf("/usr/lib/package-%d/lib%d.so.%d", i%700, i, i%7), i
		if i >= changed {
			path, content = fmt.Sprintf("/usr/lib/package-%d/lib%d.so.%d.%d", i%700, i, i%7, v), v*n+i
		}
		m.Files[i] = manifest.File{Path: path, Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: contentOf(content)}}
	}
	return m
}

// heap returns how many bytes are in use.
func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// build prepares versions one after the other, as a verifier does, and builds a set of all of them.
func build(t testing.TB, versions, files, changed int) *reference.Set {
	t.Helper()
	d := reference.Documents{Table: reference.NewTable()}
	for v := range versions {
		c, err := d.Table.Prepare(system(v, files, changed))
		if err != nil {
			t.Fatal(err)
		}
		d.Releases = append(d.Releases, reference.Release{Content: c})
	}
	s, err := reference.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMemory: a thousand manifests of 20,000 files must fit. What an entry costs does not depend on how many there are, so
// fewer are enough to tell.
func TestMemory(t *testing.T) {
	const versions, files = 40, 20_000
	for _, tt := range []struct {
		name    string
		changed int     // of the files of a version, the first that are as in all others
		most    float64 // bytes for each entry of each document
	}{
		{"nothing in common", 0, 72},
		{"nine of ten in common", files * 9 / 10, 16},
	} {
		before := heap()
		s := build(t, versions, files, tt.changed)
		each := float64(heap()-before) / (versions * files)
		t.Logf("%s: %.1f bytes an entry, %.2f GB for 1,000 manifests of 20,000 files", tt.name, each, each*20e6/1e9)
		if each > tt.most {
			t.Errorf("%s: %.1f bytes an entry, want at most %.0f", tt.name, each, tt.most)
		}
		if got := s.Files(); got != versions*files {
			t.Errorf("%s: %d files, want %d", tt.name, got, versions*files)
		}
		runtime.KeepAlive(s)
	}
}

// TestFiles: every file of every version is found, and only there.
func TestFiles(t *testing.T) {
	const files = 3000
	s := build(t, 3, files, files/2)
	for _, c := range s.For("Acme", "R7").At(time.Now()).Alternatives() {
		for v := range 3 {
			for i, f := range system(v, files, files/2).Files {
				want := reference.Same
				if i >= files/2 && c.Name != fmt.Sprintf("acme/r7/2.%d", v) {
					want = reference.Unknown
				}
				if got, _ := c.File(f.Path, f.Digest.Value); got != want {
					t.Fatalf("%s: File(%s of version 2.%d) = %v, want %v", c.Name, f.Path, v, got, want)
				}
			}
		}
	}
	if got, want := s.Knows(contentOf(0)), 3; len(got) != want {
		t.Errorf("Knows(a file of all) = %v, want %d documents", got, want)
	}
	if got := s.Knows(contentOf(2*files + files - 1)); len(got) != 1 || got[0] != "acme/r7/2.2" {
		t.Errorf("Knows(a file of version 2.2) = %v, want that alone", got)
	}
	if got := s.Knows(contentOf(-1)); len(got) != 0 {
		t.Errorf("Knows(a file of none) = %v", got)
	}
}

// TestFileMatches: paths of all shapes, several digests, digests by several algorithms.
func TestFileMatches(t *testing.T) {
	long := "/" + strings.Repeat("d/", 40000) + strings.Repeat("n", 70000) // longer than a record's name
	b := sample("r7-1")
	for i, path := range []string{"init", "/x", long, "/etc/", "/\xff\x00"} {
		b.Files = append(b.Files, reference.File{Path: []byte(path), Digest: contentOf(100 + i)})
	}
	c := reference.Compile([]reference.Baseline{b}).For("Acme", "R7").At(time.Time{}).Alternatives()[0]
	for i, path := range []string{"init", "/x", long, "/etc/", "/\xff\x00"} {
		if got, other := c.File(path, contentOf(100+i)); got != reference.Same {
			t.Errorf("File(%.20q) = %v, %.20q, want the same", path, got, other)
		}
		if got, other := c.File(path+"x", contentOf(100+i)); got != reference.Moved || other != path {
			t.Errorf("File(%.20qx) = %v, %.20q, want moved", path, got, other)
		}
	}
	b.Files = []reference.File{{Path: []byte("/a"), Digest: contentOf(1)}, {Path: []byte("/b"), Digest: contentOf(1)}}
	c = reference.Compile([]reference.Baseline{b}).For("Acme", "R7").At(time.Time{}).Alternatives()[0]
	for _, path := range []string{"/a", "/b"} {
		if got, _ := c.File(path, contentOf(1)); got != reference.Same {
			t.Errorf("File(%s) = %v where two paths have the same content, want the same", path, got)
		}
	}
	m := system(1, 2, 0)
	m.Files[0].Path, m.Files[1].Path = "/a", "/a"
	m.Files[1].Digest = manifest.Digest{Algorithm: pcr.SHA512, Value: make([]byte, 64)}
	s, err := reference.Build(reference.Documents{Releases: []reference.Release{{Manifest: m}}})
	if err != nil {
		t.Fatal(err)
	}
	c = s.For("Acme", "R7").At(time.Time{}).Alternatives()[0]
	for _, tt := range []struct {
		digest []byte
		want   reference.Match
	}{
		{m.Files[0].Digest.Value, reference.Same},
		{make([]byte, 64), reference.Same},
		{make([]byte, 32), reference.Changed},
		{make([]byte, 48), reference.Unknown}, // the manifest says nothing of SHA-384
	} {
		if got, _ := c.File("/a", tt.digest); got != tt.want {
			t.Errorf("File(/a, %d bytes) = %v, want %v", len(tt.digest), got, tt.want)
		}
	}
}

// TestTableShared: sets built one after the other share a table, while those before are in use.
func TestTableShared(t *testing.T) {
	table := reference.NewTable()
	var d reference.Documents
	done := make(chan struct{})
	d.Table = table
	stop := make(chan struct{})
	for v := range 30 {
		c, err := table.Prepare(system(v, 500, 400))
		if err != nil {
			t.Fatal(err)
		}
		d.Releases = append(d.Releases, reference.Release{Content: c})
		s, err := reference.Build(d)
		if err != nil {
			t.Fatal(err)
		}
		if v > 0 {
			continue
		}
		go func() {
			defer close(done)
			c := s.For("Acme", "R7").At(time.Now()).Alternatives()[0]
			files := system(0, 500, 400).Files
			for {
				for _, f := range files {
					if got, _ := c.File(f.Path, f.Digest.Value); got != reference.Same {
						t.Errorf("File(%s) = %v while others are added, want the same", f.Path, got)
						return
					}
					if got, _ := c.File(f.Path+".old", f.Digest.Value); got != reference.Moved {
						t.Errorf("File(%s.old) = %v while others are added, want moved", f.Path, got)
						return
					}
				}
				s.Knows(contentOf(499))
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	close(stop)
	<-done
	if got, want := table.Entries(), 400+30*100; got != want {
		t.Errorf("the table has %d entries, want %d", got, want)
	}
	if _, err := reference.Build(reference.Documents{Releases: d.Releases}); err == nil {
		t.Error("Build took content of another table")
	}
}

// BenchmarkFile looks up every file of a document that stands among many: what an IMA entry costs.
func BenchmarkFile(b *testing.B) {
	const versions, files = 20, 20_000
	s := build(b, versions, files, 0)
	c := s.For("Acme", "R7").At(time.Now()).Alternatives()[versions/2]
	own, other := system(versions/2, files, 0), system(versions/2, files, 0)
	for i := range other.Files {
		other.Files[i].Path += ".new"
		other.Files[i].Digest.Value = contentOf(-i)
	}
	// The names of alternatives are sorted as text.
	for v := range versions {
		if c.Name == fmt.Sprintf("acme/r7/2.%d", v) {
			own = system(v, files, 0)
		}
	}
	for _, tt := range []struct {
		name  string
		files []manifest.File
		want  reference.Match
	}{{"same", own.Files, reference.Same}, {"unknown", other.Files, reference.Unknown}} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f := &tt.files[i%files]
				if got, _ := c.File(f.Path, f.Digest.Value); got != tt.want {
					b.Fatalf("File(%s) = %v, want %v", f.Path, got, tt.want)
				}
			}
		})
	}
}

// BenchmarkPrepare prepares a manifest of 100,000 files.
func BenchmarkPrepare(b *testing.B) {
	m := system(1, 100_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reference.NewTable().Prepare(m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBuild builds a set of 200 documents that were prepared before: what a change of one of them costs.
func BenchmarkBuild(b *testing.B) {
	d := reference.Documents{Table: reference.NewTable()}
	for v := range 200 {
		c, err := d.Table.Prepare(system(v, 1000, 900))
		if err != nil {
			b.Fatal(err)
		}
		d.Releases = append(d.Releases, reference.Release{Content: c})
	}
	for b.Loop() {
		if _, err := reference.Build(d); err != nil {
			b.Fatal(err)
		}
	}
}
