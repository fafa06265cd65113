package ima

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// replayer extends one PCR in all modes that are possible at once.
type replayer struct {
	alg   pcr.Algorithm
	size  int
	modes Mode
	split bool // padded and short differ: there was a violation
	// values of the PCR by mode
	recomputed, padded, short [pcr.MaxDigest]byte
}

func (r *replayer) init(s State, alg pcr.Algorithm) error {
	if alg.Hash() == 0 {
		return fmt.Errorf("IMA replay: no implementation of %s", alg)
	}
	r.alg, r.size, r.modes = alg, alg.Size(), s.Mode
	if s.Value == nil && s.Entries != 0 || s.Value != nil && len(s.Value) != r.size {
		return fmt.Errorf("IMA replay: value after %d entries: %w: want %d bytes for %s, got %d",
			s.Entries, pcr.ErrSize, r.size, alg, len(s.Value))
	}
	if r.modes > allModes {
		return fmt.Errorf("IMA replay: unknown mode %d", r.modes)
	}
	switch {
	case alg == pcr.SHA1: // all modes are the same
		r.modes = Recomputed
	case r.modes == 0:
		r.modes = allModes
	}
	copy(r.recomputed[:], s.Value)
	r.padded, r.short = r.recomputed, r.recomputed
	return nil
}

// extend adds an entry.
func (r *replayer) extend(e *Entry) {
	var d [pcr.MaxDigest]byte
	violation := e.Violation()
	if r.modes&Recomputed != 0 {
		e.digest(r.alg, Recomputed, &d)
		r.into(&r.recomputed, &d)
	}
	if r.modes&(Padded|PaddedShort) == 0 {
		return
	}
	if violation && !r.split {
		r.split = true
		r.short = r.padded
	}
	if r.split || r.modes&Padded == 0 {
		if r.modes&PaddedShort != 0 {
			e.digest(r.alg, PaddedShort, &d)
			r.into(&r.short, &d)
		}
	}
	if !r.split || r.modes&Padded != 0 {
		e.digest(r.alg, Padded, &d)
		r.into(&r.padded, &d)
	}
}

// into replaces v by H(v || d).
func (r *replayer) into(v, d *[pcr.MaxDigest]byte) {
	if r.alg == pcr.SHA256 {
		var in [2 * sha256.Size]byte
		copy(in[:sha256.Size], v[:])
		copy(in[sha256.Size:], d[:])
		*(*[sha256.Size]byte)(v[:]) = sha256.Sum256(in[:])
		return
	}
	// Sizes fit and the algorithm has an implementation: init checked.
	_ = pcr.ExtendInto(r.alg, v[:r.size], d[:r.size])
}

// matching returns the modes in which the value is the quoted one.
func (r *replayer) matching(quoted []byte) (m Mode) {
	if r.modes&Recomputed != 0 && bytes.Equal(r.recomputed[:r.size], quoted) {
		m |= Recomputed
	}
	if r.modes&Padded != 0 && bytes.Equal(r.padded[:r.size], quoted) {
		m |= Padded
	}
	short := &r.short
	if !r.split {
		short = &r.padded
	}
	if r.modes&PaddedShort != 0 && bytes.Equal(short[:r.size], quoted) {
		m |= PaddedShort
	}
	return m
}

// first returns the value in the first possible mode.
func (r *replayer) first() []byte {
	switch {
	case r.modes&Recomputed != 0:
		return r.recomputed[:r.size]
	case r.modes&Padded != 0 || !r.split:
		return r.padded[:r.size]
	}
	return r.short[:r.size]
}

// Replay returns the PCRs of bank a as the whole list claims them; those that no entry extends are absent. Mode is as for
// Entry.Digest. Nothing is verified. It fails with a *ParseError and for algorithms without an implementation.
func Replay(list []byte, a pcr.Algorithm, m Mode) (*pcr.Bank, error) {
	if a.Hash() == 0 {
		return nil, fmt.Errorf("IMA replay: no implementation of %s", a)
	}
	bank := pcr.NewBank(a)
	s := Scanner{list: list}
	var d [pcr.MaxDigest]byte
	for s.Scan() {
		s.entry.digest(a, m, &d)
		if err := bank.Extend(int(s.entry.PCR), d[:a.Size()]); err != nil {
			return nil, fmt.Errorf("IMA replay: %w", err)
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	return bank, nil
}
