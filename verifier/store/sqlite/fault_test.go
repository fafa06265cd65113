package sqlite

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func content(n, size int) ([32]byte, []byte) {
	b := bytes.Repeat([]byte{byte(n)}, size)
	copy(b, fmt.Sprint(n))
	return sha256.Sum256(b), b
}

// TestDiskFull lets the database reach its largest allowed size: writes fail with a reason and change nothing, reads go on,
// small writes of the same batch are not harmed for ever, and the store works again once there is space.
func TestDiskFull(t *testing.T) {
	s := newTest(t)
	ctx := t.Context()
	d := store.Device{Tenant: "t", ID: "aa", Status: store.Active, State: result.NeverAttested}
	var err error
	if d.Version, err = s.SaveDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	setLimit := func(query string) {
		t.Helper()
		if err := s.writer.do(ctx, func(tx *tx) error {
			var pages int64
			return tx.row(query, nil, &pages)
		}); err != nil {
			t.Fatal(err)
		}
	}
	setLimit(`PRAGMA max_page_count = 80`)
	full := 0
	for n := range 50 {
		digest, b := content(n, 20_000)
		err := s.PutContent(ctx, digest, b)
		got, readErr := s.Content(ctx, digest)
		switch {
		case err == nil && readErr == nil && bytes.Equal(got, b):
		case errors.Is(err, ErrFull) && errors.Is(readErr, store.ErrNotFound):
			full++
		default:
			t.Fatalf("PutContent = %v, Content = %v", err, readErr)
		}
	}
	if full == 0 {
		t.Fatal("the disk was never full")
	}
	o := benchOutcome(d, 1)
	o.Evidence = bytes.Repeat([]byte{1}, 100_000)
	o.Result.Evidence = o.Digest()
	if err := s.Record(ctx, o, store.Event{Detail: "no"}); !errors.Is(err, ErrFull) {
		t.Errorf("Record on a full disk = %v, want ErrFull", err)
	}
	if got, err := s.Device(ctx, "t", "aa"); err != nil || got.Version != d.Version {
		t.Errorf("device after a failed Record = %+v, %v", got, err)
	}
	if got, err := s.Results(ctx, "t", "aa", 0, 0); err != nil || len(got) != 0 {
		t.Errorf("results after a failed Record = %d, %v", len(got), err)
	}
	setLimit(`PRAGMA max_page_count = 1000000`)
	if err := s.Ping(ctx); err != nil {
		t.Errorf("Ping after space was freed = %v", err)
	}
	if err := s.Record(ctx, o); err != nil {
		t.Errorf("Record after space was freed = %v", err)
	}
}

// TestLocked lets another process hold the write lock: writes fail after the timeout, reads go on, and writes work again
// when the lock is gone.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s, err := Open(t.Context(), Config{Path: path, BusyTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("Ping while locked = %v, want ErrBusy", err)
	}
	if _, err := s.Devices(t.Context(), store.Filter{}); err != nil {
		t.Errorf("Devices while locked = %v", err)
	}
	if _, err := other.Exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping after the lock was released = %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	execute := func(name, query string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	if err := openTest(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	execute("newer.db", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	for _, test := range []struct {
		name, path string
		want       error
		text       string
	}{
		{"no path", "", nil, "path"},
		{"no directory", filepath.Join(dir, "absent", "a.db"), os.ErrNotExist, "create the directory"},
		{"a directory", dir, nil, "is a directory"},
		{"text", write("text.db", []byte(strings.Repeat("not a database\n", 100))), ErrForeign, "another path"},
		{"another program's", execute("foreign.db", `CREATE TABLE songs (title TEXT)`), ErrForeign, "another path"},
		{"newer schema", newer, ErrNewer, "schema is 99"},
	} {
		s, err := Open(t.Context(), Config{Path: test.path})
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", test.name)
			continue
		}
		if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: Open() = %v, want %v with %q", test.name, err, test.want, test.text)
		}
	}
}

func TestOpenHostilePath(t *testing.T) {
	for _, name := range []string{"a b.db", "a?mode=memory", "a#b", "100%25.db", "ä'\".db", ":memory:", "&_pragma=x"} {
		path := filepath.Join(t.TempDir(), name)
		s := openTest(t, path)
		if _, err := s.Setting(t.Context(), "key", []byte{1}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() == 0 {
			t.Errorf("%q: the database is not in that file: %v, %v", name, info, err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%q: mode %v, want 0600", name, info.Mode())
		}
	}
}

// TestCorrupt damages every page of a database in turn: opening or reading it yields an error, or what was stored; never
// something else, and never a panic.
func TestCorrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "good.db")
	s := openTest(t, path)
	digest, want := content(7, 30_000)
	if err := s.PutContent(t.Context(), digest, want); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused, noticed := 0, 0
	for page := 0; page*4096 < len(good); page++ {
		bad := bytes.Clone(good)
		for i := range 512 {
			bad[page*4096+i*8] ^= 0xa5
		}
		path := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, unchecked := range []bool{false, true} {
			s, err := Open(t.Context(), Config{Path: path, unchecked: unchecked})
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
					t.Errorf("page %d: Open() = %v, want ErrCorrupt", page+1, err)
				}
				refused++
				continue
			}
			if got, err := s.Content(t.Context(), digest); err != nil {
				noticed++
			} else if !bytes.Equal(got, want) {
				t.Errorf("page %d: Content() returned other bytes", page+1)
			}
			s.Close()
		}
	}
	if refused == 0 || noticed == 0 {
		t.Errorf("refused %d, noticed %d damaged databases, want both", refused, noticed)
	}
}

// TestReadOnly opens a database that this user may not write. Root may write everything, so the test runs itself as
// another user if need be.
func TestReadOnly(t *testing.T) {
	if path := os.Getenv("PROBITY_TEST_READ_ONLY"); path != "" {
		s, err := Open(t.Context(), Config{Path: path})
		if err == nil {
			s.Close()
		}
		fmt.Printf("OPENED: %v READONLY: %t\n", err, errors.Is(err, ErrReadOnly))
		return
	}
	dir, err := os.MkdirTemp("", "read-only")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Chmod(dir, 0o700)
		os.RemoveAll(dir)
	})
	path := filepath.Join(dir, "test.db")
	if err := openTest(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "self.test")
	if err := copyFile(os.Args[0], self); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o444, 0o644} { // the file, then only its directory cannot be written
		if err := errors.Join(os.Chmod(path, mode), os.Chmod(dir, 0o555)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestReadOnly$")
		cmd.Env, cmd.Dir = append(os.Environ(), "PROBITY_TEST_READ_ONLY="+path), dir
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "READONLY: true") {
			t.Errorf("mode %v: %v\n%s", mode, err, out)
		}
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
