package appraise

import (
	"fmt"
	"strings"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
)

// place says where and what a region is, in one line that differs where it does.
func place(kind string, length, offset uint64, chip string) string {
	s := fmt.Sprintf("%s, %d bytes at %#x", kind, length, offset)
	if chip != "" {
		s += ", chip " + chip
	}
	return s
}

// placeWanted is place of a reference. A manifest does not say how a device reads its flash, and its offset is that in
// the whole image: it is compared where the device reads a whole chip, not partitions or devices of their own.
func placeWanted(r *proto.FlashRegion, ref *reference.Region) string {
	kind, offset := ref.Source, ref.Offset
	if kind == "" {
		if kind = reference.SourceKind(r.Source); kind != "spi" {
			offset = r.Offset
		}
	}
	return place(kind, ref.Length, offset, ref.Chip)
}

// placeOf is place of a reported region; its chip counts where the reference names one.
func placeOf(r *proto.FlashRegion, ref *reference.Region) string {
	chip := r.Chip
	switch {
	case ref.Chip == "":
		chip = ""
	case chip == "":
		chip = "unknown"
	}
	return place(reference.SourceKind(r.Source), r.Length, r.Offset, chip)
}

func spans(list []reference.Range) []proto.FlashRange {
	out := make([]proto.FlashRange, len(list))
	for i, r := range list {
		out[i] = proto.FlashRange{Offset: r.Offset, Length: r.Length}
	}
	return out
}

// outside returns those ranges that do not lie in one of the allowed. These do not touch each other: a range over two
// of them holds bytes of neither.
func outside(list []proto.FlashRange, allowed []reference.Range) []proto.FlashRange {
	var out []proto.FlashRange
	for _, r := range list {
		inside := false
		for _, a := range allowed {
			inside = inside || r.Offset >= a.Offset && r.Offset+r.Length <= a.Offset+a.Length
		}
		if !inside {
			out = append(out, r)
		}
	}
	return out
}

// covered returns how many bytes ranges have together.
func covered(list []proto.FlashRange) uint64 {
	var n uint64
	for _, r := range list {
		n += r.Length
	}
	return n
}

// maxRanges is how many ranges a finding names.
const maxRanges = 6

func rangesText(list []proto.FlashRange) string {
	if len(list) == 0 {
		return "no excluded range"
	}
	var parts []string
	for i, r := range list {
		if i == maxRanges {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d bytes at %#x", r.Length, r.Offset))
	}
	return strings.Join(parts, ", ")
}
