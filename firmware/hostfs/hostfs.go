// Package hostfs is the file system of the machine that is looked at, as a folder that stands for its "/": the real one, or
// a mount of it in a container.
//
// A name is resolved within that folder: absolute symbolic links begin again at its top, so that nothing leads out of the
// machine's files into those of the container. Files are opened for reading only, and not before it is known what they are:
// opening alone can block (named pipes) or act (a watchdog). Sizes that the kernel states are not believed: those of proc
// and securityfs are 0. Errors wrap those of package fs; which bounds what is read, the caller says.
package hostfs

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

// Errors of reading beside those of package fs.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrTooLarge   = errors.New("too large")
)

// maxLinks is how many symbolic links one name may lead through, as in Linux (path_resolution(7)).
const maxLinks = 40

// Tree is a folder that stands for "/". Names below it use slashes; a leading one changes nothing.
type Tree string

// Show returns the full path of a name, for messages.
func (t Tree) Show(name string) string { return filepath.Join(string(t), name) }

// Resolve returns name without symbolic links, relative to the tree, "" for its top.
func (t Tree) Resolve(name string) (string, error) {
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
		target, err := os.Readlink(t.Show(next))
		if err != nil {
			if !errors.Is(err, syscall.EINVAL) { // EINVAL: exists and is no link
				return "", err
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: t.Show(name), Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// Open opens what check accepts. check is asked again of what was opened.
func (t Tree) Open(name string, check func(fs.FileInfo) error) (*os.File, error) {
	inside, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	// Root keeps to the tree even where a link takes a folder's place at this moment.
	root, err := os.OpenRoot(t.Show(""))
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
func (t Tree) pathError(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &fs.PathError{Op: "open", Path: t.Show(name), Err: err}
}

// Read returns the content of a regular file of at most limit bytes; a larger one is ErrTooLarge.
func (t Tree) Read(name string, limit int64) ([]byte, error) {
	f, err := t.Open(name, Regular)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &fs.PathError{Op: "read", Path: t.Show(name), Err: fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)}
	}
	return b, nil
}

// Names returns at most limit names in a folder, in no order.
func (t Tree) Names(name string, limit int) ([]string, error) {
	f, err := t.Open(name, Folder)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(limit)
	if errors.Is(err, io.EOF) { // an empty folder
		err = nil
	}
	return names, errors.Join(err, f.Close())
}

// Regular accepts regular files, others are ErrNotRegular.
func Regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w (%s)", ErrNotRegular, info.Mode().Type())
	}
	return nil
}

// Folder accepts folders.
func Folder(info fs.FileInfo) error {
	if !info.IsDir() {
		return syscall.ENOTDIR
	}
	return nil
}
