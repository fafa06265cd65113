package flash

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/spi"

	"github.com/probity-attest/probity/firmware/flash/flashtest"
	"github.com/probity-attest/probity/firmware/hostfs"
)

func TestOpenFile(t *testing.T) {
	outside := fakeRoot(t, map[string]string{"secret": "outside"})
	root := fakeRoot(t, map[string]string{
		"lib/a.bin":      "inside",
		"lib/[x].bin":    "odd",
		"lib/abs.bin":    "->/lib/a.bin",
		"lib/up.bin":     "->../../../../../../../lib/a.bin",
		"lib/folder":     "->.",
		"lib/loop":       "->loop",
		"lib/escape":     "->" + outside + "/secret",
		"lib/escape.up":  "->../../../../../../../../../../" + strings.TrimPrefix(outside, "/") + "/secret",
		"lib/escape.dir": "->" + outside,
		"dev/null":       "->/dev/nothing",
	})
	if err := syscall.Mkfifo(filepath.Join(root, "lib/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := Machine{Root: root}
	for name, want := range map[string]string{
		"/lib/a.bin": "inside", "/lib/abs.bin": "inside", "/lib/up.bin": "inside", "/lib/folder/a.bin": "inside", `/lib/\[x].bin`: "odd",
	} {
		r, err := m.Open(Source{File, name})
		if err != nil {
			t.Errorf("Open(%s): %v", name, err)
			continue
		}
		sum, err := Hash(context.Background(), r, Region{Name: "x"}, HashOptions{})
		if err != nil || sum.Digest != sha256.Sum256([]byte(want)) {
			t.Errorf("Hash(%s) = %x, %v, want that of %q", name, sum.Digest, err, want)
		}
		if c := r.Describe(); c.Kind != File || c.Size != uint64(len(want)) || c.Device != literal(name) || c.ReadOnly {
			t.Errorf("Describe(%s) = %+v", name, c)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]error{
		"/lib/none":              fs.ErrNotExist,
		"/lib/a.bin/b":           syscall.ENOTDIR,
		"/lib":                   hostfs.ErrNotRegular,
		"/lib/pipe":              hostfs.ErrNotRegular,
		"/lib/loop":              syscall.ELOOP,
		"/lib/escape":            fs.ErrNotExist,
		"/lib/escape.up":         fs.ErrNotExist,
		"/lib/escape.dir/secret": fs.ErrNotExist,
	} {
		r, err := m.Open(Source{File, name})
		if r != nil || !errors.Is(err, want) {
			t.Errorf("Open(%s) = %v, %v, want %v", name, r, err, want)
		}
	}
	for _, s := range []Source{{File, "/lib/*.bin"}, {File, "lib/a.bin"}, {"x", "y"}, {}, {MTD, "a\x00"}} {
		if r, err := m.Open(s); r != nil || err == nil {
			t.Errorf("Open(%v) = %v, %v, want an error", s, r, err)
		}
	}
	if n, err := m.Size(Source{File, "/lib/a.bin"}); n != 6 || err != nil {
		t.Errorf("Size(a.bin) = %d, %v, want 6", n, err)
	}
	if n, err := m.Size(Source{File, "/lib/none"}); n != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Size(none) = %d, %v", n, err)
	}
}

// TestOpenIsReadOnly looks at the flags that the kernel has of an open file.
func TestOpenIsReadOnly(t *testing.T) {
	r, err := Machine{Root: fakeRoot(t, map[string]string{"a": "x"})}.Open(Source{File, "/a"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	flags, _, code := syscall.Syscall(syscall.SYS_FCNTL, r.(*fileReader).file.Fd(), syscall.F_GETFL, 0)
	if code != 0 || flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		t.Errorf("flags %#o, %v, want O_RDONLY", flags, code)
	}
}

func TestFileGeneration(t *testing.T) {
	root := fakeRoot(t, map[string]string{"a": "one"})
	name := filepath.Join(root, "a")
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if token, ok := fileGeneration(f); ok {
		t.Errorf("generation of a file written just now = %q, want none", token)
	}
	// Files of the system are old enough, and differ.
	seen := map[string]string{}
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/hosts"} {
		g, err := os.Open(name)
		if err != nil {
			continue
		}
		token, ok := fileGeneration(g)
		again, _ := fileGeneration(g)
		if ok && (token != again || seen[token] != "") {
			t.Errorf("generation of %s = %q, then %q, that of %q", name, token, again, seen[token])
		}
		if ok {
			seen[token] = name
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(seen) == 0 {
		t.Skip("no file in /etc is older than the resolution of time stamps")
	}
}

func TestExpand(t *testing.T) {
	m := Machine{Root: fakeRoot(t, map[string]string{
		"lib/fw/b.bin": "b", "lib/fw/a.bin": "a", "lib/fw/c.txt": "c", "lib/fw/sub.bin/x": "", "lib/fw/[1] ü.bin": "odd",
		"opt/1/x.bin": "1", "opt/2/x.bin": "2", "opt/2/y.bin": "y", "opt/file": "", "opt/link": "->/opt/2", "lib/fw/dangling.bin": "->nowhere",
	})}
	type match struct{ Name, Source string }
	for pattern, want := range map[string][]match{
		"/lib/fw/*.bin": {
			{"fw/%5B1%5D %C3%BC.bin", `file:/lib/fw/\[1] ü.bin`},
			{"fw/a.bin", "file:/lib/fw/a.bin"},
			{"fw/b.bin", "file:/lib/fw/b.bin"},
			{"fw/dangling.bin", "file:/lib/fw/dangling.bin"},
		},
		"/lib/fw/[ab].bin": {{"fw/a.bin", "file:/lib/fw/a.bin"}, {"fw/b.bin", "file:/lib/fw/b.bin"}},
		"/opt/*/x.bin": {
			{"fw/1/x.bin", "file:/opt/1/x.bin"},
			{"fw/2/x.bin", "file:/opt/2/x.bin"},
			{"fw/link/x.bin", "file:/opt/link/x.bin"},
		},
		"/opt/2/y.bin": {{"fw", "file:/opt/2/y.bin"}},
	} {
		got, err := m.Expand(Region{Name: "fw", Source: Source{File, pattern}, Offset: 0, Length: 1})
		var have []match
		for _, r := range got {
			have = append(have, match{r.Name, r.Source.String()})
			if r.Length != 1 {
				t.Errorf("Expand(%s): region %+v lost its length", pattern, r)
			}
			if reader, err := m.Open(r.Source); err == nil {
				_ = reader.Close()
			} else if !strings.Contains(r.Name, "dangling") {
				t.Errorf("Open(%v): %v", r.Source, err)
			}
		}
		if diff := cmp.Diff(want, have); err != nil || diff != "" {
			t.Errorf("Expand(%s) = %v (-want +got):\n%s", pattern, err, diff)
		}
	}
	for _, pattern := range []string{"/lib/fw/*.none", "/none/*", "/*/none/*"} {
		if got, err := m.Expand(Region{Name: "fw", Source: Source{File, pattern}}); got != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Expand(%s) = %v, %v, want ErrNotExist", pattern, got, err)
		}
	}
}

func TestRegionsAreBounded(t *testing.T) {
	files := map[string]string{"one/a": ""}
	for i := range MaxRegions + 1 {
		files["many/"+strings.Repeat("x", i+1)] = ""
	}
	m := Machine{Root: fakeRoot(t, files)}
	regions, errs := m.Regions(&Layout{Regions: []Region{
		{Name: "many", Source: Source{File, "/many/*"}},
		{Name: "none", Source: Source{File, "/none/*"}},
		{Name: "one", Source: Source{File, "/one/*"}},
		{Name: "mtd", Source: Source{MTD, "mtd0"}},
	}})
	var names []string
	for _, r := range regions {
		names = append(names, r.Name)
	}
	if want := []string{"one/a", "mtd"}; !cmp.Equal(names, want) || len(errs) != 2 {
		t.Errorf("Regions = %v, %v, want %v and two errors", names, errs, want)
	}
	if _, err := m.tree().names("many"); err != nil {
		t.Errorf("names = %v", err)
	}
}

func TestOpenSPI(t *testing.T) {
	chip := flashtest.NewChip(random(64 << 10))
	root := fakeRoot(t, map[string]string{spidevBufsiz: "128\n", "dev/spidev1.0": "a file"})
	m := Machine{Root: root, OpenSPI: chip.Open}
	r, err := m.Open(Source{SPI, "0.0"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.(*nor).transfer; got != 128 {
		t.Errorf("transfers of %d bytes, want 128 as sysfs says", got)
	}
	if err := r.Close(); err != nil || chip.OpenPorts() != 0 {
		t.Errorf("Close = %v, %d ports open", err, chip.OpenPorts())
	}
	refused := &os.PathError{Op: "open", Path: "/dev/spidev0.0", Err: syscall.EACCES}
	m.OpenSPI = func(int, int) (spi.PortCloser, error) { return nil, refused }
	if _, err := m.Open(Source{SPI, "0.0"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Open = %v, want ErrPermission", err)
	}
	m.OpenSPI = nil
	if _, err := m.Open(Source{SPI, "0.0"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "spidev") {
		t.Errorf("Open without a node = %v, want ErrNotExist", err)
	}
	var unsupported *UnsupportedError
	if _, err := m.Open(Source{SPI, "1.0"}); !errors.As(err, &unsupported) {
		t.Errorf("Open of a file in the node's place = %v, want an UnsupportedError", err)
	}
}

func TestDiskGeneration(t *testing.T) {
	const disk = "sys/devices/pci0/block/sda"
	stat := "  100 0 800 10  7 0 56 20 0 30 30  3 0 24 1 0 0\n"
	root := fakeRoot(t, map[string]string{
		disk + "/queue/iostats": "1\n", disk + "/diskseq": "9\n", disk + "/stat": stat,
		"sys/devices/virtual/block/dm-0/queue/iostats": "1\n", "sys/devices/virtual/block/dm-0/stat": stat,
	})
	first, ok := diskGeneration(tree(root), disk)
	if !ok || !strings.HasSuffix(first, ":sda:9:7.56.3.24") {
		t.Fatalf("diskGeneration = %q, %v", first, ok)
	}
	if token, ok := diskGeneration(tree(root), "sys/devices/virtual/block/dm-0"); ok {
		t.Errorf("diskGeneration(dm-0) = %q, want none: writes below it are not counted", token)
	}
	for name, c := range map[string]struct {
		file, content string
		changes, ok   bool
	}{
		"a read":       {"stat", strings.Replace(stat, "100 0 800", "101 0 808", 1), false, true},
		"a write":      {"stat", strings.Replace(stat, "7 0 56", "8 0 64", 1), true, true},
		"a discard":    {"stat", strings.Replace(stat, "3 0 24", "4 0 32", 1), true, true},
		"another disk": {"diskseq", "10\n", true, true},
		"not counted":  {"queue/iostats", "0\n", false, false},
		"broken":       {"stat", "1 2 3\n", false, false},
	} {
		full := filepath.Join(root, disk, c.file)
		before, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		write := func(b []byte) {
			if err := os.WriteFile(full, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write([]byte(c.content))
		token, ok := diskGeneration(tree(root), disk)
		if ok != c.ok || ok && (token != first) != c.changes {
			t.Errorf("%s: diskGeneration = %q, %v, before %q", name, token, ok, first)
		}
		write(before)
	}
}

// TestIdlePriority checks that the I/O priority is given back.
func TestIdlePriority(t *testing.T) {
	runtime.LockOSThread() // the priority is the thread's
	defer runtime.UnlockOSThread()
	class := func() uintptr {
		n, _, code := syscall.Syscall(syscall.SYS_IOPRIO_GET, 1, 0, 0)
		if code != 0 {
			t.Skipf("this kernel has no I/O priorities: %v", code)
		}
		return n >> 13
	}
	before := class()
	restore := idlePriority()
	during := class()
	restore()
	if after := class(); during != 3 || after != before {
		t.Errorf("I/O class %d before, %d while reading, %d after, want 3 (idle) while reading only", before, during, after)
	}
}

func TestClockStep(t *testing.T) {
	name := filepath.Join(t.TempDir(), "future")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, time.Unix(0, 0), time.Unix(0, 0)); err != nil { // changes the inode now
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if token, ok := fileGeneration(f); ok {
		t.Errorf("generation of a file with a forged time = %q, want none", token)
	}
}
