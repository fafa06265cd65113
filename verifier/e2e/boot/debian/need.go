package debian

import (
	"context"
	"errors"
)

// TB is what Need uses of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Need returns a set for a test, which is skipped with the reason where the set can't be had.
func Need(tb TB, name Name) *Set {
	tb.Helper()
	s, err := Fetch(tb.Context(), "", name)
	var missing *MissingError
	switch {
	case errors.As(err, &missing):
		tb.Skipf("%v", err)
	case err != nil:
		tb.Fatalf("%v", err)
	}
	return s
}
