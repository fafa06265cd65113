package relyingparty

// Limits on what strangers send.
const (
	maxEAR        = 4 << 20  // bytes of a result
	maxJOSEHeader = 1 << 10  // characters of its header
	maxKeySet     = 64 << 10 // bytes of a key set
	maxKeys       = 32
)
