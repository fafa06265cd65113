//go:build linux

package machine

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// console reads what a machine says: it keeps text, gives frames on, and knows the lines after which nothing comes.
type console struct {
	start time.Time
	frame func([]byte)
	stuck func(error) // called once

	mu       sync.Mutex
	split    guest.Splitter
	lines    []string
	size     int
	dropped  int
	told     bool
	halted   chan struct{} // closed when the kernel says that it stopped
	isHalted bool
}

func newConsole() *console {
	c := &console{start: time.Now(), halted: make(chan struct{})}
	c.split.Line = c.line
	return c
}

// attach begins a boot: frames go to frame, and a reason why no more come to stuck.
func (c *console) attach(frame func([]byte), stuck func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame, c.stuck, c.told = frame, stuck, false
	c.halted, c.isHalted = make(chan struct{}), false
}

// Write takes what the machine says. It never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.split.Write(p)
	if rest := clean(c.split.Rest()); prompt.MatchString(rest) {
		c.tell(fmt.Errorf("%w: it stands at the prompt %q", ErrNoBoot, rest))
	}
	return n, err
}

// line takes one line; the lock is held.
func (c *console) line(line []byte) {
	text, frame := guest.SplitLine(line)
	if frame != nil {
		c.frame(frame)
		if len(text) == 0 {
			return
		}
	}
	s := clean(text)
	c.keep(s)
	if end.MatchString(s) && !c.isHalted {
		c.isHalted = true
		close(c.halted)
	}
	for _, r := range reasons {
		if r.line.MatchString(s) {
			c.tell(fmt.Errorf("%w: %s", r.err, strings.TrimSpace(s)))
		}
	}
}

func (c *console) tell(reason error) {
	if !c.told && c.stuck != nil {
		c.told = true
		c.stuck(reason)
	}
}

func (c *console) keep(s string) {
	s = fmt.Sprintf("[%8.3f] %s", time.Since(c.start).Seconds(), s)
	c.lines, c.size = append(c.lines, s), c.size+len(s)
	for c.size > maxConsole {
		c.size -= len(c.lines[0])
		c.lines, c.dropped = c.lines[1:], c.dropped+1
	}
}

// note keeps a line of the host's.
func (c *console) note(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep("-- " + s)
}

// String returns all lines, with the seconds since the machine was made.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	if c.dropped > 0 {
		fmt.Fprintf(&b, "-- %d older lines were dropped\n", c.dropped)
	}
	for _, l := range c.lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	if rest := clean(c.split.Rest()); rest != "" {
		b.WriteString(rest)
		b.WriteByte('\n')
	}
	return b.String()
}

// last returns the last lines.
func (c *console) last() string {
	lines := strings.SplitAfter(strings.TrimRight(c.String(), "\n"), "\n")
	s := strings.Join(lines[max(0, len(lines)-maxLastLines):], "")
	return strings.ToValidUTF8(s[max(0, len(s)-maxLastBytes):], "?")
}

// halt is closed when the kernel of this boot says that it stopped.
func (c *console) halt() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halted
}

// reasons are lines after which a guest says nothing more.
var reasons = []struct {
	line *regexp.Regexp
	err  error
}{
	{regexp.MustCompile(`Kernel panic - not syncing`), ErrPanic},
	// OVMF and AAVMF, where all boot options failed; and before they try the network, which takes them minutes.
	{regexp.MustCompile(`No bootable option or device was found|>>Start (PXE|HTTP) over IPv[46]`), ErrNoBoot},
	{regexp.MustCompile(`^UEFI Interactive Shell`), ErrNoBoot},
	// U-Boot.
	{regexp.MustCompile(`### ERROR ### Please RESET the board`), ErrNoBoot},
	// shim and GRUB.
	{regexp.MustCompile(`Verification failed: \(0x|bad shim signature|Minimal BASH-like line editing`), ErrNoBoot},
	{regexp.MustCompile(`EFI stub: ERROR: (Failed to|Secure boot)`), ErrNoBoot},
}

// prompt is an unfinished line of U-Boot, GRUB or the UEFI shell that waits for a person.
var prompt = regexp.MustCompile(`^(=> |grub> |grub rescue> |Shell> )$`)

// end is what the kernel says last.
var end = regexp.MustCompile(`reboot: (System halted|Power down|Restarting system)`)

// escapes are the control sequences of a terminal (ECMA-48, section 5.4), and the few others that firmware sends.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])`)

// clean makes text printable: what a machine says may be anything.
func clean(b []byte) string {
	b = escapes.ReplaceAll(b, nil)
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, string(bytes.TrimRight(b, "\r")))
}
