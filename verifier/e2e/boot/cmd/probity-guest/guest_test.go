//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// terminal opens a pseudo terminal: its master is the host's end of the console, its slave the guest's.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	at, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("skipped: no pseudo terminals here: %v", err)
	}
	master = os.NewFile(uintptr(at), "ptmx") // its reads end when it is closed, since they do not block
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(at, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(at, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("skipped: no pseudo terminals here: %v", err)
	}
	slave = os.NewFile(uintptr(fd), "console")
	t.Cleanup(func() { _ = slave.Close() })
	if err := makeRaw(fd); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// boot serves on a pseudo terminal and returns the host's side.
func boot(t *testing.T) *guest.Client {
	t.Helper()
	master, slave := terminal(t)
	c := guest.NewClient(master, guest.HostPace)
	lines := &guest.Splitter{Line: func(b []byte) {
		if _, frame := guest.SplitLine(b); frame != nil {
			c.Handle(frame)
		}
	}}
	go func() { _, _ = io.Copy(lines, master) }()
	m := newMachine()
	server, err := guest.NewServer(slave, guest.GuestPace, describe("", nil), m.handle)
	if err != nil {
		t.Fatal(err)
	}
	m.end = func(int) {
		_ = server.Conn().Flush(lastWords)
		server.Conn().Close(nil)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serve(slave, server)
	}()
	t.Cleanup(func() {
		c.Close(nil)
		_ = master.Close() // hangs the slave up
		<-ended
		server.Conn().Close(nil)
	})
	return c
}

func TestOverATerminal(t *testing.T) {
	c := boot(t)
	h, err := c.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.Kernel == "" || h.Machine == "" || h.Uptime <= 0 {
		t.Errorf("Hello = %+v", h)
	}
	// Every byte passes, in both directions: nothing is a control character.
	every := make([]byte, 4096)
	for i := range every {
		every[i] = byte(i)
	}
	var o guest.Output
	body, err := c.Call(t.Context(), guest.OpRun, guest.Run{Args: []string{"/bin/cat"}}, every, &o)
	if err != nil || o.Exit != 0 || !bytes.Equal(body, every) {
		t.Errorf("cat = %+v, %d bytes, %v", o, len(body), err)
	}
	if _, err := c.Call(t.Context(), "unknown", nil, nil, nil); !errors.Is(err, unix.ENOSYS) {
		t.Errorf("unknown operation: %v, want ENOSYS", err)
	}
	if _, err := c.Call(t.Context(), guest.OpRead, map[string]int{"pth": 1}, nil, nil); err == nil {
		t.Error("arguments with an unknown field are taken")
	}
	if _, err := c.Call(t.Context(), guest.OpPowerOff, nil, nil, nil); err != nil {
		t.Errorf("poweroff: %v", err)
	}
}

// ask calls an operation without a console.
func ask[R any](t *testing.T, m *machine, op guest.Op, args any, body []byte) (R, []byte, error) {
	t.Helper()
	var result R
	b, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.handle(op, b, body)
	if err != nil {
		return result, nil, err
	}
	if a.Result != nil {
		if b, err = json.Marshal(a.Result); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &result); err != nil {
			t.Fatal(err)
		}
	}
	return result, a.Body, nil
}
