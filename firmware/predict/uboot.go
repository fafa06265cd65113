package predict

import (
	"cmp"
	"slices"

	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

// uBootDigests returns the digests under which U-Boot measures a program (lib/efi_loader, efi_image_parse). It differs
// from Authenticode in images with bytes between their sections: sections are taken in the order of their addresses,
// their sizes rounded up, and a range is left out when it overlaps one that was taken before. What is covered is hashed
// in the order of the file. So it does not cover the bytes between sections and may not cover those behind them.
func uBootDigests(b []byte, pe *pecoff.File) (map[pcr.Algorithm][]byte, error) {
	l := layoutOf(b)
	if n := len(b) % 8; n != 0 {
		b = append(b[:len(b):len(b)], make([]byte, 8-n)...)
	}
	if l.alignment <= 0 || l.alignment&(l.alignment-1) != 0 {
		return nil, inputError("sections aligned to %d bytes, want a power of two", l.alignment)
	}
	var r regions
	r.add(0, l.checksum)
	if l.security == 0 {
		r.add(l.checksum+4, l.headers)
	} else {
		r.add(l.checksum+4, l.security)
		r.add(l.security+8, l.headers)
	}
	hashed := l.headers
	sorted := slices.Clone(pe.Sections)
	slices.SortStableFunc(sorted, func(x, y pecoff.Section) int { return cmp.Compare(x.Address, y.Address) })
	for _, s := range sorted {
		if s.Size == 0 {
			continue
		}
		size := (s.Size + l.alignment - 1) &^ (l.alignment - 1)
		if s.Offset+size > len(b) {
			return nil, inputError("section %q reaches behind the end of the image: U-Boot would hash what is there in memory", s.Name)
		}
		r.add(s.Offset, s.Offset+size)
		hashed += size
	}
	if hashed+l.certificates < len(b) {
		r.add(hashed, len(b)-l.certificates)
	}
	out := make(map[pcr.Algorithm][]byte, len(banks))
	for _, a := range banks {
		h := a.New()
		for _, x := range r {
			h.Write(b[x.start:x.end])
		}
		out[a] = h.Sum(nil)
	}
	return out, nil
}

// regions are ranges of an image in ascending order that do not overlap.
type regions []struct{ start, end int }

// add inserts a range, unless it overlaps one that is there or is no range.
func (r *regions) add(start, end int) {
	if end < start {
		return
	}
	for i, x := range *r {
		if start >= x.end {
			continue
		}
		if end <= x.start {
			*r = slices.Insert(*r, i, struct{ start, end int }{start, end})
		}
		return
	}
	*r = append(*r, struct{ start, end int }{start, end})
}
