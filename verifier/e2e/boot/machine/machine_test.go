//go:build linux

package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

func start(t *testing.T, s Spec) *Machine {
	t.Helper()
	m, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

// processes are those of the machine.
func (m *Machine) processes() (pids []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range []*child{m.qemu, m.swtpm} {
		if c != nil {
			pids = append(pids, c.cmd.Process.Pid)
		}
	}
	return pids
}

// gone fails unless the processes end.
func gone(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.Now().Add(stopTime)
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil {
			if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
				break // nobody waits for it here
			}
			if time.Now().After(deadline) {
				t.Errorf("process %d is left running", pid)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestLife(t *testing.T) {
	m := start(t, fakeSpec(t, AST2600, "well"))
	if h := m.Hello(); h.Board != "Fake" || len(h.Problems) != 1 {
		t.Errorf("Hello = %+v", h)
	}
	o, err := m.Run(t.Context(), guest.Run{Args: []string{"/bin/x", "y"}, Stdin: []byte("in")})
	if err != nil || o.Exit != 4 || string(o.Stdout) != "/bin/x y\n" || string(o.Stderr) != "in" {
		t.Errorf("Run = %+v, %v", o, err)
	}
	if _, err := m.ReadFile(t.Context(), "/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile: %v, want ErrNotExist", err)
	}
	first := m.processes()
	if err := m.PowerOn(t.Context()); err == nil {
		t.Error("PowerOn of a machine that is on succeeds")
	}
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := m.processes()
	if first[0] == second[0] {
		t.Error("the same QEMU after Reboot")
	}
	gone(t, first)
	if err := m.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, second)
	if err := m.Ping(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("Ping of a machine that is off: %v, want ErrEnded", err)
	}
	if err := m.QMP(t.Context(), "query-status", nil, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("QMP of a machine that is off: %v, want ErrEnded", err)
	}
	if err := m.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := m.processes()
	m.PowerCut()
	gone(t, third)
	m.Stop()
	m.Stop()
	if got := m.Console(); strings.Count(got, "Linux version") != 3 || !strings.Contains(got, "module x: missing") || strings.Contains(got, "@probity") {
		t.Errorf("Console:\n%s", got)
	}
}

func TestCalls(t *testing.T) {
	ctx := t.Context()
	m := start(t, fakeSpec(t, AST2600, "well"))
	p, err := m.StartProcess(ctx, guest.Run{Args: []string{"/bin/daemon"}})
	if err != nil || p.PID != 42 {
		t.Fatalf("StartProcess = %+v, %v", p, err)
	}
	if s, err := p.Status(ctx); err != nil || !s.Running || s.RSS != 1<<20 {
		t.Errorf("Status = %+v, %v", s, err)
	}
	if o, err := p.Output(ctx); err != nil || o.Exit != -1 {
		t.Errorf("Output = %+v, %v", o, err)
	}
	if o, err := p.Wait(ctx, time.Minute); err != nil || o.Exit != -1 {
		t.Errorf("Wait = %+v, %v", o, err)
	}
	if x, err := m.Traffic(ctx); err != nil || x.SentBytes != 7 {
		t.Errorf("Traffic = %+v, %v", x, err)
	}
	if d, err := m.Hash(ctx, "/x", 0, 0); err != nil || d.Size != 3 {
		t.Errorf("Hash = %+v, %v", d, err)
	}
	if l, err := m.List(ctx, "/"); err != nil || len(l) != 1 || l[0].Name != "x" {
		t.Errorf("List = %+v, %v", l, err)
	}
	if s, err := m.KernelLog(ctx); err != nil || s != "<6>hello" {
		t.Errorf("KernelLog = %q, %v", s, err)
	}
	err = errors.Join(p.Signal(ctx, syscall.SIGTERM), m.WriteFile(ctx, "/x", nil, 0o600), m.AppendFile(ctx, "/x", []byte("y")),
		m.WriteAt(ctx, "/x", 1, []byte("y")), m.CopyFile(ctx, "/x", "/y"), m.Remove(ctx, "/x"), m.Violate(ctx, "/x"),
		m.Mount(ctx, guest.MountArgs{Target: "/x"}), m.Unmount(ctx, "/x"), m.LoadModule(ctx, "/x.ko", ""),
		m.SetTime(ctx, time.Now()), m.Ping(ctx))
	if err != nil {
		t.Error(err)
	}
}

func TestGPIO(t *testing.T) {
	for b, g := range map[Board]guest.GPIOArgs{
		AST2600:   {Chip: "/dev/gpiochip0", Line: 48},
		SABRELite: {Chip: "/dev/gpiochip2", Line: 7},
	} {
		m := start(t, fakeSpec(t, b, "well"))
		for _, high := range []bool{true, false} {
			if err := m.SetGPIO(t.Context(), g.Chip, g.Line, high); err != nil {
				t.Errorf("%s: SetGPIO(%v): %v", b, high, err)
			}
			if got, err := m.GPIO(t.Context(), g.Chip, g.Line); err != nil || got.High != high {
				t.Errorf("%s: GPIO = %+v, %v, want %v", b, got, err, high)
			}
		}
		if err := m.SetGPIO(t.Context(), g.Chip, g.Line+1, true); err == nil {
			t.Errorf("%s: QEMU's refusal is lost", b)
		}
		if err := m.SetGPIO(t.Context(), "/dev/gpiochip9", 0, true); err == nil {
			t.Errorf("%s: SetGPIO of a chip that is not there succeeds", b)
		}
		m.PowerCut()
		if err := m.SetGPIO(t.Context(), g.Chip, g.Line, true); !errors.Is(err, ErrEnded) {
			t.Errorf("%s: SetGPIO of a machine that is off: %v", b, err)
		}
		m.Stop()
	}
}

// TestNoBoot: whatever keeps a machine from coming up is said at once, with what the console said.
func TestNoBoot(t *testing.T) {
	for behave, want := range map[string]struct {
		err  error
		text string
	}{
		"panic":           {ErrPanic, "end Kernel panic"}, // the line after
		"prompt":          {ErrNoBoot, "=> "},
		"silent":          {ErrHang, "Linux version"},
		"refuse":          {ErrEnded, "unsupported machine type"},
		"stubborn":        {ErrHang, "Linux version"},
		"another version": {nil, "version 99"},
	} {
		t.Run(behave, func(t *testing.T) {
			t.Parallel()
			s := fakeSpec(t, AST2600, behave)
			if want.err == ErrHang {
				s.BootTime = 500 * time.Millisecond
			}
			began := time.Now()
			m, err := Start(t.Context(), s)
			var failed *GuestError
			if !errors.As(err, &failed) || want.err != nil && !errors.Is(err, want.err) {
				t.Fatalf("Start = %v, %v, want %v", m, err, want.err)
			}
			if !strings.Contains(err.Error(), want.text) || failed.Board != AST2600 || failed.Op != "boot" {
				t.Errorf("Start: %v", err)
			}
			if took := time.Since(began); took > stopTime+30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestEndsDuringACall(t *testing.T) {
	for behave, want := range map[string]error{"panic later": ErrPanic, "die later": ErrEnded} {
		m := start(t, fakeSpec(t, AST2600, behave))
		err := m.Ping(t.Context())
		var failed *GuestError
		if !errors.Is(err, want) || !errors.As(err, &failed) || failed.Op != "ping" {
			t.Errorf("%s: Ping: %v, want %v", behave, err, want)
		}
		if want == ErrEnded && !strings.Contains(err.Error(), "fatal: oops") {
			t.Errorf("%s: Ping: %v, without what QEMU said", behave, err)
		}
		m.Stop()
	}
	m := start(t, fakeSpec(t, AST2600, "bad answers"))
	if o, err := m.Run(t.Context(), guest.Run{Args: []string{"/x"}}); err == nil {
		t.Errorf("Run with a wrong answer = %+v", o)
	}
}

// TestHalt: a board that cannot switch itself off is switched off.
func TestHalt(t *testing.T) {
	m := start(t, fakeSpec(t, AST2600, "halt"))
	pids := m.processes()
	if err := m.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, pids)
}

func TestContextEndsMachine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Start(ctx, fakeSpec(t, AST2600, "well"))
	if err != nil {
		t.Fatal(err)
	}
	pids := m.processes()
	cancel()
	gone(t, pids)
	m.Stop()
	if err := m.PowerOn(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("PowerOn after Stop: %v, want ErrEnded", err)
	}
	gone(t, m.processes())
}

func TestSlots(t *testing.T) {
	var all []*Machine
	for range MaxMachines {
		all = append(all, start(t, fakeSpec(t, AST2600, "well")))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if m, err := Start(ctx, fakeSpec(t, AST2600, "well")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start of one too many = %v, %v", m, err)
	}
	all[0].Stop()
	start(t, fakeSpec(t, AST2600, "well")).Stop()
}

func TestMissing(t *testing.T) {
	s := fakeSpec(t, AST2600, "well")
	s.QEMU = t.TempDir()
	var missing *MissingError
	if m, err := Start(t.Context(), s); !errors.As(err, &missing) || missing.Program != "qemu-system-arm" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Start without QEMU = %v, %v", m, err)
	}
	s = fakeSpec(t, Q35, "well")
	s.TPM, s.TPMState = TIS, t.TempDir()
	t.Setenv("PATH", t.TempDir())
	missing = nil
	if m, err := Start(t.Context(), s); !errors.As(err, &missing) || missing.Program != "swtpm" {
		t.Errorf("Start without swtpm = %v, %v", m, err)
	}
	missing = nil
	if err := Manufacture(t.Context(), t.TempDir(), nil, ""); !errors.As(err, &missing) || missing.Program != "swtpm" {
		t.Errorf("Manufacture without swtpm: %v", err)
	}
}

// TestKilled kills a process with a machine, which cannot clean up, and finds nothing left of the machine.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("PROBITY_MACHINE_TO_KILL"); dir != "" {
		s := fakeSpec(t, Q35, "well")
		if _, err := exec.LookPath("swtpm"); err == nil {
			s.TPM, s.TPMState = TIS, filepath.Join(dir, "tpm")
		}
		m := start(t, s)
		var text []string
		for _, pid := range m.processes() {
			text = append(text, strconv.Itoa(pid))
		}
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte(strings.Join(text, " ")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "pids")); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "PROBITY_MACHINE_TO_KILL="+dir, "TMPDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var pids []int
	for len(pids) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the process ended by itself: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		b, err := os.ReadFile(filepath.Join(dir, "pids"))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	gone(t, pids)
}
