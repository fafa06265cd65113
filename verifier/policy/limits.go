package policy

import "time"

// Limits on documents. They come from operators, whose mistakes must not cost the verifier more than an error.
const (
	// MaxDocument is the largest document, in bytes.
	MaxDocument = 128 << 10
	maxGroups   = 256
	maxWaivers  = 1024
	maxRules    = 32   // of one device, those of the default included
	maxList     = 256  // entries of any other list
	maxText     = 300  // bytes of a message, reason or name of a flash region
	maxPattern  = 1100 // bytes of a glob: as long as a finding's component
	maxProblems = 20   // that one error names
	minID       = 12   // digits of a device id that a waiver names
)

// Limits on expressions.
const (
	maxExpression = 4096 // bytes
	maxRecursion  = 32   // nested calls and brackets
	// maxCost bounds one evaluation, in units of CEL (a comparison or call is about one): some milliseconds.
	maxCost = 50_000
	// maxExpired is how many expired waivers one result tells of.
	maxExpired = 8
)

// soon is how long before its end a waiver is told to expire.
const soon = 30 * 24 * time.Hour
