package flash

import "slices"

// jedecID is what a SPI NOR chip answers to READ ID (JESD216 section 4.3.1): maker (JEP106), type, capacity.
type jedecID [3]byte

// nobody reports whether no chip drove the bus: it reads the same bit all the time.
func (id jedecID) nobody() bool { return id == jedecID{} || id == jedecID{0xff, 0xff, 0xff} }

// makersWithCapacity are the makers (JEP106) whose third byte tells the chip's bytes as capacity reads it, in every
// chip that linux/drivers/mtd/spi-nor knows: XTX, EON, Micron and XMC, Zbit, Boya, Puya, ISSI, Fudan, Macronix,
// GigaDevice, Winbond. Others count otherwise, or, as Spansion, one way and then another.
var makersWithCapacity = []byte{0x0b, 0x1c, 0x20, 0x5e, 0x68, 0x85, 0x9d, 0xa1, 0xc2, 0xc8, 0xef}

// sizes are those of chips that are older than SFDP and whose third byte only numbers the chip: Microchip's SST25 (its
// data sheets; linux/drivers/mtd/spi-nor/sst.c).
var sizes = map[jedecID]uint64{
	{0xbf, 0x25, 0x8c}: 256 << 10, // SST25VF020B
	{0xbf, 0x25, 0x8d}: 512 << 10, // SST25VF040B
	{0xbf, 0x25, 0x8e}: 1 << 20,   // SST25VF080B
	{0xbf, 0x25, 0x41}: 2 << 20,   // SST25VF016B
	{0xbf, 0x25, 0x4a}: 4 << 20,   // SST25VF032B
	{0xbf, 0x25, 0x4b}: 8 << 20,   // SST25VF064C
}

// capacity returns the bytes that the id states, 0 if it states none that is known.
func (id jedecID) capacity() uint64 {
	if n := sizes[id]; n != 0 {
		return n
	}
	if !slices.Contains(makersWithCapacity, id[0]) {
		return 0
	}
	switch c := id[2]; {
	case c >= 0x10 && c <= 0x1f:
		return 1 << c
	case c >= 0x30 && c <= 0x3f: // Macronix' chips of 1.8 V
		return 1 << (c - 0x20)
	case c >= 0x20 && c <= 0x23: // after 0x19, 32 MiB, came 0x20, 64 MiB: some makers count in decimal
		return 1 << (c - 6)
	}
	return 0
}
