//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// process is a program that the host had started.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
	timedOut       bool
}

// buffer keeps the first MaxOutput bytes of a stream.
type buffer struct {
	mu        sync.Mutex
	b         bytes.Buffer
	truncated bool
}

// Write never fails: a program must not die of our limits.
func (w *buffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := min(len(p), guest.MaxOutput-w.b.Len())
	w.b.Write(p[:keep])
	w.truncated = w.truncated || keep < len(p)
	return len(p), nil
}

func (w *buffer) bytes() ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.b.Bytes()), w.truncated
}

// drain is how long a program's children may hold its streams open after its end.
const drain = time.Second

// start starts a program, whose process is known from then on.
func (m *machine) start(r guest.Run, stdin []byte) (*process, error) {
	if len(r.Args) == 0 || !strings.HasPrefix(r.Args[0], "/") {
		return nil, fmt.Errorf("run %q: %w: the program's file with its whole path is needed", r.Args, unix.EINVAL)
	}
	p := &process{ended: make(chan struct{})}
	ctx, cancel := context.Background(), func() {}
	if r.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
	}
	p.cmd = exec.CommandContext(ctx, r.Args[0], r.Args[1:]...)
	p.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/root"}, r.Env...)
	p.cmd.Dir = r.Dir
	if r.Dir == "" {
		p.cmd.Dir = "/"
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = bytes.NewReader(stdin), &p.stdout, &p.stderr
	p.cmd.WaitDelay = drain
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Cancel = func() error {
		p.timedOut = true
		return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // with all that it started
	}
	// Under the lock, so that the reaper does not take a child that it does not know yet.
	m.mu.Lock()
	err := p.cmd.Start()
	if err == nil {
		m.processes[p.cmd.Process.Pid] = p
	}
	m.mu.Unlock()
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		cancel()
		close(p.ended)
	}()
	return p, nil
}

// wait waits for the end.
func (p *process) wait() (guest.Answer, error) {
	<-p.ended
	return p.answer(), nil
}

// answer is what a process wrote and, if it has ended, how.
func (p *process) answer() guest.Answer {
	stdout, cut := p.stdout.bytes()
	stderr, cutToo := p.stderr.bytes()
	o := guest.Output{Exit: -1, StdoutLen: len(stdout), StderrLen: len(stderr), Truncated: cut || cutToo}
	select {
	case <-p.ended:
	default:
		return guest.Answer{Result: o, Body: append(stdout, stderr...)}
	}
	o.TimedOut = p.timedOut
	if s := p.cmd.ProcessState; s != nil {
		o.Exit, o.User, o.System = s.ExitCode(), s.UserTime(), s.SystemTime()
		if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			o.Signal = w.Signal()
		}
		if u, ok := s.SysUsage().(*syscall.Rusage); ok {
			o.MaxRSS = int64(u.Maxrss) << 10
		}
	}
	return guest.Answer{Result: o, Body: append(stdout, stderr...)}
}

// status is what a process uses now, from proc; the zero Status if it has ended.
func (p *process) status() (guest.Status, error) {
	select {
	case <-p.ended:
		return guest.Status{}, nil
	default:
	}
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	status, err1 := os.ReadFile(dir + "/status")
	stat, err2 := os.ReadFile(dir + "/stat")
	switch err := errors.Join(err1, err2); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH): // it has ended since
		return guest.Status{}, nil
	case err != nil:
		return guest.Status{}, err
	}
	return parseStatus(string(status), string(stat))
}

// tick is the unit of processor times in /proc/PID/stat: USER_HZ is 100 on every architecture that we boot.
const tick = 10 * time.Millisecond

// parseStatus reads /proc/PID/status and /proc/PID/stat.
func parseStatus(status, stat string) (guest.Status, error) {
	s := guest.Status{Running: true}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			continue // a text; the fields that matter are numbers
		}
		switch key {
		case "VmRSS":
			s.RSS = n << 10
		case "VmHWM":
			s.PeakRSS = n << 10
		case "Threads":
			s.Threads = int(n)
		}
	}
	f, err := statFields(stat)
	if err != nil {
		return guest.Status{}, err
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64) // field 14 of proc(5): utime
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return guest.Status{}, err
	}
	s.User, s.System = time.Duration(user)*tick, time.Duration(system)*tick
	s.Running = f[0] != "Z" && f[0] != "X"
	return s, nil
}

// statFields are those of /proc/PID/stat after the name, which may hold spaces and brackets: the first is the state.
func statFields(stat string) ([]string, error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return nil, fmt.Errorf("stat of a process has %d fields", len(f))
	}
	return f, nil
}

// reap takes the ends of processes whose parent is gone and that fell to the first process, and of no others: package
// exec waits for its own.
func (m *machine) reap(signals <-chan os.Signal) {
	for range signals {
		dirs, err := os.ReadDir("/proc")
		if err != nil {
			continue
		}
		for _, d := range dirs {
			if pid, err := strconv.Atoi(d.Name()); err == nil && m.orphan(pid) {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
}

func (m *machine) orphan(pid int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.processes[pid] != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	f, err := statFields(string(stat))
	return err == nil && f[0] == "Z" && f[1] == strconv.Itoa(os.Getpid())
}
