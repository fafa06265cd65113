package guest

import (
	"io/fs"
	"syscall"
	"time"
)

// Op names what a guest is asked to do.
type Op string

// Operations. Each takes the arguments and gives the result of the types named beside it; "body" is raw bytes that
// travel beside them.
const (
	OpPing     Op = "ping"     // nothing -> nothing
	OpRun      Op = "run"      // Run, body: standard input -> Output, body: both streams
	OpStart    Op = "start"    // Run, body: standard input -> ProcessArgs
	OpSignal   Op = "signal"   // ProcessArgs -> nothing
	OpWait     Op = "wait"     // ProcessArgs -> Output, body: both streams
	OpOutput   Op = "output"   // ProcessArgs -> Output (unfinished: Exit is -1), body: both streams so far
	OpStatus   Op = "status"   // ProcessArgs -> Status
	OpTraffic  Op = "traffic"  // InterfaceArgs -> Traffic
	OpRead     Op = "read"     // ReadArgs -> nothing, body: content
	OpHash     Op = "hash"     // ReadArgs -> Digest
	OpWrite    Op = "write"    // WriteArgs, body: content -> nothing
	OpCopy     Op = "copy"     // CopyArgs -> nothing
	OpRemove   Op = "remove"   // FileArgs -> nothing; folders with all in them
	OpList     Op = "list"     // FileArgs -> []Entry
	OpViolate  Op = "violate"  // FileArgs -> nothing
	OpMount    Op = "mount"    // MountArgs -> nothing
	OpUnmount  Op = "unmount"  // FileArgs -> nothing
	OpModule   Op = "module"   // ModuleArgs -> nothing
	OpGPIO     Op = "gpio"     // GPIOArgs -> GPIO
	OpMessages Op = "messages" // nothing -> body: the kernel's messages
	OpTime     Op = "time"     // TimeArgs -> nothing
	OpReboot   Op = "reboot"   // nothing -> nothing, then the kernel restarts
	OpPowerOff Op = "poweroff" // nothing -> nothing, then the kernel powers off
)

// Run is a program to be run: no shell, no search in a path.
type Run struct {
	Args    []string      `json:"args"`          // Args[0] is the program's file
	Env     []string      `json:"env,omitempty"` // added to PATH and HOME
	Dir     string        `json:"dir,omitempty"` // working folder; zero: /
	Stdin   []byte        `json:"-"`             // travels as the body
	Timeout time.Duration `json:"timeout"`       // after which the program is killed; zero: none
}

// Output is how a program ended and what it wrote.
type Output struct {
	Exit      int            `json:"exit"`                // exit code; -1: not of its own accord
	Signal    syscall.Signal `json:"signal,omitempty"`    // that ended it
	TimedOut  bool           `json:"timed_out,omitempty"` // killed after Run.Timeout
	StdoutLen int            `json:"stdout_len"`
	StderrLen int            `json:"stderr_len"`
	Truncated bool           `json:"truncated,omitempty"` // it wrote more than MaxOutput to a stream
	User      time.Duration  `json:"user"`                // processor time in user mode
	System    time.Duration  `json:"system"`              // processor time in the kernel
	// MaxRSS is the peak of the resident memory in bytes. The kernel counts in what the guest program itself had when
	// it started the program, so that a program smaller than that (7 MB) seems as large; Status does not have that.
	MaxRSS int64  `json:"max_rss"`
	Stdout []byte `json:"-"` // travel as the body
	Stderr []byte `json:"-"`
}

// ProcessArgs names a program that OpStart started.
type ProcessArgs struct {
	PID    int            `json:"pid"`
	Signal syscall.Signal `json:"signal,omitempty"` // OpSignal
}

// Status is what a process uses (proc(5): /proc/PID/status, /proc/PID/stat). All is zero once it has ended: Output has
// the totals then.
type Status struct {
	Running bool          `json:"running"`
	RSS     int64         `json:"rss"`      // resident memory in bytes (VmRSS)
	PeakRSS int64         `json:"peak_rss"` // its peak in bytes (VmHWM)
	Threads int           `json:"threads"`
	User    time.Duration `json:"user"`   // processor time in user mode
	System  time.Duration `json:"system"` // processor time in the kernel
}

// Traffic is what passed a network interface since the boot, with the headers of its link (proc(5): /proc/net/dev).
type Traffic struct {
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
	SentBytes       uint64 `json:"sent_bytes"`
	SentPackets     uint64 `json:"sent_packets"`
}

// InterfaceArgs names a network interface.
type InterfaceArgs struct {
	Name string `json:"name"` // for example eth0
}

// FileArgs names a file, a folder or a mount point.
type FileArgs struct {
	Path string `json:"path"`
}

// ReadArgs is a part of a file.
type ReadArgs struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset,omitempty"`
	Limit  int64  `json:"limit,omitempty"` // most bytes; zero: to the end, an error for OpRead if that is over MaxMessage
}

// Digest is the result of OpHash.
type Digest struct {
	SHA256 []byte `json:"sha256"`
	Size   int64  `json:"size"` // bytes hashed
}

// WriteArgs says where content goes. Folders on the way are made.
type WriteArgs struct {
	Path   string      `json:"path"`
	Mode   fs.FileMode `json:"mode"` // of a new file
	Append bool        `json:"append,omitempty"`
	// Offset is where to write into a file that exists, which is then not cut (a device, for example); nil: replace it.
	Offset *int64 `json:"offset,omitempty"`
}

// CopyArgs copies a file with its mode. The target is replaced by another file (renamed over), as an installer does, so
// that the running program of that name does not prevent it.
type CopyArgs struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Entry is one name in a folder.
type Entry struct {
	Name     string      `json:"name"`
	Mode     fs.FileMode `json:"mode"`
	Size     int64       `json:"size"`
	Modified time.Time   `json:"modified"` // by the guest's clock
}

// MountArgs are those of mount(2).
type MountArgs struct {
	Source string `json:"source"`
	Target string `json:"target"`
	Type   string `json:"type"`
	Data   string `json:"data,omitempty"`
}

// ModuleArgs names a kernel module's file and its parameters.
type ModuleArgs struct {
	Path   string `json:"path"`
	Params string `json:"params,omitempty"`
}

// GPIOArgs name an input: a line of a chip under /dev, as the kernel's character device counts.
type GPIOArgs struct {
	Chip string `json:"chip"` // for example /dev/gpiochip0
	Line uint32 `json:"line"`
}

// GPIO is the state of an input.
type GPIO struct {
	High  bool   `json:"high"`
	Label string `json:"label"` // of the chip
	Lines uint32 `json:"lines"` // of the chip
}

// TimeArgs is a time to set.
type TimeArgs struct {
	Time time.Time `json:"time"`
}
