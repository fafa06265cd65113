package image

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Spec says what is in an initial RAM disk.
type Spec struct {
	Init    []byte   // the static program /init, the first process
	Agent   []byte   // the static program AgentPath; nil: none
	Modules []Module // in the order in which they are loaded; see Modules
	Files   []File   // further ones
}

// File is a file in an initial RAM disk. Folders above it are made.
type File struct {
	Path string      // absolute
	Mode fs.FileMode // permissions; zero: 0755
	Data []byte
}

// Where things are in an initial RAM disk.
const (
	AgentPath  = "/usr/bin/probity-agent"
	ModulesDir = "/lib/modules"
	// ModuleOrder lists the modules in the order in which they are loaded, one a line: the file's name in ModulesDir
	// and, after a space, its parameters.
	ModuleOrder = ModulesDir + "/order"
)

// folders are in every initial RAM disk: what the first process mounts on, and what programs expect.
var folders = []string{
	"/bin", "/dev", "/etc", "/lib", "/lib/modules", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/usr/bin",
	"/usr/sbin", "/var",
}

// Initramfs builds an initial RAM disk: a cpio archive in the form "newc", compressed with gzip.
func Initramfs(s Spec) ([]byte, error) {
	if len(s.Init) == 0 {
		return nil, fmt.Errorf("initial RAM disk: no init program")
	}
	files := []File{{Path: "/init", Data: s.Init}}
	if s.Agent != nil {
		files = append(files, File{Path: AgentPath, Data: s.Agent})
	}
	var order bytes.Buffer
	for _, m := range s.Modules {
		files = append(files, File{Path: path.Join(ModulesDir, m.Name+".ko"), Mode: 0o644, Data: m.Data})
		fmt.Fprintln(&order, strings.TrimSpace(m.Name+".ko "+m.Params))
	}
	files = append(files, File{Path: ModuleOrder, Mode: 0o644, Data: order.Bytes()})

	var packed bytes.Buffer
	// Its header has neither name nor time. Better compression costs more time here than it saves in a guest.
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := writeArchive(zw, append(files, s.Files...)); err != nil {
		return nil, fmt.Errorf("initial RAM disk: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// writeArchive writes the folders, the device nodes that the kernel opens for the first process, and files.
func writeArchive(w io.Writer, files []File) error {
	a := archive{w: w, made: make(map[string]bool)}
	for _, dir := range folders {
		a.folder(dir)
	}
	a.entry("/dev/console", modeCharDevice|0o600, 5, 1, nil)
	a.entry("/dev/null", modeCharDevice|0o666, 1, 3, nil)
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return fmt.Errorf("file %q: want an absolute path", f.Path)
		}
		if f.Mode&^fs.ModePerm != 0 {
			return fmt.Errorf("file %q: mode %v, want permissions only", f.Path, f.Mode)
		}
		if a.made[f.Path] {
			return fmt.Errorf("file %q: there twice", f.Path)
		}
		mode := uint32(f.Mode)
		if mode == 0 {
			mode = 0o755
		}
		a.folder(path.Dir(f.Path))
		a.entry(f.Path, modeRegular|mode, 0, 0, f.Data)
	}
	a.entry(trailer, 0, 0, 0, nil)
	return a.err
}

// File types (stat(2), st_mode).
const (
	modeRegular    = 0o100000
	modeFolder     = 0o040000
	modeCharDevice = 0o020000
)

// trailer is the name that ends an archive.
const trailer = "TRAILER!!!"

// archive writes entries of a cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w    io.Writer
	made map[string]bool
	err  error // the first
}

// folder makes a folder and those above it, once.
func (a *archive) folder(name string) {
	var need []string
	for ; name != "/" && !a.made[name]; name = path.Dir(name) {
		need = append(need, name)
	}
	for _, dir := range slices.Backward(need) {
		a.entry(dir, modeFolder|0o755, 0, 0, nil)
	}
}

// entry writes a header of hexadecimal numbers, the name and the data, each padded to four bytes.
func (a *archive) entry(name string, mode uint32, major, minor int, data []byte) {
	inode := 0
	if name != trailer {
		a.made[name] = true
		inode = len(a.made)
		name = name[1:]
	}
	// magic, inode, mode, owner, group, links, time, size, device of the file system, of the node, name's size, checksum
	h := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	a.write([]byte(h), padding(len(h), 4), data, padding(len(data), 4))
}

func (a *archive) write(parts ...[]byte) {
	for _, p := range parts {
		if a.err == nil {
			_, a.err = a.w.Write(p)
		}
	}
}

// padding returns the zero bytes that fill n up to a multiple of size.
func padding(n, size int) []byte { return make([]byte, (size-n%size)%size) }
