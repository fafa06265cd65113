//go:build linux

// Command probity-guest is the first process of every guest of a real boot. It mounts what an attestation agent reads,
// loads the kernel modules that /lib/modules/order names, configures the network that QEMU's user mode gives, and then
// does what the host asks over the console (package guest). There is no shell and no other program in the guest: nothing
// else can measure, or be measured, than what a test puts there.
//
// What fails on the way is said in the guest's hello and is not fatal: a test of a machine without securityfs is one.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "probity-guest: is the first process of a guest of the boot tests; it does nothing elsewhere")
		os.Exit(2)
	}
	err := run()
	fmt.Fprintf(os.Stderr, "probity-guest: %v\n", err)
	// The end of the first process is a panic of the kernel, which the host sees at once.
	os.Exit(1)
}

// quietLevel keeps all of the kernel's messages but emergencies from the console (syslog(2)).
const quietLevel = 1 // given as a length

func run() error {
	debug.SetGCPercent(50) // the guest's own memory is in the way of what it measures
	problems := mountAll("/", mounts)
	// Messages that come while a frame is written cost that frame; those before are welcome in the host's record.
	if _, err := unix.Klogctl(unix.SYSLOG_ACTION_CONSOLE_LEVEL, make([]byte, quietLevel)); err != nil {
		problems = append(problems, fmt.Sprintf("kernel messages: %v", err))
	}
	console, err := openConsole("/dev/console")
	if err != nil {
		return err
	}
	problems = append(problems, loadModules("/lib/modules")...)
	problems = append(problems, mountAll("/", moduleMounts)...)
	network, err := configure("eth0")
	if err != nil {
		problems = append(problems, fmt.Sprintf("network: %v", err))
	}
	m := newMachine()
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, syscall.SIGCHLD)
	go m.reap(orphans)
	var server *guest.Server
	m.end = func(command int) {
		_ = server.Conn().Flush(lastWords) // the host sees the end itself
		err := unix.Reboot(command)
		fmt.Fprintf(os.Stderr, "probity-guest: the machine does not end: %v\n", err)
	}
	server, err = guest.NewServer(console, guest.GuestPace, describe(network, problems), m.handle)
	if err != nil {
		return err
	}
	return serve(console, server)
}

// serve reads the console until it ends.
func serve(console *os.File, server *guest.Server) error {
	lines := &guest.Splitter{Line: func(line []byte) {
		if _, frame := guest.SplitLine(line); frame != nil {
			server.Handle(frame)
		}
	}}
	buf := make([]byte, 4096)
	for {
		n, err := console.Read(buf)
		if _, err := lines.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("read the console: %w", err)
		}
		if err := server.Conn().Err(); err != nil {
			return err
		}
	}
}

// describe says where this is.
func describe(network string, problems []string) guest.Hello {
	h := guest.Hello{Network: network, Problems: problems, Board: board(), Cmdline: firstLine("/proc/cmdline")}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		h.Kernel, h.Machine = unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])
	}
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err == nil {
		h.Uptime = time.Duration(since.Nano())
	}
	return h
}
