package flash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// AddressMode says how many address bytes a chip's READ takes (JESD216, first double word of the basic table).
type AddressMode uint8

// Address modes.
const (
	Address3     AddressMode = 0 // 3 bytes only
	Address3Or4  AddressMode = 1 // 3 bytes, 4 after a command that changes the mode
	Address4     AddressMode = 2 // 4 bytes only
	addressModes             = 3
)

// SFDP is what a chip's Serial Flash Discoverable Parameters (JEDEC JESD216F) state of it, as far as reading needs it.
type SFDP struct {
	Major, Minor uint8       // revision of SFDP
	Density      uint64      // bytes of the chip
	Address      AddressMode // address bytes
	Read4        bool        // understands READ with 4 address bytes, command 13h, in every mode
	EraseSize    uint64      // bytes of the smallest block that can be erased; 0: not stated
}

// ErrNoSFDP says that a chip has no such parameters: it is older than the standard.
var ErrNoSFDP = errors.New("no SFDP")

// SFDPError tells where a chip's parameters break the standard.
type SFDPError struct {
	Offset uint32 // in SFDP's address space
	Detail string // what was expected and what was found
}

func (e *SFDPError) Error() string { return fmt.Sprintf("SFDP: byte %#x: %s", e.Offset, e.Detail) }

// Identifiers of parameter tables: the high byte is the most significant one, FFh for tables of JEDEC.
const (
	basicTable       = 0xff00
	fourByteTable    = 0xff84
	sfdpSignature    = "SFDP"
	minBasicWords    = 9 // of the first JESD216
	maxTableAddress  = 1 << 24
	headerSize       = 8
	densityWord      = 1
	eraseWord        = 7  // erase types 1 and 2, then 3 and 4
	enter4ByteWord   = 15 // from JESD216A
	dedicatedRead4   = 29 // bit: understands the commands with 4 address bytes
	largestErasePow2 = 31
)

// ReadSFDP reads a chip's parameters. It believes nothing beyond limits.go: tables must be complete, within SFDP's
// address space, and the basic one must be there. It returns ErrNoSFDP where there is no signature, *SFDPError where
// the parameters are not those of a chip, and errors of reading as they are.
func ReadSFDP(r io.ReaderAt) (*SFDP, error) {
	var header [headerSize]byte
	if err := readSFDP(r, header[:], 0); err != nil {
		return nil, err
	}
	if string(header[:4]) != sfdpSignature {
		return nil, ErrNoSFDP
	}
	s := &SFDP{Minor: header[4], Major: header[5]}
	if s.Major != 1 {
		return nil, &SFDPError{5, fmt.Sprintf("major revision %d, want 1", s.Major)}
	}
	count := int(header[6]) + 1
	if count > maxParameters {
		return nil, &SFDPError{6, fmt.Sprintf("%d parameter headers, at most %d allowed", count, maxParameters)}
	}
	basic, err := findTable(r, count, basicTable)
	if err != nil {
		return nil, err
	}
	if basic == nil {
		return nil, &SFDPError{headerSize, "no basic flash parameter table"}
	}
	if err := s.parseBasic(basic); err != nil {
		return nil, err
	}
	if s.Read4 {
		return s, nil
	}
	four, err := findTable(r, count, fourByteTable)
	if err != nil {
		return nil, err
	}
	s.Read4 = four != nil && four.words[0]&1 != 0
	return s, nil
}

// table is a parameter table and where it lies.
type table struct {
	at    uint32
	words []uint32
}

// findTable reads the table of an identifier. Of several revisions the one with the highest minor number counts.
func findTable(r io.ReaderAt, count int, id uint16) (*table, error) {
	var best [headerSize]byte
	where := uint32(0)
	for i := range count {
		var h [headerSize]byte
		at := uint32(headerSize * (i + 1))
		if err := readSFDP(r, h[:], at); err != nil {
			return nil, err
		}
		if uint16(h[7])<<8|uint16(h[0]) != id || h[2] != 1 {
			continue
		}
		if where == 0 || h[1] > best[1] {
			best, where = h, at
		}
	}
	if where == 0 {
		return nil, nil
	}
	words, start := int(best[3]), uint32(best[4])|uint32(best[5])<<8|uint32(best[6])<<16
	if words == 0 || words > maxParameterWords {
		return nil, &SFDPError{where + 3, fmt.Sprintf("table of %d double words, want 1 to %d", words, maxParameterWords)}
	}
	if start%4 != 0 || start+uint32(4*words) > maxTableAddress {
		return nil, &SFDPError{where + 4, fmt.Sprintf("table of %d double words at %#x: want it aligned and below %#x",
			words, start, maxTableAddress)}
	}
	raw := make([]byte, 4*words)
	if err := readSFDP(r, raw, start); err != nil {
		return nil, err
	}
	t := &table{at: start, words: make([]uint32, words)}
	for i := range t.words {
		t.words[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return t, nil
}

func (s *SFDP) parseBasic(t *table) error {
	if len(t.words) < minBasicWords {
		return &SFDPError{t.at, fmt.Sprintf("basic table of %d double words, want at least %d", len(t.words), minBasicWords)}
	}
	s.Address = AddressMode(t.words[0] >> 17 & 3)
	if s.Address >= addressModes {
		return &SFDPError{t.at, fmt.Sprintf("address mode %d is reserved", s.Address)}
	}
	var err error
	if s.Density, err = density(t.words[densityWord]); err != nil {
		return &SFDPError{t.at + 4*densityWord, err.Error()}
	}
	for i := range 4 {
		// Each type is a power of 2 and a command; 0 is no type.
		power := t.words[eraseWord+i/2] >> (16 * (i % 2)) & 0xff
		if power == 0 {
			continue
		}
		if power > largestErasePow2 || uint64(1)<<power > s.Density {
			return &SFDPError{t.at + 4*eraseWord, fmt.Sprintf("erase type %d of 2^%d bytes in a chip of %d", i+1, power, s.Density)}
		}
		if size := uint64(1) << power; s.EraseSize == 0 || size < s.EraseSize {
			s.EraseSize = size
		}
	}
	s.Read4 = len(t.words) > enter4ByteWord && t.words[enter4ByteWord]>>dedicatedRead4&1 != 0
	return nil
}

// density returns the bytes of a chip. Up to 2 Gbit the word is the number of the last bit; above, it is 2^31 and the
// logarithm of the number of bits.
func density(word uint32) (uint64, error) {
	bits := uint64(word) + 1
	if power := word &^ (1 << 31); word>>31 != 0 {
		if power < 32 || power > 63 {
			return 0, fmt.Errorf("density of 2^%d bits: want 2^32 to 2^63 in this form", power)
		}
		bits = 1 << power
	}
	switch n := bits / 8; {
	case bits%8 != 0 || n == 0:
		return 0, fmt.Errorf("density of %d bits: want whole bytes", bits)
	case n > MaxDensity:
		return 0, fmt.Errorf("density of %d bytes: want at most %d, which 4 address bytes reach", n, uint64(MaxDensity))
	default:
		return n, nil
	}
}

func readSFDP(r io.ReaderAt, b []byte, at uint32) error {
	n, err := r.ReadAt(b, int64(at))
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return &SFDPError{at, fmt.Sprintf("%d bytes expected, %d there: cut off", len(b), n)}
	}
	return err
}
