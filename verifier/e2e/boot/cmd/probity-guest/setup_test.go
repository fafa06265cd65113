//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSetupReports(t *testing.T) {
	dir := t.TempDir()
	if got := loadModules(dir); len(got) != 1 || !strings.Contains(got[0], "order") {
		t.Errorf("loadModules without a list = %q", got)
	}
	list := "# comment\n\nno-such.ko a=b\nbroken.ko\n"
	err := errors.Join(os.WriteFile(filepath.Join(dir, "order"), []byte(list), 0o600), os.WriteFile(filepath.Join(dir, "broken.ko"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if got := loadModules(dir); len(got) != 2 || !strings.Contains(got[0], "no-such.ko") || !strings.Contains(got[1], "broken.ko") {
		t.Errorf("loadModules = %q", got)
	}
	if got := mountAll(dir, []mount{{"nofs", "a", false}, {"nofs", "not-here", true}}); len(got) != 1 || !strings.Contains(got[0], "nofs") {
		t.Errorf("mountAll = %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "model"), []byte("AST2600 EVB\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstLine(filepath.Join(dir, "model")); got != "AST2600 EVB" {
		t.Errorf("firstLine = %q", got)
	}
	if got, err := os.ReadFile("/proc/self/comm"); err != nil || firstLine("/proc/self/comm") != strings.TrimSpace(string(got)) {
		t.Errorf("firstLine of a file of the kernel, %v", err)
	}
}
