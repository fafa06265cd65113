//go:build linux

package machine

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is a process that ends with this one, however this one ends.
type child struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // how it ended; read it after ended is closed
	stderr *tail
}

// startChild starts a process. The kernel kills it when the thread that started it ends, so a goroutine keeps that thread
// until the process has ended.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, ended: make(chan struct{}), stderr: new(tail)}
	cmd.Stderr = c.stderr
	cmd.WaitDelay = stopTime
	// A group of its own: Ctrl-C at the terminal is for us, who then end it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// stop ends the process: politely, so that it writes what it holds, and then not.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if !c.await(stopTime) {
		c.kill()
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

func (c *child) await(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.ended:
		return true
	case <-t.C:
		return false
	}
}

// tail keeps the end of what a process says.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxStderr):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
