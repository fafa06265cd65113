package reference

import "github.com/probity-attest/probity/proto"

// Limits of a document.
const (
	MaxDocument = 64 << 20 // bytes
	maxFiles    = 1 << 20
	maxEvents   = 1 << 16
	// A document has no more of what devices say of themselves than a device can say.
	maxRegions = proto.MaxFlashRegions
	maxRanges  = proto.MaxFlashRanges
	maxDevices = proto.MaxDevices
	maxTamper  = proto.MaxTamperLines
	maxText    = proto.MaxText // bytes of a name, an address or a reason
)

// Limits of a Table and of what is said of it.
const (
	maxDigest = 0xff   // bytes of a file's digest
	maxName   = 0xffff // bytes of the name in a path
	maxKnown  = 16     // names that Knows gives
	maxPaths  = 200    // paths that Named looks for in documents
)
