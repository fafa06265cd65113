//go:build linux

// Package boot boots real machines that measure themselves, attacks them, and has a real verifier judge what the agent
// inside them reports: firmware, boot loaders and kernels are Debian's, the agent is ours, the TPM is swtpm, and QEMU
// emulates the rest. Packages debian, image, guest and machine below it are its parts.
//
// A part of it runs with every test; the flag -all (make e2e-boot) boots everything. What this machine lacks, a package
// that left the archive or QEMU itself, is a visible skip.
package boot

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
)

var (
	all     = flag.Bool("all", false, "boot every machine and variant, not only the quick ones")
	capture = flag.String("capture", "", "write the logs of healthy boots to this `folder`, in the form of testdata")
)

// bootTime is how long a machine may take to come up, on a machine that is busy with others.
const bootTime = 4 * time.Minute

// imaCmdline switches IMA on; with ramfs, since its policy tcb does not look at a tmpfs.
const imaCmdline = "ima_policy=tcb ima_hash=sha256 ima_template=ima-ng rootfstype=ramfs"

// scratch is a folder for what all tests share, such as disk images. It goes when they have run.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if scratch, err = os.MkdirTemp("", "probity-boot-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	footprints.print(os.Stdout)
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// everything skips a test that is not of the quick part.
func everything(t *testing.T) {
	t.Helper()
	if !*all {
		t.Skip("boots machines for minutes: make e2e-boot runs it")
	}
}

// once keeps what was made by key, made by the first who asks.
type once[T any] struct {
	mu   sync.Mutex
	made map[string]func() (T, error)
}

func (o *once[T]) get(t *testing.T, key string, build func() (T, error)) T {
	t.Helper()
	o.mu.Lock()
	if o.made == nil {
		o.made = make(map[string]func() (T, error))
	}
	if o.made[key] == nil {
		o.made[key] = sync.OnceValues(build)
	}
	f := o.made[key]
	o.mu.Unlock()
	v, err := f()
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return v
}

var programs once[[]byte] // by package and architecture

// program builds one of our programs for a guest: static, as it ships.
func program(t *testing.T, pkg, goarch string) []byte {
	t.Helper()
	return programs.get(t, pkg+" for "+goarch, func() ([]byte, error) {
		out := filepath.Join(scratch, filepath.Base(pkg)+"-"+goarch)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=e2e", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch, "GOARM=7")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, b)
		}
		return os.ReadFile(out)
	})
}

const (
	agentPackage = "github.com/probity-attest/probity/agent/cmd/probity-agent"
	guestPackage = "github.com/probity-attest/probity/verifier/e2e/boot/cmd/probity-guest"
)

// toolPath is a program of the guests beside the agent: the same bytes by another name, for attacks on user space.
const toolPath = "/usr/sbin/routerd"

// system is what a machine boots, before it is packed. Tests change single parts of it.
type system struct {
	arch    string // Go's name
	set     debian.Name
	linux   string // file of the kernel
	agent   []byte
	modules []image.Want
	files   []image.File
	cmdline string
}

// newSystem returns the healthy system of a package set.
func newSystem(t *testing.T, name debian.Name, arch string, b machine.Board) *system {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine: skipped with -short")
	}
	set := debian.Need(t, name)
	modules, err := image.BaseModules(arch)
	if err != nil {
		t.Fatal(err)
	}
	return &system{
		arch: arch, set: name, linux: set.Kernel, agent: program(t, agentPackage, arch), modules: modules,
		cmdline: b.Cmdline() + " " + imaCmdline,
	}
}

// initrd packs the system's programs and modules.
func (s *system) initrd(t *testing.T) []byte {
	t.Helper()
	modules, err := image.Modules(debian.Need(t, s.set).Modules, s.modules...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := image.Initramfs(image.Spec{
		Init: program(t, guestPackage, s.arch), Agent: s.agent, Modules: modules,
		Files: append([]image.File{{Path: toolPath, Data: program(t, agentPackage, s.arch)}}, s.files...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// uki packs the system into a unified kernel image.
func (s *system) uki(t *testing.T) []byte {
	t.Helper()
	b, err := image.UKI(image.UKIParts{
		Stub: read(t, debian.Need(t, s.set).SystemdStub), Linux: read(t, s.linux), Initrd: s.initrd(t), Cmdline: s.cmdline,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ukiDisk writes a disk that boots the system as a unified kernel image, signed by key unless that is nil.
func (s *system) ukiDisk(t *testing.T, key *image.Key) string {
	t.Helper()
	uki := s.uki(t)
	if key != nil {
		var err error
		if uki, err = image.Sign(uki, key); err != nil {
			t.Fatal(err)
		}
	}
	f, err := image.BootUKI(s.arch, uki)
	if err != nil {
		t.Fatal(err)
	}
	return disk(t, f)
}

// disk writes a disk with these files.
func disk(t *testing.T, f map[string][]byte) string {
	t.Helper()
	b, err := image.Disk(f)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "disk", b)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write writes a file that lasts as long as the test.
func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	err := os.WriteFile(path, b, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no real boot: %v: it needs %d bytes for a disk image", err, len(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// patched writes a changed copy of a file.
func patched(t *testing.T, name string, change func([]byte) ([]byte, error)) string {
	t.Helper()
	b, err := change(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "patched-"+filepath.Base(name), b)
}

// start switches a machine on; what this host lacks is a visible skip.
func start(t *testing.T, ctx context.Context, s machine.Spec) (*machine.Machine, error) {
	t.Helper()
	if s.BootTime == 0 {
		s.BootTime = bootTime
	}
	m, err := machine.Start(ctx, s)
	var missing *machine.MissingError
	if errors.As(err, &missing) {
		t.Skipf("no real boot: %v", err)
	}
	return m, err
}
