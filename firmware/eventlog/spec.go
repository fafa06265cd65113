package eventlog

import (
	"bytes"
	"encoding/binary"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Signatures of Spec ID events, 16 bytes each (PFP section 10.4.5.1; PC Client Implementation for TPM 1.2, section
// 11.3.4.1).
var (
	specPrefix    = []byte("Spec ID Event")
	specSignature = []byte("Spec ID Event03\x00")
	spec12BIOS    = []byte("Spec ID Event00\x00")
	spec12EFI     = []byte("Spec ID Event02\x00")
)

// header decides the format by the first record, which has the TPM 1.2 layout in both, and consumes a Spec ID header.
// The Spec ID records of the TPM 1.2 format carry nothing that reading needs and stay in the list of events.
func (p *parser) header() error {
	var e Event
	q := *p
	if err := q.next12(&e); err != nil {
		return err
	}
	if !bytes.HasPrefix(e.Data, specPrefix) {
		return nil
	}
	if bytes.HasPrefix(e.Data, spec12BIOS) || bytes.HasPrefix(e.Data, spec12EFI) {
		return nil
	}
	at := p.off + 32
	if !bytes.HasPrefix(e.Data, specSignature) {
		return p.fail(at, "Spec ID header of an unknown version: want Spec ID Event00, 02 or 03")
	}
	if e.PCR != 0 || e.Type != NoAction || len(bytes.Trim(e.digests, "\x00")) != 0 {
		return p.fail(p.off, "Spec ID header must be an EV_NO_ACTION event of PCR 0 with a zero digest")
	}
	if err := p.spec(e.Data, at); err != nil {
		return err
	}
	p.log.Format = FormatTCG2
	p.off, p.number = q.off, q.number
	return nil
}

// spec reads a TCG_EfiSpecIDEvent, which starts at byte offset at.
func (p *parser) spec(d []byte, at int) error {
	const fixed = 28 // signature, class, three version bytes, size of UINTN, number of algorithms
	if len(d) < fixed {
		return p.fail(at, "Spec ID header of %d bytes, want at least %d", len(d), fixed)
	}
	n := binary.LittleEndian.Uint32(d[24:])
	if n == 0 || n > MaxAlgorithms {
		return p.fail(at+24, "Spec ID header declares %d algorithms, want 1 to %d", n, MaxAlgorithms)
	}
	if len(d) < fixed+4*int(n)+1 {
		return p.fail(at+fixed, "Spec ID header of %d bytes is too short for %d algorithms", len(d), n)
	}
	p.log.Banks = make([]pcr.Algorithm, 0, n)
	for i := range int(n) {
		o := fixed + 4*i
		a, size := pcr.Algorithm(binary.LittleEndian.Uint16(d[o:])), binary.LittleEndian.Uint16(d[o+2:])
		if p.bank(0, a) >= 0 {
			return p.fail(at+o, "Spec ID header declares %s twice", a)
		}
		if want := a.Size(); want != 0 && int(size) != want || size == 0 || size > pcr.MaxDigest {
			return p.fail(at+o, "Spec ID header gives %s digests %d bytes", a, size)
		}
		p.log.Banks = append(p.log.Banks, a)
		p.log.sizes[i] = size
	}
	o := fixed + 4*int(n)
	vendor := d[o+1:]
	if int(d[o]) != len(vendor) {
		return p.fail(at+o, "Spec ID header has %d bytes of vendor information, says %d", len(vendor), d[o])
	}
	p.log.Spec = &Spec{
		Class: binary.LittleEndian.Uint32(d[16:]), Minor: d[20], Major: d[21], Errata: d[22], UintnSize: d[23],
		VendorInfo: vendor,
	}
	return nil
}
