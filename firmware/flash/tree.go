package flash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

var (
	errNotRegular = errors.New("not a regular file")
	errNotBlock   = errors.New("not a block device")
	errNotMTD     = errors.New("not the node of that MTD device")
	errTooLarge   = errors.New("too large")
)

// tree is a directory that stands for "/". Names below it use slashes; a leading one changes nothing.
type tree string

// show returns the full path of a name, for messages.
func (t tree) show(name string) string { return filepath.Join(string(t), name) }

// resolve returns name without symbolic links, relative to the tree. Absolute links begin again at the tree's top: in a
// container they would otherwise lead out of the host's files. It fails with an error of package fs.
func (t tree) resolve(name string) (string, error) {
	at, rest := "", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at = path.Dir(at); at == "." || at == "/" {
				at = ""
			}
			continue
		}
		next := path.Join(at, part)
		info, err := os.Lstat(t.show(next))
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(t.show(next))
		if err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: t.show(name), Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// open opens a file for reading that check accepts. What check refuses is not opened, since opening alone can block
// (named pipes) or act (a watchdog).
func (t tree) open(name string, check func(fs.FileInfo) error) (*os.File, error) {
	inside, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	// Root keeps to the tree even where a link takes a folder's place at this moment.
	root, err := os.OpenRoot(t.show(""))
	if err != nil {
		return nil, err
	}
	defer root.Close() // of a folder: nothing can be lost
	if inside == "" {
		inside = "."
	}
	info, err := root.Lstat(inside)
	if err == nil {
		err = check(info)
	}
	var f *os.File
	if err == nil {
		// O_NONBLOCK: should another file take its place meanwhile, opening still does not block.
		f, err = root.OpenFile(inside, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, t.pathError(name, err)
	}
	if info, err = f.Stat(); err == nil {
		err = check(info)
	}
	if err != nil {
		return nil, t.pathError(name, errors.Join(err, f.Close()))
	}
	return f, nil
}

// pathError gives an error the full name: Root's errors have the name below it.
func (t tree) pathError(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &fs.PathError{Op: "open", Path: t.show(name), Err: err}
}

// read returns the content of a small regular file, without the newline at its end.
func (t tree) read(name string) (string, error) {
	f, err := t.open(name, regular)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAttribute+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if len(b) > maxAttribute {
		return "", &fs.PathError{Op: "read", Path: t.show(name), Err: errTooLarge}
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// names returns the names in a directory. It fails if there are more than maxEntries: a part of them would be no
// answer.
func (t tree) names(name string) ([]string, error) {
	f, err := t.open(name, directory)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(maxEntries + 1)
	if errors.Is(err, io.EOF) { // an empty directory
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(names) > maxEntries {
		return nil, &fs.PathError{Op: "read", Path: t.show(name), Err: fmt.Errorf("%w: over %d names", errTooLarge, maxEntries)}
	}
	return names, nil
}

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w (%s)", errNotRegular, info.Mode().Type())
	}
	return nil
}

func directory(info fs.FileInfo) error {
	if !info.IsDir() {
		return syscall.ENOTDIR
	}
	return nil
}

func blockDevice(info fs.FileInfo) error {
	if t := info.Mode().Type(); t&fs.ModeDevice == 0 || t&fs.ModeCharDevice != 0 {
		return fmt.Errorf("%w (%s)", errNotBlock, t)
	}
	return nil
}
