package pecoff

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Authenticode returns the digest under which firmware measures the image into PCR 2 or 4 and looks it up in db and
// dbx: over everything but the checksum field, the certificate table and its directory entry, with sections in the
// order of their place in the file. It goes the way of edk2's PE/COFF hash, which differs from other tools in images
// with gaps or overlaps: behind the headers and sections, the digest covers as many bytes as are left, from the offset
// that equals the number of bytes covered so far.
//
// It fails for an algorithm that pcr cannot compute and for certificates that leave no room for what they sign.
func (f *File) Authenticode(a pcr.Algorithm) ([]byte, error) {
	if a.Hash() == 0 {
		return nil, fmt.Errorf("authenticode: no hash function for %s", a)
	}
	h := a.New()
	h.Write(f.b[:f.checksum])
	next := f.checksum + 4
	if f.security != 0 {
		h.Write(f.b[next:f.security])
		next = f.security + 8
	}
	h.Write(f.b[next:f.headers])
	covered := f.headers
	sorted := slices.Clone(f.Sections)
	slices.SortStableFunc(sorted, func(x, y Section) int { return cmp.Compare(x.Offset, y.Offset) })
	for i := range sorted {
		h.Write(sorted[i].b)
		covered += sorted[i].Size
	}
	if covered+f.Certificates > len(f.b) && covered <= len(f.b) {
		return nil, fail(f.security, "certificates of %d bytes overlap the %d bytes that they sign", f.Certificates, covered)
	}
	if covered < len(f.b) {
		h.Write(f.b[covered : len(f.b)-f.Certificates])
	}
	return h.Sum(nil), nil
}
