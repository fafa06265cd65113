package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/api/apitest"
)

// terminal returns a terminal on which somebody types.
func terminal(t *testing.T, typed string) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	if _, err := master.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	return slave
}

// TestPolicySetAsks: on a terminal the difference is shown and only "y" puts the policy in force.
func TestPolicySetAsks(t *testing.T) {
	s := apitest.Start(t)
	t.Setenv("PROBITY_URL", s.URL)
	t.Setenv("PROBITY_CA_FINGERPRINT", s.Fingerprint)
	t.Setenv("PROBITY_TOKEN", s.Operator)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nname: acme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const end = "\x04" // of the file, as a terminal has it
	for _, tt := range []struct {
		typed string
		code  int
	}{{"n\n", exitError}, {"\n", exitError}, {"yess\n", exitError}, {end, exitError}, {"y\n", exitOK}} {
		var out, messages bytes.Buffer
		err := run(t.Context(), []string{"policy", "set", file}, terminal(t, tt.typed), &out, &messages)
		if exitCode(err) != tt.code || !strings.Contains(messages.String(), "+name: acme\n") ||
			!strings.Contains(messages.String(), "put this policy in force? [y/N]") {
			t.Errorf("policy set, typed %q = %v\n%s\nwant exit code %d after the difference and the question", tt.typed, err, messages.String(), tt.code)
		}
		if got, want := strings.Contains(messages.String(), "version 1, is in force"), tt.code == exitOK; got != want {
			t.Errorf("policy set, typed %q: in force %v, want %v", tt.typed, got, want)
		}
		_, err = s.Store.Policy(t.Context(), apitest.Tenant, 1)
		if got, want := err == nil, tt.code == exitOK; got != want {
			t.Errorf("policy set, typed %q: stored %v (%v), want %v", tt.typed, got, err, want)
		}
	}
}
