//go:build linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

func sh(script string) guest.Run { return guest.Run{Args: []string{"/bin/sh", "-c", script}} }

func TestRun(t *testing.T) {
	m := newMachine()
	r := sh("cat; echo $SAID $PWD; echo bad >&2; exit 3")
	r.Env, r.Dir = []string{"SAID=hello"}, "/proc"
	o, body, err := ask[guest.Output](t, m, guest.OpRun, r, []byte("in\n"))
	if err != nil || o.Exit != 3 || string(body) != "in\nhello /proc\nbad\n" || o.StderrLen != 4 {
		t.Errorf("run = %+v, %q, %v", o, body, err)
	}
	if o.MaxRSS <= 0 || o.User < 0 || o.TimedOut || o.Signal != 0 {
		t.Errorf("run = %+v", o)
	}
	r = sh("sleep 100 & sleep 100")
	r.Timeout = 50 * time.Millisecond
	began := time.Now()
	o, _, err = ask[guest.Output](t, m, guest.OpRun, r, nil)
	if err != nil || !o.TimedOut || o.Exit != -1 || o.Signal != syscall.SIGKILL {
		t.Errorf("run over its time = %+v, %v", o, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("ended after %s", took)
	}
	o, body, err = ask[guest.Output](t, m, guest.OpRun, sh("head -c 5000000 /dev/zero"), nil)
	if err != nil || !o.Truncated || o.Exit != 0 || len(body) != guest.MaxOutput {
		t.Errorf("run of a chatterer = %+v, %d bytes, %v", o, len(body), err)
	}
	for _, args := range [][]string{nil, {"true"}, {"/no/such/file"}} {
		if o, _, err := ask[guest.Output](t, m, guest.OpRun, guest.Run{Args: args}, nil); err == nil {
			t.Errorf("run %q = %+v", args, o)
		}
	}
}

func TestProcess(t *testing.T) {
	m := newMachine()
	p, _, err := ask[guest.ProcessArgs](t, m, guest.OpStart, sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done"), nil)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		o, body, err := ask[guest.Output](t, m, guest.OpOutput, p, nil)
		if err != nil || o.Exit != -1 || time.Now().After(deadline) {
			t.Fatalf("output = %+v, %q, %v", o, body, err)
		}
		if string(body) == "up\n" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s, _, err := ask[guest.Status](t, m, guest.OpStatus, p, nil)
	if err != nil || !s.Running || s.RSS <= 0 || s.PeakRSS < s.RSS || s.Threads != 1 {
		t.Errorf("status = %+v, %v", s, err)
	}
	p.Signal = syscall.SIGTERM
	if _, _, err := ask[any](t, m, guest.OpSignal, p, nil); err != nil {
		t.Error(err)
	}
	o, body, err := ask[guest.Output](t, m, guest.OpWait, p, nil)
	if err != nil || o.Exit != 7 || string(body) != "up\nbye\n" {
		t.Errorf("wait = %+v, %q, %v", o, body, err)
	}
	if s, _, err := ask[guest.Status](t, m, guest.OpStatus, p, nil); err != nil || s.Running {
		t.Errorf("status after the end = %+v, %v", s, err)
	}
	if _, _, err := ask[any](t, m, guest.OpSignal, p, nil); err == nil {
		t.Error("a signal reaches a process that has ended")
	}
	if _, _, err := ask[any](t, m, guest.OpWait, guest.ProcessArgs{PID: 1}, nil); !errors.Is(err, unix.ESRCH) {
		t.Errorf("wait for another's process: %v, want ESRCH", err)
	}
}

// TestOrphans: processes whose parent is gone do not stay as zombies, and package exec keeps its own.
func TestOrphans(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("skipped: orphans do not come here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	m := newMachine()
	file := filepath.Join(t.TempDir(), "pid")
	o, _, err := ask[guest.Output](t, m, guest.OpRun, sh("(exec sleep 0.05 >/dev/null 2>&1 </dev/null) & echo $! > "+file), nil)
	if err != nil || o.Exit != 0 {
		t.Fatalf("run = %+v, %v", o, err)
	}
	pid := strings.TrimSpace(firstLine(file))
	signals := make(chan os.Signal, 1)
	go m.reap(signals)
	defer close(signals)
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the orphan stays: " + firstLine("/proc/"+pid+"/stat"))
		}
		signals <- syscall.SIGCHLD
		time.Sleep(time.Millisecond)
	}
}
