package manifest

import "github.com/probity-attest/probity/firmware/manifest/corim"

// Limits on a manifest, the same for those who write it and those who read it. Those of package corim come before them.
const (
	// MaxSize is the largest manifest in bytes, signed or not.
	MaxSize = corim.MaxSize
	// MaxFiles is the most files in a manifest.
	MaxFiles = corim.MaxFiles
	// MaxEvents is the most boot events of all PCRs together.
	MaxEvents = 16 << 10
	// MaxValues is the most alternative values of one PCR.
	MaxValues = 256
	// MaxRegions is the most flash regions, MaxExcluded the most excluded ranges of one. Devices report no more.
	MaxRegions  = 128
	MaxExcluded = 64
	// MaxAddress is the highest offset in a flash image, in bytes: what every language's numbers hold.
	MaxAddress = 1 << 52
	// MaxDenied is the most entries of a deny-list.
	MaxDenied = 64 << 10
	// MaxReferences is the most other manifests that one supersedes, and the most that it withdraws.
	MaxReferences = 1024
	// MaxText is the longest name in bytes, MaxNote the longest explanation, MaxPath the longest path of a file.
	MaxText = 256
	MaxNote = 1024
	MaxPath = 4096

	// filesPerTag is how many files one CoSWID holds before another one is begun, so that every list stays within the
	// default limits of decoders.
	filesPerTag = 50_000
)
