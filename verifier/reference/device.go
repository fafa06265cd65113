package reference

import "strings"

// Region is the reference for one region of flash memory.
type Region struct {
	Name     string  `cbor:"1,keyasint"`
	Source   string  `cbor:"2,keyasint"`           // kind of source that it is read from: "mtd", "spi", "block", "file"
	Offset   uint64  `cbor:"3,keyasint,omitempty"` // in the source, in bytes
	Length   uint64  `cbor:"4,keyasint"`           // in bytes
	Digest   []byte  `cbor:"5,keyasint"`           // SHA-256 of the region, in which excluded bytes count as 0xff
	Excluded []Range `cbor:"6,keyasint,omitempty"` // in ascending order, apart from each other
	Bad      []Range `cbor:"7,keyasint,omitempty"` // bad blocks of NAND flash, which Digest leaves out
	Chip     string  `cbor:"8,keyasint,omitempty"` // JEDEC id in hexadecimal; empty: any
	// ReportOnly: a difference is told, but does not change the verdict.
	ReportOnly bool `cbor:"9,keyasint,omitempty"`
}

// Range is a range of bytes in a region.
type Range struct {
	Offset uint64 `cbor:"1,keyasint,omitempty"` // in the region
	Length uint64 `cbor:"2,keyasint"`
	Reason string `cbor:"3,keyasint,omitempty"` // why it differs between healthy devices, for people
}

// Device is a piece of hardware.
type Device struct {
	Bus     string `cbor:"1,keyasint"`
	Address string `cbor:"2,keyasint"` // on the bus
	Name    string `cbor:"3,keyasint"` // what it is
}

// SourceKind returns the kind of a source such as "mtd:bios": what stands before the colon. The rest differs between
// machines and kernels.
func SourceKind(source string) string {
	kind, _, _ := strings.Cut(source, ":")
	return kind
}

// HasFlash reports whether the document says what is in flash memory.
func (c *Compiled) HasFlash() bool { return len(c.regions) > 0 }

// Regions returns the flash regions in ascending order of name. Do not change them.
func (c *Compiled) Regions() []Region { return c.regions }

// Region returns the reference for a flash region, nil where there is none.
func (c *Compiled) Region(name string) *Region { return c.byRegion[name] }

// HasInventory reports whether the document says which hardware the machine has.
func (c *Compiled) HasInventory() bool { return len(c.inventory) > 0 }

// Inventory returns the hardware in ascending order of bus and address. Do not change it.
func (c *Compiled) Inventory() []Device { return c.devices }

// Device returns what is expected at an address of a bus, false where nothing is.
func (c *Compiled) Device(bus, address string) (name string, ok bool) {
	name, ok = c.inventory[location{bus, address}]
	return name, ok
}

// HasTamper reports whether the document says which tamper lines the machine has.
func (c *Compiled) HasTamper() bool { return len(c.tamper) > 0 }

// Tamper returns the names of the tamper lines in ascending order. Do not change them.
func (c *Compiled) Tamper() []string { return c.tamper }
