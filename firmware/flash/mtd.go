package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/hostfs"
)

const (
	sysMTD       = "sys/class/mtd"
	mtdMajor     = 90    // MTD_CHAR_MAJOR (mtd/mtd-abi.h): minor 2N is mtdN, 2N+1 mtdNro
	mtdWriteable = 0x400 // MTD_WRITEABLE
)

// openMTD opens an MTD device by number or by the name that the kernel gives it.
func (m Machine) openMTD(s Source) (Reader, error) {
	t := m.tree()
	n, ok := mtdNumber(s.Name)
	if !ok {
		var err error
		if n, err = t.mtdNamed(s.Name); err != nil {
			return nil, err
		}
	}
	info, err := t.mtdInfo(n)
	if err != nil {
		return nil, err
	}
	return t.openMTDNode(info)
}

// mtdNamed returns the number of the one device that has a name.
func (t tree) mtdNamed(name string) (int, error) {
	numbers, err := t.mtdNumbers()
	if err != nil {
		return 0, err
	}
	var found, known []string
	last := 0
	for _, n := range numbers {
		label, err := t.read(mtdAttribute(n, "name"))
		if err != nil {
			return 0, err
		}
		known = append(known, strconv.Quote(label))
		if label == name {
			found, last = append(found, fmt.Sprintf("mtd:mtd%d", n)), n
		}
	}
	switch len(found) {
	case 1:
		return last, nil
	case 0:
		return 0, fmt.Errorf("no MTD device has that name, there are [%s]: %w", strings.Join(known, " "), fs.ErrNotExist)
	}
	return 0, fmt.Errorf("%d devices have that name: use one of %s", len(found), strings.Join(found, ", "))
}

// mtdNumbers returns the numbers of all MTD devices, ascending.
func (t tree) mtdNumbers() ([]int, error) {
	names, err := t.names(sysMTD)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range names { // mtd0 and, for its read-only node, mtd0ro
		if n, ok := mtdNumber(name); ok {
			out = append(out, n)
		}
	}
	if len(out) > maxDevices {
		return nil, fmt.Errorf("%s: %w: over %d devices", t.show(sysMTD), hostfs.ErrTooLarge, maxDevices)
	}
	slices.Sort(out)
	return out, nil
}

func mtdAttribute(n int, name string) string { return fmt.Sprintf("%s/mtd%d/%s", sysMTD, n, name) }

// mtdInfo is what sysfs tells of an MTD device (Documentation/ABI/testing/sysfs-class-mtd).
type mtdInfo struct {
	number int
	chip   Chip
	offset uint64 // of a partition in the device it is a part of
	parent int    // number of that device if the kernel shows it, else -1
}

func (t tree) mtdInfo(n int) (mtdInfo, error) {
	i := mtdInfo{number: n, chip: Chip{Kind: MTD}, parent: -1}
	dir, err := t.files().Resolve(fmt.Sprintf("%s/mtd%d", sysMTD, n))
	if err != nil {
		return i, err
	}
	if parent, ok := mtdNumber(path.Base(path.Dir(dir))); ok {
		i.parent = parent
	}
	if i.chip.Label, err = t.read(path.Join(dir, "name")); err != nil {
		return i, err
	}
	if i.chip.Type, err = t.read(path.Join(dir, "type")); err != nil {
		return i, err
	}
	for _, a := range []struct {
		name string
		to   *uint64
	}{{"size", &i.chip.Size}, {"erasesize", &i.chip.EraseSize}} {
		if *a.to, err = t.number(path.Join(dir, a.name)); err != nil {
			return i, err
		}
	}
	flags, err := t.number(path.Join(dir, "flags"))
	if err != nil {
		return i, err
	}
	i.chip.ReadOnly = flags&mtdWriteable == 0
	// The file exists for partitions only, and since Linux 4.1.
	i.offset, err = t.number(path.Join(dir, "offset"))
	if i.chip.Partition = err == nil; err != nil && !errors.Is(err, fs.ErrNotExist) {
		return i, err
	}
	return i, nil
}

// number reads a number from sysfs, hexadecimal if it begins with 0x.
func (t tree) number(name string) (uint64, error) {
	text, err := t.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: t.show(name), Err: err}
	}
	return n, nil
}

// openMTDNode opens the read-only node or, where udev made none, the other one for reading.
func (t tree) openMTDNode(i mtdInfo) (Reader, error) {
	if i.chip.Type == "absent" || i.chip.Size == 0 {
		return nil, &UnsupportedError{Source: i.source().String(), Reason: "the kernel says that the chip is absent"}
	}
	name := fmt.Sprintf("/dev/mtd%dro", i.number)
	f, err := t.open(name, mtdNode(i.number, 1))
	if errors.Is(err, fs.ErrNotExist) {
		name = strings.TrimSuffix(name, "ro")
		f, err = t.open(name, mtdNode(i.number, 0))
	}
	if err != nil {
		return nil, err
	}
	i.chip.Device = name
	return &mtdReader{fileReader{file: f, chip: i.chip}}, nil
}

// mtdNode checks that a node belongs to the device whose size and blocks sysfs told.
func mtdNode(n int, readOnly uint32) func(fs.FileInfo) error {
	return func(info fs.FileInfo) error {
		major, minor, ok := deviceNumber(info)
		if !ok || info.Mode()&fs.ModeCharDevice == 0 || major != mtdMajor || minor != uint32(2*n)+readOnly {
			return fmt.Errorf("%w (%s %d:%d, want character device %d:%d)",
				errNotMTD, info.Mode().Type(), major, minor, mtdMajor, uint32(2*n)+readOnly)
		}
		return nil
	}
}

// mtdReader reads an MTD device. The kernel leaves out-of-band data away from what this node's read returns.
type mtdReader struct{ fileReader }

// badBlockSize, badBlock and uncorrected implement blocks. Only NAND flash has bad blocks.
func (r *mtdReader) badBlockSize() uint64 {
	if r.chip.Type == "nand" || r.chip.Type == "mlc-nand" {
		return r.chip.EraseSize
	}
	return 0
}

func (r *mtdReader) badBlock(offset uint64) (bool, error) {
	bad, err := badBlock(r.file, offset)
	if err != nil {
		return false, fmt.Errorf("%s: ask whether the block at %#x is bad: %w", r.chip.Device, offset, err)
	}
	return bad, nil
}

// uncorrected returns how often correction failed so far. The kernel hands out such pages as if they were sound, and
// counts.
func (r *mtdReader) uncorrected() uint32 {
	n, _ := eccFailures(r.file)
	return n
}
