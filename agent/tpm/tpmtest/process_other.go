//go:build !linux

package tpmtest

import "syscall"

// attributes are the defaults: a swtpm outlives a caller that is killed.
func attributes() *syscall.SysProcAttr { return nil }
