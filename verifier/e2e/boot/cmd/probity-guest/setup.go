//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one file system that an agent reads or needs.
type mount struct {
	kind, target string
	kernel       bool // the kernel makes the folder where it has the file system
}

// Mounts in order; those of the second list need modules. The root stays the initramfs: IMA's built-in policy "tcb"
// measures no tmpfs.
var (
	mounts = []mount{
		{"proc", "proc", false},
		{"sysfs", "sys", false},
		{"devtmpfs", "dev", false},
		{"securityfs", "sys/kernel/security", true},
		{"tmpfs", "tmp", false},
		{"tmpfs", "run", false},
	}
	moduleMounts = []mount{{"efivarfs", "sys/firmware/efi/efivars", true}}
)

// mountAll mounts what it can below root and returns what it could not.
func mountAll(root string, list []mount) (problems []string) {
	for _, m := range list {
		target := filepath.Join(root, m.target)
		if m.kernel {
			if _, err := os.Stat(target); err != nil {
				continue
			}
		} else if err := os.MkdirAll(target, 0o755); err != nil {
			problems = append(problems, fmt.Sprintf("mount: %v", err))
			continue
		}
		err := unix.Mount(m.kind, target, m.kind, 0, "")
		// EBUSY: the kernel mounted /dev itself.
		if err != nil && !errors.Is(err, unix.EBUSY) {
			problems = append(problems, fmt.Sprintf("mount %s on %s: %v", m.kind, target, err))
		}
	}
	return problems
}

// openConsole opens the console in raw mode, without echo, and makes it this process's standard streams.
func openConsole(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	for i := range 3 {
		if err := unix.Dup3(fd, i, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is that already
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
	}
	if err := makeRaw(fd); err != nil {
		return nil, fmt.Errorf("%s: raw mode: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// makeRaw does what cfmakeraw(3) does, and takes bytes as they come.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXOFF
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// loadModules loads what dir/order names, one "FILE [PARAMETERS]" a line with FILE below dir, and returns what failed.
func loadModules(dir string) (problems []string) {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return []string{fmt.Sprintf("modules: %v", err)}
	}
	for s := bufio.NewScanner(bytes.NewReader(order)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		file, params, _ := strings.Cut(line, " ")
		if err := loadModule(filepath.Join(dir, file), strings.TrimSpace(params)); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

func loadModule(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), params, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// board is what the devicetree or SMBIOS calls this machine.
func board() string {
	for _, f := range []string{"/proc/device-tree/model", "/sys/class/dmi/id/product_name"} {
		if s := firstLine(f); s != "" {
			return s
		}
	}
	return ""
}

// firstLine returns the first line of a file; empty: there is none.
func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return strings.TrimRight(string(line), "\x00")
}
