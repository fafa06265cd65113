package flash

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// Commands of a SPI NOR chip (JESD216; every maker's data sheet). None of them changes anything in the chip.
const (
	cmdReadID   = 0x9f // no address: maker, type, capacity
	cmdReadSFDP = 0x5a // 3 address bytes, one idle byte: parameters
	cmdRead     = 0x03 // as many address bytes as the chip's mode says, 3 unless it has only 4: data
	cmdRead4    = 0x13 // 4 address bytes in every mode: data
)

// spiClock is below what every chip takes for READ (20 MHz in the oldest) and what long wires carry.
const spiClock = 10 * physic.MegaHertz

// reach3 is how many bytes 3 address bytes reach.
const reach3 = 1 << 24

// nor is a SPI NOR chip.
type nor struct {
	port spi.PortCloser
	chip Chip
	id   jedecID

	mu       sync.Mutex // one command at a time
	conn     spi.Conn
	command  byte // that reads data
	address  int  // bytes of its address
	transfer int  // most bytes of one transfer, command and address included
	header   [5]byte
	packets  [2]spi.Packet
}

// OpenNOR opens the SPI NOR chip at a port, which the reader closes, also on error. device names it in messages.
// transfer is the most bytes that the bus takes at once; 0: what the port says (conn.Limits), else 4096.
//
// The chip's size is what its SFDP and its JEDEC id state, which must agree where both do. A chip of more than 16 MiB
// is read with 4-byte commands, since its mode is unknown and not to be changed; it must state that it has them. A chip
// whose answers contradict each other or the standard is refused with a *ChipError, one that lacks what is needed with
// a *UnsupportedError, and a bus on which nobody answers with ErrNoChip.
func OpenNOR(port spi.PortCloser, device string, transfer int) (Reader, error) {
	c := &nor{port: port, chip: Chip{Kind: SPI, Device: device}}
	err := c.connect(transfer)
	if err == nil {
		err = c.identify()
	}
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return c, nil
}

func (c *nor) connect(transfer int) error {
	var err error
	if c.conn, err = c.port.Connect(spiClock, spi.Mode0, 8); err != nil {
		return fmt.Errorf("%s: connect: %w", c.chip.Device, err)
	}
	most := 0
	if l, ok := c.conn.(conn.Limits); ok {
		most = l.MaxTxSize()
	}
	switch {
	case transfer > 0 && most > 0:
		most = min(most, transfer)
	case transfer > 0:
		most = transfer
	case most <= 0:
		most = spiTransfer
	}
	if most < minTransfer {
		return c.unsupported("the bus takes %d bytes at once, want at least %d", most, minTransfer)
	}
	c.transfer = most
	return nil
}

// identify asks the chip what it is and decides how to read it.
func (c *nor) identify() error {
	var err error
	if c.id, err = c.readID(); err != nil {
		return err
	}
	if c.id.nobody() {
		return c.noChip(c.id, 0)
	}
	if err := c.sameChip(0); err != nil {
		return err
	}
	c.chip.JEDEC = hex.EncodeToString(c.id[:])
	p, err := ReadSFDP(sfdpSpace{c})
	var broken *SFDPError
	switch {
	case errors.Is(err, ErrNoSFDP):
		p = &SFDP{Density: c.id.capacity()}
	case errors.As(err, &broken):
		return &ChipError{Device: c.chip.Device, Detail: "chip " + c.chip.JEDEC, Err: err}
	case err != nil:
		return err
	}
	if err := c.decide(p); err != nil {
		return err
	}
	return c.sameChip(0) // an answer was SFDP's absence only if the chip was there to give it
}

// decide sets size and command of reading.
func (c *nor) decide(p *SFDP) error {
	stated := c.id.capacity()
	switch {
	case p.Density == 0:
		return c.unsupported("chip %s: neither SFDP nor its id tells its size", c.chip.JEDEC)
	case stated != 0 && stated != p.Density:
		return c.contradicts("chip %s: SFDP says %d bytes, its id %d", c.chip.JEDEC, p.Density, stated)
	}
	c.chip.Size, c.chip.EraseSize = p.Density, p.EraseSize
	switch {
	case p.Density > reach3 && p.Read4, p.Address == Address4 && p.Read4:
		c.command, c.address = cmdRead4, 4
	case p.Address == Address4:
		c.command, c.address = cmdRead, 4
	case p.Density <= reach3:
		c.command, c.address = cmdRead, 3
	default:
		return c.unsupported("chip %s of %d bytes does not state that it has READ with 4 address bytes, and its mode is not to "+
			"be changed: bind the kernel's spi-nor driver and use mtd", c.chip.JEDEC, p.Density)
	}
	return nil
}

