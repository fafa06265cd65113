//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// Requests and structures of the GPIO character device, version 2 (Linux, include/uapi/linux/gpio.h). They are alike on
// all architectures.
const (
	gpioGetChipInfo   = 0x8044b401 // struct gpiochip_info, 68 bytes
	gpioGetLine       = 0xc250b407 // struct gpio_v2_line_request, 592 bytes
	gpioGetLineValues = 0xc010b40e // struct gpio_v2_line_values, 16 bytes

	gpioFlagInput = 1 << 2 // GPIO_V2_LINE_FLAG_INPUT

	// Offsets in struct gpio_v2_line_request.
	gpioConsumer = 256
	gpioFlags    = 288
	gpioNumLines = 560
	gpioFD       = 588
)

// readGPIO reads one line as an input.
func readGPIO(a guest.GPIOArgs) (guest.GPIO, error) {
	chip, err := os.Open(a.Chip)
	if err != nil {
		return guest.GPIO{}, err
	}
	defer chip.Close()
	info := make([]byte, 68)
	if err := ioctl(int(chip.Fd()), gpioGetChipInfo, info); err != nil {
		return guest.GPIO{}, fmt.Errorf("%s: %w", a.Chip, err)
	}
	g := guest.GPIO{Label: unix.ByteSliceToString(info[32:64]), Lines: binary.NativeEndian.Uint32(info[64:])}
	request := make([]byte, 592)
	binary.NativeEndian.PutUint32(request, a.Line)
	copy(request[gpioConsumer:gpioFlags-1], "probity-guest")
	binary.NativeEndian.PutUint64(request[gpioFlags:], gpioFlagInput)
	binary.NativeEndian.PutUint32(request[gpioNumLines:], 1)
	if err := ioctl(int(chip.Fd()), gpioGetLine, request); err != nil {
		return guest.GPIO{}, fmt.Errorf("%s: line %d of %d: %w", a.Chip, a.Line, g.Lines, err)
	}
	line := int(int32(binary.NativeEndian.Uint32(request[gpioFD:])))
	defer unix.Close(line)
	values := make([]byte, 16) // bits, mask
	binary.NativeEndian.PutUint64(values[8:], 1)
	if err := ioctl(line, gpioGetLineValues, values); err != nil {
		return guest.GPIO{}, fmt.Errorf("%s: line %d: %w", a.Chip, a.Line, err)
	}
	g.High = binary.NativeEndian.Uint64(values)&1 == 1
	return g, nil
}

func ioctl(fd int, request uintptr, data []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&data[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
