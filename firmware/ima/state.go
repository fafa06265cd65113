package ima

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Mode says what a kernel extends a bank with. It is a set: bits stand for ways that are still possible. Zero: all.
type Mode uint8

// Modes. They differ in banks other than SHA-1 only.
const (
	// Recomputed extends the template data's digest in the bank's own hash: Linux 5.8 and later, if it has that hash.
	Recomputed Mode = 1
	// Padded extends the SHA-1 template digest and zeros: Linux 5.8 and later where the hash is missing at boot, as
	// SHA-384 is in Debian's kernels. Violations extend ones in the bank's full size.
	Padded Mode = 2
	// PaddedShort is Padded of Linux before 5.8: violations, too, extend 20 bytes and zeros.
	PaddedShort Mode = 4

	allModes = Recomputed | Padded | PaddedShort
)

// Strong reports whether entries are bound by the bank's own hash and not by SHA-1, for which collisions are known.
func (m Mode) Strong() bool { return m == Recomputed }

// String returns the mode's name.
func (m Mode) String() string {
	switch {
	case m == Recomputed:
		return "recomputed"
	case m != 0 && m&Recomputed == 0:
		return "padded"
	}
	return "unknown"
}

// State is how far a list was replayed. The zero State is the empty list: PCR 10 all zero.
type State struct {
	Entries uint64 `cbor:"1,keyasint"`
	Value   []byte `cbor:"2,keyasint,omitempty"` // of the PCR after Entries entries; nil: all zero
	Mode    Mode   `cbor:"3,keyasint,omitempty"` // what fits all entries so far
}

// Errors on which callers branch.
var (
	// ErrForeignPCR is returned for an entry that extends another PCR than 10, which the replay says nothing about.
	ErrForeignPCR = errors.New("entry does not extend PCR 10")
	// ErrTemplateDigest is returned where the quote proves a SHA-1 template digest, but the data does not have it.
	ErrTemplateDigest = errors.New("template data does not have the template digest that was measured")
)

// NoPrefixError is returned where no prefix of a segment leads to the quoted value.
type NoPrefixError struct {
	Entries  int    // in the segment
	Replayed []byte // value after all of them, in the first mode that was possible
	Quoted   []byte
}

// Error implements error.
func (e *NoPrefixError) Error() string {
	return fmt.Sprintf("IMA replay: none of the first 0 to %d entries leads to the quoted PCR 10 %x (all of them: %x)",
		e.Entries, e.Quoted, e.Replayed)
}

// Advance replays a segment, the entries that follow the first s.Entries, and finds its first prefix of 0 or more
// entries with which PCR 10 of bank alg has the quoted value. It returns the state after this prefix and how many
// entries it has, and calls visit (if not nil) for each of them in order. Nothing is visited before the match is known;
// entries after the prefix are not looked at: they come again in the next segment.
//
// The checks, in order: sizes of s.Value and quoted; then for each entry its format (*ParseError) and PCR
// (ErrForeignPCR), until the value matches (else *NoPrefixError); where SHA-1 digests were extended, that each entry's
// data has the digest (ErrTemplateDigest). On error the state is s.
//
// A quoted value of zeros matches the empty prefix at boot, whatever the list holds: so IMA's list stays unproved where
// IMA started before the TPM's driver. Callers see it as no entries matched of a list that has some.
func (s State) Advance(segment []byte, alg pcr.Algorithm, quoted []byte, visit func(Entry)) (State, int, error) {
	var r replayer
	if err := r.init(s, alg); err != nil {
		return s, 0, err
	}
	if len(quoted) != r.size {
		return s, 0, fmt.Errorf("IMA replay: quoted value: %w: want %d bytes for %s, got %d", pcr.ErrSize, r.size, alg, len(quoted))
	}
	list := Scanner{list: segment}
	modes := r.matching(quoted)
	for modes == 0 {
		if !list.Scan() {
			if list.err != nil {
				return s, 0, list.err
			}
			return s, 0, &NoPrefixError{Entries: list.number, Replayed: bytes.Clone(r.first()), Quoted: bytes.Clone(quoted)}
		}
		if list.entry.PCR != PCR {
			return s, 0, fmt.Errorf("IMA replay: entry %d: %w but PCR %d", s.Entries+uint64(list.number)-1, ErrForeignPCR, list.entry.PCR)
		}
		r.extend(&list.entry)
		modes = r.matching(quoted)
	}
	matched := list.number
	prefix := segment[:list.offset]
	if alg == pcr.SHA1 || modes&Recomputed == 0 {
		if err := checkDigests(prefix, s.Entries); err != nil {
			return s, 0, err
		}
	}
	next := s
	if matched > 0 {
		next = State{Entries: s.Entries + uint64(matched), Value: bytes.Clone(quoted), Mode: modes}
		if alg == pcr.SHA1 { // all modes are the same there
			next.Mode = s.Mode
		}
	}
	if visit != nil {
		for list = (Scanner{list: prefix}); list.Scan(); {
			visit(list.entry)
		}
	}
	return next, matched, nil
}

// checkDigests checks that data and SHA-1 digest of all entries but violations fit.
func checkDigests(prefix []byte, before uint64) error {
	list := Scanner{list: prefix}
	for list.Scan() {
		if e := &list.entry; !e.Violation() && !e.Consistent() {
			return fmt.Errorf("IMA replay: entry %d: %w (%x)", before+uint64(list.number)-1, ErrTemplateDigest, e.TemplateDigest)
		}
	}
	return list.err
}
