package image

import (
	"errors"
	"fmt"
)

// ErrLimit is wrapped by the error for an image that exceeds a limit in limits.go, such as one that unpacks to a bomb.
var ErrLimit = errors.New("limit exceeded")

// FormatError tells where an image cannot be split.
type FormatError struct {
	Offset int    // of the byte in its space
	Where  string // the same for people: see Part.Place
	Part   string // label of the part that holds it
	Detail string // what was expected and what was found
	Err    error  // the cause, ErrLimit where a limit was exceeded; may be nil
}

func (e *FormatError) Error() string {
	s := fmt.Sprintf("firmware image: byte %s, in %s: %s", e.Where, e.Part, e.Detail)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }
