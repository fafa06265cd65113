// Package pcr models the Platform Configuration Registers of a TPM 2.0: digest algorithms, selections, banks of values,
// the extend operation and the composite digest that a quote signs.
//
// Values are plain byte slices of the algorithm's size; a Bank owns copies of them. Nothing here talks to a TPM.
// Sources: TPM 2.0 Library, Part 1, section 17; TCG PC Client Platform TPM Profile 1.06, section 4.6.
package pcr

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // PCR banks of logs that are parsed to be explained
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"strconv"
	"strings"
)

// Count is how many PCRs a bank has.
const Count = 24

// MaxDigest is the size in bytes of the largest digest (SHA-512).
const MaxDigest = 64

// Algorithm is a TPM_ALG_ID (TCG Algorithm Registry 1.34, section 6.10) that names a PCR bank.
type Algorithm uint16

// Algorithms of PCR banks.
const (
	SHA1   Algorithm = 0x0004
	SHA256 Algorithm = 0x000b
	SHA384 Algorithm = 0x000c
	SHA512 Algorithm = 0x000d
	SM3    Algorithm = 0x0012 // size known, not computed: no trusted library implements it
)

var algorithms = map[Algorithm]struct {
	name string
	size int
	hash crypto.Hash
}{
	SHA1:   {"sha1", 20, crypto.SHA1},
	SHA256: {"sha256", 32, crypto.SHA256},
	SHA384: {"sha384", 48, crypto.SHA384},
	SHA512: {"sha512", 64, crypto.SHA512},
	SM3:    {"sm3_256", 32, 0},
}

// Size returns the digest size in bytes, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	switch a { // the hot path of every parser, hence not the map
	case SHA1:
		return 20
	case SHA256, SM3:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// String returns the name that the TCG and Linux use, such as "sha256".
func (a Algorithm) String() string {
	if d, ok := algorithms[a]; ok {
		return d.name
	}
	return fmt.Sprintf("alg-%#04x", uint16(a))
}

// Hash returns the hash function, 0 if there is none here (SM3, unknown algorithms).
func (a Algorithm) Hash() crypto.Hash { return algorithms[a].hash }

// New returns a new hash of the algorithm. It panics where Hash returns 0.
func (a Algorithm) New() hash.Hash { return a.Hash().New() }

// Trusted reports whether a bank of this algorithm may carry a verdict. SHA-1 is broken, SHA-512 no agreed profile quotes.
func (a Algorithm) Trusted() bool { return a == SHA256 || a == SHA384 }

// ParseAlgorithm returns the algorithm of this name.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a, d := range algorithms {
		if d.name == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("unknown PCR bank %q: want sha1, sha256, sha384, sha512 or sm3_256", name)
}

// Selection is a set of PCRs: bit i stands for PCR i.
type Selection uint32

// All selects every PCR.
const All Selection = 1<<Count - 1

// Select returns the set of the given PCRs. It panics on an index that no bank has.
func Select(indices ...int) Selection {
	var s Selection
	for _, i := range indices {
		if i < 0 || i >= Count {
			panic("pcr: no PCR " + strconv.Itoa(i))
		}
		s |= 1 << i
	}
	return s
}

// Has reports whether PCR i is in the set.
func (s Selection) Has(i int) bool { return i >= 0 && i < Count && s&(1<<i) != 0 }

// Len returns how many PCRs are in the set.
func (s Selection) Len() int { return bits.OnesCount32(uint32(s)) }

