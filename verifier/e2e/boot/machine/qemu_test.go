//go:build linux

package machine

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// blank is a machine of a board that finds nothing to execute.
func blank(t *testing.T, b Board) Spec {
	t.Helper()
	dir := t.TempDir()
	chip := filepath.Join(dir, "with, comma")
	size := int64(1 << 20)
	if b == Virt {
		size = 64 << 20
	}
	if err := errors.Join(os.WriteFile(chip, nil, 0o600), os.Truncate(chip, size)); err != nil {
		t.Fatal(err)
	}
	s := Spec{Board: b}
	switch m := models[b]; {
	case m.virtio:
		s.Firmware, s.Disk = chip, chip
		if m.pflash {
			s.VarsTemplate = chip
		}
		if _, err := exec.LookPath("swtpm"); err != nil {
			t.Skipf("skipped: %v", err)
		}
		s.TPM, s.TPMState = TIS, filepath.Join(dir, "tpm")
	default:
		s.Kernel, s.Cmdline, s.Flash = chip, b.Cmdline(), filepath.Join(dir, "flash,chip")
		if err := os.WriteFile(s.Flash, []byte("boot"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestQEMU: QEMU takes the arguments of every board, and its control protocol answers.
func TestQEMU(t *testing.T) {
	for b := range models {
		t.Run(string(b), func(t *testing.T) {
			s := blank(t, b)
			program, err := findQEMU(s)
			if err != nil {
				t.Skipf("skipped: %v", err)
			}
			m := &Machine{spec: s, program: program, console: newConsole(), release: func() {}}
			defer m.Stop()
			if err := m.launch(t.Context()); err != nil {
				t.Fatalf("launch: %v\n%s", err, m.Console())
			}
			var status struct{ Status string }
			if err := m.QMP(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
				t.Errorf("status = %+v, %v", status, err)
			}
			var refused *QMPError
			if err := m.QMP(t.Context(), "no-such-command", nil, nil); !errors.As(err, &refused) || refused.Class != "CommandNotFound" {
				t.Errorf("no-such-command: %v, want QEMU's refusal", err)
			}
			if models[b].gpio != nil {
				for _, high := range []bool{true, false} {
					if err := m.SetGPIO(t.Context(), "/dev/gpiochip0", 5, high); err != nil {
						t.Errorf("SetGPIO: %v", err)
					}
				}
			}
			pids := m.processes()
			if want := 1 + len(s.TPM)/3; len(pids) != want {
				t.Errorf("%d processes, want %d", len(pids), want)
			}
			m.Stop()
			gone(t, pids)
			if s.Flash != "" {
				if b, err := os.ReadFile(s.Flash); err != nil || int64(len(b)) != s.Board.FlashSize() || !strings.HasPrefix(string(b), "boot\xff") {
					t.Errorf("flash afterwards: %d bytes, %v", len(b), err)
				}
			}
		})
	}
}

// TestHang: a machine that says nothing is given up, and what QEMU itself refuses is told.
func TestHang(t *testing.T) {
	s := blank(t, Q35)
	s.BootTime = time.Second
	var missing *MissingError
	m, err := Start(t.Context(), s)
	if errors.As(err, &missing) {
		t.Skipf("skipped: %v", err)
	}
	if !errors.Is(err, ErrHang) {
		t.Errorf("Start = %v, %v, want ErrHang", m, err)
	}
	s.Args = []string{"-no-such-option"}
	if m, err := Start(t.Context(), s); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "no-such-option: invalid option") {
		t.Errorf("Start = %v, %v, want ErrEnded with what QEMU says", m, err)
	}
	s = blank(t, Q35)
	s.TPMState = s.Firmware // a file
	if m, err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("Start with a file as TPM = %v, %v", m, err)
	}
}

// TestVariables: a machine's variables are the template's until it has its own.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	template, own := filepath.Join(dir, "template"), filepath.Join(dir, "own")
	content := append(append([]byte("head"), make([]byte, 200<<10)...), "tail\x00\x00"...)
	if err := os.WriteFile(template, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Machine{spec: Spec{VarsTemplate: template, Vars: own}}
	for _, want := range []string{string(content), "changed"} {
		var l files
		path, err := m.variables(&l)
		if err != nil || path != own || len(l.extra) != 0 {
			t.Fatalf("variables = %q, %v", path, err)
		}
		if b, err := os.ReadFile(own); err != nil || string(b) != want {
			t.Errorf("own variables have %d bytes, %v, want %d", len(b), err, len(want))
		}
		if err := os.WriteFile(own, []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.spec.Vars = ""
	var l files
	defer l.close()
	path, err := m.variables(&l)
	if err != nil || path != "/dev/fd/3" || len(l.extra) != 1 {
		t.Fatalf("variables = %q, %d files, %v", path, len(l.extra), err)
	}
	got := make([]byte, len(content)+1)
	if n, err := l.extra[0].ReadAt(got, 0); n != len(content) || !errors.Is(err, io.EOF) || string(got[:n]) != string(content) {
		t.Errorf("variables in memory: %d bytes, %v", n, err)
	}
	m.spec.Vars = filepath.Join(dir, "no", "folder")
	if path, err := m.variables(&l); err == nil {
		t.Errorf("variables = %q", path)
	}
}

func TestManufacture(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	ca, err := tpmtest.NewCA("Acme")
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for range 2 {
		dir := filepath.Join(t.TempDir(), "new", "tpm")
		if err := Manufacture(t.Context(), dir, ca, tpmtest.P256, pcr.SHA1, pcr.SHA384); err != nil {
			t.Fatal(err)
		}
		// The state is a TPM's, whoever opens it.
		d := tpmtest.Start(t, tpmtest.Options{Dir: dir, Banks: []pcr.Algorithm{pcr.SHA1, pcr.SHA384}}).TPM(t)
		ids[d.DeviceID()] = true
		if len(d.Endorsement().Certificates) != 2 {
			t.Errorf("%d certificates, want the key's and the intermediate's", len(d.Endorsement().Certificates))
		}
		if banks, err := d.Banks(); err != nil || len(banks) != 2 {
			t.Errorf("Banks = %v, %v", banks, err)
		}
	}
	if len(ids) != 2 {
		t.Error("two TPMs are one")
	}
	if err := Manufacture(t.Context(), filepath.Join(t.TempDir(), "x"), ca, "no such kind"); err == nil {
		t.Error("Manufacture of an unknown kind succeeds")
	}
}
