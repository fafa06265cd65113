package rootfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzz checks what holds for every source: errors of the two kinds, and clean, absolute paths within the limits.
func fuzz(t *testing.T, b []byte) {
	tree := New(Config{})
	tree.limits = limits{entries: 2000, unpacked: 8 << 20, free: 1 << 20, ratio: 200, sourceBytes: 1 << 20}
	err := tree.AddArchive(context.Background(), "fuzz", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrLimit) {
			t.Fatalf("AddArchive() = %v, want an error of a known kind", err)
		}
		return
	}
	files, stats, err := tree.Files()
	if err != nil {
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrLimit) {
			t.Fatalf("Files() = %v, want an error of a known kind", err)
		}
		return
	}
	if len(files) > 2000 || stats.Listed < len(files) {
		t.Fatalf("%d files, Stats = %+v", len(files), stats)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Path, "/") || f.Path == "/" || filepath.Clean(f.Path) != f.Path || len(f.Path) > MaxPath*MaxLinks {
			t.Fatalf("path %q", f.Path)
		}
	}
	again := New(Config{})
	if err := again.AddArchive(context.Background(), "again", bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatalf("AddArchive() = nil with small limits, then %v", err)
	}
}

// seeds adds archives that tests make, and fails without any.
func seeds(f *testing.F, list ...[]byte) {
	f.Helper()
	n := 0
	for _, b := range list {
		if len(b) > 0 {
			f.Add(b)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
}

func FuzzTar(f *testing.F) {
	plain := tarOf(f, sample...)
	seeds(f, plain, gz(plain), zst(f, plain), tarOf(f, item{name: "a", link: "../b"}, item{name: "a/x", body: "#!", mode: 0o755}))
	f.Fuzz(fuzz)
}

func FuzzDeb(f *testing.F) {
	plain := tarOf(f, sample[:5]...)
	seeds(f, debOf("data.tar", plain), debOf("data.tar.gz", gz(plain)), debOf("data.tar.zst", zst(f, plain)))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzz(t, append([]byte(arMagic), bytes.TrimPrefix(b, []byte(arMagic))...))
	})
}

func FuzzInitrd(f *testing.F) {
	disk := newc(sample[:5]...)
	seeds(f, disk, append(newc(), gz(disk)...), append(gz(disk), disk...))
	f.Fuzz(fuzz)
}

func FuzzXZ(f *testing.F) {
	// Files, since xz is not installed everywhere: testdata/README.md says how they were made.
	for _, name := range []string{"crc64.tar.xz", "sha256.tar.xz"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzz(t, append([]byte(xzMagic), bytes.TrimPrefix(b, []byte(xzMagic))...))
	})
}
