package agent

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// hardware is a TPM as the agent uses it; *tpm.TPM is one.
type hardware interface {
	DeviceID() string
	AK() (proto.CertifiedKey, error)
	TLSKey() (proto.CertifiedKey, error)
	TLSSigner() crypto.Signer
	Activate(credential, secret []byte) ([]byte, error)
	Banks() ([]pcr.Algorithm, error)
	ReadPCRs(alg pcr.Algorithm, sel pcr.Selection) (*pcr.Bank, error)
	QuoteAndRead(alg pcr.Algorithm, sel pcr.Selection, qualifying []byte) (
		attest, signature []byte, values *pcr.Bank, err error)
}

// tpmDevice is a device whose identity is its TPM. It implements link.Device.
type tpmDevice struct {
	hardware
	endorsement  []byte   // TPMT_PUBLIC
	certificates [][]byte // DER
	agent        string
	platform     func() (proto.Platform, *proto.Unavailable)
}

func (d *tpmDevice) ID() string { return d.DeviceID() }

// Hello implements link.Device.
func (d *tpmDevice) Hello(context.Context) ([]byte, error) {
	ak, err := d.AK()
	if err != nil {
		return nil, fmt.Errorf("attestation key: %w", err)
	}
	key, err := d.TLSKey()
	if err != nil {
		return nil, fmt.Errorf("TLS key: %w", err)
	}
	m := &proto.Hello{Agent: d.agent, EKPublic: d.endorsement, EKCertificates: d.certificates, AK: &ak, TLS: &key}
	if p, withheld := d.platform(); withheld == nil {
		m.Platform = &p
	}
	return proto.Encode(m)
}

// Answer implements link.Device: it activates the credential.
func (d *tpmDevice) Answer(_ context.Context, _ []byte, c *proto.EnrollChallenge) ([]byte, error) {
	if len(c.Credential) == 0 || len(c.Secret) == 0 {
		return nil, errors.New("the challenge has no credential for the TPM to activate")
	}
	return d.Activate(c.Credential, c.Secret)
}

// softwareDevice is a device without a TPM: its identity is a key on disk. It implements link.Device.
type softwareDevice struct {
	key      *ecdsa.PrivateKey
	public   []byte // SubjectPublicKeyInfo
	agent    string
	platform func() (proto.Platform, *proto.Unavailable)
}

func newSoftwareDevice(key *ecdsa.PrivateKey) (*softwareDevice, error) {
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("software key: %w", err)
	}
	return &softwareDevice{key: key, public: public}, nil
}

func (d *softwareDevice) ID() string               { return proto.DeviceID(d.public) }
func (d *softwareDevice) TLSSigner() crypto.Signer { return d.key }

// Hello implements link.Device.
func (d *softwareDevice) Hello(context.Context) ([]byte, error) {
	m := &proto.Hello{Agent: d.agent, Software: d.public}
	if p, withheld := d.platform(); withheld == nil {
		m.Platform = &p
	}
	return proto.Encode(m)
}

// Answer implements link.Device: it signs nonce and hello.
func (d *softwareDevice) Answer(_ context.Context, hello []byte, c *proto.EnrollChallenge) ([]byte, error) {
	digest := proto.EnrollMessage(c.Nonce, hello)
	return ecdsa.SignASN1(rand.Reader, d.key, digest[:])
}
