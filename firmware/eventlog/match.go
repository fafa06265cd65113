package eventlog

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/probity-attest/probity/firmware/pcr"
)

// DataMatches reports whether the event's digest of bank a is the hash of its Data, or, for the types below, of the
// part of Data that the specification or the measuring program says is hashed. Then that part is what was measured;
// otherwise Data is only a claim, as it always is for images, firmware volumes, tables and files, whose content is
// measured.
//
//   - EV_EFI_VARIABLE_BOOT: the variable's data alone (PFP section 10.4.1); its name is then still a claim.
//   - EV_IPL of GRUB: the command after "grub_cmd: " or "kernel_cmdline: ", or, in Red Hat's GRUB, what follows the
//     space, with the NUL.
//   - EV_IPL of systemd-stub in PCR 11: the section's name in ASCII with the NUL, while Data has it in UTF-16.
//
// It is false for events of type EV_NO_ACTION, and where the event has no digest of the bank or the hash is not
// implemented.
func (e *Event) DataMatches(a pcr.Algorithm) bool {
	digest := e.Digest(a)
	if digest == nil || !e.Extends() || a.Hash() == 0 {
		return false
	}
	if hashIs(a, e.Data, digest) {
		return true
	}
	switch e.Type {
	case EFIVariableBoot:
		v, ok := parseVariable(e.Data)
		return ok && v.extra == 0 && hashIs(a, v.data, digest)
	case IPL:
		part := parseIPL(e).measured
		return part != nil && hashIs(a, part, digest)
	}
	return false
}

// matchesAny reports DataMatches for any bank of the log. It only serves to describe events.
func (e *Event) matchesAny() bool {
	if e.log == nil {
		return false
	}
	for _, a := range e.log.Banks {
		if e.DataMatches(a) {
			return true
		}
	}
	return false
}

// hashIs reports whether data hashes to digest, without allocating.
func hashIs(a pcr.Algorithm, data, digest []byte) bool {
	switch a {
	case pcr.SHA1:
		h := sha1.Sum(data)
		return bytes.Equal(h[:], digest)
	case pcr.SHA256:
		h := sha256.Sum256(data)
		return bytes.Equal(h[:], digest)
	case pcr.SHA384:
		h := sha512.Sum384(data)
		return bytes.Equal(h[:], digest)
	case pcr.SHA512:
		h := sha512.Sum512(data)
		return bytes.Equal(h[:], digest)
	}
	return false
}
