package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// notifySocket plays systemd.
func notifySocket(t *testing.T) func() string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return func() string {
		t.Helper()
		b := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("nothing was notified: %v", err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	next := notifySocket(t)
	for want, send := range map[string]func() error{
		"READY=1":                    Ready,
		"STOPPING=1":                 Stopping,
		"STATUS=connected READY=1 x": func() error { return Status("connected\nREADY=1\rx") },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != want {
			t.Errorf("systemd got %q, want %q", got, want)
		}
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := errors.Join(Ready(), Status("x"), Stopping()); err != nil {
		t.Errorf("without systemd: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", "/nonexistent/socket")
	if err := Ready(); err == nil {
		t.Error("a socket that is named but missing is no error")
	}
}

func TestWatchdog(t *testing.T) {
	next := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int((20 * time.Millisecond).Microseconds())))
	ctx, cancel := context.WithCancel(t.Context())
	sick := make(chan bool, 1)
	sick <- false
	done := make(chan error, 1)
	go func() {
		done <- Watchdog(ctx, func(context.Context) error {
			s := <-sick
			defer func() { sick <- s }()
			if s {
				return errors.New("TPM hangs")
			}
			return nil
		})
	}()
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("systemd got %q, want WATCHDOG=1", got)
		}
	}
	<-sick
	sick <- true
	got := next()
	for got == "WATCHDOG=1" { // sent before
		got = next()
	}
	if got != "STATUS=unhealthy: TPM hangs" {
		t.Errorf("systemd got %q, want the reason and no watchdog message", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watchdog = %v", err)
	}
}

func TestWatchdogIsNotWanted(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Watchdog(ctx, func(context.Context) error { return errors.New("asked") }); err != nil {
		t.Errorf("Watchdog = %v", err)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := Watchdog(ctx, nil); err == nil {
		t.Error("a broken WATCHDOG_USEC is no error")
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	l, err := Logger(&b, "json", "WARN")
	if err != nil {
		t.Fatal(err)
	}
	l.Info("no")
	l.Warn("yes", "device", "a\nlevel=ERROR")
	var line struct{ Level, Msg, Device string }
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Level != "WARN" || line.Msg != "yes" {
		t.Errorf("logged %s, %v", &b, err)
	}
	b.Reset()
	if l, err = Logger(&b, "text", "info"); err != nil {
		t.Fatal(err)
	}
	l.Info("x", "device", "a\nlevel=ERROR forged")
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("a value forged a line: %q", &b)
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}} {
		if _, err := Logger(&b, bad[0], bad[1]); err == nil {
			t.Errorf("Logger(%q) succeeded", bad)
		}
	}
}
