//go:build linux

package machine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
)

var all = flag.Bool("all", false, "boot every board, not only the quickest")

func everything(t *testing.T) {
	t.Helper()
	if !*all {
		t.Skip("boots a machine for half a minute: run with -args -all")
	}
}

const imaCmdline = " ima_policy=tcb ima_hash=sha256 ima_template=ima-ng rootfstype=ramfs"

// initrd builds the initial RAM disk of a package set, with the guest program alone in it.
func initrd(t *testing.T, set *debian.Set, goarch string) []byte {
	t.Helper()
	program := filepath.Join(t.TempDir(), "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../cmd/probity-guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch, "GOARM=7")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := image.BaseModules(goarch)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := image.Modules(set.Modules, want...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := image.Initramfs(image.Spec{Init: file(t, program), Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func saved(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// disk builds a disk with a unified kernel image.
func disk(t *testing.T, set *debian.Set, b Board, goarch string) string {
	t.Helper()
	uki, err := image.UKI(image.UKIParts{
		Stub: file(t, set.SystemdStub), Linux: file(t, set.Kernel), Initrd: initrd(t, set, goarch), Cmdline: b.Cmdline() + imaCmdline,
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := image.BootUKI(goarch, uki)
	if err != nil {
		t.Fatal(err)
	}
	d, err := image.Disk(files)
	if err != nil {
		t.Fatal(err)
	}
	return saved(t, "disk", d)
}

// boot boots for real, or skips with the reason.
func boot(t *testing.T, s Spec) *Machine {
	t.Helper()
	if s.TPM != NoTPM {
		s.TPMState = filepath.Join(t.TempDir(), "tpm")
		ca, err := tpmtest.NewCA("Acme")
		if err == nil {
			err = Manufacture(t.Context(), s.TPMState, ca, tpmtest.P256)
		}
		skipMissing(t, err)
	}
	m, err := Start(t.Context(), s)
	skipMissing(t, err)
	t.Cleanup(func() {
		m.Stop()
		if t.Failed() {
			t.Log(m.Console())
		}
	})
	return m
}

func skipMissing(t *testing.T, err error) {
	t.Helper()
	var missing *MissingError
	if errors.As(err, &missing) {
		t.Skipf("skipped: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func arm64(t *testing.T) Spec {
	t.Helper()
	set := debian.Need(t, debian.ARM64)
	return Spec{
		Board: Virt, Firmware: set.AAVMF.Code, VarsTemplate: set.AAVMF.Variables,
		Disk: disk(t, set, Virt, "arm64"), TPM: TIS,
	}
}

func TestBoot(t *testing.T) {
	everything(t)
	ctx := t.Context()
	m := boot(t, arm64(t))
	h := m.Hello()
	if h.Machine != "aarch64" || h.Network == "" || len(h.Problems) > 0 || !strings.Contains(h.Cmdline, "ima_policy=tcb") {
		t.Errorf("Hello = %+v", h)
	}
	first := bootLog(t, m)
	// The guest program is all there is to run; not as the first process, it only says what it is for.
	o, err := m.Run(ctx, guest.Run{Args: []string{"/init"}, Timeout: time.Minute})
	if err != nil || o.Exit != 2 || !strings.Contains(string(o.Stderr), "first process") {
		t.Errorf("Run = %+v, %v", o, err)
	}
	if p, err := m.StartProcess(ctx, guest.Run{Args: []string{"/init"}}); err != nil {
		t.Error(err)
	} else if o, err := p.Wait(ctx, time.Minute); err != nil || o.Exit != 2 || o.User+o.System <= 0 || o.MaxRSS <= 0 {
		t.Errorf("Wait = %+v, %v", o, err)
	}
	speed(t, m)
	if k, err := m.KernelLog(ctx); err != nil || !strings.Contains(k, "Linux version") {
		t.Errorf("KernelLog = %d bytes, %v", len(k), err)
	}
	clock(t, m)
	if _, err := m.ReadFile(ctx, "/sys/kernel/security/ima/ascii_runtime_measurements"); err != nil {
		t.Error(err)
	}
	if err := m.Unmount(ctx, "/sys/kernel/security"); err != nil {
		t.Error(err)
	}
	if b, err := m.ReadFile(ctx, "/sys/kernel/security/ima/ascii_runtime_measurements"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without securityfs: %d bytes, %v", len(b), err)
	}
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if second := bootLog(t, m); !bytes.Equal(first, second) {
		t.Errorf("logs of two boots differ: %d and %d bytes", len(first), len(second))
	}
	if err := m.PowerOff(ctx); err != nil {
		t.Error(err)
	}
}

// bootLog returns the log of this boot, which must fit the TPM's PCRs.
func bootLog(t *testing.T, m *Machine) []byte {
	t.Helper()
	b, err := m.ReadFile(t.Context(), "/sys/kernel/security/tpm0/binary_bios_measurements")
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	bank, err := log.Replay(log.Banks[len(log.Banks)-1])
	if err != nil {
		t.Fatal(err)
	}
	for _, pcr := range []int{0, 4, 7, 11} {
		text, err := m.ReadFile(t.Context(), fmt.Sprintf("/sys/class/tpm/tpm0/pcr-sha256/%d", pcr))
		if err != nil {
			t.Fatal(err)
		}
		got, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || !bytes.Equal(got, bank.Value(pcr)) {
			t.Errorf("PCR %d is %x, by the log %x, %v", pcr, got, bank.Value(pcr), err)
		}
	}
	return b
}

// speed reads and writes what a test does at most: a large boot log, some files.
func speed(t *testing.T, m *Machine) {
	t.Helper()
	for _, c := range []struct {
		op    string
		size  int
		limit time.Duration
	}{{"write", 10 << 10, 10 * time.Second}, {"read", 100 << 10, 10 * time.Second}} {
		content := bytes.Repeat([]byte("\x00\x03\x11\xff\n\r~."), c.size/8)
		began := time.Now()
		var err error
		if c.op == "write" {
			err = m.WriteFile(t.Context(), "/root/file", content, 0o600)
		} else if err = m.Mount(t.Context(), guest.MountArgs{Source: "tmpfs", Target: "/root", Type: "tmpfs"}); err == nil {
			for range c.size / (10 << 10) {
				err = errors.Join(err, m.AppendFile(t.Context(), "/root/large", content[:10<<10]))
			}
			began = time.Now()
			var got []byte
			got, err = m.ReadFile(t.Context(), "/root/large")
			if !bytes.Equal(got, content) {
				t.Errorf("read %d bytes, %v, want %d", len(got), err, len(content))
			}
		}
		if took := time.Since(began); err != nil || took > c.limit {
			t.Errorf("%s %d bytes: %v, %v", c.op, c.size, took, err)
		}
	}
}

// clock: the guest's clock is ours, and can be set.
func clock(t *testing.T, m *Machine) {
	t.Helper()
	for i, then := range []time.Time{time.Now(), time.Now().AddDate(1, 0, 0)} {
		if i == 1 {
			if err := m.SetTime(t.Context(), then); err != nil {
				t.Error(err)
			}
		}
		if err := m.WriteFile(t.Context(), "/clock/file", nil, 0o600); err != nil {
			t.Error(err)
		}
		l, err := m.List(t.Context(), "/clock")
		if err != nil || len(l) != 1 || l[0].Modified.Sub(then).Abs() > 5*time.Minute {
			t.Errorf("the guest's clock: %+v, %v, want about %v", l, err, then)
		}
	}
}
