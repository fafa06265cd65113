package tpmtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CA is a TPM maker's certification authority: a root and an intermediate, both made by NewCA.
type CA struct {
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	key          *ecdsa.PrivateKey // of the intermediate
}

// NewCA makes a CA with new keys.
func NewCA(name string) (*CA, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	root := authority(name + " Root")
	rootCert, err := sign(root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	middle, err := sign(authority(name+" Intermediate"), rootCert, key.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	return &CA{Root: rootCert, Intermediate: middle, key: key}, nil
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Probity test TPM maker"}},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Object identifiers of EK certificates (EK Credential Profile 2.5, section 3.2).
var (
	OIDEKCertificate   = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
	oidTPMManufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidTPMModel        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidTPMVersion      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Certify issues an EK certificate for pub as the profile has it: empty subject, critical subject alternative name with
// a directoryName of the TPM's maker, model and version, extended key usage tcg-kp-EKCertificate. change may spoil it.
func (ca *CA) Certify(pub crypto.PublicKey, change func(*x509.Certificate)) ([]byte, error) {
	san, err := subjectAltName()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // no expiry, as the profile allows
		KeyUsage:              x509.KeyUsageKeyAgreement,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{OIDEKCertificate},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: san}},
	}
	if _, ok := pub.(*rsa.PublicKey); ok {
		template.KeyUsage = x509.KeyUsageKeyEncipherment
	}
	if change != nil {
		change(template)
	}
	cert, err := sign(template, ca.Intermediate, pub, ca.key)
	if err != nil {
		return nil, err
	}
	return cert.Raw, nil
}

// subjectAltName encodes GeneralNames with one directoryName (RFC 5280, section 4.2.1.6).
func subjectAltName() ([]byte, error) {
	name, err := asn1.Marshal(pkix.RDNSequence{
		{{Type: oidTPMManufacturer, Value: "id:50524F42"}},
		{{Type: oidTPMModel, Value: "swtpm"}},
		{{Type: oidTPMVersion, Value: "id:20260101"}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode subject alternative name: %w", err)
	}
	directory := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}
	san, err := asn1.Marshal([]asn1.RawValue{directory})
	if err != nil {
		return nil, fmt.Errorf("encode subject alternative name: %w", err)
	}
	return san, nil
}

// WriteRoot writes the root as PEM into dir, as an operator puts a TPM maker's root into the verifier's folder.
func (ca *CA) WriteRoot(dir string) error {
	return writeCertificate(dir, "root.pem", ca.Root)
}

// WriteIntermediate writes the intermediate as PEM into dir.
func (ca *CA) WriteIntermediate(dir string) error {
	return writeCertificate(dir, "intermediate.pem", ca.Intermediate)
}

func writeCertificate(dir, name string, c *x509.Certificate) error {
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}
