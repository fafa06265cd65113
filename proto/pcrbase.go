package proto

import (
	"crypto/sha256"
	"encoding/binary"
)

// PCRBase names a set of PCR values that both sides know, so that evidence repeats only those that changed. It is the
// first PCRBaseSize bytes of SHA-256 over the bank's TPM_ALG_ID (2 bytes, big-endian), the selection (4 bytes,
// big-endian, bit i stands for PCR i) and the selected values in ascending order of PCR. value returns the value of
// PCR i, nil where it is not known: then there is no base and PCRBase returns nil.
//
// The tag only saves bytes. What was signed is checked against the quote's pcrDigest, so a collision gains nothing.
func PCRBase(bank uint16, pcrs uint32, value func(i int) []byte) []byte {
	h := sha256.New()
	var head [6]byte
	binary.BigEndian.PutUint16(head[:], bank)
	binary.BigEndian.PutUint32(head[2:], pcrs)
	h.Write(head[:])
	for i := range NumPCRs {
		if pcrs&(1<<i) == 0 {
			continue
		}
		v := value(i)
		if v == nil {
			return nil
		}
		h.Write(v)
	}
	return h.Sum(nil)[:PCRBaseSize]
}
