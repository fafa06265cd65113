package fleet

import "slices"

// Fits reports whether a vendor's name fits one of the patterns of a scope, as those of KeyScope: without case, * for any
// characters and ? for one. No pattern fits nothing.
func Fits(patterns []string, vendor string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(fold(p), fold(vendor)) })
}
