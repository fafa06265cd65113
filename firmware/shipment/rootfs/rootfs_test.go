package rootfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const elf = "\x7fELF library"

// sample is a small system: on a merged one, /bin and /lib lead to /usr.
var sample = []item{
	{name: "./", dir: true, mode: 0o755},
	{name: "usr/bin/", dir: true, mode: 0o755},
	{name: "usr/bin/dash", body: "a shell", mode: 0o755},
	{name: "usr/bin/sh", link: "dash"},
	{name: "usr/bin/perl", body: "perl", mode: 0o755},
	{name: "usr/bin/perl5.36", hard: "usr/bin/perl"},
	{name: "usr/bin/X11", link: "."},
	{name: "usr/lib/libc.so.6", body: elf, mode: 0o644},
	{name: "usr/lib/firmware/wifi.bin", body: "firmware", mode: 0o644},
	{name: "usr/lib/modules/6.1/a.ko.xz", body: "packed module", mode: 0o644},
	{name: "usr/share/doc/README", body: "read me", mode: 0o644},
	{name: "usr/share/hook", body: "#!/bin/sh\n", mode: 0o644},
	{name: "etc/empty", mode: 0o644},
	{name: "run/left.sh", body: "#!", mode: 0o755},
}

var sampleFiles = lines("/usr/bin/dash", "a shell", "/usr/bin/perl", "perl", "/usr/bin/perl5.36", "perl",
	"/usr/lib/libc.so.6", elf, "/usr/lib/firmware/wifi.bin", "firmware", "/usr/lib/modules/6.1/a.ko.xz", "packed module",
	"/usr/share/hook", "#!/bin/sh\n")

