package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is a folder with programs that stand for apt-get, apt-cache and dpkg-deb, and the PATH that has only them and
// the shell's tools. Each writes a line to calls.
type world struct {
	t     *testing.T
	bin   string
	cache string
	calls string
}

// The programs as they work with a good network. apt-get makes the archives, empty; dpkg-deb makes files.
const (
	goodGet   = `case "$*" in *" update") ;; *) for a; do case $a in linux-image-*|mtools|dosfstools|sbsigntool) : > "${a}_1_all.deb";; esac; done;; esac`
	goodCache = `echo linux-image-armmp; echo '  Depends: linux-image-6.1.0-9-armmp:armhf'`
	goodDpkg  = `case $1 in --field) n=${2##*/}; printf 'Package: %s\nVersion: 1:2\nArchitecture: all\n' "${n%%_*}";;
--extract) case $2 in *linux-image-*) mkdir -p "$3/boot" "$3/lib/modules/6.1.0-9-armmp" "$3/usr/lib/linux-image-6.1.0-9-armmp"
: > "$3/boot/vmlinuz-6.1.0-9-armmp";; *) mkdir -p "$3/usr/bin";; esac;; esac`
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, bin: t.TempDir(), cache: filepath.Join(t.TempDir(), "cache")}
	w.calls = filepath.Join(w.bin, "calls")
	w.program("apt-get", goodGet)
	w.program("apt-cache", goodCache)
	w.program("dpkg-deb", goodDpkg)
	t.Setenv("PATH", w.bin)
	list := filepath.Join(w.bin, "sources.list")
	if err := os.WriteFile(list, []byte("deb http://archive.example/debian stable main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := sources
	sources = []string{list}
	t.Cleanup(func() { sources = before })
	return w
}

// program installs a program that runs shell code, with the usual tools.
func (w *world) program(name, code string) {
	w.t.Helper()
	text := "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"" + name + " $*\" >> " + w.calls + "\n" + code + "\n"
	if err := os.WriteFile(filepath.Join(w.bin, name), []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// called counts the calls of a program with a word.
func (w *world) called(program, word string) int {
	w.t.Helper()
	b, err := os.ReadFile(w.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, program+" ") && strings.Contains(line, word) {
			n++
		}
	}
	return n
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	got, err := Fetch(t.Context(), w.cache, ARMHF)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(w.cache, "armhf", "root")
	want := &Set{
		Name: ARMHF, Root: root, Release: "6.1.0-9-armmp",
		Packages:    []Package{{"linux-image-6.1.0-9-armmp", "1:2", "all"}},
		Kernel:      filepath.Join(root, "boot/vmlinuz-6.1.0-9-armmp"),
		Modules:     filepath.Join(root, "lib/modules/6.1.0-9-armmp"),
		DeviceTrees: filepath.Join(root, "usr/lib/linux-image-6.1.0-9-armmp"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Fetch(armhf) (-want +got):\n%s", diff)
	}
	// The foreign architecture has lists of its own.
	if n := w.called("apt-get", "Dir::State="+w.cache+"/apt-armhf "); n != 2 {
		t.Errorf("apt-get ran %d times with lists of its own, want 2 (update, download)", n)
	}
	if left, _ := filepath.Glob(filepath.Join(w.cache, ".fetch-*")); len(left) != 0 {
		t.Errorf("Fetch left %v", left)
	}

	// A complete set needs no program at all.
	t.Setenv("PATH", "")
	again, err := Fetch(t.Context(), w.cache, ARMHF)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("Fetch(armhf) of a complete set (-want +got):\n%s", diff)
	}
}

// TestFetchAgain damages what is in the cache: another recipe's set and one without its record are fetched again.
func TestFetchAgain(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"another recipe": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"requested": ["mtools"]}`), 0o644)
		},
		"no record":    func(dir string) error { return os.Remove(filepath.Join(dir, recordFile)) },
		"stopped work": func(dir string) error { return os.Rename(dir, filepath.Join(filepath.Dir(dir), ".fetch-armhf")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := Fetch(t.Context(), w.cache, ARMHF); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(w.cache, "armhf")); err != nil {
				t.Fatal(err)
			}
			if _, err := Fetch(t.Context(), w.cache, ARMHF); err != nil {
				t.Fatal(err)
			}
			if n := w.called("apt-get", " download "); n != 2 {
				t.Errorf("%d downloads, want 2", n)
			}
		})
	}
}

// TestFetchTogether has several callers want one set: one fetches.
func TestFetchTogether(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := Fetch(t.Context(), w.cache, ARMHF); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.called("apt-get", " download "); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestMissing(t *testing.T) {
	tests := map[string]struct {
		program, code string
		want          []string
	}{
		"no network": {
			"apt-get", `echo 'W: x' >&2; echo 'E: Failed to fetch http://a/b.deb  Could not connect' >&2; exit 100`,
			[]string{"download", "Could not connect"},
		},
		"version left the archive": {
			"apt-get", `case "$*" in *" update");; *) echo 'E: Failed to fetch http://a/k.deb  404  Not Found' >&2; exit 100;; esac`,
			[]string{"linux-image-6.1.0-9-armmp", "404  Not Found"},
		},
		"no such package": {
			"apt-cache", `echo 'E: No packages found' >&2; exit 100`,
			[]string{"newest kernel", "No packages found"},
		},
		"meta package without kernel": {"apt-cache", `echo linux-image-armmp`, []string{"depends on no kernel image"}},
		"disk full": {
			"dpkg-deb", `case $1 in --field) printf 'Package: a\nVersion: 1\nArchitecture: all\n';;
