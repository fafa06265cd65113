//go:build !linux

package collect

import "errors"

// errNoGPIO says that this system has no way to a line.
var errNoGPIO = errors.New("GPIO lines are read on Linux only")

func openLine(root, TamperLine) (contact, error) { return nil, errNoGPIO }
