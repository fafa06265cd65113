package predict

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/probity-attest/probity/firmware/pcr"
)

// signedProgram is one Authenticode signature whose digest is that of the program and whose signer's key made it.
type signedProgram struct {
	signer       *x509.Certificate
	certificates []*x509.Certificate // the signer's among them
}

// Structures of PKCS #7 (RFC 2315) as Authenticode uses them (Microsoft, "Windows Authenticode Portable Executable
// Signature Format").
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      asn1.RawValue
		Content      contentInfo
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version         int
		Issuer          issuerAndSerial
		DigestAlgorithm algorithmIdentifier
		Authenticated   asn1.RawValue `asn1:"optional,tag:0"`
		Encryption      algorithmIdentifier
		Signature       []byte
		Unauthenticated asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	algorithmIdentifier struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	}
	indirectData struct {
		Data   asn1.RawValue
		Digest struct {
			Algorithm algorithmIdentifier
			Digest    []byte
		}
	}
)

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

// certificatePKCS is the type of an entry of the certificate table that holds a PKCS #7 signature (PE Format, "The
// Attribute Certificate Table").
const certificatePKCS = 2

// signatures returns the signatures of a program that hold. One that does not is left out, as firmware does; a
// certificate table that cannot be read is an error.
func (p *program) signatures() ([]signedProgram, error) {
	l := layoutOf(p.Content)
	digest, err := p.pe.Authenticode(pcr.SHA256)
	if err != nil {
		return nil, err
	}
	var out []signedProgram
	table := p.Content[l.certificate : l.certificate+l.certificates]
	for n := 0; len(table) > 0; n++ {
		if len(table) < 8 {
			return nil, fmt.Errorf("%d bytes behind the last certificate", len(table))
		}
		size := binary.LittleEndian.Uint32(table)
		if n == maxSignatures || size < 8 || uint64(size) > uint64(len(table)) || size > maxSignature {
			return nil, fmt.Errorf("signature %d has %d bytes: want 8 to %d, and no more than %d signatures", n, size,
				min(len(table), maxSignature), maxSignatures)
		}
		if binary.LittleEndian.Uint16(table[6:]) == certificatePKCS {
			if s, err := parseSigned(table[8:size], digest); err == nil {
				out = append(out, s)
			}
		}
		table = table[min(len(table), int(size+7)&^7):]
	}
	return out, nil
}

// parseSigned reads one signature and checks, in this order: it is over an Authenticode digest with SHA-256, which is
// the program's; it has one signer, whose certificate is inside; the signed attributes name the digest of what is
// signed; the signer's key signed the attributes.
func parseSigned(der, digest []byte) (signedProgram, error) {
	var s signedProgram
	var outer contentInfo
	if _, err := asn1.Unmarshal(der, &outer); err != nil || !outer.Type.Equal(oidSignedData) {
		return s, errors.New("no PKCS #7 signed data")
	}
	var sd signedData
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &sd); err != nil {
		return s, fmt.Errorf("signed data: %w", err)
	}
	var content asn1.RawValue
	var indirect indirectData
	if _, err := asn1.Unmarshal(sd.Content.Content.Bytes, &content); err != nil || !sd.Content.Type.Equal(oidIndirectData) {
		return s, errors.New("not a signature of a program")
	}
	if _, err := asn1.Unmarshal(content.FullBytes, &indirect); err != nil {
		return s, fmt.Errorf("signed digest: %w", err)
	}
	if !indirect.Digest.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(indirect.Digest.Digest, digest) {
		return s, errors.New("signature of another program")
	}
	if len(sd.Signers) != 1 {
		return s, fmt.Errorf("%d signers, want 1", len(sd.Signers))
	}
	var err error
	if s.certificates, err = parseCertificates(sd.Certificates.Bytes); err != nil {
		return s, err
	}
	signer := &sd.Signers[0]
	i := slices.IndexFunc(s.certificates, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawIssuer, signer.Issuer.Issuer.FullBytes) && c.SerialNumber.Cmp(signer.Issuer.Serial) == 0
	})
	if i < 0 {
		return s, errors.New("the signer's certificate is not there")
	}
	s.signer = s.certificates[i]
	return s, signer.verify(content.Bytes, s.signer)
}

// parseCertificates reads certificates one behind the other. Those that Go cannot read are left out.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for n := 0; len(b) > 0; n++ {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(b, &raw)
		if err != nil || n == maxCertificates {
			return nil, fmt.Errorf("certificate %d of at most %d cannot be read: %w", n, maxCertificates, err)
		}
		if c, err := x509.ParseCertificate(raw.FullBytes); err == nil {
			out = append(out, c)
		}
		b = rest
	}
	return out, nil
}

// verify checks the signer's signature over the authenticated attributes, and that these are of the content.
func (s *signerInfo) verify(content []byte, signer *x509.Certificate) error {
	if !s.DigestAlgorithm.Algorithm.Equal(oidSHA256) {
		return errors.New("another digest than SHA-256")
	}
	var digest []byte
	for b := s.Authenticated.Bytes; len(b) > 0; {
		var a attribute
		rest, err := asn1.Unmarshal(b, &a)
		if err != nil {
			return fmt.Errorf("attribute: %w", err)
		}
		if a.Type.Equal(oidMessageDigest) {
			if _, err := asn1.Unmarshal(a.Values.Bytes, &digest); err != nil {
				return fmt.Errorf("message digest: %w", err)
			}
		}
		b = rest
	}
	h := crypto.SHA256.New()
	h.Write(content)
	if !bytes.Equal(digest, h.Sum(nil)) {
		return errors.New("attributes of another content")
	}
	// They are signed as a SET, not with the tag that they have inside the structure (RFC 2315, section 9.3).
	signed := append([]byte{0x31}, s.Authenticated.FullBytes[1:]...)
	algorithm := x509.SHA256WithRSA
	if signer.PublicKeyAlgorithm == x509.ECDSA {
		algorithm = x509.ECDSAWithSHA256
	}
	if !usable(signer) {
		return errors.New("a key of no usable size")
	}
	return signer.CheckSignature(algorithm, signed, s.Signature)
}

// usable bounds the time that a signature check takes.
func usable(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*rsa.PublicKey)
	return !ok || k.N.BitLen() <= maxKey
}

// leadsTo reports whether the signer is the anchor, or certified by it, possibly through certificates in the signature.
// As firmware does, it takes any certificate for an anchor and ignores validity times, which a machine without a clock
// cannot check.
func (s *signedProgram) leadsTo(anchor *x509.Certificate) bool {
	c := s.signer
	for range maxChain {
		if c.Equal(anchor) || certifies(anchor, c) {
			return true
		}
		i := slices.IndexFunc(s.certificates, func(up *x509.Certificate) bool { return !up.Equal(c) && certifies(up, c) })
		if i < 0 {
			return false
		}
		c = s.certificates[i]
	}
	return false
}

func certifies(up, c *x509.Certificate) bool {
	return usable(up) && bytes.Equal(up.RawSubject, c.RawIssuer) &&
		up.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
