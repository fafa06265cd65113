package main

import (
	"runtime"
	"runtime/debug"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = "dev"

// buildInfo returns the commit, where it is known, and platform and toolchain.
func buildInfo() string {
	s := "(" + runtime.GOOS + "/" + runtime.GOARCH + ", " + runtime.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, kv := range info.Settings {
			if kv.Key == "vcs.revision" {
				s += ", commit " + kv.Value
			}
			if kv.Key == "vcs.modified" && kv.Value == "true" {
				s += " with changes"
			}
		}
	}
	return s + ")"
}
