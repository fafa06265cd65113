package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// supported says that this system hands out its flash.
const supported = true

// clockStep is above the resolution of every file system's time stamps (FAT: 2 s).
const clockStep = 3 * time.Second

// fileGeneration is made of what changes with every honest write: identity, size, and times of content and inode.
func fileGeneration(f *os.File) (string, bool) {
	info, err := f.Stat()
	if err != nil {
		return "", false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	changed := time.Unix(st.Ctim.Unix())
	if age := time.Since(changed); age < clockStep { // another write could leave the same times; or the clock was set back
		return "", false
	}
	return fmt.Sprintf("file:%x.%x.%x.%x.%x", st.Dev, st.Ino, st.Size, info.ModTime().UnixNano(), changed.UnixNano()), true
}

// deviceNumber returns major and minor number of a device's node (glibc's gnu_dev_major and gnu_dev_minor).
func deviceNumber(info fs.FileInfo) (major, minor uint32, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&fs.ModeDevice == 0 {
		return 0, 0, false
	}
	n := uint64(st.Rdev)
	return uint32(n>>8&0xfff | n>>32&^0xfff), uint32(n&0xff | n>>12&^0xff), true
}

// mayUse tells whether this process may read and write a device's node.
func mayUse(name string) error {
	const readAndWrite = 4 | 2
	if err := syscall.Access(name, readAndWrite); err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return nil
}

// request returns the number of an ioctl (asm-generic/ioctl.h; MIPS and PowerPC have numbers of their own).
func request(read bool, number, size uintptr) uintptr {
	const (
		magic = 'M'
		arg   = 16 // shift of the argument's size
	)
	direction := uintptr(1) << 30
	if read {
		direction = 2 << 30
	}
	if strings.HasPrefix(runtime.GOARCH, "mips") || strings.HasPrefix(runtime.GOARCH, "ppc") {
		direction = 4 << 29
		if read {
			direction = 2 << 29
		}
	}
	return direction | size<<arg | magic<<8 | number
}

// Requests to an MTD device (mtd/mtd-abi.h). Their arguments have the same size on all machines.
var (
	memGetBadBlock = request(false, 11, 8) // MEMGETBADBLOCK, __kernel_loff_t
	eccGetStats    = request(true, 18, 16) // ECCGETSTATS, struct mtd_ecc_stats
)

// badBlock tells whether the block at an offset is marked bad.
func badBlock(f *os.File, offset uint64) (bool, error) {
	at := int64(offset)
	n, err := ioctl(f, memGetBadBlock, unsafe.Pointer(&at))
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return false, nil
	}
	return n > 0, err
}

// eccFailures returns how often error correction failed since the device appeared; false where nobody counts.
func eccFailures(f *os.File) (uint32, bool) {
	var stats struct{ corrected, failed, badBlocks, tableBlocks uint32 }
	_, err := ioctl(f, eccGetStats, unsafe.Pointer(&stats))
	return stats.failed, err == nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) (int, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n uintptr
	var code syscall.Errno
	if err := c.Control(func(fd uintptr) {
		n, _, code = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
	}); err != nil {
		return 0, err
	}
	if code != 0 {
		return 0, os.NewSyscallError("ioctl", code)
	}
	return int(n), nil
}

// idlePriority lets this goroutine's reading wait for everybody else's, where the I/O scheduler heeds it (ionice -c 3),
// until the returned function is called. Failure only costs politeness.
func idlePriority() (restore func()) {
	const (
		process = 1       // IOPRIO_WHO_PROCESS; 0 is this thread
		idle    = 3 << 13 // IOPRIO_CLASS_IDLE
	)
	runtime.LockOSThread()
	before, _, code := syscall.Syscall(syscall.SYS_IOPRIO_GET, process, 0, 0)
	if code == 0 {
		_, _, code = syscall.Syscall(syscall.SYS_IOPRIO_SET, process, 0, idle)
	}
	return func() {
		if code == 0 {
			_, _, _ = syscall.Syscall(syscall.SYS_IOPRIO_SET, process, 0, before)
		}
		runtime.UnlockOSThread()
	}
}
