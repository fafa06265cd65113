//go:build !linux

package flash

import (
	"io/fs"
	"os"
)

// supported says that this system does not hand out its flash. Files can be read, so that vendors hash images anywhere.
const supported = false

func fileGeneration(*os.File) (string, bool) { return "", false }

func deviceNumber(fs.FileInfo) (major, minor uint32, ok bool) { return 0, 0, false }

func mayUse(string) error { return fs.ErrInvalid }

func badBlock(*os.File, uint64) (bool, error) { return false, nil }

func eccFailures(*os.File) (uint32, bool) { return 0, false }

func idlePriority() (restore func()) { return func() {} }
