package verifier

import (
	"os"
	"runtime/debug"
)

// gcPercent is how far the heap may grow between two collections. What lives is small (tables of reference values) beside
// what appraisals allocate for a moment, so the default of 100 would collect far too often.
const gcPercent = 400

// TuneGC sets the garbage collector for a verifier, unless the environment variable GOGC does.
func TuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
