package image

// Limits on an image while it is split. The largest flash chips of servers have 64 MiB, unpack to 100 to 200 MiB and
// hold some 10,000 parts, at most 16 deep.
const (
	// MaxSize is the largest image in bytes.
	MaxSize = 256 << 20
	// MaxUnpacked is the most bytes that all compressed parts of an image may unpack to, at all depths together.
	MaxUnpacked = 256 << 20
	// MaxParts is the most parts of an image.
	MaxParts = 200_000
	// MaxDepth is how deep parts may nest.
	MaxDepth = 40
	// MaxDamaged is how many damaged parts Config.Lenient keeps as data before it gives up.
	MaxDamaged = 64
	// MaxName is the longest name that is kept of a part, in bytes.
	MaxName = 128
	// MaxDetail is the longest description that is kept of a part, in bytes.
	MaxDetail = 1024
)

// Limits on a comparison.
const (
	// MaxChanges is the most changes, and the most moved parts, that a Difference lists; it counts the others.
	MaxChanges = 4096
	// MaxHexRanges is the most ranges of different bytes that one change shows.
	MaxHexRanges = 8
	// MaxHexBytes is the most bytes of each side that one range shows.
	MaxHexBytes = 32
)
