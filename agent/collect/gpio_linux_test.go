package collect

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

func TestNoChip(t *testing.T) {
	w := NewTamper(Config{}, []TamperLine{{Name: "lid", Chip: "gpiochip65535", Line: 1}}, slog.New(slog.DiscardHandler))
	l := w.Lines(t.Context())[0]
	wantCause(t, l.Unavailable, proto.CauseNotFound, "/dev/gpiochip65535")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// What is no chip is not asked: the file of a machine that is not this one, a device of another kind.
func TestNoGPIO(t *testing.T) {
	tr := newTree(t)
	tr.write("dev/gpiochip0", "")
	if _, err := openLine(root(tr.dir), TamperLine{Chip: "gpiochip0"}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("openLine of a file = %v, want %v", err, fs.ErrInvalid)
	}
	other := filepath.Join(t.TempDir(), "dev")
	if err := errors.Join(os.Mkdir(other, 0o755), syscall.Mknod(filepath.Join(other, "gpiochip0"), syscall.S_IFCHR|0o600, 1<<8|3)); err != nil {
		t.Skipf("skipped: %v", err)
	}
	if _, err := openLine(root(filepath.Dir(other)), TamperLine{Chip: "gpiochip0"}); !errors.Is(err, errNoGPIO) {
		t.Errorf("openLine of /dev/null = %v, want %v", err, errNoGPIO)
	}
}

// gpioSim makes a chip of the kernel's own (Documentation/admin-guide/gpio/gpio-sim.rst) and returns its name and how to
// set a line.
func gpioSim(t *testing.T) (chip string, pull func(line, level string)) {
	t.Helper()
	const configfs = "/sys/kernel/config/gpio-sim"
	if _, err := os.Stat(configfs); err != nil {
		t.Skipf("skipped: this kernel simulates no GPIO: %v (needs CONFIG_GPIO_SIM, configfs and root)", err)
	}
	dir := filepath.Join(configfs, "probity-test")
	bank := filepath.Join(dir, "bank0")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	if err := os.MkdirAll(bank, 0o755); err != nil {
		t.Skipf("skipped: %v", err)
	}
	t.Cleanup(func() {
		err := os.WriteFile(filepath.Join(dir, "live"), []byte("0"), 0o600)
		if err := errors.Join(err, os.Remove(bank), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	write(filepath.Join(bank, "num_lines"), "8")
	write(filepath.Join(dir, "live"), "1")
	chip = read(filepath.Join(bank, "chip_name"))
	sysfs := filepath.Join("/sys/devices/platform", read(filepath.Join(dir, "dev_name")), chip)
	return chip, func(line, level string) { write(filepath.Join(sysfs, "sim_gpio"+line, "pull"), "pull-"+level) }
}

// TestKernelLine reads a line of the kernel, none of which has a name.
func TestKernelLine(t *testing.T) {
	chip, pull := gpioSim(t)
	pull("5", "down")
	w := NewTamper(Config{}, []TamperLine{
		{Name: "lid", Chip: chip, Line: 5}, {Name: "none", Chip: chip, Line: 8}, {Name: "door", Chip: chip, Line: 0, ActiveLow: true},
	}, slog.New(slog.DiscardHandler))
	defer w.Close()
	lines := w.Lines(t.Context())
	if lines[0].State != proto.TamperClosed || lines[2].State != proto.TamperOpen {
		t.Fatalf("lines = %+v, want lid closed and door open", lines)
	}
	wantCause(t, lines[1].Unavailable, proto.CauseIO, "no such line")
	pull("5", "up")
	time.Sleep(2 * bounce) // a hand is slower than a contact bounces
	pull("5", "down")
	deadline := time.Now().Add(10 * time.Second)
	for lines = w.Lines(t.Context()); lines[0].Openings == 0 && time.Now().Before(deadline); lines = w.Lines(t.Context()) {
		time.Sleep(time.Millisecond) // the kernel reports the edge soon
	}
	if lines[0].State != proto.TamperClosed || lines[0].Openings != 1 {
		t.Errorf("lid = %+v, want closed and once opened", lines[0])
	}
	busy := NewTamper(Config{}, []TamperLine{{Name: "lid", Chip: chip, Line: 5}}, slog.New(slog.DiscardHandler))
	defer busy.Close()
	wantCause(t, busy.Lines(t.Context())[0].Unavailable, proto.CauseIO, "a driver or another program has it")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if l := busy.Lines(t.Context())[0]; l.State != proto.TamperClosed {
		t.Errorf("line = %+v after its owner closed it", l)
	}
}
