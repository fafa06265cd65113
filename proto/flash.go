package proto

import (
	"errors"
	"fmt"
)

// Flash is what an agent read of its machine's flash memory: content named by Claims.Flash. Every word of it is
// self-asserted: the running system, which it speaks of, read it.
type Flash struct {
	Regions []FlashRegion `cbor:"1,keyasint"` // in ascending order of Name
}

// FlashRegion is one region. Exactly one of Digest and Unavailable is set.
type FlashRegion struct {
	Name     string       `cbor:"1,keyasint"`
	Source   string       `cbor:"2,keyasint"`           // where it was read from: "mtd:bios", "spi:0.0", "block:/dev/mmcblk0boot0"
	Offset   uint64       `cbor:"3,keyasint,omitempty"` // in the source, in bytes
	Length   uint64       `cbor:"4,keyasint,omitempty"` // in bytes
	Digest   []byte       `cbor:"5,keyasint,omitempty"` // SHA-256 of the region, in which excluded bytes count as 0xff
	Excluded []FlashRange `cbor:"6,keyasint,omitempty"` // in ascending order, apart from each other
	Bad      []FlashRange `cbor:"7,keyasint,omitempty"` // bad blocks of NAND flash, which Digest leaves out
	Chip     string       `cbor:"8,keyasint,omitempty"` // JEDEC id in hexadecimal, where it is known

	Unavailable *Unavailable `cbor:"9,keyasint,omitempty"`
}

// FlashRange is a range of bytes in a region.
type FlashRange struct {
	Offset uint64 `cbor:"1,keyasint,omitempty"` // in the region
	Length uint64 `cbor:"2,keyasint"`
}

func (m *Flash) validate() error {
	if n := len(m.Regions); n == 0 || n > MaxFlashRegions {
		return fmt.Errorf("regions (1): want 1 to %d, got %d", MaxFlashRegions, n)
	}
	for i := range m.Regions {
		r := &m.Regions[i]
		if r.Name == "" {
			return fmt.Errorf("regions (1): number %d has no name", i)
		}
		if i > 0 && m.Regions[i-1].Name >= r.Name {
			return fmt.Errorf("regions (1): %q is not in ascending order of name", clip(r.Name))
		}
		if err := r.validate(); err != nil {
			return fmt.Errorf("regions (1): %q: %w", clip(r.Name), err)
		}
	}
	return nil
}

func (m *FlashRegion) validate() error {
	if (len(m.Digest) == 0) == (m.Unavailable == nil) {
		return errors.New("want either a digest or the reason for its absence")
	}
	if m.Offset+m.Length < m.Offset {
		return fmt.Errorf("%d bytes at %d exceed every address", m.Length, m.Offset)
	}
	if len(m.Digest) > 0 && m.Length == 0 {
		return errors.New("length (4): a digest of no bytes")
	}
	return errors.Join(
		text("name (1)", m.Name, MaxText),
		text("source (2)", m.Source, MaxText),
		optional("digest (5)", m.Digest, len(Digest{})),
		validateRanges("excluded (6)", m.Excluded, m.Length),
		validateRanges("bad (7)", m.Bad, m.Length),
		text("chip (8)", m.Chip, MaxText),
		m.Unavailable.validate("unavailable (9)"),
	)
}

// validateRanges checks order, and that all lies in a region of length bytes; a length of 0 is not known.
func validateRanges(name string, list []FlashRange, length uint64) error {
	if len(list) > MaxFlashRanges {
		return fmt.Errorf("%s: %d ranges, at most %d allowed", name, len(list), MaxFlashRanges)
	}
	var end uint64
	for i, r := range list {
		if r.Length == 0 || r.Offset+r.Length < r.Offset {
			return fmt.Errorf("%s: range %d: %d bytes at %d", name, i, r.Length, r.Offset)
		}
		if i > 0 && r.Offset <= end {
			return fmt.Errorf("%s: range %d at %d touches the one before it", name, i, r.Offset)
		}
		end = r.Offset + r.Length
		if length > 0 && end > length {
			return fmt.Errorf("%s: range %d ends at %d, after the region's %d bytes", name, i, end, length)
		}
	}
	return nil
}
