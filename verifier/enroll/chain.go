package enroll

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// Object identifiers of EK certificates.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}           // EK Credential Profile 2.5, section 3.2
	oidOAEP           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7} // RFC 4055, section 4.1
)

// errOtherKey is returned for an EK certificate of another key: no TPM has that, so the device lies.
var errOtherKey = errors.New("the EK certificate is for another key")

// errNone is returned where there is no EK certificate.
var errNone = errors.New("the device has no EK certificate")

// verifyEK checks that an EK certificate chains to a TPM maker's root and returns the issuer's name, for people. The
// first of certificates is the EK's own, the others are intermediates. The checks, in order: the certificate parses, is
// for this EK, is not a CA's, has extended key usage tcg-kp-EKCertificate, and is valid at now with a chain to a root
// of set through intermediates of the device or the folder. The subject alternative name is a directoryName that
// crypto/x509 does not handle, and is often critical: it carries the maker's and model's name only, so it does not fail
// the chain.
func verifyEK(certificates [][]byte, ek *tpm2.TPMTPublic, set *rootSet, now time.Time) (issuer string, err error) {
	if len(certificates) == 0 {
		return "", errNone
	}
	leaf, err := x509.ParseCertificate(certificates[0])
	if err != nil {
		return "", fmt.Errorf("EK certificate: %w", err)
	}
	want, err := ekKey(ek)
	if err != nil {
		return "", err
	}
	have := certificateKey(leaf)
	if have == nil {
		return "", errors.New("EK certificate: its key cannot be read")
	}
	if !have.Equal(want) {
		return "", errOtherKey
	}
	if leaf.IsCA {
		return "", errors.New("EK certificate: it is a CA's")
	}
	if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidEKCertificate.Equal) {
		return "", errors.New("EK certificate: its extended key usage lacks tcg-kp-EKCertificate (2.23.133.8.1)")
	}
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	between := set.between.Clone()
	for _, der := range certificates[1:] {
		if c, err := x509.ParseCertificate(der); err == nil && c.IsCA {
			between.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: set.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return "", fmt.Errorf("EK certificate of %q: %w", clip(leaf.Issuer.String()), err)
	}
	return clip(leaf.Issuer.String()), nil
}

// publicKey is implemented by every public key of the standard library.
type publicKey interface {
	Equal(x crypto.PublicKey) bool
}

// certificateKey returns a certificate's key. Some makers mark it with id-RSAES-OAEP, which crypto/x509 does not read.
func certificateKey(c *x509.Certificate) publicKey {
	if k, ok := c.PublicKey.(publicKey); ok {
		return k
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	rest, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info)
	if err != nil || len(rest) != 0 || !info.Algorithm.Algorithm.Equal(oidOAEP) {
		return nil
	}
	k, err := x509.ParsePKCS1PublicKey(info.Key.RightAlign())
	if err != nil {
		return nil
	}
	return k
}

// selfSigned reports whether a certificate is a root.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}
