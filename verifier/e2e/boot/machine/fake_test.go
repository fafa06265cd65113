//go:build linux

package machine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// TestMain makes this program QEMU when it is called so, by the name of a link: a machine that does what its test says.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "qemu-system-") {
		fake(slices.Index(os.Args, "-behave"))
	}
	os.Exit(m.Run())
}

// fakeSpec is a machine that behaves so when it is booted.
func fakeSpec(t *testing.T, b Board, behave string) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"qemu-system-arm", "qemu-system-x86_64"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := Spec{Board: b, Kernel: file, QEMU: dir, Args: []string{"-behave", behave}}
	if b == Q35 {
		s.Firmware, s.VarsTemplate = file, file
	} else {
		s.DTB = file
	}
	return s
}

// fake is QEMU with a guest in it.
func fake(at int) {
	behave := os.Args[at+1]
	fmt.Print("\x1b[2JBdsDxe: starting Boot0001\r\n[    0.000000] Linux version 6.1.0\r\n")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		if behave != "stubborn" {
			os.Exit(0)
		}
	}()
	switch behave {
	case "refuse":
		fmt.Fprintln(os.Stderr, "qemu-system-arm: -machine: unsupported machine type")
		os.Exit(1)
	case "panic":
		fmt.Print("[    1.5] Kernel panic - not syncing: No working init found.\r\n[    1.6] ---[ end Kernel panic ]---\r\n")
	case "prompt":
		fmt.Print("Hit any key to stop autoboot:  2 \b\b\b 0 \r\n=> ")
	case "another version":
		f := guest.Frame{Number: 1, Data: []byte(`{"id":0,"args":{"version":99}}` + "\n")}
		b, err := f.Append(nil)
		if err != nil {
			os.Exit(3)
		}
		_, _ = os.Stdout.Write(b)
	}
	g := &fakeGuest{behave: behave}
	go g.control()
	switch behave {
	case "refuse", "panic", "prompt", "silent", "stubborn", "another version":
	default:
		g.serve()
	}
	select {}
}

type fakeGuest struct {
	behave string
	high   bool // of the only input
	server *guest.Server
}

func (g *fakeGuest) serve() {
	var err error
	hello := guest.Hello{Machine: "armv7l", Kernel: "6.1.0-fake", Board: "Fake", Problems: []string{"module x: missing"}}
	if g.server, err = guest.NewServer(os.Stdout, guest.GuestPace, hello, g.handle); err != nil {
		os.Exit(3)
	}
	lines := &guest.Splitter{Line: func(b []byte) {
		if _, frame := guest.SplitLine(b); frame != nil {
			g.server.Handle(frame)
		}
	}}
	_, _ = io.Copy(lines, os.Stdin)
}

func (g *fakeGuest) handle(op guest.Op, args json.RawMessage, body []byte) (guest.Answer, error) {
	switch op {
	case guest.OpPing:
		if g.behave == "panic later" {
			fmt.Print("[   99.9] Kernel panic - not syncing: Attempted to kill init!\r\n")
			select {}
		}
		if g.behave == "die later" {
			fmt.Fprintln(os.Stderr, "qemu: fatal: oops")
			os.Exit(6)
		}
	case guest.OpRun:
		r, err := guest.Decode[guest.Run](args)
		if err != nil {
			return guest.Answer{}, err
		}
		out := strings.Join(r.Args, " ") + "\n"
		o := guest.Output{Exit: 4, StdoutLen: len(out), StderrLen: len(body)}
		if g.behave == "bad answers" {
			o.StdoutLen++
		}
		return guest.Answer{Result: o, Body: append([]byte(out), body...)}, nil
	case guest.OpStart:
		return guest.Answer{Result: guest.ProcessArgs{PID: 42}}, nil
	case guest.OpWait, guest.OpOutput:
		return guest.Answer{Result: guest.Output{Exit: -1}}, nil
	case guest.OpStatus:
		return guest.Answer{Result: guest.Status{Running: true, RSS: 1 << 20}}, nil
	case guest.OpTraffic:
		return guest.Answer{Result: guest.Traffic{SentBytes: 7}}, nil
	case guest.OpHash:
		return guest.Answer{Result: guest.Digest{Size: 3}}, nil
	case guest.OpList:
		return guest.Answer{Result: []guest.Entry{{Name: "x"}}}, nil
	case guest.OpRead:
		return guest.Answer{}, syscall.ENOENT
	case guest.OpGPIO:
		return guest.Answer{Result: guest.GPIO{High: g.high}}, nil
	case guest.OpMessages:
		return guest.Answer{Body: []byte("<6>hello")}, nil
	case guest.OpReboot, guest.OpPowerOff:
		return guest.Answer{Then: func() { g.end(op) }}, nil
	}
	return guest.Answer{}, nil
}

func (g *fakeGuest) end(op guest.Op) {
	if g.server.Conn().Flush(controlTime) != nil {
		os.Exit(3)
	}
	if g.behave == "halt" {
		fmt.Print("[    9.4] reboot: System halted\r\n")
		select {}
	}
	fmt.Print("[    9.4] reboot: Power down\r\n")
	os.Exit(0)
}

// control is QEMU's side of QMP, on file descriptor 3, and of qtest, on the next.
func (g *fakeGuest) control() {
	if slices.Contains(os.Args, "-qtest") {
		go g.test()
	}
	f := os.NewFile(3, "QMP")
	fmt.Fprintln(f, `{"QMP": {"version": {}, "capabilities": []}}`)
	for s := bufio.NewScanner(f); s.Scan(); {
		var c struct {
			Execute   string
			Arguments struct {
				Path, Property string
				Value          bool
			}
		}
		switch err := json.Unmarshal(s.Bytes(), &c); {
		case err != nil:
			os.Exit(3)
		case c.Execute == "qom-set" && c.Arguments.Path+c.Arguments.Property != "/machine/soc/gpiogpioG0":
			fmt.Fprintln(f, `{"error": {"class": "GenericError", "desc": "no such property"}}`)
		default:
			g.high = c.Arguments.Value
			fmt.Fprintln(f, `{"event": "SOMETHING", "timestamp": {}}`)
			fmt.Fprintln(f, `{"return": {"said": "`+c.Execute+`"}}`)
		}
	}
}

func (g *fakeGuest) test() {
	f := os.NewFile(4, "qtest")
	for s := bufio.NewScanner(f); s.Scan(); {
		switch s.Text() {
		case "set_irq_in /machine/soc/gpio3 unnamed-gpio-in 7 1":
			g.high = true
		case "set_irq_in /machine/soc/gpio3 unnamed-gpio-in 7 0":
			g.high = false
		default:
			fmt.Fprintln(f, "FAIL Unknown device")
			continue
		}
		fmt.Fprintln(f, "OK")
	}
}
