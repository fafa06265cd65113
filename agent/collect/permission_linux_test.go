package collect

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/probity-attest/probity/proto"
)

// unprivileged runs f without the rights of root over files, on a thread that ends with it.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		f()
		done <- errno
	}()
	if errno := <-done; errno != 0 && errno != 65534 {
		t.Logf("setfsuid: %d", errno)
	}
}

func TestPermission(t *testing.T) {
	tr := newTree(t)
	tr.write(bootLog, "log")
	tr.write(imaList, string(entries(t, 0, 3)))
	tr.write("proc/cmdline", "quiet")
	for _, name := range []string{bootLog, imaList, "proc/cmdline"} {
		tr.must(os.Chmod(tr.path(name), 0))
	}
	// testing makes the two folders for root alone: let others in.
	tr.must(os.Chmod(filepath.Dir(tr.dir), 0o755))
	tr.must(os.Chmod(tr.dir, 0o755))
	c := tr.collector()
	unprivileged(t, func() {
		_, un := c.BootLog()
		wantCause(t, un, proto.CausePermission, "CAP_DAC_READ_SEARCH")
		_, un = c.IMACount(t.Context())
		wantCause(t, un, proto.CausePermission, "CAP_DAC_READ_SEARCH")
		if p := c.Platform(); !strings.HasPrefix(p.Unavailable["command-line"], "permission: ") {
			t.Errorf("unavailable: %q", p.Unavailable)
		}
		if _, err := c.BootID(); err != nil {
			t.Error(err)
		}
	})
}
