package appraise

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// TPM constants (TPM 2.0 Library, Part 2, revision 1.59).
const (
	tpmGenerated  = 0xff544347 // section 6.2, TPM_GENERATED_VALUE
	stAttestQuote = 0x8018     // section 6.9, TPM_ST_ATTEST_QUOTE
	algRSA        = 0x0001     // section 6.3, TPM_ALG_ID
	algSHA256     = 0x000b
	algNull       = 0x0010
	algRSASSA     = 0x0014
	algECDSA      = 0x0018
	algECC        = 0x0023
	curveP256     = 0x0003     // section 6.4, TPM_ECC_NIST_P256
	rhEndorsement = 0x4000000b // section 7.4, TPM_RH_ENDORSEMENT
)

// quote is a parsed TPMS_ATTEST (Part 2, section 10.12.12) of type TPM_ST_ATTEST_QUOTE.
type quote struct {
	signer    []byte // qualified name of the key
	extraData []byte
	clock     uint64 // milliseconds
	resets    uint32
	restarts  uint32
	safe      bool
	firmware  uint64
	bank      pcr.Algorithm
	selection pcr.Selection
	digest    []byte
}

var errShort = errors.New("structure ends early")

// reader takes big-endian fields off a TPM structure; the first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.err = errShort
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// parseQuote parses raw strictly: magic, type, exactly one PCR selection of three bytes, no trailing bytes.
func parseQuote(raw []byte) (quote, error) {
	r := &reader{b: raw}
	if magic := r.u32(); r.err == nil && magic != tpmGenerated {
		return quote{}, fmt.Errorf("magic %#08x, want %#08x: not made by a TPM", magic, uint32(tpmGenerated))
	}
	if tag := r.u16(); r.err == nil && tag != stAttestQuote {
		return quote{}, fmt.Errorf("type %#04x, want %#04x (quote)", tag, stAttestQuote)
	}
	q := quote{signer: r.sized(), extraData: r.sized()}
	q.clock, q.resets, q.restarts = r.u64(), r.u32(), r.u32()
	safe := r.u8()
	q.safe = safe == 1
	q.firmware = r.u64()
	if n := r.u32(); r.err == nil && n != 1 {
		return quote{}, fmt.Errorf("%d PCR banks quoted, want exactly 1", n)
	}
	q.bank = pcr.Algorithm(r.u16())
	if n := r.u8(); r.err == nil && n != 3 {
		return quote{}, fmt.Errorf("PCR selection of %d bytes, want 3", n)
	}
	if s := r.take(3); s != nil {
		q.selection = pcr.Selection(s[0]) | pcr.Selection(s[1])<<8 | pcr.Selection(s[2])<<16
	}
	q.digest = r.sized()
	switch {
	case r.err != nil:
		return quote{}, r.err
	case safe > 1:
		return quote{}, fmt.Errorf("safe flag is %d, want 0 or 1", safe)
	case len(r.b) != 0:
		return quote{}, fmt.Errorf("%d trailing bytes", len(r.b))
	}
	return q, nil
}

// attestationKey is the key that a device's evidence must be signed with.
type attestationKey struct {
	ecc       *ecdsa.PublicKey
	rsa       *rsa.PublicKey
	qualified []byte // qualified name as a primary of the endorsement hierarchy; nil for a software key
}

// parseTPMKey parses the TPMT_PUBLIC (Part 2, section 12.2.4) of an AK. Its attributes were checked at enrolment; here
// only what the signature check depends on is read again: type, scheme, curve.
func parseTPMKey(public []byte) (attestationKey, error) {
	r := &reader{b: public}
	typ, nameAlg := r.u16(), r.u16()
	r.u32()   // attributes
	r.sized() // policy
	if r.err == nil && nameAlg != algSHA256 {
		return attestationKey{}, fmt.Errorf("AK: name algorithm %#04x, want SHA-256", nameAlg)
	}
	var key attestationKey
	switch symmetric := r.u16(); {
	case r.err != nil:
	case symmetric != algNull:
		return attestationKey{}, fmt.Errorf("AK: symmetric algorithm %#04x, want none", symmetric)
	case typ == algECC:
		key.ecc = parseECC(r)
	case typ == algRSA:
		key.rsa = parseRSA(r)
	default:
		return attestationKey{}, fmt.Errorf("AK: type %#04x, want RSA or ECC", typ)
	}
	if r.err != nil {
		return attestationKey{}, fmt.Errorf("AK: %w", r.err)
	}
	if len(r.b) != 0 {
		return attestationKey{}, fmt.Errorf("AK: %d trailing bytes", len(r.b))
	}
	key.qualified = qualifiedName(public)
	return key, nil
}

