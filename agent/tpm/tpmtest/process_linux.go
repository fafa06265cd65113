package tpmtest

import "syscall"

// attributes put swtpm into its own process group, as a Ctrl-C at the terminal is for the caller, and end it with a
// caller that is killed. (The signal comes when the starting thread ends; Go ends only threads that a goroutine locked.)
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
