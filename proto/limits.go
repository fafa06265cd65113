package proto

// Limits on everything that crosses the wire. A receiver refuses what exceeds them before it allocates for it.
const (
	// MaxMessage is the largest MQTT payload in bytes: one chunk and its frame.
	MaxMessage = 72 << 10
	// ChunkSize is the most blob data in one message, in bytes. 64 KiB fits every public MQTT broker's default.
	ChunkSize = 64 << 10
	// MaxBootLog is the largest boot event log in bytes. Kernels reserve 64 KiB; the largest seen in the field is 120 KiB.
	MaxBootLog = 1 << 20
	// MaxIMASegment is the largest piece of an IMA list in one report, in bytes: about 150,000 entries.
	MaxIMASegment = 16 << 20
	// MaxPlatform is the largest platform description in bytes.
	MaxPlatform = 32 << 10
	// MaxDevices is the most pieces of hardware in an inventory.
	MaxDevices = 256
	// MaxFlash is the largest encoded Flash in bytes, MaxFlashRegions the most regions in it, MaxFlashRanges the most
	// excluded ranges or bad blocks of one region.
	MaxFlash        = 64 << 10
	MaxFlashRegions = 128
	MaxFlashRanges  = 64
	// MaxTamperLines is the most tamper lines of one device.
	MaxTamperLines = 8
	// MaxCapture is the most bytes of flash in one capture. Larger regions are captured in parts.
	MaxCapture = 64 << 20
	// MaxClaims is the largest encoded claims map in bytes.
	MaxClaims = 8 << 10
	// MaxCertificate is the largest DER certificate in bytes, MaxCertificates the most in one message.
	MaxCertificate  = 8 << 10
	MaxCertificates = 8
	// MaxReasons is the most findings that a receipt repeats in words.
	MaxReasons = 8
	// MaxText is the longest text in bytes, MaxReason the longest explanation.
	MaxText   = 256
	MaxReason = 1024

	maxElements = 1024
	maxNesting  = 6
	maxPublic   = 1024
	maxAttest   = 512
	maxSig      = 600

	maxStatement = 4 << 10
)

// Protocol constants.
const (
	// NonceSize is the size of a nonce in bytes: issue time and a truncated HMAC.
	NonceSize = 32
	// BootIDSize is the size of a boot id in bytes (the UUID of /proc/sys/kernel/random/boot_id).
	BootIDSize = 16
	// PCRBaseSize is the size of the tag that names a known set of PCR values.
	PCRBaseSize = 8
	// NumPCRs is how many PCRs a selection can name (TCG PC Client PTP, section 4.6).
	NumPCRs = 24
)
