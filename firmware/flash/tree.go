package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/probity-attest/probity/firmware/hostfs"
)

var (
	errNotBlock = errors.New("not a block device")
	errNotMTD   = errors.New("not the node of that MTD device")
)

// tree is the machine's file system, in which flash is looked for.
type tree string

func (t tree) files() hostfs.Tree { return hostfs.Tree(t) }

// show returns the full path of a name, for messages.
func (t tree) show(name string) string { return t.files().Show(name) }

// open opens what check accepts for reading.
func (t tree) open(name string, check func(fs.FileInfo) error) (*os.File, error) {
	return t.files().Open(name, check)
}

// read returns the content of a small regular file, without the newline at its end.
func (t tree) read(name string) (string, error) {
	b, err := t.files().Read(name, maxAttribute)
	return strings.TrimSuffix(string(b), "\n"), err
}

// names returns the names in a directory. It fails if there are more than maxEntries: a part of them would be no
// answer.
func (t tree) names(name string) ([]string, error) {
	names, err := t.files().Names(name, maxEntries+1)
	if err == nil && len(names) > maxEntries {
		return nil, &fs.PathError{Op: "read", Path: t.show(name), Err: fmt.Errorf("%w: over %d names", hostfs.ErrTooLarge, maxEntries)}
	}
	return names, err
}

func blockDevice(info fs.FileInfo) error {
	if t := info.Mode().Type(); t&fs.ModeDevice == 0 || t&fs.ModeCharDevice != 0 {
		return fmt.Errorf("%w (%s)", errNotBlock, t)
	}
	return nil
}
