package corim

// Limits on a document before and while it is read. With them the memory for what is read stays under 256 MiB whatever
// the document holds, and at about twice its size for lists of files.
const (
	// MaxSize is the largest document in bytes, signed or not.
	MaxSize = 64 << 20
	// MaxElements is the most elements of one array. It is the limit that a widespread decoder has by default
	// (fxamacker/cbor): longer lists are split over tags.
	MaxElements = 128 << 10
	// MaxPairs is the most pairs of one map.
	MaxPairs = 4096
	// MaxDepth is how deep arrays, maps and tags may nest in one item; CoMIDs need 12. Encoded CBOR inside a byte
	// string counts anew.
	MaxDepth = 24
	// MaxTags is the most tags in a CoRIM.
	MaxTags = 1024
	// MaxFiles is the most files in all CoSWIDs of a CoRIM.
	MaxFiles = 1_000_000
	// MaxParts is the most triples, measurements, digests, registers, entities, links and unmodelled fields together.
	MaxParts = 500_000

	maxFields  = 64   // fields of one map that the draft defines, and extensions
	maxDigests = 16   // in one digests list: the registry of algorithms has 17
	maxHeader  = 4096 // bytes of a protected header
)
