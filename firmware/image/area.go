package image

import (
	"bytes"
	"encoding/binary"

	"github.com/probity-attest/probity/firmware/image/devicetree"
)

// area splits content[start:end] of a part: it looks for everything that can stand anywhere in flash, and keeps the
// rest as data and padding, so that its children cover the area. An area in which nothing is found gets no children
// unless it is the whole image's or a region's.
func (p *parser) area(in *Part, start, end int) error {
	b := in.content()
	done := start
	for at := start; at+16 <= end; at += 4 {
		word := binary.LittleEndian.Uint64(b[at:])
		if word == 0 || word == ^uint64(0) {
			// Nothing begins in erased flash, but for volumes, whose first 44 bytes hold zeros.
			at += max(run(b[at:end])-volumeHeader, 0) &^ 3
			if !volumeAt(b[at:end]) {
				continue
			}
		}
		find := recognise(b[at:end], at-start)
		if find == nil {
			continue
		}
		children := len(in.Children)
		if err := p.gap(in, done, at); err != nil {
			return err
		}
		next, err := find(p, in, at, end)
		if err != nil {
			if err := p.forgive(in, at, err); err != nil {
				return err
			}
			in.Children = in.Children[:children]
			continue
		}
		done = next
		at = (next-start+3)&^3 + start - 4
	}
	if done == start && in.Kind != KindImage && in.Kind != KindRegion {
		return nil
	}
	return p.gap(in, done, end)
}

// finder splits what begins at content[at] of a part and ends before end. It returns where it ends.
type finder func(p *parser, in *Part, at, end int) (int, error)

// recognise tells what b begins with. from is the distance from the beginning of the area: some forms are aligned in
// it.
func recognise(b []byte, from int) finder {
	switch binary.LittleEndian.Uint32(b) {
	case 0xedfe0dd0: // devicetree.Magic
		if _, ok := devicetree.Size(b); ok {
			return (*parser).blob
		}
	case 0x56190527:
		if uImageAt(b) {
			return (*parser).uImage
		}
	case 1:
		if from%16 == 0 && microcodeAt(b) > 0 {
			return (*parser).microcode
		}
	}
	if b[0] == 0x55 && b[1] == 0xaa && from%512 == 0 && optionROMAt(b) {
		return (*parser).optionROM
	}
	if from%8 == 0 && volumeAt(b) {
		return (*parser).volume
	}
	return nil
}

// Runs of erased bytes that make padding of their own: at the ends of what is not known, and between data.
const (
	paddingAround  = 64
	paddingBetween = 4096
)

// gap keeps content[start:end], in which nothing was found, as data and padding.
func (p *parser) gap(in *Part, start, end int) error {
	b := in.content()[start:end]
	for at := 0; at < len(b); {
		kind, n := KindPadding, run(b[at:])
		if n < len(b)-at && n < paddingAround {
			kind, n = KindData, untilPadding(b[at:])
		}
		c, err := p.add(in, kind, start+at, start+at+n)
		if err != nil {
			return err
		}
		at += n
		if kind == KindData && bytes.Contains(c.data, volumeSignature) {
			c.Detail = "holds the signature of a firmware volume, but no valid header around it"
		}
	}
	return nil
}

// untilPadding returns how many bytes at the beginning of b, which does not begin with padding, are data.
func untilPadding(b []byte) int {
	for at := 0; at < len(b); {
		n := run(b[at:])
		if n >= paddingBetween || n >= paddingAround && at+n == len(b) {
			return at
		}
		at += max(n, 1)
	}
	return len(b)
}

// run returns how many bytes at the beginning are 0x00 or 0xff, all the same.
func run(b []byte) int {
	if len(b) == 0 || b[0] != 0 && b[0] != 0xff {
		return 0
	}
	word, n := uint64(int64(int8(b[0]))), 0
	for n+8 <= len(b) && binary.LittleEndian.Uint64(b[n:]) == word {
		n += 8
	}
	for n < len(b) && b[n] == b[0] {
		n++
	}
	return n
}

// blank reports whether b is erased flash: all 0x00 or all 0xff, or empty.
func blank(b []byte) bool { return run(b) == len(b) }
