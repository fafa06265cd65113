package image

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// A signature's header (WIN_CERTIFICATE; UEFI Specification 2.10, section 32.2.4).
const (
	certificateHeader  = 8
	certificateAlign   = 8
	certificateVersion = 0x0200
	certificatePKCS7   = 0x0002
)

// Object identifiers of a signature (Windows Authenticode Portable Executable Signature Format; RFC 5652).
var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImageData   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

	algorithmSHA256 = pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	algorithmRSA    = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
)

// The parts of a signature.
type (
	indirectData struct {
		Data   imageAttribute
		Digest digestInfo
	}
	imageAttribute struct {
		Type  asn1.ObjectIdentifier
		Value imageData
	}
	imageData struct {
		Flags asn1.BitString
		File  asn1.RawValue
	}
	digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content any `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version      int
		Algorithms   []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      contentInfo
		Certificates asn1.RawValue
		Signers      []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version            int
		Signer             issuerAndSerial
		DigestAlgorithm    pkix.AlgorithmIdentifier
		Attributes         asn1.RawValue
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []any `asn1:"set"`
	}
)

// Sign signs an EFI image for Secure Boot and returns it with the signature. Unlike other tools it puts no time into
// the signature, so that equal images and keys give equal bytes. An image that has a signature is refused.
func Sign(image []byte, k *Key) ([]byte, error) {
	if _, ok := k.Signer.Public().(*rsa.PublicKey); !ok {
		return nil, fmt.Errorf("sign: a key of type %T, want RSA: firmware knows no other", k.Signer.Public())
	}
	signed := slices.Clone(image)
	p, err := parsePE(signed)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signed = append(signed, padding(len(signed), certificateAlign)...)
	p.b = signed
	if le.Uint64(p.certificates()) != 0 {
		return nil, errors.New("sign: the image has a signature already")
	}
	digest, err := p.digest()
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	der, err := signature(digest, k)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	size := certificateHeader + len(der)
	end := size + len(padding(size, certificateAlign))
	le.PutUint32(p.certificates(), uint32(len(signed)))
	le.PutUint32(p.certificates()[4:], uint32(end))
	signed = le.AppendUint32(signed, uint32(size))
	signed = le.AppendUint16(signed, certificateVersion)
	signed = le.AppendUint16(signed, certificatePKCS7)
	signed = append(signed, der...)
	return append(signed, padding(size, certificateAlign)...), nil
}

// digest is the hash that a signature covers: the headers without checksum and without the place of the signature, the
// sections in the order of the file, and what follows them (Authenticode, "Calculating the PE Image Hash").
func (p *pe) digest() ([]byte, error) {
	h := sha256.New()
	checksum := p.optional + optChecksum
	certificates := p.optional + optDirectories + 8*directoryCertificates
	h.Write(p.b[:checksum])
	h.Write(p.b[checksum+4 : certificates])
	h.Write(p.b[certificates+8 : p.headers])
	sections := make([]section, p.count)
	for i := range sections {
		sections[i] = p.section(i)
	}
	slices.SortFunc(sections, func(a, b section) int { return cmp.Compare(a.raw, b.raw) })
	end := uint32(p.headers)
	for _, s := range sections {
		if s.rawSize == 0 {
			continue
		}
		// With a gap, loaders disagree on what follows the sections.
		if s.raw != end {
			return nil, fmt.Errorf("section %s begins at %#x, want %#x: there is a gap", s.name, s.raw, end)
		}
		end += s.rawSize
		h.Write(p.b[s.raw:end])
	}
	h.Write(p.b[end:])
	return h.Sum(nil), nil
}

// signature returns a PKCS #7 structure with a digest and its signature.
func signature(digest []byte, k *Key) ([]byte, error) {
	// SpcLink with an empty name: nothing reads it, but parsers want it.
	link := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{0xa2, 2, 0x80, 0}}
	content := indirectData{
		imageAttribute{oidPEImageData, imageData{File: link}}, digestInfo{algorithmSHA256, digest},
	}
	der, err := asn1.Marshal(content)
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue // the digest covers the content without its tag and length
	if _, err := asn1.Unmarshal(der, &inner); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(inner.Bytes)
	attributes, err := asn1.MarshalWithParams([]attribute{
		{oidContentType, []any{oidIndirectData}}, {oidMessageDigest, []any{sum[:]}},
	}, "set")
	if err != nil {
		return nil, err
	}
	attributesSum := sha256.Sum256(attributes)
	sig, err := k.Signer.Sign(rand.Reader, attributesSum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	// Signed as a SET, stored under a tag of its own.
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(attributes, &set); err != nil {
		return nil, err
	}
	tagged := func(b []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: b}
	}
	return asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version: 1, Algorithms: []pkix.AlgorithmIdentifier{algorithmSHA256},
		Content:      contentInfo{oidIndirectData, content},
		Certificates: tagged(k.Certificate.Raw),
		Signers: []signerInfo{{
			Version:         1,
			Signer:          issuerAndSerial{asn1.RawValue{FullBytes: k.Certificate.RawIssuer}, k.Certificate.SerialNumber},
			DigestAlgorithm: algorithmSHA256, Attributes: tagged(set.Bytes),
			SignatureAlgorithm: algorithmRSA, Signature: sig,
		}},
	}})
}
