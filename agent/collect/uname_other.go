//go:build !linux

package collect

import "runtime"

// uname returns what is known without Linux: developers of other systems run tests on directory trees only.
func uname() (release, machine string) { return "", runtime.GOARCH }
