package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// refused adds an archive that must be refused.
func refused(t *testing.T, tree *Tree, b []byte, kind error, want string) {
	t.Helper()
	err := tree.AddArchive(context.Background(), "hostile", bytes.NewReader(b), int64(len(b)))
	if err == nil {
		_, _, err = tree.Files()
	}
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("AddArchive() = %v, want %v with %q", err, kind, want)
	}
}

func TestRefuses(t *testing.T) {
	good := tarOf(t, sample...)
	program := item{name: "x", body: "x", mode: 0o755}
	damaged := func(b []byte, at int) []byte { c := bytes.Clone(b); c[at] ^= 0xff; return c }
	for name, c := range map[string]struct {
		b    func(t *testing.T) []byte
		kind error
		want string
	}{
		"empty":            {func(*testing.T) []byte { return nil }, ErrFormat, "empty"},
		"text":             {func(*testing.T) []byte { return []byte("hello, world") }, ErrFormat, `begins with "hello, w"`},
		"zeros":            {func(*testing.T) []byte { return make([]byte, 4096) }, ErrFormat, "want a folder"},
		"traversal":        {func(t *testing.T) []byte { return tarOf(t, item{name: "a/../../etc/x", mode: 0o755}) }, ErrFormat, "leads out"},
		"traversal, cpio":  {func(*testing.T) []byte { return newc(item{name: "../x", mode: 0o755}) }, ErrFormat, "leads out"},
		"traversal, hard":  {func(t *testing.T) []byte { return tarOf(t, item{name: "a", hard: "../etc/x"}) }, ErrFormat, "leads out"},
		"hard link first":  {func(t *testing.T) []byte { return tarOf(t, item{name: "a", hard: "b"}) }, ErrFormat, "no file before"},
		"hard link to dir": {func(t *testing.T) []byte { return tarOf(t, item{name: "b", dir: true}, item{name: "a", hard: "b"}) }, ErrFormat, "no file before"},
		"loop": {
			func(t *testing.T) []byte {
				return tarOf(t, item{name: "a", link: "b"}, item{name: "b", link: "a"}, item{name: "a/x", mode: 0o755})
			}, ErrLimit, "in a circle",
		},
		"growing loop": {
			func(t *testing.T) []byte {
				return tarOf(t, item{name: "a", link: "a/b/c"}, item{name: "a/x", mode: 0o755})
			}, ErrLimit, "in a circle",
		},
		"doubling links": {
			func(t *testing.T) []byte {
				items := []item{{name: "l0", dir: true}}
				for i := range 60 {
					items = append(items, item{name: fmt.Sprintf("l%d", i+1), link: fmt.Sprintf("l%d/../l%d", i, i)})
				}
				return tarOf(t, append(items, item{name: "l60/x", mode: 0o755})...)
			}, ErrLimit, "in a circle",
		},
		"folder into its own link": {
			func(t *testing.T) []byte {
				return tarOf(t, item{name: "a/b/x", mode: 0o755}, item{name: "a", link: "a/b"})
			}, ErrLimit, "in a circle",
		},
		"deep": {
			func(t *testing.T) []byte { return tarOf(t, item{name: strings.Repeat("d/", 200) + "x", mode: 0o755}) }, ErrLimit, "folders deep",
		},
		"deep by links": {
			func(t *testing.T) []byte {
				items := []item{{name: "a", link: strings.Repeat("d/", 100)}, {name: "a/b", link: strings.Repeat("e/", 100)}}
				return tarOf(t, append(items, item{name: "a/b/x", mode: 0o755})...)
			}, ErrLimit, "folders deep",
		},
		"long name":       {func(t *testing.T) []byte { return tarOf(t, item{name: strings.Repeat("n", 5000)}) }, ErrLimit, "at most 4096"},
		"long link":       {func(t *testing.T) []byte { return tarOf(t, item{name: "a", link: strings.Repeat("n", 5000)}) }, ErrFormat, "want 1 to 4096"},
		"through a file":  {func(t *testing.T) []byte { return tarOf(t, program, item{name: "x/y", mode: 0o755}) }, ErrFormat, "on its path is a file"},
		"folder, file":    {func(t *testing.T) []byte { return tarOf(t, item{name: "x/y", mode: 0o755}, program) }, ErrFormat, "was a folder"},
		"not UTF-8":       {func(*testing.T) []byte { return newc(item{name: "a\xff", mode: 0o755}) }, ErrFormat, "UTF-8"},
		"tar cut":         {func(*testing.T) []byte { return good[:2000] }, ErrFormat, "entry"},
		"tar without end": {func(*testing.T) []byte { return good[:1024] }, ErrFormat, "cut off"},
		"tar damaged":     {func(*testing.T) []byte { return damaged(good, 1030) }, ErrFormat, "tar entry"},
		"tar empty":       {func(t *testing.T) []byte { return gz(append(tarOf(t, program)[:0], make([]byte, 1024)...)) }, ErrFormat, "want a folder"},
		"gzip cut":        {func(*testing.T) []byte { return gz(good)[:100] }, ErrFormat, "gzip"},
		"gzip damaged":    {func(*testing.T) []byte { b := gz(good); return damaged(b, len(b)-6) }, ErrFormat, ""},
		"zstd damaged":    {func(t *testing.T) []byte { return damaged(zst(t, good), 30) }, ErrFormat, "zstd"},
		"xz, header":      {func(t *testing.T) []byte { return damaged(filter(t, good, "xz"), 7) }, ErrFormat, "stream header"},
		"xz, block":       {func(t *testing.T) []byte { return damaged(filter(t, good, "xz"), 15) }, ErrFormat, "block header"},
		"xz, content":     {func(t *testing.T) []byte { return damaged(filter(t, good, "xz"), 100) }, ErrFormat, "xz"},
		"xz, cut":         {func(t *testing.T) []byte { return filter(t, good, "xz")[:60] }, ErrFormat, "xz"},
		"xz, filter":      {func(t *testing.T) []byte { return filter(t, good, "xz", "--x86", "--lzma2") }, ErrFormat, "machine code"},
		"xz, dictionary":  {func(t *testing.T) []byte { return filter(t, good, "xz", "--lzma2=dict=1GiB") }, ErrLimit, "dictionary of 1073741824"},
		"bzip2 damaged":   {func(t *testing.T) []byte { return damaged(filter(t, good, "bzip2"), 60) }, ErrFormat, "bzip2"},
		"static library":  {func(*testing.T) []byte { return arOf(member{"a.o", []byte("x")}) }, ErrFormat, "static library"},
		"deb version":     {func(*testing.T) []byte { return arOf(member{"debian-binary", []byte("3.0\n")}) }, ErrFormat, "format version"},
		"deb without":     {func(*testing.T) []byte { return arOf(member{"debian-binary", []byte("2.0\n")}) }, ErrFormat, "no member data.tar"},
		"deb, many": {
			func(*testing.T) []byte {
				return append(arOf(member{"debian-binary", []byte("2.0\n")}), bytes.Repeat(arOf(member{"x", nil})[8:], 40)...)
			}, ErrLimit, "members",
		},
		"deb, size": {func(*testing.T) []byte {
			return bytes.Replace(debOf("data.tar", good), []byte("4         `"), []byte("-4        `"), 1)
		}, ErrFormat, "decimal digits"},
		"deb, no size": {func(*testing.T) []byte {
			return bytes.Replace(debOf("data.tar", good), []byte("4         `"), []byte("          `"), 1)
		}, ErrFormat, "no size"},
		"deb, member cut": {func(*testing.T) []byte { return debOf("data.tar", good)[:90] }, ErrFormat, "cut off"},
		"deb, body cut":   {func(*testing.T) []byte { return debOf("data.tar", good)[:135] }, ErrFormat, "cut off"},
		"deb, header":     {func(*testing.T) []byte { return damaged(debOf("data.tar", good), 8+58) }, ErrFormat, "line end"},
		"deb, no tar":     {func(*testing.T) []byte { return debOf("data.tar.gz", gz([]byte("text"))) }, ErrFormat, "no tar archive"},
		"deb, lzma":       {func(*testing.T) []byte { return debOf("data.tar.lzma", []byte("]\x00\x00\x80\x00")) }, ErrFormat, "no tar archive"},
		"cpio, cut":       {func(*testing.T) []byte { return newc(program)[:150] }, ErrFormat, "cpio entry"},
		"cpio, digits":    {func(*testing.T) []byte { return damaged(newc(program), 20) }, ErrFormat, "hexadecimal"},
		"cpio, tail":      {func(*testing.T) []byte { return append(newc(program), "tail"...) }, ErrFormat, "behind an archive"},
		"cpio, name":      {func(*testing.T) []byte { return damaged(newc(program), 111) }, ErrFormat, "NUL"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, New(Config{}), c.b(t), c.kind, c.want) })
	}
}

