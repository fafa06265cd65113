package sqlite

import (
	"os"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Memory for pages of databases in the process, in pages. The first database that is opened says how many.
const (
	leastPages = 1024
	mostPages  = 12 * 1024
	pageSize   = 4096
)

var (
	pages      sync.Once
	pageHeader int32 // bytes that SQLite needs beside a page
)

// reservePages gives SQLite memory for pages in one piece, about as much as the database at path has, before the first
// database is opened (sqlite.org/malloc.html, section 3.5). Connections forget what they read of a file whenever another
// writes to it; without this, memory for it is taken from the system and given back each time, which takes longer than to
// read it again: a list that looks at 800 devices took 100 ms and takes 45. Where SQLite runs already, all stays as it was.
func reservePages(path string) {
	pages.Do(func() {
		n := leastPages
		if info, err := os.Stat(path); err == nil {
			n = int(min(max(info.Size()/pageSize, leastPages), mostPages))
		}
		tls := libc.NewTLS()
		defer tls.Close()
		args := libc.Xmalloc(tls, libc.Tsize_t(3*unsafe.Sizeof(uintptr(0))))
		defer libc.Xfree(tls, args)
		if args == 0 || sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PCACHE_HDRSZ,
			libc.VaList(args, uintptr(unsafe.Pointer(&pageHeader)))) != sqlite3.SQLITE_OK {
			return
		}
		slot := (pageSize + pageHeader + 7) &^ 7
		memory := libc.Xmalloc(tls, libc.Tsize_t(slot)*libc.Tsize_t(n))
		if memory == 0 {
			return
		}
		if sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PAGECACHE, libc.VaList(args, memory, slot, int32(n))) != sqlite3.SQLITE_OK {
			libc.Xfree(tls, memory)
		}
	})
}
