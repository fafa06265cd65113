// Package authority is the verifier's certification authority: it certifies its own server and, for a short time, the
// TLS keys of enrolled devices (DESIGN: attestation gates the network), and keeps the key that signs results.
//
// Its folder holds three PEM files, each written at once and readable by the owner only:
//
//	ca.pem       the CA's certificate and P-256 key; lost: every agent's --ca-fingerprint is void
//	signing.pem  the P-256 key that signs results and baselines; lost: earlier signatures have no successor
//	server.pem   the server's certificate and key, renewed by itself; lost: made again
//
// Several verifiers may share a copy of the folder. Keys are ECDSA P-256; certificates follow RFC 5280, client
// certificates name the tenant as O and the device id as CN.
//
// Limits: the CA lives for CALifetime and is not renewed; there are no revocation lists, certificates of devices are
// short-lived instead.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/probity-attest/probity/proto"
)

// Lifetimes of certificates.
const (
	CALifetime            = 20 * 365 * 24 * time.Hour
	ServerLifetime        = 30 * 24 * time.Hour
	DefaultDeviceLifetime = 24 * time.Hour
	// backdate lets machines whose clock is a little behind accept a new certificate.
	backdate = 10 * time.Minute
)

// ErrNotDevice is returned for certificates that this authority did not issue to a device.
var ErrNotDevice = errors.New("certificate was not issued to a device by this verifier's CA")

// Config says where the authority lives. Dir must be set.
type Config struct {
	Dir            string           // folder of the keys; made if absent
	Hosts          []string         // DNS names and IP addresses of the server; zero: this host's name, localhost, 127.0.0.1, ::1
	DeviceLifetime time.Duration    // of device certificates; zero: DefaultDeviceLifetime
	Now            func() time.Time // zero: time.Now
}

// Authority issues and checks certificates. Make one with Open. It is safe for concurrent use.
type Authority struct {
	config  Config
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	signing *ecdsa.PrivateKey

	mu     sync.Mutex
	server *tls.Certificate // with Leaf
}

// Fingerprint returns "sha256:" and the hexadecimal SHA-256 of the CA certificate, which agents pin.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Certificate returns the CA's certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// SigningKey returns the key that signs results and baselines. It is not the CA's.
func (a *Authority) SigningKey() *ecdsa.PrivateKey { return a.signing }

// IssueDevice certifies a device's TLS key, P-256 or RSA of at least 2048 bits, for TLS client authentication. chain is
// DER: the device's certificate, then the CA's. serial is hexadecimal.
func (a *Authority) IssueDevice(tenant, device string, pub crypto.PublicKey) (
	chain [][]byte, serial string, expires time.Time, err error,
) {
	if !proto.ValidTenant(tenant) || !proto.ValidDevice(device) {
		return nil, "", time.Time{}, fmt.Errorf("issue certificate: not a tenant and device id: %q, %q", tenant, device)
	}
	if err := checkKey(pub); err != nil {
		return nil, "", time.Time{}, fmt.Errorf("issue certificate: %w", err)
	}
	now := a.config.Now()
	cert, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: device, Organization: []string{tenant}},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(a.config.DeviceLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pub)
	if err != nil {
		return nil, "", time.Time{}, err
	}
	return [][]byte{cert.Raw, a.cert.Raw}, cert.SerialNumber.Text(16), cert.NotAfter, nil
}

// Device returns whom a client certificate is for. The checks, in order: signature of this CA, client authentication as
// its only extended use, not a CA, exactly one O that is a tenant and a CN that is a device id. Expiry is not checked:
// a device whose renewal is withheld must still be able to attest, and relying parties see the date. Errors wrap
// ErrNotDevice.
func (a *Authority) Device(cert *x509.Certificate) (tenant, device string, err error) {
	if cert == nil {
		return "", "", fmt.Errorf("%w: there is none", ErrNotDevice)
	}
	if err := cert.CheckSignatureFrom(a.cert); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrNotDevice, err)
	}
	if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || cert.IsCA {
		return "", "", fmt.Errorf("%w: it is not for client authentication", ErrNotDevice)
	}
	s := cert.Subject
	if len(s.Organization) != 1 || !proto.ValidTenant(s.Organization[0]) || !proto.ValidDevice(s.CommonName) {
		return "", "", fmt.Errorf("%w: its subject names no tenant and device", ErrNotDevice)
	}
	return s.Organization[0], s.CommonName, nil
}

func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return fmt.Errorf("TLS key on %s, want P-256", k.Curve.Params().Name)
		}
		if _, err := k.ECDH(); err != nil {
			return fmt.Errorf("TLS key: %w", err)
		}
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("TLS key of %d bits RSA, want at least 2048", k.N.BitLen())
		}
		return nil
	}
	return fmt.Errorf("TLS key of type %T, want ECDSA P-256 or RSA", pub)
}

// issue signs a certificate with a random serial number of 126 bits.
func (a *Authority) issue(template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	return sign(template, a.cert, pub, a.key)
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return cert, nil
}