func (c *nor) unsupported(format string, args ...any) error {
	return &UnsupportedError{Source: c.chip.Device, Reason: fmt.Sprintf(format, args...)}
}

func (c *nor) contradicts(format string, args ...any) error {
	return &ChipError{Device: c.chip.Device, Detail: fmt.Sprintf(format, args...)}
}

func (c *nor) noChip(id jedecID, at int64) error {
	return fmt.Errorf("%s: %w: asked for its id it answered %x, at byte %#x: not connected, without power, or another "+
		"controller holds the bus", c.chip.Device, ErrNoChip, id[:], at)
}

// sameChip checks that the chip that was found is still there. Where it is not, what was read before this is not its
// content, but what an idle bus gives.
func (c *nor) sameChip(at int64) error {
	id, err := c.readID()
	switch {
	case err != nil:
		return err
	case id == c.id:
		return nil
	case id.nobody():
		return c.noChip(id, at)
	}
	return c.contradicts("chip %x answered as %x after byte %#x was read: the bus is disturbed or shared, or the chip busy",
		c.id[:], id[:], at)
}

func (c *nor) readID() (id jedecID, err error) {
	err = c.ask(id[:], cmdReadID, 0, 0, 0)
	return id, err
}

// ask sends one command with its address and reads the answer in the same selection of the chip. The caller keeps to
// c.transfer.
func (c *nor) ask(answer []byte, command byte, address uint32, addressBytes, idle int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := append(c.header[:0], command)
	for i := addressBytes - 1; i >= 0; i-- {
		h = append(h, byte(address>>(8*i)))
	}
	for range idle {
		h = append(h, 0)
	}
	c.packets[0] = spi.Packet{W: h, KeepCS: true}
	c.packets[1] = spi.Packet{R: answer}
	if err := c.conn.TxPackets(c.packets[:]); err != nil {
		if strings.HasSuffix(err.Error(), noTransfers) {
			return &UnsupportedError{Source: c.chip.Device, Reason: "this SPI controller talks to flash chips only, and not " +
				"through spidev: bind the kernel's spi-nor driver and use mtd"}
		}
		return fmt.Errorf("%s: command %02x at %#x: %w", c.chip.Device, command, address, err)
	}
	return nil
}

// noTransfers ends the error of a controller whose driver has no plain transfers, such as the Aspeed's: ENOTSUPP, which only
// the kernel knows by name. periph.io passes errors on as text.
const noTransfers = "errno 524"

// ReadAt implements io.ReaderAt. After each piece the chip is asked for its id once more.
func (c *nor) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: offset %d is negative", c.chip.Device, off)
	}
	if uint64(off) >= c.chip.Size {
		return 0, io.EOF
	}
	short := uint64(len(b)) > c.chip.Size-uint64(off)
	if short { // beyond its end a chip begins again at 0
		b = b[:c.chip.Size-uint64(off)]
	}
	n := 0
	for n < len(b) {
		piece := b[n:min(len(b), n+c.transfer-1-c.address)]
		if err := c.ask(piece, c.command, uint32(off)+uint32(n), c.address, 0); err != nil {
			return n, err
		}
		n += len(piece)
	}
	if err := c.sameChip(off); err != nil {
		return 0, err
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

func (c *nor) Size() uint64               { return c.chip.Size }
func (c *nor) Describe() Chip             { return c.chip }
func (c *nor) Generation() (string, bool) { return "", false }
func (c *nor) Close() error               { return c.port.Close() }

// sfdpSpace is the address space of a chip's parameters.
type sfdpSpace struct{ *nor }

// ReadAt implements io.ReaderAt for ReadSFDP, which keeps below 2^24.
func (s sfdpSpace) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		piece := b[n:min(len(b), n+s.transfer-5)]
		if err := s.ask(piece, cmdReadSFDP, uint32(off)+uint32(n), 3, 1); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