// Indices returns the PCRs in ascending order.
func (s Selection) Indices() []int {
	out := make([]int, 0, s.Len())
	for i := range Count {
		if s.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

// String returns the set as "0-7,9".
func (s Selection) String() string {
	var parts []string
	for i := 0; i < Count; i++ {
		if !s.Has(i) {
			continue
		}
		first := i
		for s.Has(i + 1) {
			i++
		}
		if first == i {
			parts = append(parts, strconv.Itoa(i))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d-%d", first, i))
	}
	return strings.Join(parts, ",")
}

// Bytes returns the set as sizeofSelect and pcrSelect of a TPMS_PCR_SELECTION (Part 2, section 10.6.2) write it.
func (s Selection) Bytes() []byte { return []byte{byte(s), byte(s >> 8), byte(s >> 16)} }

// ErrSize is returned for a digest whose size does not fit the bank.
var ErrSize = errors.New("digest size does not fit the PCR bank")

// Bank holds PCR values of one algorithm. The zero Bank is not usable: make one with NewBank.
type Bank struct {
	alg     Algorithm
	size    int // of a value in bytes
	present Selection
	values  []byte // of all PCRs in ascending order
}

// NewBank returns a bank that holds no values yet.
func NewBank(a Algorithm) *Bank {
	return &Bank{alg: a, size: a.Size(), values: make([]byte, Count*a.Size())}
}

// at returns the bytes of PCR i, known or not.
func (b *Bank) at(i int) []byte { return b.values[i*b.size : (i+1)*b.size : (i+1)*b.size] }

// Reset returns a bank as a PC Client TPM has it after TPM2_Startup(CLEAR): PCRs 17 to 22 all ones, the rest zero
// (PC Client PTP 1.06, section 4.6.2).
func Reset(a Algorithm) *Bank {
	b := NewBank(a)
	b.present = All
	for i := 17; i <= 22; i++ {
		for k := range b.at(i) {
			b.at(i)[k] = 0xff
		}
	}
	return b
}

// Algorithm returns the bank's algorithm.
func (b *Bank) Algorithm() Algorithm { return b.alg }

// Present returns the PCRs whose values are known.
func (b *Bank) Present() Selection { return b.present }

// Value returns the value of PCR i, nil where it is not known. The slice is the bank's own: do not change it.
func (b *Bank) Value(i int) []byte {
	if !b.present.Has(i) {
		return nil
	}
	return b.at(i)
}

// Set stores a value of PCR i.
func (b *Bank) Set(i int, value []byte) error {
	if i < 0 || i >= Count {
		return fmt.Errorf("set: no PCR %d", i)
	}
	if len(value) != b.size || b.size == 0 {
		return fmt.Errorf("set PCR %d: %w: want %d bytes for %s, got %d", i, ErrSize, b.size, b.alg, len(value))
	}
	copy(b.at(i), value)
	b.present |= 1 << i
	return nil
}

// Equal reports whether both banks hold the same algorithm, PCRs and values.
func (b *Bank) Equal(o *Bank) bool {
	return b.alg == o.alg && b.present == o.present && bytes.Equal(b.values, o.values)
}

// Clone returns a copy.
func (b *Bank) Clone() *Bank {
	c := *b
	c.values = bytes.Clone(b.values)
	return &c
}

// Strings returns the values in hexadecimal by decimal PCR index, as reports print them.
func (b *Bank) Strings() map[string]string {
	out := make(map[string]string, b.present.Len())
	all := hex.EncodeToString(b.values) // one string that all values are parts of
	for i := range Count {
		if b.present.Has(i) {
			out[strconv.Itoa(i)] = all[2*i*b.size : 2*(i+1)*b.size]
		}
	}
	return out
}

// Composite returns the digest over the concatenated values of the selected PCRs in ascending order, as TPM2_Quote signs
// it (Part 1, section 17.6.3, with h the hash of the signing scheme). It fails where a selected value is not known.
func (b *Bank) Composite(s Selection, h crypto.Hash) ([]byte, error) {
	if b.present&s != s {
		return nil, fmt.Errorf("composite: no value of PCR %s", s&^b.present)
	}
	d := h.New()
	for i := range Count {
		if s.Has(i) {
			d.Write(b.at(i))
		}
	}
	return d.Sum(nil), nil
}
