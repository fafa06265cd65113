//go:build linux

package machine

import (
	"errors"
	"fmt"
)

// Why a machine failed: what a GuestError wraps.
var (
	// ErrNoBoot: the firmware found nothing that it may boot: no disk, or a signature that it does not accept.
	ErrNoBoot = errors.New("the firmware boots nothing")
	// ErrPanic: the kernel stopped.
	ErrPanic = errors.New("the kernel panicked")
	// ErrHang: no word for too long.
	ErrHang = errors.New("the guest hangs")
	// ErrEnded: QEMU ended, or was ended.
	ErrEnded = errors.New("the machine is off")
)

// MissingError says that a program that boots machines is not installed: a reason to skip a test, visibly.
type MissingError struct {
	Program string
	Package string // Debian's package with it
	Err     error
}

// Error says how to get the program.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed: install it with make deps (Debian: apt-get install %s): %v", e.Program, e.Package, e.Err)
}

// Unwrap returns why it was not found.
func (e *MissingError) Unwrap() error { return e.Err }

// GuestError is a machine that did not do what it should, with what it said last.
type GuestError struct {
	Board   Board
	Op      string // what was wanted of it
	Err     error
	Console string // the last lines of the console, and what QEMU said
}

// Error has the last lines: they are what a person looks for first.
func (e *GuestError) Error() string {
	return fmt.Sprintf("%s: %s: %v; the console's last lines:\n%s", e.Board, e.Op, e.Err, e.Console)
}

// Unwrap returns the reason.
func (e *GuestError) Unwrap() error { return e.Err }
