package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// Module is a kernel module, unpacked.
type Module struct {
	Name   string // with underscores, as the kernel shows it
	Params string // "name=value name=value"
	Data   []byte // ELF object
}

// Want asks for a module.
type Want struct {
	Name     string // dashes and underscores are the same
	Params   string
	Optional bool // leave it out if the kernel does not have it
}

// BaseModules are the modules for every machine of an architecture, by its Go name (amd64, arm64, arm): QEMU's devices,
// the TPM and, on arm, what is on the boards. Drivers for another board just find no device.
func BaseModules(goarch string) ([]Want, error) {
	names := []string{"virtio_pci", "virtio_mmio", "virtio_net", "virtio_rng", "tpm_tis", "tpm_crb"}
	switch goarch {
	case "amd64", "arm64":
		names = append(names, "efivarfs")
	case "arm":
		names = append(names, "spi_nor", "spi_aspeed_smc", "spi_imx", "spidev", "i2c_aspeed", "i2c_imx", "i2c_dev",
			"gpio_aspeed", "gpio_mxc", "mdio_aspeed", "ftgmac100", "fec", "lm75", "at24")
	default:
		return nil, fmt.Errorf("modules: no machine of architecture %q", goarch)
	}
	var want []Want
	for _, n := range names {
		want = append(want, Want{Name: n, Optional: true})
	}
	return want, nil
}

// Phram shows OVMF's code, of codeSize bytes, as an MTD device of that name. The code ends where 32-bit addresses end;
// the module wants the full kernel.
func Phram(name string, codeSize int) Want {
	return Want{Name: "phram", Params: fmt.Sprintf("phram=%s,%#x,%#x", name, 1<<32-codeSize, codeSize)}
}

// Mtdram is an MTD device in memory with erase blocks of 64 KiB. It wants the full kernel.
func Mtdram(kib int) Want {
	return Want{Name: "mtdram", Params: fmt.Sprintf("total_size=%d erase_size=64", kib)}
}

// I2CStub is a bus with one chip that only remembers what is written to it. It wants the full kernel.
func I2CStub(address uint8) []Want {
	return []Want{{Name: "i2c_dev"}, {Name: "i2c_stub", Params: fmt.Sprintf("chip_addr=%#02x", address)}}
}

// Modules returns the modules that are asked for and those that they need, each once, in an order in which they can be
// loaded. dir is a kernel's folder lib/modules/RELEASE.
//
// A package that is only unpacked has no modules.dep, which depmod makes on installation; every module names those it
// needs itself. What is built into the kernel is left out, but with parameters it is an error: nobody would set them.
func Modules(dir string, want ...Want) ([]Module, error) {
	r := resolver{files: make(map[string]string), state: make(map[string]visit)}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if name, ok := moduleName(p); err == nil && ok && d.Type().IsRegular() {
			r.files[name] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	if r.builtin, err = readBuiltin(filepath.Join(dir, "modules.builtin")); err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	params := make(map[string]string)
	for _, w := range want {
		name := underscores(w.Name)
		if _, ok := r.files[name]; !ok && w.Params == "" && (w.Optional || r.builtin[name]) {
			continue
		}
		if err := r.visit(name); err != nil {
			return nil, fmt.Errorf("modules in %s: %w", dir, err)
		}
		if w.Params != "" {
			params[name] = w.Params
		}
	}
	for i := range r.order {
		r.order[i].Params = params[r.order[i].Name]
	}
	return r.order, nil
}

type visit int

const (
	visiting visit = iota + 1
	visited
)

// resolver orders modules by what they need.
type resolver struct {
	files   map[string]string // name to path
	builtin map[string]bool
	state   map[string]visit
	order   []Module
}

func (r *resolver) visit(name string) error {
	switch r.state[name] {
	case visiting:
		return fmt.Errorf("%s needs itself", name)
	case visited:
		return nil
	}
	r.state[name] = visiting
	path, ok := r.files[name]
	switch {
	case !ok && r.builtin[name]:
		return fmt.Errorf("%s is built into the kernel: no parameters can be given", name)
	case !ok:
		return fmt.Errorf("no module %s: the kernel was built without it", name)
	}
	data, err := readModule(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	needs, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range needs {
		if err := r.visit(n); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r.state[name] = visited
	r.order = append(r.order, Module{Name: name, Data: data})
	return nil
}

// moduleName returns the name of the module that a file has.
func moduleName(path string) (string, bool) {
	base := strings.TrimSuffix(filepath.Base(path), ".xz")
	name, ok := strings.CutSuffix(base, ".ko")
	return underscores(name), ok
}

func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readBuiltin reads modules.builtin, which has the path of a module a line.
func readBuiltin(path string) (map[string]bool, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	builtin := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			builtin[name] = true
		}
	}
	return builtin, nil
}

// readModule reads a module, unpacked if it is packed.
func readModule(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil || filepath.Ext(path) != ".xz" {
		return b, err
	}
	zr, err := xz.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zr)
}

// dependencies returns the modules that a module names in its section .modinfo: texts that end with a zero byte, of
// which one is "depends=a,b".
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no section .modinfo: not a kernel module")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for text := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := bytes.CutPrefix(text, []byte("depends="))
		if !ok {
			continue
		}
		for name := range strings.FieldsFuncSeq(string(list), func(r rune) bool { return r == ',' }) {
			names = append(names, underscores(name))
		}
	}
	return names, nil
}
