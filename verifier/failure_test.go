package verifier

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// occupy listens on a port as another program would.
func occupy(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// alter changes the database of a verifier that was started before.
func alter(t *testing.T, cfg Config, query string) {
	t.Helper()
	start(t, cfg).stop()
	db, err := sql.Open("sqlite", filepath.Join(cfg.StateDir, "probity.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites the middle of the database of a verifier that was started before.
func damage(t *testing.T, cfg *Config) {
	t.Helper()
	start(t, *cfg).stop()
	path := filepath.Join(cfg.StateDir, "probity.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 4; i < len(b)/2; i++ {
		b[i] = 0xaa
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStartFails (ATTACKS row 51): the error says what and what to do, and nothing is left running.
func TestStartFails(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *Config)
		want    []string
	}{
		"wrong configuration": {
			func(_ *testing.T, c *Config) { c.Policy.IMA = "maybe" }, []string{"configuration: policy.ima", "want one of"},
		},
		"state folder below a file": {
			func(t *testing.T, c *Config) { write(t, c.StateDir, ""); c.StateDir += "/below" },
			[]string{"state-dir: ", "not a directory", "choose a folder that this user may write to with --state-dir"},
		},
		"state folder cannot be made": {
			func(_ *testing.T, c *Config) { c.StateDir = "/proc/probity" }, []string{"state-dir: ", "/proc/probity", "--state-dir"},
		},
		"database newer": {
			func(t *testing.T, c *Config) {
				alter(t, *c, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
			},
			[]string{"probity.db", "newer version", "schema is 99", "run that version, or restore the backup"},
		},
		"database corrupt": {damage, []string{"probity.db", "damaged", "restore the newest backup"}},
		"no database": {
			func(t *testing.T, c *Config) {
				write(t, filepath.Join(c.StateDir, "probity.db"), strings.Repeat("no database\n", 500))
			},
			[]string{"probity.db", "not a database of this program", "give another path"},
		},
		"a key is lost": {
			func(t *testing.T, c *Config) {
				start(t, *c).stop()
				if err := os.Remove(filepath.Join(c.StateDir, "keys", "signing.pem")); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"signing.pem", "restore it from a backup"},
		},
		"keys folder is a file": {
			func(t *testing.T, c *Config) { write(t, filepath.Join(c.StateDir, "keys"), "") }, []string{"authority", "keys"},
		},
		"roots folder cannot be made": {
			func(t *testing.T, c *Config) { c.Enrollment.Roots = "/proc/probity" }, []string{"enrollment.tpm-roots: ", "/proc/probity"},
		},
		"address of the API in use": {
			func(t *testing.T, c *Config) { c.API.Listen = occupy(t) },
			[]string{"api.listen: ", "address already in use", "choose another address with --api-listen"},
		},
		"address of the API is another machine's": {
			func(_ *testing.T, c *Config) { c.API.Listen = "192.0.2.1:0" }, []string{"api.listen: ", "192.0.2.1", "--api-listen"},
		},
		"address of the broker in use": {
			func(t *testing.T, c *Config) { c.MQTT.Listen = occupy(t) },
			[]string{"mqtt.listen: ", "address already in use", "choose another address with --mqtt-listen"},
		},
		"operator's context cannot be written": {
			func(t *testing.T, c *Config) {
				path := filepath.Join(c.StateDir, "operator.yaml")
				if err := errors.Join(os.MkdirAll(c.StateDir, 0o700), os.Symlink(path, path)); err != nil { // a loop
					t.Fatal(err)
				}
			},
			[]string{"operator's context", "operator.yaml", "remove it, and it is made again"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.prepare(t, &cfg)
			wantFailure(t, cfg, tt.want...)
		})
	}
}

// wantFailure starts a verifier, which must fail saying all of want and leave nothing behind.
func wantFailure(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	before := runtime.NumGoroutine()
	var out bytes.Buffer
	wantSays(t, attempt(t.Context(), cfg, &out), want...)
	if enrolLine.MatchString(out.String()) {
		t.Errorf("printed %q before it failed", out.String())
	}
	nothingLeft(t, cfg, before)
}

// attempt runs a verifier and returns why it did not stay.
func attempt(ctx context.Context, cfg Config, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := New(ctx, cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return v.Run(ctx, out)
}

func wantSays(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("the verifier started, or ended without an error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// nothingLeft waits until all goroutines and open files of a verifier are gone.
func nothingLeft(t *testing.T, cfg Config, goroutines int) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		files := openBelow(t, cfg.StateDir)
		now := runtime.NumGoroutine()
		if now <= goroutines && len(files) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Fatalf("%d goroutines, %d before; open files %q\n%s", now, goroutines, files, stacks)
		}
	}
}

// openBelow returns this process's open files below a folder.
func openBelow(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("SKIPPED: open files cannot be listed here: %v", err)
	}
	var out []string
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.HasPrefix(to, dir+"/") {
			out = append(out, to)
		}
	}
	return out
}
