package enroll

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/proto"
)

// attestationKey is an AK that checkAK accepted.
type attestationKey struct {
	public tpm2.TPMTPublic
	key    crypto.PublicKey
	name   tpm2.TPM2BName
}

// qualifiedName is that of a primary of the endorsement hierarchy (Part 1, section 16.7).
func qualifiedName(name []byte) []byte {
	h := crypto.SHA256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMRHEndorsement)))
	h.Write(name)
	return h.Sum(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)))
}

// checkAK checks an attestation key and the attestation of its creation. The checks, in order:
//
//  1. The public area is canonical, P-256 with ECDSA-SHA256 or RSA-2048 with RSASSA-SHA256.
//  2. Its attributes: restricted and signing, made by the TPM, never leaves it, not decrypting; no policy.
//  3. The signature is of that scheme, canonical.
//  4. Magic, type, name and creation hash of the attestation and its signature (go-attestation's CheckAKParameters).
//  5. The attestation names the key itself as its signer, as a primary of the endorsement hierarchy: only such keys see
//     reset and restart counters as they are (Part 1, section 36.7).
//
// That the key is in a TPM at all is proved only by the credential's activation.
func checkAK(k *proto.CertifiedKey) (*attestationKey, error) {
	pub, key, err := signingKey(k.Public, true)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(k.Signature, pub.Type); err != nil {
		return nil, err
	}
	p := attest.ActivationParameters{AK: attest.AttestationParameters{
		Public: k.Public, CreateData: k.CreationData, CreateAttestation: k.Attest, CreateSignature: k.Signature,
	}}
	if err := p.CheckAKParameters(); err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(pub)
	if err != nil {
		return nil, err
	}
	att, err := parse[tpm2.TPMSAttest](k.Attest)
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	if att.Magic != tpm2.TPMGeneratedValue || att.Type != tpm2.TPMSTAttestCreation {
		return nil, errors.New("attestation: not one that a TPM made of a creation")
	}
	if !bytes.Equal(att.QualifiedSigner.Buffer, qualifiedName(name.Buffer)) {
		return nil, errors.New("it is not a primary of the endorsement hierarchy, or was certified by another key")
	}
	return &attestationKey{public: *pub, key: key, name: *name}, nil
}

// checkTLSKey checks the TLS key and its certification by the AK (RFC 9683, section 2.4.3). The checks, in order:
//
//  1. The public area is canonical, P-256 with ECDSA-SHA256 or RSA-2048 without scheme.
//  2. Its attributes: signing and not restricted, made by the TPM, never leaves it; no policy.
//  3. The signature is of the AK's scheme, canonical.
//  4. Magic, type and name of the attestation and its signature (go-attestation's CertificationParameters.Verify).
//  5. The attestation names the AK as signer and the key as a primary of the same hierarchy.
//  6. The qualifying data binds it to this EK (proto.TLSKeyQualifyingData).
func checkTLSKey(k *proto.CertifiedKey, ak *attestationKey, ek []byte) (crypto.PublicKey, error) {
	pub, key, err := signingKey(k.Public, false)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(k.Signature, ak.public.Type); err != nil {
		return nil, err
	}
	p := attest.CertificationParameters{
		Public: k.Public, CreateData: k.CreationData, CreateAttestation: k.Attest, CreateSignature: k.Signature,
	}
	if err := p.Verify(attest.VerifyOpts{Public: ak.key, Hash: crypto.SHA256}); err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(pub)
	if err != nil {
		return nil, err
	}
	att, err := parse[tpm2.TPMSAttest](k.Attest)
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	if att.Magic != tpm2.TPMGeneratedValue || att.Type != tpm2.TPMSTAttestCertify {
		return nil, errors.New("attestation: not a certification that a TPM made")
	}
	info, err := att.Attested.Certify()
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	if !bytes.Equal(att.QualifiedSigner.Buffer, qualifiedName(ak.name.Buffer)) ||
		!bytes.Equal(info.QualifiedName.Buffer, qualifiedName(name.Buffer)) {
		return nil, errors.New("attestation: key and signer are not primaries of the endorsement hierarchy")
	}
	if want := proto.TLSKeyQualifyingData(ek); !bytes.Equal(att.ExtraData.Buffer, want[:]) {
		return nil, errors.New("attestation: its qualifying data does not bind it to this endorsement key")
	}
	return key, nil
}

