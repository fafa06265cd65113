// Package sqlite is the embedded implementation of store.Store: one SQLite database file in WAL mode with
// synchronous=FULL, so that what was acknowledged survives kill -9 and power loss.
//
// All writes go through one goroutine (writer.go) that executes as many as are waiting in one transaction and syncs once:
// group commit. Reads use a separate pool of read-only connections and never wait for writes. All SQL is fixed text with
// parameters. The schema is in migrations and is brought up to date by Open.
//
// Limits: one machine; the file system must have working locks (no NFS). Results, evidence and events are kept for ever.
// Secrets that are stored (setting values, token hashes) never appear in errors; the file is created with mode 0600.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/probity-attest/probity/verifier/store"
)

var _ store.Store = (*Store)(nil)

// Config says where the database is. Only Path has to be set.
type Config struct {
	// Path of the database file; it is created if absent, its directory is not. SQLite keeps two more files beside it
	// while it is open (-wal and -shm): they belong to the database and must not be removed.
	Path string
	// BusyTimeout is how long a write waits for another process that is writing. 0: 5 s.
	BusyTimeout time.Duration
	// Batch is the most writes that share one transaction. 0: 512.
	Batch int
	// Readers is the most connections that read at the same time. 0: as many as processors, at least 4.
	Readers int

	unchecked bool // leave out the check of the whole file, to test what happens with larger ones
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	path    string
	writer  *writer
	readers *sql.DB
	effort  effort

	mu       sync.RWMutex // guards prepared and closed
	prepared map[string]*sql.Stmt
	closed   bool
}

// Open opens or creates the database and migrates it to the newest schema. The errors wrap ErrNewer, ErrForeign,
// ErrCorrupt, ErrReadOnly, ErrBusy or ErrFull where that is the reason and say what to do.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.BusyTimeout = orElse(cfg.BusyTimeout, 5*time.Second)
	cfg.Batch = orElse(cfg.Batch, 512)
	cfg.Readers = orElse(cfg.Readers, max(4, runtime.NumCPU()))
	if err := createFile(cfg.Path); err != nil {
		return nil, err
	}
	reservePages(cfg.Path)
	s := &Store{path: cfg.Path, effort: defaultEffort, prepared: make(map[string]*sql.Stmt)}
	if err := s.open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.Path, explain(err))
	}
	return s, nil
}

func orElse[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// createFile makes an empty file that only its owner can read; SQLite gives its side files the same mode.
func createFile(path string) error {
	if path == "" {
		return errors.New("open database: no path given: set the file's name")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open database %s: create the directory %s first: %w", path, filepath.Dir(path), err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("open database %s: %w: %w", path, ErrReadOnly, err)
	case err != nil:
		return fmt.Errorf("open database: %w", err)
	}
	return f.Close()
}

// source is the data source name: a URI (sqlite.org/uri.html) with the driver's own _pragma parameters.
func source(cfg Config, params url.Values, pragmas ...string) string {
	params["_pragma"] = append([]string{fmt.Sprintf("busy_timeout(%d)", cfg.BusyTimeout.Milliseconds())}, pragmas...)
	path := (&url.URL{Path: filepath.ToSlash(cfg.Path)}).EscapedPath()
	return "file:" + path + "?" + params.Encode()
}

func (s *Store) open(ctx context.Context, cfg Config) (err error) {
	db, err := sql.Open("sqlite", source(cfg, url.Values{"_txlock": {"immediate"}},
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "cell_size_check(1)", "trusted_schema(0)",
		"cache_size(-65536)", "temp_store(MEMORY)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := migrate(ctx, db, !cfg.unchecked); err != nil {
		return err
	}
	s.readers, err = sql.Open("sqlite", source(cfg, url.Values{"mode": {"ro"}}, "query_only(1)", "cell_size_check(1)", "trusted_schema(0)",
		"cache_size(-32768)"))
	if err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(cfg.Readers)
	s.readers.SetMaxIdleConns(cfg.Readers)
	s.writer, err = newWriter(ctx, db, cfg.Batch)
	if err != nil {
		s.readers.Close()
		return err
	}
	if err := s.fillMarks(ctx); err != nil {
		_ = s.readers.Close()
		return errors.Join(err, s.writer.close())
	}
	return nil
}

// Ping commits a change of one row and reports whether that reached stable storage.
func (s *Store) Ping(ctx context.Context) error {
	return s.write(ctx, "ping", func(t *tx) error {
		return t.exec1(`UPDATE heartbeat SET beat = ?`, time.Now().UnixMicro())
	})
}

// Close waits for running writes, moves the write-ahead log into the database and closes it. Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.readers.Close()
	if e := s.writer.close(); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("close database %s: %w", s.path, explain(err))
	}
	return nil
}

// write runs one operation in the writer and wraps its error. Sentinel errors of package store pass through.
func (s *Store) write(ctx context.Context, what string, run func(*tx) error) error {
	if err := s.writer.do(ctx, run); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// writeWithEvents is write that adds events of the tenant after what run writes.
func (s *Store) writeWithEvents(ctx context.Context, what, tenant string, events []store.Event, run func(*tx) error) error {
	events, err := store.EventsOf(tenant, events)
	if err != nil {
		return err
	}
	return s.write(ctx, what, func(t *tx) error {
		if err := run(t); err != nil {
			return err
		}
		return t.addEvents(events)
	})
}

// statement returns query prepared on the pool of readers.
func (s *Store) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	st, closed := s.prepared[query], s.closed
	s.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if st != nil {
		return st, nil
	}
	st, err := s.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.prepared[query]; other != nil {
		return other, st.Close()
	}
	s.prepared[query] = st
	return st, nil
}

// readRow reads one row; no row is store.ErrNotFound.
func (s *Store) readRow(ctx context.Context, what, query string, args []any, into ...any) error {
	st, err := s.statement(ctx, query)
	if err == nil {
		err = st.QueryRowContext(ctx, args...).Scan(into...)
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// readRows calls scan for each row of query.
func (s *Store) readRows(ctx context.Context, what, query string, args []any, scan func(*sql.Rows) error) error {
	st, err := s.statement(ctx, query)
	if err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", what, explain(err))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// readList returns a list with an element for each row of query, nil where there is no row.
func readList[T any](
	ctx context.Context, s *Store, what, query string, args []any, scan func(*sql.Rows, *T) error,
) (out []T, err error) {
	if err := s.readRows(ctx, what, query, args, appendTo(&out, scan)); err != nil {
		return nil, err
	}
	return out, nil
}

// appendTo returns what scans a row into a new element of list.
func appendTo[T any](list *[]T, scan func(*sql.Rows, *T) error) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var x T
		err := scan(rows, &x)
		*list = append(*list, x)
		return err
	}
}

// scanOne scans a row of one column.
func scanOne[T any](rows *sql.Rows, into *T) error { return rows.Scan(into) }