func parseECC(r *reader) *ecdsa.PublicKey {
	scheme, hash, curve, kdf := r.u16(), r.u16(), r.u16(), r.u16()
	x, y := r.sized(), r.sized()
	if r.err != nil {
		return nil
	}
	if scheme != algECDSA || hash != algSHA256 || curve != curveP256 || kdf != algNull || len(x) > 32 || len(y) > 32 {
		r.err = errors.New("ECC key is not ECDSA with SHA-256 on P-256")
		return nil
	}
	point := make([]byte, 65)
	point[0] = 4
	copy(point[33-len(x):33], x)
	copy(point[65-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		r.err = err
	}
	return key
}

func parseRSA(r *reader) *rsa.PublicKey {
	scheme, hash, bits, exponent := r.u16(), r.u16(), r.u16(), r.u32()
	modulus := r.sized()
	if r.err != nil {
		return nil
	}
	if scheme != algRSASSA || hash != algSHA256 || bits != 2048 || len(modulus) != 256 {
		r.err = errors.New("RSA key is not RSASSA with SHA-256 of 2048 bits")
		return nil
	}
	if exponent == 0 {
		exponent = 65537 // Part 2, section 12.2.3.5: 0 stands for the default
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent)}
}

// qualifiedName returns the qualified name (Part 1, section 16) of a key that is a primary of the endorsement hierarchy.
func qualifiedName(public []byte) []byte {
	name := sha256.Sum256(public)
	var in [4 + 2 + sha256.Size]byte
	binary.BigEndian.PutUint32(in[:], rhEndorsement)
	binary.BigEndian.PutUint16(in[4:], algSHA256)
	copy(in[6:], name[:])
	sum := sha256.Sum256(in[:])
	return append([]byte{algSHA256 >> 8, algSHA256 & 0xff}, sum[:]...)
}

// parseSoftwareKey parses the SubjectPublicKeyInfo of a device without a TPM.
func parseSoftwareKey(der []byte) (attestationKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return attestationKey{}, fmt.Errorf("software key: %w", err)
	}
	ecc, ok := key.(*ecdsa.PublicKey)
	if !ok || ecc.Curve != elliptic.P256() {
		return attestationKey{}, errors.New("software key: not on P-256")
	}
	return attestationKey{ecc: ecc}, nil
}

// verify checks a TPMT_SIGNATURE (Part 2, section 11.3.4) over message.
func (k attestationKey) verify(message, signature []byte) error {
	digest := sha256.Sum256(message)
	r := &reader{b: signature}
	scheme, hash := r.u16(), r.u16()
	if r.err == nil && hash != algSHA256 {
		return fmt.Errorf("signature hash %#04x, want SHA-256", hash)
	}
	switch {
	case r.err != nil:
		return r.err
	case scheme == algECDSA && k.ecc != nil:
		rb, sb := r.sized(), r.sized()
		if r.err != nil || len(r.b) != 0 {
			return errors.New("malformed ECDSA signature")
		}
		if !verifyECDSA(k.ecc, digest[:], rb, sb) {
			return errors.New("ECDSA signature does not verify")
		}
		return nil
	case scheme == algRSASSA && k.rsa != nil:
		sig := r.sized()
		if r.err != nil || len(r.b) != 0 {
			return errors.New("malformed RSA signature")
		}
		return rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest[:], sig)
	}
	return fmt.Errorf("signature scheme %#04x does not fit the AK", scheme)
}

// verifyECDSA verifies raw big-endian r and s by encoding them as the ASN.1 that crypto/ecdsa takes.
func verifyECDSA(key *ecdsa.PublicKey, digest, r, s []byte) bool {
	if len(r) > 32 || len(s) > 32 {
		return false
	}
	var buf [72]byte
	out := append(buf[:0], 0x30, 0)
	out = appendInteger(out, r)
	out = appendInteger(out, s)
	out[1] = byte(len(out) - 2)
	return ecdsa.VerifyASN1(key, digest, out)
}

func appendInteger(out, v []byte) []byte {
	v = bytes.TrimLeft(v, "\x00")
	n := len(v)
	pad := n == 0 || v[0]&0x80 != 0
	if pad {
		n++
	}
	out = append(out, 0x02, byte(n))
	if pad {
		out = append(out, 0)
	}
	return append(out, v...)
}

// verifySoftware checks the ASN.1 ECDSA signature of a device without a TPM.
func (k attestationKey) verifySoftware(qualifying proto.Digest, signature []byte) error {
	message := proto.SoftwareMessage(qualifying)
	if k.ecc == nil || !ecdsa.VerifyASN1(k.ecc, message[:], signature) {
		return errors.New("ECDSA signature does not verify")
	}
	return nil
}
