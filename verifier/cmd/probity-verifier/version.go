package main

import "runtime/debug"

// version is set when a release is built (-ldflags "-X main.version=...").
var version string

// buildVersion returns the version of this program: version, else the commit that it was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}
