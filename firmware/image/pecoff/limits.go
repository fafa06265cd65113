package pecoff

// Limits on an image before and while it is read.
const (
	// MaxSections is the most sections of an image, which is also what Windows' loader and edk2 accept.
	MaxSections = 96
	// MaxMemory is the most bytes that one section takes in memory: UKIs with large initrds stay below.
	MaxMemory = 1 << 30
)
