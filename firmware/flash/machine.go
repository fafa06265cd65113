package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"periph.io/x/conn/v3/spi"

	"github.com/probity-attest/probity/firmware/hostfs"
)

// Machine is where sources are looked for. The zero Machine is the one that this process runs on.
type Machine struct {
	// Root is the folder under which its files, dev and sys are found, such as "/host" in a container; zero: "/". No
	// symbolic link leads out of it.
	Root string
	// OpenSPI opens a SPI port; nil: the spidev node, through periph.io. With another Root that node must be the same
	// device as the one below Root, since periph.io knows no other place than /dev.
	OpenSPI func(bus, chipSelect int) (spi.PortCloser, error)
}

func (m Machine) tree() tree {
	if m.Root == "" {
		return "/"
	}
	return tree(m.Root)
}

// Open opens a source for reading. The error wraps fs.ErrNotExist, fs.ErrPermission or ErrNoChip, or is a
// *UnsupportedError or *ChipError, where one of these is the cause. A pattern must be expanded first.
func (m Machine) Open(s Source) (Reader, error) {
	if _, err := ParseSource(s.String()); err != nil {
		return nil, err
	}
	var r Reader
	var err error
	switch {
	case s.Pattern():
		return nil, fmt.Errorf("%v: is a pattern: expand it and open each file", s)
	case s.Kind == File:
		r, err = m.openFile(s)
	case !supported:
		return nil, &UnsupportedError{Source: s.String(), Reason: "only Linux is known to hand out its flash"}
	case s.Kind == MTD:
		r, err = m.openMTD(s)
	case s.Kind == SPI:
		r, err = m.openSPI(s)
	default:
		r, err = m.openBlock(s)
	}
	if err != nil {
		var u *UnsupportedError
		if errors.As(err, &u) {
			return nil, err
		}
		return nil, fmt.Errorf("%v: %w", s, err)
	}
	return r, nil
}

// Size returns the bytes of a source, for Layout.Check.
func (m Machine) Size(s Source) (uint64, error) {
	r, err := m.Open(s)
	if err != nil {
		return 0, err
	}
	n := r.Size()
	return n, r.Close()
}

// fileReader reads a regular file or the node of a device.
type fileReader struct {
	file       *os.File
	chip       Chip
	generation func() (string, bool) // nil: nobody keeps a record
}

func (r *fileReader) ReadAt(b []byte, at int64) (int, error) { return r.file.ReadAt(b, at) }
func (r *fileReader) Close() error                           { return r.file.Close() }
func (r *fileReader) Size() uint64                           { return r.chip.Size }
func (r *fileReader) Describe() Chip                         { return r.chip }

func (r *fileReader) Generation() (string, bool) {
	if r.generation == nil {
		return "", false
	}
	return r.generation()
}

func (m Machine) openFile(s Source) (Reader, error) {
	name := literal(s.Name)
	f, err := m.tree().open(name, hostfs.Regular)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < 0 {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileReader{
		file:       f,
		chip:       Chip{Kind: File, Device: name, Size: uint64(info.Size()), ReadOnly: info.Mode().Perm()&0o222 == 0},
		generation: func() (string, bool) { return fileGeneration(f) },
	}, nil
}
