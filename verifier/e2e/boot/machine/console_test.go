//go:build linux

package machine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// watch gives a console text in pieces and returns the reason why it is stuck, or nil.
func watch(text string, piece int) (*console, error) {
	var reason error
	c := newConsole()
	c.attach(func([]byte) {}, func(err error) { reason = errors.Join(reason, err) })
	for len(text) > 0 {
		n := min(piece, len(text))
		_, _ = c.Write([]byte(text[:n]))
		text = text[n:]
	}
	return c, reason
}

func TestReasons(t *testing.T) {
	for text, want := range map[string]error{
		"BdsDxe: No bootable option or device was found.\r\nBdsDxe: Press any key to enter the Boot Manager Menu.\r\n": ErrNoBoot,
		"BdsDxe: loading Boot0001 \"UEFI Misc Device\"\r\n>>Start PXE over IPv4.":                                      nil, // no end yet
		">>Start PXE over IPv4.\r\n":                                                                        ErrNoBoot,
		"\x1b[2J\x1b[01;01HUEFI Interactive Shell v2.2\r\n":                                                 ErrNoBoot,
		"Bad Linux ARM64 Image magic!\r\n### ERROR ### Please RESET the board ###\r\n":                      ErrNoBoot,
		"EFI LOAD FAILED: continuing...\r\n=> ":                                                             ErrNoBoot,
		"Minimal BASH-like line editing is supported.\r\n\r\ngrub> ":                                        ErrNoBoot,
		"Verification failed: (0x1A) Security Violation\r\n":                                                ErrNoBoot,
		"EFI stub: ERROR: Failed to load initrd!\r\n":                                                       ErrNoBoot,
		"[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n":             ErrPanic,
		"fatal: no kernel available\r\nCommand 'load' failed: Error 1\r\nEFI stub: Booting Linux Kernel...": nil,
		"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0): Access Denied\r\n":         nil, // others follow
		"EFI stub: ERROR: Could not determine UEFI Secure Boot status.\r\n":                                 nil,
		"a => b\r\nxgrub> ": nil,
	} {
		for _, piece := range []int{1, 7, len(text)} {
			if _, got := watch(text, piece); !errors.Is(got, want) || (want == nil) != (got == nil) {
				t.Errorf("%q in pieces of %d: %v, want %v", text, piece, got, want)
			}
		}
	}
}

func TestConsole(t *testing.T) {
	c, reason := watch("\x1b[2J\x1b[01;01H\x1b[=3hone\a\r\nKernel panic - not syncing\r\nKernel panic - not syncing\r\n"+
		"text @probity 1234\r\n\xff\xfetail", 5)
	if n := strings.Count(reason.Error(), "not syncing"); n != 1 {
		t.Errorf("told %d times: %v", n, reason)
	}
	lines := strings.Split(strings.TrimSpace(c.String()), "\n")
	for i, want := range []string{"] one", "] Kernel panic - not syncing", "] Kernel panic - not syncing", "] text ", "tail"} {
		if i >= len(lines) || !strings.HasSuffix(lines[i], want) {
			t.Fatalf("console:\n%q\nline %d is not %q", lines, i, want)
		}
	}
	select {
	case <-c.halt():
		t.Error("halted")
	default:
	}
	_, _ = c.Write([]byte("\r\n[    7.061475] reboot: System halted\r\n[    7.06] reboot: System halted\r\n"))
	<-c.halt()
	c.attach(func([]byte) {}, nil)
	select {
	case <-c.halt():
		t.Error("halted in the next boot")
	default:
	}
}

func TestConsoleIsBounded(t *testing.T) {
	c, _ := watch("", 1)
	line := strings.Repeat("x", 4000) + "\n"
	for range maxConsole/len(line) + 50 {
		_, _ = c.Write([]byte(line))
	}
	_, _ = c.Write([]byte("the end\n"))
	if got := c.String(); len(got) > maxConsole+2*len(line) || !strings.HasPrefix(got, "-- ") || !strings.HasSuffix(got, "the end\n") {
		t.Errorf("console of %d bytes begins %q", len(got), got[:60])
	}
	if got := c.last(); len(got) > maxLastBytes || !strings.HasSuffix(got, "the end") {
		t.Errorf("last = %d bytes", len(got))
	}
	c, _ = watch("", 1)
	for i := range 100 {
		fmt.Fprintf(c, "line %d\n", i)
	}
	if got := c.last(); strings.Count(got, "\n") != maxLastLines-1 || !strings.Contains(got, "line 60\n") || strings.Contains(got, "line 59\n") {
		t.Errorf("last = %q", got)
	}
}

// FuzzConsole: whatever a machine says, the console stays printable.
func FuzzConsole(f *testing.F) {
	for _, s := range []string{
		"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading Boot0001\r\n", "\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8", "@probity 00000000 {}\n",
		"[    0.0] Linux version 6.1\r\n\xff\xfe\n=> ", "\x1b", "\x1b[",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _ := watch(string(b), 16)
		for _, text := range []string{c.String(), c.last()} {
			for _, r := range text {
				if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0xfffd {
					t.Fatalf("%q of %q", text, b)
				}
			}
		}
	})
}
