package hostfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// machine builds a tree of files; a content that begins with "-> " makes a symbolic link.
func machine(t *testing.T, files map[string]string) Tree {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Tree(dir)
}

// Links lead to the same file whether they are relative, absolute or lie in the middle, and never out of the tree.
func TestLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := machine(t, map[string]string{
		"data/real": "content", "a/relative": "-> ../data/real", "a/absolute": "-> /data/real",
		"a/above": "-> ../../../../../../data/real", "a/dir": "-> /data", "a/chain": "-> ./absolute",
		"a/dangling": "-> /nothing", "a/b": "-> b", "a/out": "-> " + secret, "a/outside": "-> " + filepath.Dir(secret),
	})
	for _, name := range []string{
		"data/real", "/data/real", "a/relative", "a/absolute", "a/above", "a/dir/real", "a/chain", "a/../data//./real",
	} {
		if got, err := tree.Read(name, 100); err != nil || string(got) != "content" {
			t.Errorf("Read(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"a/dangling", "a/missing/../../data/real", "a/out", "a/outside/secret"} {
		if got, err := tree.Read(name, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read(%q) = %q, %v, want that it does not exist", name, got, err)
		}
	}
	if _, err := tree.Read("data/real/below", 100); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Read below a file = %v", err)
	}
	if _, err := tree.Read("a/b", 100); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Read of a loop = %v", err)
	}
	if got, err := Tree("/").Read(secret, 100); err != nil || string(got) != "secret" {
		t.Errorf("Read from the real root = %q, %v", got, err)
	}
}

func TestRead(t *testing.T) {
	tree := machine(t, map[string]string{"ten": "0123456789"})
	if b, err := tree.Read("ten", 10); err != nil || len(b) != 10 {
		t.Errorf("Read of 10 bytes with limit 10 = %q, %v", b, err)
	}
	b, err := tree.Read("ten", 9)
	if b != nil || !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), tree.Show("ten")) {
		t.Errorf("Read of 10 bytes with limit 9 = %q, %v", b, err)
	}
}

func TestNames(t *testing.T) {
	tree := machine(t, map[string]string{"dir/a": "", "dir/b": "", "dir/c": ""})
	got, err := tree.Names("dir", 10)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("Names = %q, %v", got, err)
	}
	if got, err := tree.Names("dir", 2); err != nil || len(got) != 2 {
		t.Errorf("Names with limit 2 = %q, %v", got, err)
	}
	if err := os.Mkdir(tree.Show("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Names("empty", 2); err != nil || len(got) != 0 {
		t.Errorf("Names of an empty folder = %q, %v", got, err)
	}
	if got, err := tree.Names("", 1); err != nil || len(got) != 1 {
		t.Errorf("Names of the top = %q, %v", got, err)
	}
}

// What is no regular file is not opened: to open a pipe would block.
func TestOthersAreNotOpened(t *testing.T) {
	tree := machine(t, map[string]string{"file": ""})
	if err := syscall.Mkfifo(tree.Show("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", ""} {
		f, err := tree.Open(name, Regular)
		if f != nil || !errors.Is(err, ErrNotRegular) {
			t.Errorf("Open(%q) = %v, %v, want ErrNotRegular", name, f, err)
		}
	}
	if _, err := tree.Names("file", 1); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Names of a file = %v, want ENOTDIR", err)
	}
}
