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
