// Package flash names regions of a machine's flash memory, reads them and hashes them.
//
// A Region is a range of a Source: a memory technology device of the kernel (MTD), a SPI NOR chip on a bus that no
// kernel driver has claimed (through periph.io), a block device such as an eMMC boot area, or a file. Regions come from
// a Layout file or from what the kernel shows (Machine.Discover). Machine.Open opens a source, Hash reads a region of
// it in pieces of 64 KiB at a bounded rate. HashImage computes the same digest from a firmware image, without the chip.
//
// A digest says which bytes the running system handed out when asked to read its flash. A compromised system can lie
// about them: what this package returns is a claim, not a proof.
//
// Nothing is written and no chip's mode is changed: files and devices are opened read-only, a SPI chip is sent only
// commands that read. The one exception is the node of a SPI bus: periph.io opens it for writing, since a question to a
// chip is written to the bus. Therefore SPI buses are never discovered: what hangs on one that nobody described could
// take a question for an order.
//
// Memory is bounded by limits.go and by one buffer of 64 KiB for each Hash that runs. On systems other than Linux the
// package compiles, and opens files only.
package flash

import (
	"errors"
	"fmt"
	"io"
)

// Kind says what a source is.
type Kind string

// The kinds of sources. Their values are the prefixes of a source's text form.
const (
	MTD   Kind = "mtd"   // memory technology device of the kernel, by name or number
	SPI   Kind = "spi"   // SPI NOR chip on a bus with a spidev node, by bus and chip select
	Block Kind = "block" // block device, by path
	File  Kind = "file"  // regular file, by path or pattern
)

// Chip describes what a source turned out to be. Unknown fields are zero.
type Chip struct {
	Kind      Kind
	Device    string // node or file that is read, below the machine's root: "/dev/mtd0ro", "/dev/spidev0.0"
	Label     string // name that the kernel gives an MTD device
	Type      string // type that the kernel gives an MTD device: "nor", "nand", "ram"
	JEDEC     string // id of a SPI NOR chip, three bytes in hexadecimal: "ef4018"
	Size      uint64 // bytes
	EraseSize uint64 // bytes of the smallest block that can be erased, MTD: of the block in which bad ones are counted
	ReadOnly  bool   // the kernel refuses to write to it
	Partition bool   // a part of a larger device
}

// Reader is an open source. ReadAt may be called by several goroutines.
type Reader interface {
	io.ReaderAt
	io.Closer
	// Size returns how many bytes can be read.
	Size() uint64
	// Describe says what is read.
	Describe() Chip
	// Generation returns a token that differs whenever the content may have changed. It reports false where the kernel
	// keeps no such record (MTD and SPI) or where the record can not tell at this moment (a file that was written within
	// the resolution of its time stamps).
	//
	// The record is kept for honest writers. A process with the rights to write flash can also avoid it: by commands
	// passed to the device directly, by setting the clock. A digest that was kept because its token still holds is as
	// old as its reading.
	Generation() (string, bool)
}

// Errors that callers branch on, beside fs.ErrNotExist and fs.ErrPermission.
var (
	// ErrNoChip says that a bus answers the same byte, 0xff or 0x00, to everything: no chip is there, or another owner
	// of the bus hides it.
	ErrNoChip = errors.New("no chip answers")
	// ErrUncorrectable says that error correction failed while reading: the bytes read are not those that were written.
	ErrUncorrectable = errors.New("error correction of the flash failed")
	// ErrOutside says that a region does not lie within its source.
	ErrOutside = errors.New("outside the source")
)

// UnsupportedError says that a source exists but can not be read by this package, on this system or by this means.
type UnsupportedError struct {
	Source string // its text form
	Reason string // what is missing, and what to do
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: unsupported: %s", e.Source, e.Reason)
}

// ChipError says that what a chip states of itself contradicts itself or the standard. Such a chip is not read.
type ChipError struct {
	Device string
	Detail string
	Err    error // a *SFDPError where that is the cause
}

func (e *ChipError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Device, e.Detail, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Device, e.Detail)
}

func (e *ChipError) Unwrap() error { return e.Err }
