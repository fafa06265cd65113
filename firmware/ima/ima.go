// Package ima reads the measurement list of Linux's Integrity Measurement Architecture (IMA) and proves it by replay
// against PCR 10 (Platform Configuration Register) of a TPM quote.
//
// Scanner splits a list in the kernel's binary format (binary_runtime_measurements, little-endian) into entries and
// points into the input: it allocates nothing and trusts nothing. State.Advance is what makes a list evidence: it finds
// the prefix that the quoted PCR value stands for, so that entries added while the quote was made do no harm, and only
// then shows its entries. ReadList reads binary and ASCII lists for people and tools. Builder makes lists.
//
// What a matched replay proves, and what it does not:
//   - It proves Data, order and number of the entries.
//   - It does not prove Data of a violation: the kernel extends all ones whatever the file was. Its path is a claim.
//   - It does not prove Template, which no hash covers. Every template that this package decodes has the file's digest
//     first and its path second, so that another name can make File fail but not show another file.
//   - It does not prove TemplateDigest where the bank holds recomputed digests (Recomputed).
//
// Lists of big-endian machines that run without ima_canonical_fmt are refused, as are lists whose template digests are
// not SHA-1 (binary_runtime_measurements_sha256 and the like).
//
// Sources: Linux Documentation/security/IMA-templates.rst and security/integrity/ima (ima_fs.c, ima_template_lib.c,
// ima_crypto.c, ima_queue.c), versions 3.13 to 6.12; TCG Canonical Event Log Format 1.0, section 5.1.6.
package ima

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// PCR is the register that IMA extends unless the kernel was configured otherwise (CONFIG_IMA_MEASURE_PCR_IDX).
const PCR = 10

// DigestSize is the size in bytes of a template digest (SHA-1).
const DigestSize = sha1.Size

// oldHashed is what a template digest of template "ima" covers: a SHA-1 digest and the name, padded with zeros to
// IMA_EVENT_NAME_LEN_MAX + 1 bytes.
const oldHashed = DigestSize + maxOldName + 1

// Entry is one measurement as the list claims it. Slices point into the list that was scanned.
type Entry struct {
	PCR            uint32
	Template       string // such as "ima-ng"
	TemplateDigest []byte // DigestSize bytes; all zero for a violation
	Data           []byte // template data; for template "ima" as listed: digest, length, name
}

// Violation reports whether the kernel could not measure the file reliably, because it was open for writing while it was
// read or executed (ima_rdwr_violation_check). It then lists a zero digest and extends all ones.
func (e Entry) Violation() bool {
	d := e.TemplateDigest
	if len(d) != DigestSize {
		return false
	}
	return binary.LittleEndian.Uint64(d)|binary.LittleEndian.Uint64(d[8:])|uint64(binary.LittleEndian.Uint32(d[16:])) == 0
}

// Consistent reports whether TemplateDigest is the SHA-1 digest of Data. A violation never is.
func (e Entry) Consistent() bool {
	var old [oldHashed]byte
	d := sha1.Sum(e.hashed(&old))
	return bytes.Equal(d[:], e.TemplateDigest)
}

// Digest returns what the kernel extends PCR e.PCR of bank a with. Mode is one of Recomputed, Padded and PaddedShort and
// does not matter for SHA-1. It fails for algorithms without an implementation.
func (e Entry) Digest(a pcr.Algorithm, m Mode) ([]byte, error) {
	if a.Hash() == 0 {
		return nil, fmt.Errorf("IMA digest: no implementation of %s", a)
	}
	var d [pcr.MaxDigest]byte
	e.digest(a, m, &d)
	return append([]byte(nil), d[:a.Size()]...), nil
}

// digest writes what is extended into d.
func (e *Entry) digest(a pcr.Algorithm, m Mode, d *[pcr.MaxDigest]byte) {
	switch {
	case e.Violation():
		*d = ones(a, m)
	case a == pcr.SHA1 || m&Recomputed == 0:
		*d = [pcr.MaxDigest]byte{}
		copy(d[:], e.TemplateDigest)
	default:
		var old [oldHashed]byte
		sum(a, e.hashed(&old), d)
	}
}

// ones is what a violation extends. Before Linux 5.8 it was 20 bytes of ones padded with zeros in every bank.
func ones(a pcr.Algorithm, m Mode) (d [pcr.MaxDigest]byte) {
	n := a.Size()
	if m == PaddedShort {
		n = DigestSize
	}
	for i := range n {
		d[i] = 0xff
	}
	return d
}

// hashed returns the bytes that the template digest covers. Template "ima" covers its name padded instead of as listed.
func (e *Entry) hashed(old *[oldHashed]byte) []byte {
	if e.Template != templateOld || len(e.Data) < DigestSize+4 || len(e.Data) > DigestSize+4+maxOldName {
		return e.Data
	}
	*old = [oldHashed]byte{}
	copy(old[:], e.Data[:DigestSize])
	copy(old[DigestSize:], e.Data[DigestSize+4:])
	return old[:]
}

// sum writes the digest of b into d.
func sum(a pcr.Algorithm, b []byte, d *[pcr.MaxDigest]byte) {
	switch a {
	case pcr.SHA1:
		*(*[sha1.Size]byte)(d[:]) = sha1.Sum(b)
	case pcr.SHA256:
		*(*[sha256.Size]byte)(d[:]) = sha256.Sum256(b)
	case pcr.SHA384:
		*(*[sha512.Size384]byte)(d[:]) = sha512.Sum384(b)
	case pcr.SHA512:
		*d = sha512.Sum512(b)
	}
}