func TestArchives(t *testing.T) {
	plain := tarOf(t, sample...)
	var disk []item // cpio has no hard links here
	for _, i := range sample {
		if i.hard != "" {
			i.hard, i.body, i.mode = "", "perl", 0o755
		}
		disk = append(disk, i)
	}
	early := newc(item{name: "kernel/x86/microcode/GenuineIntel.bin", body: "microcode", mode: 0o644})
	half := len(disk) / 2
	for name, make := range map[string]func(t *testing.T) []byte{
		"tar":             func(*testing.T) []byte { return plain },
		"tar.gz":          func(*testing.T) []byte { return gz(plain) },
		"tar.gz, members": func(*testing.T) []byte { return append(gz(plain[:700]), gz(plain[700:])...) },
		"tar.zst":         func(t *testing.T) []byte { return zst(t, plain) },
		"tar.xz":          func(t *testing.T) []byte { return filter(t, plain, "xz") },
		"tar.xz, sha256":  func(t *testing.T) []byte { return filter(t, plain, "xz", "--check=sha256", "--block-size=1000") },
		"tar.xz, crc32":   func(t *testing.T) []byte { return filter(t, plain, "xz", "--check=crc32", "-9") },
		"tar.xz, streams": func(t *testing.T) []byte {
			first := append(filter(t, plain[:1000], "xz", "--check=none"), 0, 0, 0, 0)
			return append(first, filter(t, plain[1000:], "xz")...)
		},
		"tar.bz2":       func(t *testing.T) []byte { return filter(t, plain, "bzip2") },
		"deb":           func(*testing.T) []byte { return debOf("data.tar", plain) },
		"deb, gz":       func(*testing.T) []byte { return debOf("data.tar.gz", gz(plain)) },
		"deb, zst":      func(t *testing.T) []byte { return debOf("data.tar.zst/", zst(t, plain)) },
		"deb, xz":       func(t *testing.T) []byte { return debOf("data.tar.xz", filter(t, plain, "xz")) },
		"cpio":          func(*testing.T) []byte { return newc(disk...) },
		"cpio.gz":       func(*testing.T) []byte { return gz(newc(disk...)) },
		"cpio, early":   func(*testing.T) []byte { return append(append(early, 0, 0, 0, 0), gz(newc(disk...))...) },
		"cpio, zst":     func(t *testing.T) []byte { return append(early, zst(t, newc(disk...))...) },
		"cpio, several": func(*testing.T) []byte { return append(gz(newc(disk[:half]...)), newc(disk[half:]...)...) },
	} {
		t.Run(name, func(t *testing.T) {
			got, stats := list(t, Config{}, make(t))
			if diff := cmp.Diff(sampleFiles, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if stats.Listed != 7 || stats.LeftOut != 1 || stats.Links != 2 {
				t.Errorf("Stats = %+v, want 7 listed, 1 left out, 2 links", stats)
			}
		})
	}
}

// A folder is listed as an archive of it is.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for _, i := range sample {
		path := filepath.Join(dir, i.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case i.dir:
			err = os.MkdirAll(path, 0o755)
		case i.link != "":
			err = os.Symlink(i.link, path)
		case i.hard != "":
			err = os.Link(filepath.Join(dir, i.hard), path)
		default:
			err = os.WriteFile(path, []byte(i.body), os.FileMode(i.mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "escape")); err != nil {
		t.Fatal(err)
	}
	tree := New(Config{})
	if err := tree.Add(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
	got, stats := listed(t, tree)
	if diff := cmp.Diff(sampleFiles, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if stats.Other != 2 || stats.Links != 3 || stats.LeftOut != 0 { // what is left out is not even opened
		t.Errorf("Stats = %+v, want 2 others, 3 links, 0 left out", stats)
	}
}

// Paths are those of the kernel: links in them are followed, whatever stood in the archive, and in whatever order.
func TestPaths(t *testing.T) {
	program := func(name string) item { return item{name: name, body: name, mode: 0o755} }
	base := tarOf(t, item{name: "lib", link: "usr/lib"}, item{name: "bin", link: "/usr/bin"}, program("usr/lib/ld.so"))
	old := tarOf(t, program("lib/a.so"), program("bin/b"), program("opt/c"))
	for name, c := range map[string]struct {
		config   Config
		archives [][]byte
		want     []string // path, content
	}{
		"links first":        {Config{}, [][]byte{base, old}, []string{"/opt/c", "opt/c", "/usr/bin/b", "bin/b", "/usr/lib/a.so", "lib/a.so", "/usr/lib/ld.so", "usr/lib/ld.so"}},
		"links last":         {Config{}, [][]byte{old, base}, []string{"/opt/c", "opt/c", "/usr/bin/b", "bin/b", "/usr/lib/a.so", "lib/a.so", "/usr/lib/ld.so", "usr/lib/ld.so"}},
		"no links":           {Config{}, [][]byte{old}, []string{"/bin/b", "bin/b", "/lib/a.so", "lib/a.so", "/opt/c", "opt/c"}},
		"packages only":      {Config{}, [][]byte{debOf("data.tar", old)}, []string{"/opt/c", "opt/c", "/usr/bin/b", "bin/b", "/usr/lib/a.so", "lib/a.so"}},
		"not merged":         {Config{Merge: MergeNo}, [][]byte{debOf("data.tar", old)}, []string{"/bin/b", "bin/b", "/lib/a.so", "lib/a.so", "/opt/c", "opt/c"}},
		"merged":             {Config{Merge: MergeYes}, [][]byte{old}, []string{"/opt/c", "opt/c", "/usr/bin/b", "bin/b", "/usr/lib/a.so", "lib/a.so"}},
		"package over links": {Config{}, [][]byte{base, debOf("data.tar", old)}, []string{"/opt/c", "opt/c", "/usr/bin/b", "bin/b", "/usr/lib/a.so", "lib/a.so", "/usr/lib/ld.so", "usr/lib/ld.so"}},
		"relative and above the root": {
			Config{}, [][]byte{tarOf(t, item{name: "a/b", link: "../../../c"}, program("a/b/x"))}, []string{"/c/x", "a/b/x"},
		},
		"absolute name": {Config{}, [][]byte{tarOf(t, program("/sbin/x"))}, []string{"/sbin/x", "/sbin/x"}},
		"replaced": {
			Config{},
			[][]byte{tarOf(t, program("x"), item{name: "y", link: "x"}), tarOf(t, item{name: "x", body: "new", mode: 0o755}, program("y"))},
			[]string{"/x", "new", "/y", "y"},
		},
		"replaced by data": {Config{}, [][]byte{tarOf(t, program("x"), program("z")), tarOf(t, item{name: "x", body: "new", mode: 0o644})}, []string{"/z", "z"}},
		"all": {
			Config{All: true},
			[][]byte{tarOf(t, item{name: "etc/passwd", body: "root", mode: 0o600})},
			[]string{"/etc/passwd", "root"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := list(t, c.config, c.archives...)
			want := strings.SplitAfter(lines(c.want...), "\n")
			gotLines := strings.SplitAfter(got, "\n")
			sortLines := cmp.Transformer("set", func(s []string) map[string]int {
				m := map[string]int{}
				for _, l := range s {
					m[l]++
				}
				return m
			})
			if diff := cmp.Diff(want, gotLines, sortLines); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// What the distribution's own tools make is read.
func TestRealTools(t *testing.T) {
	for _, program := range []string{"dpkg-deb", "cpio", "tar"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	dir := t.TempDir()
	shell := func(script string) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	shell(`mkdir -p tree/DEBIAN tree/lib/y tree/usr/bin; printf shell >tree/usr/bin/sh; chmod 755 tree/usr/bin/sh
ln tree/usr/bin/sh tree/usr/bin/ash; printf '\177ELF x' >tree/lib/y/x.so; chmod 644 tree/lib/y/x.so
printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' >tree/DEBIAN/control
dpkg-deb --root-owner-group -Zxz -b tree xz.deb; dpkg-deb --root-owner-group -Zgzip -b tree gz.deb
rm -r tree/DEBIAN; (cd tree; find . | cpio -o -H newc --quiet) >disk.cpio; tar -czf tree.tgz -C tree .`)
	merged := lines("/usr/bin/ash", "shell", "/usr/bin/sh", "shell", "/usr/lib/y/x.so", "\x7fELF x")
	apart := lines("/lib/y/x.so", "\x7fELF x", "/usr/bin/ash", "shell", "/usr/bin/sh", "shell")
	for name, want := range map[string]string{"xz.deb": merged, "gz.deb": merged, "disk.cpio": apart, "tree.tgz": apart} {
		tree := New(Config{})
		if err := tree.Add(context.Background(), filepath.Join(dir, name)); err != nil {
			t.Errorf("Add(%s) = %v", name, err)
			continue
		}
		if got, _ := listed(t, tree); got != want {
			t.Errorf("files of %s =\n%swant\n%s", name, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	var items []item
	for _, name := range []string{"a", "b", "c"} {
		items = append(items, item{name: name, body: strings.Repeat(name, 1<<20), mode: 0o755})
	}
	var last Progress
	calls := 0
	tree := New(Config{Progress: func(p Progress) {
		if p.Done < last.Done || p.Files < last.Files {
			t.Errorf("Progress went back from %+v to %+v", last, p)
		}
		last = p
		calls++
	}})
	path := write(t, "x.tar", tarOf(t, items...))
	if err := tree.Add(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	if last.Files != 3 || last.Done != last.Total || last.Source != path || calls < 3 {
		t.Errorf("the last of %d Progress calls = %+v, want 3 files and all bytes", calls, last)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := tarOf(t, sample...)
	if err := New(Config{}).AddArchive(ctx, "x", bytes.NewReader(b), int64(len(b))); !errors.Is(err, context.Canceled) {
		t.Errorf("AddArchive() after the end = %v, want context.Canceled", err)
	}
	if err := New(Config{}).Add(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("Add(folder) after the end = %v, want context.Canceled", err)
	}
}
