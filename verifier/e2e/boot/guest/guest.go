// Package guest is what the host and a guest of a real boot say to each other over the guest's serial console, which is
// the one device that every emulated board has.
//
// Three layers. A line of the console is either text (firmware, kernel, programs) or a Frame: a prefix, a checksum and
// one JSON object. A Conn makes of frames a reliable, ordered stream of messages over a line that loses and damages some:
// the kernel writes to the console when it likes, and an emulated UART drops what comes faster than it is read. Client
// and Server make of messages requests and answers; the operations and their arguments are in ops.go.
//
// Both sides are trusted alike: they are one test. Still the host reads a console whose other end is a machine that was
// attacked, so that what it parses is bounded (limits.go) and checked.
package guest

import "time"

// Version is that of the protocol. A guest program of another version is an error when it says hello.
const Version = 1

// Hello is the guest's first message: it runs, and this is what it found.
type Hello struct {
	Version  int           `json:"version"`
	Kernel   string        `json:"kernel"`             // release, as of uname -r
	Machine  string        `json:"machine"`            // hardware name, as of uname -m
	Board    string        `json:"board,omitempty"`    // devicetree model or DMI product name; empty: neither
	Cmdline  string        `json:"cmdline"`            // /proc/cmdline
	Uptime   time.Duration `json:"uptime"`             // since the kernel started
	Network  string        `json:"network,omitempty"`  // configured interface; empty: none, Problems says why
	Problems []string      `json:"problems,omitempty"` // what failed on the way here, none of it fatal
}
