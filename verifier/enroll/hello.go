package enroll

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/proto"
)

// candidate is a device whose hello holds together: its keys are suitable and certify one another. That it holds them
// is not proved yet. readHello is its only constructor.
type candidate struct {
	id    string
	hello *proto.Hello

	endorsement *tpm2.TPMTPublic // nil without a TPM
	akPublic    []byte           // TPMT_PUBLIC, or the software key's SubjectPublicKeyInfo
	akName      tpm2.TPM2BName
	tls         crypto.PublicKey
	tlsPublic   []byte // SubjectPublicKeyInfo
}

// readHello checks a hello. The checks, in order: encoding, device id, then for a TPM the EK's, the AK's and the TLS
// key's (see checkEK, checkAK, checkTLSKey), and without one that the key is a P-256 key.
func readHello(device string, raw []byte) (*candidate, error) {
	var h proto.Hello
	if err := proto.Decode(raw, &h); err != nil {
		return nil, deny(CodeMalformed, 0, "update the agent: "+clip(err.Error()))
	}
	if h.DeviceID() != device {
		return nil, deny(CodeDevice, 0, "the device id of the topic is not the SHA-256 of the hello's key")
	}
	c := &candidate{id: device, hello: &h}
	if !h.HasTPM() {
		return c, c.readSoftware()
	}
	var err error
	if c.endorsement, err = checkEK(h.EKPublic); err != nil {
		return nil, deny(CodeEK, 0, "endorsement key: "+clip(err.Error()))
	}
	ak, err := checkAK(h.AK)
	if err != nil {
		return nil, deny(CodeAK, 0, "attestation key: "+clip(err.Error()))
	}
	c.akPublic, c.akName = h.AK.Public, ak.name
	if c.tls, err = checkTLSKey(h.TLS, ak, h.EKPublic); err != nil {
		return nil, deny(CodeTLSKey, 0, "TLS key: "+clip(err.Error()))
	}
	if c.tlsPublic, err = x509.MarshalPKIXPublicKey(c.tls); err != nil {
		return nil, deny(CodeTLSKey, 0, "TLS key: "+clip(err.Error()))
	}
	return c, nil
}

func (c *candidate) readSoftware() error {
	k, err := x509.ParsePKIXPublicKey(c.hello.Software)
	if err != nil {
		return deny(CodeSoftwareKey, 0, "software key: want the SubjectPublicKeyInfo of a P-256 key")
	}
	pub, ok := k.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return deny(CodeSoftwareKey, 0, "software key: want a P-256 key")
	}
	again, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil || string(again) != string(c.hello.Software) {
		return deny(CodeSoftwareKey, 0, "software key: its encoding is not the usual one, so that its id would not be unique")
	}
	c.akPublic, c.tls, c.tlsPublic = c.hello.Software, pub, c.hello.Software
	return nil
}

// credential wraps secret so that only a TPM that holds EK and AK can unwrap it (Part 1, section 24).
func (c *candidate) credential(secret []byte) (idObject, encrypted []byte, err error) {
	key, err := tpm2.ImportEncapsulationKey(c.endorsement)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	idObject, encrypted, err = tpm2.CreateCredential(rand.Reader, key, c.akName.Buffer, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	return idObject, encrypted, nil
}

// proves reports whether answer proves that the device holds its keys: the credential's secret, compared in constant
// time, or a software key's signature.
func (c *candidate) proves(secret, nonce, hello, answer []byte) bool {
	if c.endorsement != nil {
		return subtle.ConstantTimeCompare(secret, answer) == 1
	}
	pub, ok := c.tls.(*ecdsa.PublicKey)
	if !ok {
		return false
	}
	message := proto.EnrollMessage(nonce, hello)
	return ecdsa.VerifyASN1(pub, message[:], answer)
}
