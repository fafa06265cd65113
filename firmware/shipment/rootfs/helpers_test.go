package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// item is an entry of an archive that a test makes: a regular file unless it says otherwise.
type item struct {
	name, body string
	mode       int64
	link       string // symbolic
	hard       string // hard link to a file before it
	dir        bool
}

func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Mode: i.mode, Size: int64(len(i.body)), Typeflag: tar.TypeReg}
		switch {
		case i.dir:
			h.Typeflag = tar.TypeDir
		case i.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, i.link
		case i.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, i.hard
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// newc makes a cpio archive. Hard links are not made here.
func newc(items ...item) []byte {
	var b bytes.Buffer
	entry := func(n, mode, links int, name, body string) {
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", n, mode, 0, 0, links, 0, len(body), 0, 0,
			0, 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(body)
		b.Write(make([]byte, -b.Len()&3))
	}
	for n, i := range items {
		switch {
		case i.dir:
			entry(n, modeDir|0o755, 2, i.name, "")
		case i.link != "":
			entry(n, modeLink|0o777, 1, i.name, i.link)
		default:
			entry(n, modeReg|int(i.mode), 1, i.name, i.body)
		}
	}
	entry(0, 0, 1, cpioTrailer, "")
	return b.Bytes()
}

type member struct {
	name string
	body []byte
}

func arOf(members ...member) []byte {
	b := []byte(arMagic)
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b = append(b, m.body...)
		if len(b)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

func debOf(data string, body []byte) []byte {
	return arOf(member{"debian-binary", []byte("2.0\n")}, member{"control.tar.xz", []byte("odd")}, member{data, body})
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // to memory
	_ = w.Close()
	return out.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// filter packs by a program.
func filter(t testing.TB, b []byte, program string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("SKIPPED: %s is not installed", program)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// list adds archives to a tree and returns "PATH DIGEST" of its files, digests shortened.
func list(t testing.TB, c Config, archives ...[]byte) (string, Stats) {
	t.Helper()
	tree := New(c)
	for i, b := range archives {
		if err := tree.AddArchive(context.Background(), fmt.Sprint(i), bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatalf("AddArchive(%d) = %v", i, err)
		}
	}
	return listed(t, tree)
}

func listed(t testing.TB, tree *Tree) (string, Stats) {
	t.Helper()
	files, stats, err := tree.Files()
	if err != nil {
		t.Fatalf("Files() = %v", err)
	}
	var out strings.Builder
	for _, f := range files {
		fmt.Fprintf(&out, "%s %x\n", f.Path, f.Digest.Value[:4])
	}
	return out.String(), stats
}

func short(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:4])
}

func lines(pairs ...string) string {
	var out strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		out.WriteString(pairs[i] + " " + short(pairs[i+1]) + "\n")
	}
	return out.String()
}
