package collect

import "time"

// Limits on what is read beside those of package proto. Real files stay far below them.
const (
	// maxText is the largest text file: a kernel command line, an os-release.
	maxText = 16 << 10
	// maxResources is how many entries of the EFI System Resource Table are reported: proto.Platform's limit.
	maxResources = 64
	// maxCommandLine is the longest kernel command line in bytes: proto.Platform's limit.
	maxCommandLine = 4096
	// maxBus is how many entries of one bus are looked at, maxAddress the longest address on a bus and maxDeviceName the
	// longest name of a device, in bytes. Linux has addresses of 12 bytes and names of at most 40.
	maxBus        = 1024
	maxAddress    = 64
	maxDeviceName = 64
	// maxDevice is the most that one device takes in an encoded platform, in bytes.
	maxDevice = maxAddress + maxDeviceName + 16
	// maxTamperName is the longest name of a tamper line in bytes, maxTamperReason the longest reason why one cannot be
	// read: all lines together have to fit into proto.MaxClaims.
	maxTamperName   = 64
	maxTamperReason = 256
	// maxFlashReason is the longest reason why a region of flash is not read, in bytes: proto.MaxFlash is for all.
	maxFlashReason = 200
	// readSize is how much of the IMA list is in memory at once, in bytes, unless one entry is larger.
	readSize = 32 << 10
)

// Times of tamper lines.
const (
	// tamperWait is how long a report waits for lines that do not answer.
	tamperWait = 5 * time.Second
	// bounce is how long a contact may bounce.
	bounce = 20 * time.Millisecond
)

// Times and sizes of reading flash.
const (
	// flashStall is how long a read may give no byte before it counts as hanging. Slow chips take milliseconds.
	flashStall = 2 * time.Minute
	// flashEnd is how long the end of the agent waits for a read.
	flashEnd = time.Second
	// flashStep is how much is read at once, in bytes, which makes a read at a low rate look idle (firmware/flash).
	flashStep = 64 << 10
	// rereadAfter is after how many intervals a region is read whose content has not changed as far as the kernel knows.
	rereadAfter = 12
)