// signingKey checks a public area of a signing key, restricted (an AK) or not (a TLS key). An unrestricted RSA key also
// decrypts and has no scheme, since only the bare private key operation gives signatures that TLS 1.3 accepts.
func signingKey(raw []byte, restricted bool) (*tpm2.TPMTPublic, crypto.PublicKey, error) {
	pub, err := parse[tpm2.TPMTPublic](raw)
	if err != nil {
		return nil, nil, fmt.Errorf("public area: %w", err)
	}
	if pub.NameAlg != tpm2.TPMAlgSHA256 {
		return nil, nil, fmt.Errorf("name algorithm %#x, want SHA-256", uint16(pub.NameAlg))
	}
	if len(pub.AuthPolicy.Buffer) != 0 {
		return nil, nil, errors.New("it has a policy, want none")
	}
	var key crypto.PublicKey
	decrypts := false
	switch pub.Type {
	case tpm2.TPMAlgECC:
		key, err = eccSigning(pub)
	case tpm2.TPMAlgRSA:
		decrypts = !restricted
		key, err = rsaSigning(pub, restricted)
	default:
		err = fmt.Errorf("type %#x, want ECC or RSA", uint16(pub.Type))
	}
	if err != nil {
		return nil, nil, err
	}
	if err := checkAttributes(pub.ObjectAttributes, tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: pub.ObjectAttributes.NoDA,
		Restricted: restricted, SignEncrypt: true, Decrypt: decrypts,
	}); err != nil {
		return nil, nil, err
	}
	return pub, key, nil
}

// checkAttributes names the first attribute that is not as wanted (Part 2, section 8.3).
func checkAttributes(got, want tpm2.TPMAObject) error {
	for _, a := range []struct {
		name      string
		got, want bool
	}{
		{"fixedTPM", got.FixedTPM, want.FixedTPM},
		{"fixedParent", got.FixedParent, want.FixedParent},
		{"sensitiveDataOrigin", got.SensitiveDataOrigin, want.SensitiveDataOrigin},
		{"restricted", got.Restricted, want.Restricted},
		{"sign", got.SignEncrypt, want.SignEncrypt},
		{"decrypt", got.Decrypt, want.Decrypt},
		{"userWithAuth", got.UserWithAuth, want.UserWithAuth},
		{"adminWithPolicy", got.AdminWithPolicy, want.AdminWithPolicy},
		{"stClear", got.STClear, want.STClear},
		{"encryptedDuplication", got.EncryptedDuplication, want.EncryptedDuplication},
		{"noDA", got.NoDA, want.NoDA},
	} {
		if a.got != a.want {
			return fmt.Errorf("attribute %s is %t, want %t", a.name, a.got, a.want)
		}
	}
	if !bytes.Equal(tpm2.Marshal(got), tpm2.Marshal(want)) {
		return errors.New("reserved or later attributes are set, want none")
	}
	return nil
}

func eccSigning(pub *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	p, err := pub.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	if p.CurveID != tpm2.TPMECCNistP256 {
		return nil, fmt.Errorf("curve %#x, want P-256", uint16(p.CurveID))
	}
	if p.Symmetric.Algorithm != tpm2.TPMAlgNull || p.KDF.Scheme != tpm2.TPMAlgNull {
		return nil, errors.New("it has a symmetric algorithm or a KDF, want none")
	}
	if p.Scheme.Scheme != tpm2.TPMAlgECDSA {
		return nil, fmt.Errorf("scheme %#x, want ECDSA", uint16(p.Scheme.Scheme))
	}
	s, err := p.Scheme.Details.ECDSA()
	if err != nil {
		return nil, err
	}
	if s.HashAlg != tpm2.TPMAlgSHA256 {
		return nil, fmt.Errorf("scheme's hash %#x, want SHA-256", uint16(s.HashAlg))
	}
	return ecPoint(pub)
}

