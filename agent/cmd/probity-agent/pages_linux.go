package main

import "syscall"

// prSetTHPDisable is PR_SET_THP_DISABLE (prctl(2), Linux 3.15).
const prSetTHPDisable = 41

// smallPages keeps the kernel from giving this process huge pages: a heap of two MiB is resident as a whole with them,
// however little of it is used.
func smallPages() {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, prSetTHPDisable, 1, 0, 0, 0, 0) // an older kernel: it stays as it was
}
