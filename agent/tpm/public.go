package tpm

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/google/go-tpm/tpm2"
)

// publicKey is implemented by every public key of the standard library.
type publicKey interface {
	Equal(x crypto.PublicKey) bool
}

// certifiedKey returns the key that a certificate is for, nil where it cannot be read: the verifier, which decides, may
// know better.
func certifiedKey(der []byte) publicKey {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	if k, ok := cert.PublicKey.(publicKey); ok {
		return k
	}
	// Some makers mark the key with id-RSAES-OAEP (RFC 4055, section 4.1), which crypto/x509 does not read.
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil || len(rest) != 0 ||
		!info.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}) {
		return nil
	}
	k, err := x509.ParsePKCS1PublicKey(info.Key.RightAlign())
	if err != nil {
		return nil
	}
	return k
}

// isKey reports whether a TPMT_PUBLIC is of this key.
func isKey(public []byte, want publicKey) bool {
	k, err := cryptoKey(public)
	return err == nil && want.Equal(k)
}

// cryptoKey returns the *ecdsa.PublicKey or *rsa.PublicKey of a TPMT_PUBLIC.
func cryptoKey(public []byte) (crypto.PublicKey, error) {
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		return nil, err
	}
	return tpm2.Pub(*p)
}

var _ publicKey = (*rsa.PublicKey)(nil)
