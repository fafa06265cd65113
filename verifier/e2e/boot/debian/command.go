package debian

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
	"syscall"
)

// run runs a program in dir and returns what it printed. An error tells what the program complained of. When ctx ends,
// the program and what it started are killed; so is the program when this process dies.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// The kernel sends Pdeathsig when the thread that started the program ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s is not installed: packages are fetched on Debian and its kind only", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, complaint(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// maxComplaints is how many lines of a program's errors are quoted.
const maxComplaints = 4

// complaint picks the lines that tell what went wrong: those marked as errors, otherwise the last ones.
func complaint(stderr []byte) string {
	var errs, all []string
	for line := range strings.Lines(string(stderr)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		all = append(all, line)
		if strings.HasPrefix(line, "E:") || strings.Contains(line, "error:") {
			errs = append(errs, line)
		}
	}
	if len(errs) > 0 {
		return strings.Join(errs[:min(len(errs), maxComplaints)], "; ")
	}
	if len(all) == 0 {
		return "it said nothing"
	}
	return strings.Join(all[max(0, len(all)-maxComplaints):], "; ")
}

// lock takes the lock of a file, which the kernel gives up when this process dies, and returns what gives it up.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		for errors.Is(err, syscall.EINTR) {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		locked <- err
	}()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		go func() { // nothing can interrupt the wait
			<-locked
			_ = f.Close()
		}()
		return nil, context.Cause(ctx)
	}
}
