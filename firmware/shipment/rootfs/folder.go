package rootfs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// folder reads a folder, without following links, and without leaving it.
func (t *Tree) folder(ctx context.Context, path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return unwrapPath(err)
	}
	defer root.Close()
	s := &stream{tree: t, ctx: ctx, name: path}
	f := &folder{s: s, root: root}
	if err := fs.WalkDir(root.FS(), ".", f.entry); err != nil {
		return err
	}
	s.report(true)
	return nil
}

// folder walks a folder.
type folder struct {
	s    *stream
	root *os.Root
}

func (f *folder) entry(name string, d fs.DirEntry, err error) error {
	if err != nil {
		return fmt.Errorf("%q: %w: run as a user who may read all of it", name, unwrapPath(err))
	}
	if err := f.s.ctx.Err(); err != nil {
		return err
	}
	at, err := clean(filepath.ToSlash(name))
	if err != nil {
		return err
	}
	switch d.Type() {
	case fs.ModeDir:
		if slices.Contains(leftOut, at) { // a running system has no end there
			return fs.SkipDir
		}
		return f.s.tree.put(at, node{kind: kindDir})
	case fs.ModeSymlink:
		target, err := f.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, unwrapPath(err))
		}
		return f.s.symlink(at, target)
	case 0:
		return f.file(name, at)
	}
	return f.s.tree.put(at, node{kind: kindOther})
}

func (f *folder) file(name, at string) error {
	in, err := f.root.Open(name)
	if err != nil {
		return fmt.Errorf("%q: %w: run as a user who may read all of it", name, unwrapPath(err))
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("%q: %w", name, unwrapPath(err))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q: it changed while it was read", name)
	}
	s := f.s
	s.from = in
	n, err := s.regular(at, info.Mode()&0o111 != 0, s, info.Size())
	if err != nil {
		return err
	}
	return s.tree.put(at, n)
}
