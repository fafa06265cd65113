package api

import "net/http"

// Patterns returns every route of the API, as "METHOD /path".
func Patterns(h http.Handler) []string { return h.(*server).mux.patterns }

// IsOpen reports whether a route needs no token.
func IsOpen(pattern string) bool { return open[pattern] }
