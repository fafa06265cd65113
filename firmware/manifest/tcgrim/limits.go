package tcgrim

// Limits on a base RIM. Real ones have a few KiB and nest five deep.
const (
	// MaxSize is the largest base RIM in bytes.
	MaxSize = 1 << 20
	// MaxFiles is the most files in its payload.
	MaxFiles = 1024
	// MaxSigners is the most certificates that are tried.
	MaxSigners = 64

	maxDepth      = 16    // nesting of elements
	maxTokens     = 16384 // elements, texts and comments together
	maxAttributes = 64    // of one element, namespace declarations included
	maxText       = 1024  // bytes of an attribute that is kept
)
