package devicetree

// Limits on a blob. Linux' largest devicetrees have some 5,000 nodes, at most 12 deep; FIT images a few dozen.
const (
	// MaxNodes is the most nodes of a tree.
	MaxNodes = 65536
	// MaxProperties is the most properties of a tree.
	MaxProperties = 262144
	// MaxDepth is how deep nodes may nest.
	MaxDepth = 64
	// MaxName is the longest name of a property in bytes; the specification allows 31.
	MaxName = 255
)