// ecPoint returns the key of an ECC public area after checking that the point is on the curve and canonically encoded.
func ecPoint(pub *tpm2.TPMTPublic) (*ecdsa.PublicKey, error) {
	k, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T", k)
	}
	if _, err := key.ECDH(); err != nil {
		return nil, fmt.Errorf("point: %w", err)
	}
	point, err := pub.Unique.ECC()
	if err != nil {
		return nil, err
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	for _, c := range [][]byte{point.X.Buffer, point.Y.Buffer} {
		// Current TPMs pad to the field's size, some earlier ones strip zeros (Part 1, annex C.8); nothing in between.
		if len(c) != size && (len(c) == 0 || len(c) > size || c[0] == 0) {
			return nil, fmt.Errorf("point: coordinate of %d bytes is neither padded to %d nor minimal", len(c), size)
		}
	}
	return key, nil
}

func rsaSigning(pub *tpm2.TPMTPublic, restricted bool) (crypto.PublicKey, error) {
	p, err := pub.Parameters.RSADetail()
	if err != nil {
		return nil, err
	}
	if p.Symmetric.Algorithm != tpm2.TPMAlgNull {
		return nil, errors.New("it has a symmetric algorithm, want none")
	}
	if !restricted {
		if p.Scheme.Scheme != tpm2.TPMAlgNull {
			return nil, fmt.Errorf("scheme %#x, want none", uint16(p.Scheme.Scheme))
		}
		return rsaModulus(pub, p)
	}
	if p.Scheme.Scheme != tpm2.TPMAlgRSASSA {
		return nil, fmt.Errorf("scheme %#x, want RSASSA", uint16(p.Scheme.Scheme))
	}
	s, err := p.Scheme.Details.RSASSA()
	if err != nil {
		return nil, err
	}
	if s.HashAlg != tpm2.TPMAlgSHA256 {
		return nil, fmt.Errorf("scheme's hash %#x, want SHA-256", uint16(s.HashAlg))
	}
	return rsaModulus(pub, p)
}

func rsaModulus(pub *tpm2.TPMTPublic, p *tpm2.TPMSRSAParms) (*rsa.PublicKey, error) {
	n, err := pub.Unique.RSA()
	if err != nil {
		return nil, err
	}
	if p.KeyBits != 2048 || len(n.Buffer) != 256 || n.Buffer[0]&0x80 == 0 || n.Buffer[255]&1 == 0 {
		return nil, fmt.Errorf("RSA key of %d bits with a modulus of %d bytes, want 2048 bits", p.KeyBits, len(n.Buffer))
	}
	if p.Exponent != 0 { // the default, 65537
		return nil, fmt.Errorf("RSA exponent %d, want the default 0 (65537)", p.Exponent)
	}
	return tpm2.RSAPub(p, n)
}

// checkSignature checks that a TPMT_SIGNATURE is canonical and of an AK's scheme: go-attestation reads neither its
// scheme nor its hash.
func checkSignature(raw []byte, signer tpm2.TPMAlgID) error {
	sig, err := parse[tpm2.TPMTSignature](raw)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	switch {
	case signer == tpm2.TPMAlgECC && sig.SigAlg == tpm2.TPMAlgECDSA:
		s, err := sig.Signature.ECDSA()
		if err == nil && s.Hash == tpm2.TPMAlgSHA256 {
			return nil
		}
	case signer == tpm2.TPMAlgRSA && sig.SigAlg == tpm2.TPMAlgRSASSA:
		s, err := sig.Signature.RSASSA()
		if err == nil && s.Hash == tpm2.TPMAlgSHA256 {
			return nil
		}
	}
	return fmt.Errorf("signature: scheme %#x with its hash is not the attestation key's", uint16(sig.SigAlg))
}

// parse reads exactly one structure: the bytes must be what encoding it again gives, so that nothing trails and nothing
// has two forms.
func parse[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](raw []byte) (*T, error) {
	v, err := tpm2.Unmarshal[T, P](raw)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(*v), raw) {
		return nil, errors.New("its encoding is not canonical")
	}
	return v, nil
}
