package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"periph.io/x/conn/v3/spi"
	"periph.io/x/host/v3/sysfs"
)

// spidevBufsiz is where spidev tells the most bytes of a transfer.
const spidevBufsiz = "sys/module/spidev/parameters/bufsiz"

func (m Machine) openSPI(s Source) (Reader, error) {
	bus, chipSelect, err := s.bus()
	if err != nil {
		return nil, err
	}
	open := m.OpenSPI
	if open == nil {
		open = m.openSpidev
	}
	port, err := open(bus, chipSelect)
	if err != nil {
		return nil, err
	}
	transfer := 0
	if text, err := m.tree().read(spidevBufsiz); err == nil {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			transfer = n
		}
	}
	return OpenNOR(port, spidevNode(bus, chipSelect), transfer)
}

func spidevNode(bus, chipSelect int) string { return fmt.Sprintf("/dev/spidev%d.%d", bus, chipSelect) }

// openSpidev opens a spidev node through periph.io, which opens it below /dev only, and whose errors do not tell their
// causes apart.
func (m Machine) openSpidev(bus, chipSelect int) (spi.PortCloser, error) {
	name := spidevNode(bus, chipSelect)
	t := m.tree()
	inside, err := t.files().Resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: a chip that a kernel driver holds is found as mtd; for another, its devicetree node or "+
			"driver_override must bind spidev", err)
	}
	if err != nil {
		return nil, err
	}
	want, err := os.Lstat(t.show(inside))
	if err != nil {
		return nil, err
	}
	have, err := os.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || !sameDevice(want, have) {
		return nil, &UnsupportedError{Source: fmt.Sprintf("spi:%d.%d", bus, chipSelect), Reason: fmt.Sprintf(
			"%s is not the device at %s: let this container have the host's node there", name, t.show(inside))}
	}
	if err := mayUse(name); err != nil {
		return nil, err
	}
	return sysfs.NewSPI(bus, chipSelect)
}

// sameDevice reports whether two nodes are character devices of one number.
func sameDevice(a, b fs.FileInfo) bool {
	majorA, minorA, okA := deviceNumber(a)
	majorB, minorB, okB := deviceNumber(b)
	return okA && okB && majorA == majorB && minorA == minorB &&
		a.Mode()&fs.ModeCharDevice != 0 && b.Mode()&fs.ModeCharDevice != 0
}
