package sqlite

import (
	"os"
	"os/exec"
	"testing"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

var pagesUsed, pagesMost int32

// TestReservePages checks that pages of databases lie in the memory that was reserved for them. It does so in a process of
// its own, where Open is the first to use SQLite.
func TestReservePages(t *testing.T) {
	const alone = "PROBITY_TEST_ALONE"
	if os.Getenv(alone) == "" {
		run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReservePages$")
		run.Env = append(os.Environ(), alone+"=1")
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newTest(t)
	if _, err := s.Counts(t.Context(), "", time.Now()); err != nil {
		t.Fatal(err)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	rc := sqlite3.Xsqlite3_status(tls, sqlite3.SQLITE_STATUS_PAGECACHE_USED, uintptr(unsafe.Pointer(&pagesUsed)), uintptr(unsafe.Pointer(&pagesMost)), 0)
	if rc != sqlite3.SQLITE_OK || pagesUsed < 10 {
		t.Errorf("the reserved memory has %d pages (status %d), want more", pagesUsed, rc)
	}
}
