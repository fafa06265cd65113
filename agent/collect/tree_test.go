package collect

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

const (
	bootID  = "proc/sys/kernel/random/boot_id"
	bootLog = securityfs + "/tpm0/binary_bios_measurements"
)

var imaList = imaLists[0]

// tree is a directory that stands for a machine. What its methods write goes through os.Root: an absolute link in the
// tree would otherwise lead them to the files of the machine that runs the test.
type tree struct {
	testing.TB
	dir string
}

func newTree(tb testing.TB) tree {
	t := tree{tb, tb.TempDir()}
	t.boot(1)
	return t
}

func (t tree) path(name string) string { return filepath.Join(t.dir, name) }

func (t tree) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs f with the tree as os.Root, which refuses to follow links out of it.
func (t tree) inside(f func(*os.Root) error) {
	t.Helper()
	r, err := os.OpenRoot(t.dir)
	t.must(err)
	t.must(errors.Join(f(r), r.Close()))
}

func (t tree) write(name, content string) {
	t.Helper()
	t.inside(func(r *os.Root) error {
		return errors.Join(r.MkdirAll(filepath.Dir(name), 0o755), r.WriteFile(name, []byte(content), 0o644))
	})
}

func (t tree) add(name string, content []byte) {
	t.Helper()
	t.inside(func(r *os.Root) error {
		f, err := r.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Close())
	})
}

func (t tree) link(target, name string) {
	t.Helper()
	t.inside(func(r *os.Root) error {
		return errors.Join(r.MkdirAll(filepath.Dir(name), 0o755), r.Symlink(target, name))
	})
}

func (t tree) remove(name string) {
	t.Helper()
	t.inside(func(r *os.Root) error { return r.RemoveAll(name) })
}

func (t tree) boot(n int) {
	t.write(bootID, fmt.Sprintf("00000000-0000-4000-8000-%012d\n", n))
}

func (t tree) collector() *Collector { return New(Config{Root: t.dir}) }

// entries makes a list of files number from to below to.
func entries(tb testing.TB, from, to int) []byte {
	tb.Helper()
	var b ima.Builder
	for i := from; i < to; i++ {
		d := sha256.Sum256(fmt.Append(nil, i))
		if err := b.Append(ima.Measurement{Path: fmt.Sprintf("/usr/bin/tool-%d", i), Algorithm: pcr.SHA256, Digest: d[:]}); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// wantCause checks a reason: its cause, that it says what it should, and that it fits into the protocol.
func wantCause(t testing.TB, un *proto.Unavailable, cause proto.Cause, says string) {
	t.Helper()
	if un == nil || un.Cause != cause || !strings.Contains(un.Reason, says) {
		t.Errorf("unavailable = %v, want %s: ...%s...", un, cause, says)
		return
	}
	claims := &proto.Claims{BootID: make([]byte, 16), BootLog: proto.Item{Unavailable: un}, Platform: proto.Item{Unavailable: un}}
	if _, err := proto.Encode(claims); err != nil {
		t.Error(err)
	}
}

// TestImports keeps the verifier, databases and web frameworks out of the agent.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("skipped: go list: %v", err)
	}
	const module = "github.com/probity-attest/probity/"
	for _, p := range strings.Fields(string(out)) {
		for forbidden, reason := range map[string]string{
			module + "verifier":  "an agent must be readable without the verifier",
			module + "agent/tpm": "what is collected does not depend on a TPM",
			"database/sql":       "an agent keeps nothing",
			"net/http":           "an agent neither serves nor fetches over HTTP",
			"os/exec":            "an agent runs no commands",
		} {
			if p == forbidden || strings.HasPrefix(p, forbidden+"/") {
				t.Errorf("imports %s: %s", p, reason)
			}
		}
	}
}