// small limits, as a test cannot wait for gigabytes.
func small() *Tree {
	tree := New(Config{})
	tree.limits = limits{entries: 100, unpacked: 64 << 20, free: 1 << 20, ratio: 100, sourceBytes: 1 << 20}
	return tree
}

// Bombs cost neither memory nor time.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 32<<20)
	bomb := tarOf(t, item{name: "x", body: string(zeros), mode: 0o755})
	hidden := tarOf(t, item{name: "x", body: string(zeros), mode: 0o644}) // not hashed, but unpacked all the same
	var many []item
	for i := range 200 {
		many = append(many, item{name: fmt.Sprint(i)})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, b := range map[string][]byte{
		"gzip": gz(bomb), "gzip, not listed": gz(hidden), "zstd": zst(t, bomb), "deb": debOf("data.tar.gz", gz(bomb)),
		"cpio": gz(newc(item{name: "x", body: string(zeros), mode: 0o755})),
	} {
		t.Run(name, func(t *testing.T) { refused(t, small(), b, ErrLimit, "bomb") })
	}
	t.Run("xz", func(t *testing.T) { refused(t, small(), filter(t, bomb, "xz"), ErrLimit, "bomb") })
	t.Run("holes", func(t *testing.T) {
		dir := t.TempDir()
		if out, err := exec.Command("sh", "-ec", "cd "+dir+"; truncate -s 40M x; chmod 755 x; tar -Scf t x").CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: no tar that knows sparse files: %v %s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "t"))
		if err != nil || len(b) > 1<<20 {
			t.Fatalf("tar made %d bytes, %v", len(b), err)
		}
		refused(t, small(), b, ErrLimit, "bomb")
	})
	t.Run("entries", func(t *testing.T) { refused(t, small(), tarOf(t, many...), ErrLimit, "more than 100") })
	t.Run("size in a header", func(t *testing.T) {
		b := newc(item{name: "x", body: "x", mode: 0o755})
		refused(t, small(), bytes.Replace(b, []byte("00000001"), []byte("FFFFFFFF"), 2), ErrLimit, "unpacks to more")
	})
	t.Run("folders made by links", func(t *testing.T) {
		var items []item
		for i := range 60 {
			items = append(items, item{name: fmt.Sprintf("l%d", i), link: fmt.Sprintf("a%d/b/c", i)}, item{name: fmt.Sprintf("l%d/x", i)})
		}
		refused(t, small(), tarOf(t, items...), ErrLimit, "more than 100")
	})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<30 {
		t.Errorf("the bombs took %d bytes of memory", grown)
	}
}

func TestAddRefuses(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file", large: "at most 1048576", "/dev/null": "neither a folder",
	} {
		err := small().Add(context.Background(), path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("Add(%s) = %v, want the path once and %q", path, err, want)
		}
	}
}
