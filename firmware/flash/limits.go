package flash

// Limits on a layout and on what is made of it.
const (
	// MaxLayoutSize is the largest layout file in bytes.
	MaxLayoutSize = 64 << 10
	// MaxRegions is the most regions in a layout, of a machine, and that a pattern may match.
	MaxRegions = 128
	// MaxRanges is the most excluded ranges of a region.
	MaxRanges = 64
	// MaxName is the longest name of a region in a layout in bytes, MaxExpandedName that of one that a pattern matched.
	MaxName         = 64
	MaxExpandedName = 255
	// MaxReason is the longest reason of an excluded range in bytes.
	MaxReason = 255
	// MaxSource is the longest text form of a source in bytes.
	MaxSource = 255
)

// Limits on what a machine shows.
const (
	maxEntries   = 16384 // names read of one directory, of which a pattern selects
	maxDevices   = 1024  // MTD devices looked at
	maxAttribute = 4096  // bytes of a file in sysfs: one page
	// MaxBad is the most ranges of bad blocks that are listed of one region. NAND makers promise at most 2 percent.
	MaxBad = 4096
)

// Limits on what a SPI NOR chip states of itself.
const (
	// MaxDensity is the largest chip in bytes: what 4 address bytes reach.
	MaxDensity        = 1 << 32
	maxParameters     = 32 // parameter headers read of a chip
	maxParameterWords = 64 // double words read of a parameter table; the longest known has 23
)

// Sizes of reading.
const (
	bufferSize  = 64 << 10 // bytes read and hashed at once
	spiTransfer = 4096     // bytes of a transfer that every bus takes: spidev's bufsiz unless told otherwise
	minTransfer = 16       // smallest transfer worth splitting to: a command, its address and some data
)