*) echo 'dpkg-deb: error: cannot write: No space left on device' >&2; exit 2;; esac`,
			[]string{"unpack", "No space left on device"},
		},
		"no archives":     {"apt-get", `exit 0`, []string{"downloaded no packages"}},
		"odd archive":     {"dpkg-deb", `echo Package: a`, []string{"want Package, Version and Architecture"}},
		"without modules": {"dpkg-deb", strings.Replace(goodDpkg, "lib/modules", "lib/m", 1), []string{"no modules of kernel"}},
		"without trees":   {"dpkg-deb", strings.Replace(goodDpkg, "usr/lib/linux", "usr/lib/l", 1), []string{"no device trees"}},
		"said nothing":    {"apt-cache", `exit 3`, []string{"exit status 3", "it said nothing"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.program(test.program, test.code)
			s, err := Fetch(t.Context(), w.cache, ARMHF)
			var missing *MissingError
			if s != nil || !errors.As(err, &missing) {
				t.Fatalf("Fetch = %v, %v, want a *MissingError", s, err)
			}
			if missing.Set != ARMHF {
				t.Errorf("MissingError.Set = %q, want %q", missing.Set, ARMHF)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Fetch = %v, want a message with %q", err, want)
				}
			}
			if _, err := os.Stat(filepath.Join(w.cache, "armhf")); err == nil {
				t.Error("Fetch left an incomplete set")
			}
			if left, _ := filepath.Glob(filepath.Join(w.cache, ".fetch-*")); len(left) != 0 {
				t.Errorf("Fetch left %v", left)
			}
		})
	}
}

func TestMissingProgram(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Fetch(t.Context(), w.cache, Tools)
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "apt-get is not installed") {
		t.Errorf("Fetch = %v, want a *MissingError that apt-get is not installed", err)
	}
}

func TestMissingFolder(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.cache, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Fetch(t.Context(), w.cache, Tools)
	var missing *MissingError
	if !errors.As(err, &missing) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Fetch into a file = %v, want a *MissingError with ENOTDIR", err)
	}
}

func TestFetchUnknown(t *testing.T) {
	_, err := Fetch(t.Context(), t.TempDir(), "riscv64")
	var missing *MissingError
	if err == nil || errors.As(err, &missing) {
		t.Errorf("Fetch(riscv64) = %v, want an error that is no reason to skip", err)
	}
}

// TestFetchEnds has the caller give up while a download hangs: what was started must end.
func TestFetchEnds(t *testing.T) {
	w := newWorld(t)
	pid := filepath.Join(w.bin, "pid")
	w.program("apt-get", `sleep 1000 & echo $! > `+pid+`.new; mv `+pid+`.new `+pid+`; wait`)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error, 1)
	go func() {
		_, err := Fetch(ctx, w.cache, Tools)
		done <- err
	}()
	await(t, "the download's process", func() bool { _, err := os.Stat(pid); return err == nil })
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("Fetch = %v, want the reason why the caller gave up", err)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(string(b), &child); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the download's child", func() bool { return !running(child) })
}

// running tells whether a process runs; one that only waits to be reaped does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

// TestLock has a caller wait for the lock until its time is over, and then until it is free.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lock while it is taken = %v, want the deadline", err)
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatalf("lock after it was given up: %v", err)
	}
	again()
}

func TestCacheDir(t *testing.T) {
	t.Setenv("PROBITY_BOOT_CACHE", "/x/y")
	if got, err := CacheDir(); err != nil || got != "/x/y" {
		t.Errorf("CacheDir() = %q, %v, want /x/y", got, err)
	}
	t.Setenv("PROBITY_BOOT_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/home/a/.cache")
	if got, err := CacheDir(); err != nil || got != "/home/a/.cache/probity/boot" {
		t.Errorf("CacheDir() = %q, %v, want the user's cache", got, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	var missing *MissingError
	if _, err := Fetch(t.Context(), "", Tools); !errors.As(err, &missing) || !strings.Contains(err.Error(), "PROBITY_BOOT_CACHE") {
		t.Errorf("Fetch without a home = %v, want a *MissingError that names the variable", err)
	}
}

// report is a TB that remembers how a test ended.
type report struct {
	*testing.T
	skipped, failed string
}

func (r *report) Skipf(format string, args ...any)  { r.skipped = fmt.Sprintf(format, args...) }
func (r *report) Fatalf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func TestNeed(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PROBITY_BOOT_CACHE", w.cache)
	r := &report{T: t}
	if s := Need(r, ARMHF); s == nil || s.Release == "" || r.skipped+r.failed != "" {
		t.Errorf("Need = %v, skipped %q, failed %q, want a set", s, r.skipped, r.failed)
	}
	w.program("apt-get", "echo 'E: no route to host' >&2; exit 100")
	if s := Need(r, Tools); s != nil || !strings.Contains(r.skipped, "no route to host") || r.failed != "" {
		t.Errorf("Need without a network: skipped %q, failed %q, want a skip with the reason", r.skipped, r.failed)
	}
	r = &report{T: t}
	if s := Need(r, "none"); s != nil || r.failed == "" {
		t.Errorf("Need of no set: skipped %q, failed %q, want a failure", r.skipped, r.failed)
	}
}

// TestSets fetches real packages, or finds them in the cache. Tests of real boots want the same ones.
func TestSets(t *testing.T) {
	for _, name := range []Name{X86, ARM64} {
		t.Run(string(name), func(t *testing.T) {
			s := Need(t, name)
			if _, err := os.Stat(filepath.Join(s.Modules, "kernel")); err != nil {
				t.Error(err)
			}
			if len(s.Packages) < 4 {
				t.Errorf("packages %v, want the kernel's and those of the recipe", s.Packages)
			}
			found := false
			for _, p := range s.Packages {
				found = found || p.Name == imagePrefix+s.Release
			}
			if !found {
				t.Errorf("packages %v, want the one of kernel %s", s.Packages, s.Release)
			}
		})
	}
}
