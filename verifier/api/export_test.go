package api

import (
	"maps"
	"net/http"
	"slices"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
)

// Patterns returns every route of the API, as "METHOD /path".
func Patterns(h http.Handler) []string { return h.(*server).mux.patterns }

// IsOpen reports whether a route needs no token.
func IsOpen(pattern string) bool { return open[pattern] }

// IsLasting reports whether a route answers as long as the client listens.
func IsLasting(pattern string) bool { return lasting[pattern] }

// Operation returns the id of a route's operation.
func Operation(h http.Handler, pattern string) string { return h.(*server).mux.operations[pattern] }

// Ruled returns the ids of all operations that have a row in the table of roles.
func Ruled() []string { return slices.Sorted(maps.Keys(rules)) }

// May reports what the table says of a role and an operation.
func May(r v1.Role, operation string) bool {
	p := principal{role: r}
	return p.may(operation)
}

// Counting makes a handler count repeated entries of the audit log until the returned function ends all windows.
func Counting(h http.Handler) (end func()) {
	var ends []func()
	h.(*server).repeats.after = func(_ time.Duration, f func()) { ends = append(ends, f) }
	return func() {
		for _, f := range ends {
			f()
		}
		ends = nil
	}
}

// AuditWindow is how long repeated entries are counted.
const AuditWindow = auditWindow

// Document returns an entry as clients see it.
func Document(e audit.Entry) v1.AuditEntry { return auditDocument(&e) }
