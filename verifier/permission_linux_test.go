package verifier

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// unprivileged runs f without the rights of root over files, on a thread that ends with it.
func unprivileged(f func()) {
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		// Returns the former id whether it worked or not; f notices if it did not.
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		f()
	}()
	<-done
}

// TestStateFolderOfSomebodyElse: a folder that is there and must not be written.
func TestStateFolderOfSomebodyElse(t *testing.T) {
	cfg := testConfig(t)
	if err := os.Mkdir(cfg.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	// testing makes its folders for their owner alone: let others in.
	parent := filepath.Dir(cfg.StateDir)
	for dir, mode := range map[string]os.FileMode{filepath.Dir(parent): 0o755, parent: 0o755, cfg.StateDir: 0o555} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	var err error
	unprivileged(func() { err = attempt(t.Context(), cfg, io.Discard) })
	wantSays(t, err, "probity.db", "make the file and its directory writable for this user")
	nothingLeft(t, cfg, before)
}
