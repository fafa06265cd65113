//go:build linux

package machine

import "time"

// MaxMachines is how many machines run at once in this process. Emulated processors are slow; more of them on the two
// cores of a usual runner would only make each miss its patience.
const MaxMachines = 2

// Patience. Emulation on a busy machine is slow, so these are far above what was seen; what a console says ends a wait
// long before.
const (
	bootTime    = 3 * time.Minute  // until the guest's hello; seen: 4 to 25 s
	callTime    = 2 * time.Minute  // for an answer, beside the time that the call itself allows; seen: under 2 s
	endTime     = 20 * time.Second // for a guest to end itself
	stopTime    = 5 * time.Second  // for QEMU and swtpm to end when told to
	controlTime = 20 * time.Second // for an answer of QEMU's own
	lastWords   = time.Second      // for the lines after a panic
)

// Limits on what is kept of a console.
const (
	maxConsole   = 4 << 20 // bytes of all lines; older ones are dropped
	maxLastLines = 40      // lines in an error
	maxLastBytes = 8 << 10 // bytes of them
	maxStderr    = 64 << 10
)
