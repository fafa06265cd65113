//go:build linux

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

func TestFiles(t *testing.T) {
	m := newMachine()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b")
	at := func(n int64) *int64 { return &n }
	for _, w := range []struct {
		args guest.WriteArgs
		body string
		want string
	}{
		{guest.WriteArgs{Path: path, Mode: 0o640}, "0123456789", "0123456789"},
		{guest.WriteArgs{Path: path, Append: true}, "ab", "0123456789ab"},
		{guest.WriteArgs{Path: path, Offset: at(3)}, "XY", "012XY56789ab"},
		{guest.WriteArgs{Path: path}, "new", "new"},
	} {
		if _, _, err := ask[any](t, m, guest.OpWrite, w.args, []byte(w.body)); err != nil {
			t.Fatalf("write %+v: %v", w.args, err)
		}
		if _, b, err := ask[any](t, m, guest.OpRead, guest.ReadArgs{Path: path}, nil); err != nil || string(b) != w.want {
			t.Errorf("after write %+v: %q, %v, want %q", w.args, b, err, w.want)
		}
	}
	if _, b, err := ask[any](t, m, guest.OpRead, guest.ReadArgs{Path: path, Offset: 1, Limit: 1}, nil); err != nil || string(b) != "e" {
		t.Errorf("read of a part = %q, %v", b, err)
	}
	d, _, err := ask[guest.Digest](t, m, guest.OpHash, guest.ReadArgs{Path: path, Limit: 2}, nil)
	if err != nil || d.Size != 2 || len(d.SHA256) != 32 {
		t.Errorf("hash = %+v, %v", d, err)
	}
	if _, b, err := ask[any](t, m, guest.OpRead, guest.ReadArgs{Path: "/proc/self/status"}, nil); err != nil || !bytes.Contains(b, []byte("VmRSS")) {
		t.Errorf("read of a file of the kernel = %d bytes, %v", len(b), err)
	}
	if _, b, err := ask[any](t, m, guest.OpRead, guest.ReadArgs{Path: "/dev/zero"}, nil); !errors.Is(err, unix.EFBIG) {
		t.Errorf("read without an end = %d bytes, %v, want EFBIG", len(b), err)
	}
	program := filepath.Join(dir, "program")
	if _, _, err := ask[any](t, m, guest.OpCopy, guest.CopyArgs{From: "/bin/cat", To: program}, nil); err != nil {
		t.Fatal(err)
	}
	l, _, err := ask[[]guest.Entry](t, m, guest.OpList, guest.FileArgs{Path: dir}, nil)
	if err != nil || len(l) != 2 || l[0].Name != "a" || !l[0].Mode.IsDir() || l[1].Mode.Perm()&0o111 == 0 || l[1].Size == 0 {
		t.Errorf("list = %+v, %v", l, err)
	}
	// What runs can be replaced by a copy, and not be written to.
	p, _, err := ask[guest.ProcessArgs](t, m, guest.OpStart, guest.Run{Args: []string{program, "/dev/zero"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, busy := ask[any](t, m, guest.OpWrite, guest.WriteArgs{Path: program, Append: true}, []byte("x"))
	if !errors.Is(busy, unix.ETXTBSY) {
		t.Errorf("write to a running program: %v, want ETXTBSY", busy)
	}
	if _, _, err := ask[any](t, m, guest.OpCopy, guest.CopyArgs{From: path, To: program}, nil); err != nil {
		t.Errorf("copy over a running program: %v", err)
	}
	p.Signal = syscall.SIGKILL
	if _, _, err := ask[any](t, m, guest.OpSignal, p, nil); err != nil {
		t.Error(err)
	}
	if o, _, err := ask[guest.Output](t, m, guest.OpWait, p, nil); err != nil || o.Signal != syscall.SIGKILL {
		t.Errorf("wait = %+v, %v", o, err)
	}
	if _, _, err := ask[any](t, m, guest.OpViolate, guest.FileArgs{Path: path}, nil); err != nil || firstLine(path) != "new" {
		t.Errorf("violate: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "new\n" {
		t.Errorf("violate leaves %q", b)
	}
	if _, _, err := ask[any](t, m, guest.OpRemove, guest.FileArgs{Path: filepath.Dir(path)}, nil); err != nil {
		t.Error(err)
	}
	for _, o := range []guest.Op{guest.OpViolate, guest.OpList, guest.OpUnmount} {
		if _, _, err := ask[any](t, m, o, guest.FileArgs{Path: path}, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of nothing: %v, want ErrNotExist", o, err)
		}
	}
	for _, a := range []guest.WriteArgs{{Path: path, Offset: at(0)}, {Path: path, Append: true, Offset: at(0)}} {
		if _, _, err := ask[any](t, m, guest.OpWrite, a, nil); err == nil {
			t.Errorf("write %+v succeeds", a)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".copy-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestGPIORefused(t *testing.T) {
	for path, want := range map[string]error{"/dev/null": unix.ENOTTY, "/dev/no-such-chip": unix.ENOENT} {
		if g, err := readGPIO(guest.GPIOArgs{Chip: path}); !errors.Is(err, want) {
			t.Errorf("readGPIO(%s) = %+v, %v, want %v", path, g, err, want)
		}
	}
}
