// Package flashtest makes a SPI NOR chip that is none: it answers on a periph.io SPI port as a chip does, counts what
// it was asked, and fails on request.
//
// It understands what package flash asks: READ ID (9Fh), READ SFDP (5Ah), READ (03h) and READ with 4 address bytes
// (13h). Every other command is noted, answered with 0xff and changes nothing. As a real chip does, it begins again at
// 0 beyond its end, takes 3 address bytes for READ unless it is in 4-byte mode, and refuses transfers over the bus'
// limit.
package flashtest

import (
	"errors"
	"fmt"
	"sync"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// Chip is a fake SPI NOR chip with its bus. Its fields may be changed between commands.
type Chip struct {
	Data []byte  // content; its length is the chip's size
	ID   [3]byte // answer to READ ID
	SFDP []byte  // answer to READ SFDP; beyond its end, and where it is empty, the bus reads 0xff

	Read4        bool // understands READ with 4 address bytes
	FourByteMode bool // READ takes 4 address bytes, as after a boot loader that changed the mode
	MaxTransfer  int  // most bytes of one transfer; 0: no limit that it states

	// Fault, if not nil, sees every answer before it leaves and may change it, or fail the transfer.
	Fault func(command byte, address uint32, answer []byte) error

	mu       sync.Mutex
	commands [256]bool // asked so far
	open     int
}

// NewChip returns a chip with an id of Winbond's, whose capacity is that of data, and SFDP that states the same. The
// length of data must be a power of 2 from 64 KiB to 32 MiB.
func NewChip(data []byte) *Chip {
	capacity := byte(0)
	for 1<<capacity < len(data) {
		capacity++
	}
	if len(data) != 1<<capacity || capacity < 16 || capacity > 25 {
		panic(fmt.Sprintf("flashtest: chip of %d bytes: want a power of 2 from 64 KiB to 32 MiB", len(data)))
	}
	large := len(data) > 1<<24
	return &Chip{Data: data, ID: [3]byte{0xef, 0x40, capacity}, SFDP: SFDP(uint64(len(data)), large), Read4: large}
}

// Commands returns the commands asked so far, each once, in ascending order.
func (c *Chip) Commands() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []byte
	for i, asked := range c.commands {
		if asked {
			out = append(out, byte(i))
		}
	}
	return out
}

// Open opens the chip's port, for flash.Machine.OpenSPI, whatever the bus.
func (c *Chip) Open(int, int) (spi.PortCloser, error) { return &port{chip: c}, nil }

// Port opens the chip's port.
func (c *Chip) Port() spi.PortCloser { return &port{chip: c} }

// OpenPorts returns how many ports were opened and connected but not closed.
func (c *Chip) OpenPorts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// port is one opening of the bus, port and connection in one.
type port struct {
	chip      *Chip
	connected bool
}

func (p *port) String() string                    { return "fake NOR" }
func (p *port) LimitSpeed(physic.Frequency) error { return nil }
func (p *port) Duplex() conn.Duplex               { return conn.Full }
func (p *port) MaxTxSize() int                    { return p.chip.MaxTransfer }
func (p *port) Tx(w, r []byte) error              { return p.TxPackets([]spi.Packet{{W: w, R: r}}) }

var (
	errNotConnected = errors.New("port is closed or not connected")
	errConnected    = errors.New("port is connected already")
	errSize         = errors.New("message too long") // as spidev's EMSGSIZE
)

func (p *port) Connect(_ physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	p.chip.mu.Lock()
	defer p.chip.mu.Unlock()
	if p.connected {
		return nil, errConnected
	}
	if mode != spi.Mode0 && mode != spi.Mode3 || bits != 8 {
		return nil, fmt.Errorf("mode %v with %d bits: a NOR chip wants mode 0 or 3 and 8 bits", mode, bits)
	}
	p.connected = true
	p.chip.open++
	return p, nil
}

func (p *port) Close() error {
	p.chip.mu.Lock()
	defer p.chip.mu.Unlock()
	if p.connected {
		p.connected = false
		p.chip.open--
	}
	return nil
}

// TxPackets clocks packets through the chip, which is selected until a packet lets go.
func (p *port) TxPackets(packets []spi.Packet) error {
	p.chip.mu.Lock()
	defer p.chip.mu.Unlock()
	if !p.connected {
		return errNotConnected
	}
	total := 0
	for _, x := range packets {
		if len(x.W) > 0 && len(x.R) > 0 && len(x.W) != len(x.R) {
			return fmt.Errorf("packet writes %d bytes and reads %d", len(x.W), len(x.R))
		}
		total += length(x)
	}
	if most := p.chip.MaxTransfer; most > 0 && total > most {
		return fmt.Errorf("%w: %d bytes, at most %d", errSize, total, most)
	}
	first := 0
	for i, x := range packets {
		if !x.KeepCS || i == len(packets)-1 {
			if err := p.chip.selected(packets[first : i+1]); err != nil {
				return err
			}
			first = i + 1
		}
	}
	return nil
}

func length(p spi.Packet) int { return max(len(p.W), len(p.R)) }

// maxHeader is the longest command with its address and idle bytes.
const maxHeader = 5

// selected answers what is clocked in while the chip is selected.
func (c *Chip) selected(packets []spi.Packet) error {
	var sent []byte
	for _, p := range packets {
		sent = append(sent, p.W[:min(len(p.W), maxHeader)]...)
		if len(p.W) == 0 {
			sent = append(sent, make([]byte, min(len(p.R), maxHeader))...)
		}
		if len(sent) >= maxHeader {
			break
		}
	}
	if len(sent) == 0 {
		return nil
	}
	c.commands[sent[0]] = true
	header, address, answer := c.decode(sent)
	at := 0
	for _, p := range packets {
		skip := min(max(header-at, 0), len(p.R))
		fill(p.R[:skip])
		if r := p.R[skip:]; len(r) > 0 {
			from := address + uint32(at+skip-header)
			answer(from, r)
			if c.Fault != nil {
				if err := c.Fault(sent[0], from, r); err != nil {
					return err
				}
			}
		}
		at += length(p)
	}
	return nil
}

// fill is what the bus reads where nobody drives it.
func fill(b []byte) {
	for i := range b {
		b[i] = 0xff
	}
}

// decode returns the length of a command with its address, the address, and what answers from an address on.
func (c *Chip) decode(sent []byte) (header int, address uint32, answer func(uint32, []byte)) {
	idle, width := 0, 3
	switch sent[0] {
	case 0x9f:
		return 1, 0, func(_ uint32, b []byte) {
			fill(b)
			copy(b, c.ID[:])
		}
	case 0x5a:
		idle, answer = 1, c.parameters
	case 0x03:
		if answer = c.data; c.FourByteMode {
			width = 4
		}
	case 0x13:
		if width, answer = 4, c.data; !c.Read4 {
			answer = nil
		}
	}
	header = 1 + width + idle
	if answer == nil || len(sent) < header {
		return 1, 0, func(_ uint32, b []byte) { fill(b) }
	}
	for _, x := range sent[1 : 1+width] {
		address = address<<8 | uint32(x)
	}
	return header, address, answer
}

func (c *Chip) parameters(from uint32, b []byte) {
	fill(b)
	if uint64(from) < uint64(len(c.SFDP)) {
		copy(b, c.SFDP[from:])
	}
}

// data begins again at 0 beyond the chip's end.
func (c *Chip) data(from uint32, b []byte) {
	for len(b) > 0 {
		n := copy(b, c.Data[uint64(from)%uint64(len(c.Data)):])
		b, from = b[n:], from+uint32(n)
	}
}
