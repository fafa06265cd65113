package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Reasons why the database cannot be used. Their text says what to do. After ErrFull and ErrBusy the same call succeeds
// once the condition has ended; the store need not be opened again.
var (
	ErrClosed   = errors.New("store is closed")
	ErrFull     = errors.New("disk is full: free space on the database's file system; nothing was written, and writes work again by themselves")
	ErrBusy     = errors.New("database is locked by another process: stop that process or let it end; nothing was written")
	ErrReadOnly = errors.New("database cannot be written: make the file and its directory writable for this user, and check that the file system is not mounted read-only")
	ErrCorrupt  = errors.New("database is damaged: stop the verifier, keep the files, check the disk and restore the newest backup")
	ErrIO       = errors.New("database file cannot be read or written: check the disk and the system's log")
	ErrNewer    = errors.New("database was written by a newer version of this program: run that version, or restore the backup made before the upgrade")
	ErrForeign  = errors.New("file is not a database of this program: give another path")
)

// explain puts the reason before an error of SQLite. Result codes: sqlite.org/rescode.html.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	reason := map[int]error{
		lib.SQLITE_FULL:     ErrFull,
		lib.SQLITE_BUSY:     ErrBusy,
		lib.SQLITE_LOCKED:   ErrBusy,
		lib.SQLITE_READONLY: ErrReadOnly,
		lib.SQLITE_PERM:     ErrReadOnly,
		lib.SQLITE_CANTOPEN: ErrReadOnly,
		lib.SQLITE_CORRUPT:  ErrCorrupt,
		lib.SQLITE_NOTADB:   ErrForeign,
		lib.SQLITE_IOERR:    ErrIO,
	}[e.Code()&0xff]
	if reason == nil || errors.Is(err, reason) {
		return err
	}
	return fmt.Errorf("%w (%w)", reason, err)
}

// constraint reports whether err is the violation of a UNIQUE or PRIMARY KEY constraint.
func constraint(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || e.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY)
}
