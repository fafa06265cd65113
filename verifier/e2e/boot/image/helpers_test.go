package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

// read returns a file's content.
func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// write writes a file into a folder of the test and returns its path.
func write(tb testing.TB, name string, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

// tool runs one of the independent programs and returns what it printed and whether it succeeded.
func tool(t *testing.T, name string, args ...string) (string, bool) {
	t.Helper()
	s := debian.Need(t, debian.Tools)
	var path string
	for _, dir := range []string{"usr/bin", "usr/sbin", "sbin", "bin"} {
		if p := s.Path(filepath.Join(dir, name)); path == "" {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	if path == "" {
		t.Fatalf("the package set %s has no %s", s.Name, name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	if bytes.Contains(out, []byte("error while loading shared libraries")) {
		t.Skipf("%s can't run here: %s", name, bytes.TrimSpace(out))
	}
	return string(out), err == nil
}

// wantError checks an error's text.
func wantError(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s = %v, want an error with %q", what, err, text)
	}
}
