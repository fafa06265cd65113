package collect

import (
	"context"
	"encoding/binary"
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

// errNoGPIO says that this system has no way to a line.
var errNoGPIO = errors.New("the kernel has no GPIO character device of version 2 (Linux 5.10, CONFIG_GPIO_CDEV)")

// gpioLine is a line of the kernel's GPIO character device (Linux Documentation/userspace-api/gpio/chardev.rst;
// include/uapi/linux/gpio.h, version 2).
//
// It does without periph.io, whose package gpioioctl makes the agent larger than it may be on 32-bit ARM, opens every
// chip and the export file of GPIO in sysfs for writing, and shows a line that cannot be read as low: an enclosure with
// a broken line would be closed.
type gpioLine struct {
	file  *os.File // of the line, not of the chip
	edges bool     // the kernel tells of edges
	end   context.Context
	stop  context.CancelFunc
}

// Numbers and structures of version 2, which are alike on every architecture. Offsets are in bytes.
const (
	requestLine = 0x07 // GPIO_V2_GET_LINE_IOCTL with struct gpio_v2_line_request
	getValues   = 0x0e // GPIO_V2_LINE_GET_VALUES_IOCTL with struct gpio_v2_line_values: two words of 64 bits, bits and mask

	requestSize     = 592
	requestConsumer = 256 // 32 bytes, after 64 offsets of lines
	requestFlags    = 288 // 64 bits
	requestCount    = 560 // 32 bits
	requestFD       = 588 // 32 bits

	flagInput, flagRising, flagFalling = 1 << 2, 1 << 4, 1 << 5
	flagPullUp, flagPullDown           = 1 << 8, 1 << 9

	eventSize = 48 // struct gpio_v2_line_event: time in ns, 64 bits, then the kind of edge, 32 bits
	eventKind = 8
	edgeRises = 1
	edgeFalls = 2
)

// openLine requests a line from the kernel: from then on no other program can have it. It stays an input, or becomes one.
func openLine(machine root, l TamperLine) (contact, error) {
	name := machine.show("dev/" + l.Chip)
	chip, err := machine.files().Open("dev/"+l.Chip, func(info fs.FileInfo) error {
		if info.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
			return fmt.Errorf("%w: no character device", fs.ErrInvalid)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer chip.Close() // the line stays
	fd, edges, err := request(chip, l)
	if err != nil {
		return nil, fmt.Errorf("%s: line %d: %w", name, l.Line, err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that Close ends a waiting Edge
		return nil, errors.Join(fmt.Errorf("%s: line %d: %w", name, l.Line, err), syscall.Close(fd))
	}
	g := &gpioLine{file: os.NewFile(uintptr(fd), fmt.Sprintf("%s line %d", name, l.Line)), edges: edges}
	g.end, g.stop = context.WithCancel(context.Background())
	return g, nil
}

// request returns a descriptor of a line and whether the kernel tells of its edges: some chips raise no interrupts.
func request(chip *os.File, l TamperLine) (fd int, edges bool, err error) {
	flags := map[Pull]uint64{PullAsIs: flagInput, PullUp: flagInput | flagPullUp, PullDown: flagInput | flagPullDown}[l.Pull]
	for _, wanted := range []uint64{flagRising | flagFalling, 0} {
		var r [requestSize]byte
		binary.NativeEndian.PutUint32(r[:], uint32(l.Line))
		copy(r[requestConsumer:], "probity-agent")
		binary.NativeEndian.PutUint64(r[requestFlags:], flags|wanted)
		binary.NativeEndian.PutUint32(r[requestCount:], 1)
		if err = gpioCall(chip, requestLine, r[:]); err == nil {
			return int(int32(binary.NativeEndian.Uint32(r[requestFD:]))), wanted != 0, nil
		}
		if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EPERM) {
			break // these have nothing to do with edges
		}
	}
	switch {
	case errors.Is(err, syscall.EBUSY):
		err = fmt.Errorf("%w: a driver or another program has it, such as another agent (gpioinfo tells which)", err)
	case errors.Is(err, syscall.EINVAL):
		err = fmt.Errorf("%w: the chip has no such line or no such pull (gpioinfo lists its lines)", err)
	case errors.Is(err, syscall.ENOTTY):
		err = errNoGPIO
	}
	return 0, false, err
}

// gpioCall makes an ioctl of which the kernel reads and writes b.
func gpioCall(f *os.File, number uintptr, b []byte) error {
	direction := uintptr(3) << 30 // to and from the kernel (asm-generic/ioctl.h)
	if strings.HasPrefix(runtime.GOARCH, "mips") || strings.HasPrefix(runtime.GOARCH, "ppc64") {
		direction = 6 << 29
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var code syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, code = syscall.Syscall(syscall.SYS_IOCTL, fd, direction|uintptr(len(b))<<16|0xb4<<8|number, uintptr(unsafe.Pointer(&b[0])))
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return os.NewSyscallError("ioctl", code)
	}
	return nil
}

// High implements contact.
func (g *gpioLine) High() (bool, error) {
	var v [16]byte
	binary.NativeEndian.PutUint64(v[8:], 1)
	if err := gpioCall(g.file, getValues, v[:]); err != nil {
		return false, fmt.Errorf("%s: %w", g.file.Name(), err)
	}
	return binary.NativeEndian.Uint64(v[:])&1 != 0, nil
}

// Edge implements contact. Where the kernel tells of no edges it waits for Close.
func (g *gpioLine) Edge() (high bool, at time.Duration, err error) {
	if !g.edges {
		<-g.end.Done()
		return false, 0, fs.ErrClosed
	}
	var e [eventSize]byte
	n, err := g.file.Read(e[:])
	if err != nil {
		return false, 0, err
	}
	kind := binary.NativeEndian.Uint32(e[eventKind:])
	if n != eventSize || kind != edgeRises && kind != edgeFalls {
		return false, 0, fmt.Errorf("%s: %d bytes that are no edge", g.file.Name(), n)
	}
	return kind == edgeRises, time.Duration(binary.NativeEndian.Uint64(e[:])), nil
}

// Watched implements contact.
func (g *gpioLine) Watched() bool { return g.edges }

// Close implements contact.
func (g *gpioLine) Close() error {
	g.stop()
	if err := g.file.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
