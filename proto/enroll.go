package proto

import (
	"errors"
	"fmt"
)

// EnrollUp is what a device says during enrolment, on up/enroll: either a hello or a proof.
type EnrollUp struct {
	Hello []byte       `cbor:"1,keyasint,omitempty"` // encoded Hello
	Proof *EnrollProof `cbor:"2,keyasint,omitempty"`
	Token string       `cbor:"3,keyasint,omitempty"` // lets a device in that the verifier does not know yet
}

// Hello introduces a device: either its TPM's keys or, without a TPM, its software key.
type Hello struct {
	Agent string `cbor:"1,keyasint"` // version of the agent
	// EKPublic is the endorsement key's TPMT_PUBLIC; the device id is its SHA-256.
	EKPublic []byte `cbor:"2,keyasint,omitempty"`
	// EKCertificates are DER: the endorsement key's own first, then what the TPM holds of its chain.
	EKCertificates [][]byte `cbor:"3,keyasint,omitempty"`
	// AK is the attestation key with the proof, signed by itself, of how it was created (TPM2_CertifyCreation).
	AK *CertifiedKey `cbor:"4,keyasint,omitempty"`
	// TLS is the TLS key, certified by the AK (TPM2_Certify; RFC 9683, section 2.4.3).
	TLS *CertifiedKey `cbor:"5,keyasint,omitempty"`
	// Software is the SubjectPublicKeyInfo of the P-256 key of a device without a TPM; the device id is its SHA-256.
	Software []byte `cbor:"6,keyasint,omitempty"`
	// Platform describes the machine, so that an operator sees what asks to be let in.
	Platform *Platform `cbor:"7,keyasint,omitempty"`
}

// CertifiedKey is a TPM key and what certifies it.
type CertifiedKey struct {
	Public       []byte `cbor:"1,keyasint"`           // TPMT_PUBLIC
	CreationData []byte `cbor:"2,keyasint,omitempty"` // TPMS_CREATION_DATA, with TPM2_CertifyCreation
	Attest       []byte `cbor:"3,keyasint"`           // TPMS_ATTEST
	Signature    []byte `cbor:"4,keyasint"`           // TPMT_SIGNATURE by the AK
}

// EnrollProof answers an enrolment challenge. It repeats the hello, so that the verifier need not remember it.
type EnrollProof struct {
	Hello  []byte `cbor:"1,keyasint"`
	Nonce  []byte `cbor:"2,keyasint"`
	Answer []byte `cbor:"3,keyasint"` // secret of the activated credential, or the software key's ASN.1 signature
}

// EnrollDown is what a verifier says during enrolment, on dn/enroll: exactly one of its fields.
type EnrollDown struct {
	Challenge   *EnrollChallenge   `cbor:"1,keyasint,omitempty"`
	Certificate *EnrollCertificate `cbor:"2,keyasint,omitempty"`
	Pending     *EnrollPending     `cbor:"3,keyasint,omitempty"`
	Denied      *EnrollDenied      `cbor:"4,keyasint,omitempty"`
}

// EnrollChallenge asks to activate a credential (TPM2_ActivateCredential), or, without a TPM, to sign the nonce.
type EnrollChallenge struct {
	Nonce      []byte `cbor:"1,keyasint"`
	Credential []byte `cbor:"2,keyasint,omitempty"` // contents of TPM2B_ID_OBJECT
	Secret     []byte `cbor:"3,keyasint,omitempty"` // contents of TPM2B_ENCRYPTED_SECRET
}

// EnrollCertificate ends an enrolment or renewal.
type EnrollCertificate struct {
	Chain [][]byte `cbor:"1,keyasint"` // DER: the device's certificate, then its issuer
	Renew uint32   `cbor:"2,keyasint"` // seconds after which to renew
	Level string   `cbor:"3,keyasint"` // identity level that the verifier gave
}

// EnrollPending says that an operator must approve first.
type EnrollPending struct {
	Message string `cbor:"1,keyasint"`
	Retry   uint32 `cbor:"2,keyasint"` // seconds
}

// EnrollDenied says that enrolment was refused.
type EnrollDenied struct {
	Code    string `cbor:"1,keyasint"`
	Message string `cbor:"2,keyasint"`
	Retry   uint32 `cbor:"3,keyasint"` // seconds; 0: do not try again without a change
}

// HasTPM reports whether the hello speaks for a TPM.
func (m *Hello) HasTPM() bool { return len(m.EKPublic) > 0 }

// DeviceID returns the id that the hello's key gives the device.
func (m *Hello) DeviceID() string {
	if m.HasTPM() {
		return DeviceID(m.EKPublic)
	}
	return DeviceID(m.Software)
}

func (m *EnrollUp) validate() error {
	if err := text("token (3)", m.Token, MaxText); err != nil {
		return err
	}
	if (len(m.Hello) > 0) == (m.Proof != nil) {
		return errors.New("want exactly one of hello (1) and proof (2)")
	}
	if m.Proof == nil {
		return between("hello (1)", m.Hello, 1, MaxMessage)
	}
	return errors.Join(
		between("proof.hello (1)", m.Proof.Hello, 1, MaxMessage),
		exact("proof.nonce (2)", m.Proof.Nonce, NonceSize),
		between("proof.answer (3)", m.Proof.Answer, 1, maxSig),
	)
}

func (m *Hello) validate() error {
	if m.HasTPM() == (len(m.Software) > 0) {
		return errors.New("want exactly one of ek-public (2) and software (6)")
	}
	if m.HasTPM() != (m.AK != nil) || m.HasTPM() != (m.TLS != nil) {
		return errors.New("ak (4) and tls (5) go with ek-public (2)")
	}
	if len(m.EKCertificates) > MaxCertificates {
		return fmt.Errorf("ek-certificates (3): %d, at most %d allowed", len(m.EKCertificates), MaxCertificates)
	}
	for _, c := range m.EKCertificates {
		if err := between("ek-certificates (3)", c, 1, MaxCertificate); err != nil {
			return err
		}
	}
	if m.Platform != nil {
		if err := m.Platform.validate(); err != nil {
			return fmt.Errorf("platform (7): %w", err)
		}
	}
	return errors.Join(
		text("agent (1)", m.Agent, MaxText),
		between("ek-public (2)", m.EKPublic, 0, maxPublic),
		between("software (6)", m.Software, 0, maxPublic),
		m.AK.validate("ak (4)"), m.TLS.validate("tls (5)"),
	)
}

func (m *CertifiedKey) validate(name string) error {
	if m == nil {
		return nil
	}
	return errors.Join(
		between(name+".public (1)", m.Public, 1, maxPublic),
		between(name+".creation-data (2)", m.CreationData, 0, maxPublic),
		between(name+".attest (3)", m.Attest, 1, maxAttest),
		between(name+".signature (4)", m.Signature, 1, maxSig),
	)
}

func (m *EnrollDown) validate() error {
	n := 0
	for _, set := range []bool{m.Challenge != nil, m.Certificate != nil, m.Pending != nil, m.Denied != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("want exactly one of challenge (1), certificate (2), pending (3), denied (4), got %d", n)
	}
	switch {
	case m.Challenge != nil:
		return errors.Join(
			exact("challenge.nonce (1)", m.Challenge.Nonce, NonceSize),
			between("challenge.credential (2)", m.Challenge.Credential, 0, maxPublic),
			between("challenge.secret (3)", m.Challenge.Secret, 0, maxPublic),
		)
	case m.Certificate != nil:
		if n := len(m.Certificate.Chain); n == 0 || n > MaxCertificates {
			return fmt.Errorf("certificate.chain (1): want 1 to %d, got %d", MaxCertificates, n)
		}
		for _, c := range m.Certificate.Chain {
			if err := between("certificate.chain (1)", c, 1, MaxCertificate); err != nil {
				return err
			}
		}
		return text("certificate.level (3)", m.Certificate.Level, MaxText)
	case m.Pending != nil:
		return text("pending.message (1)", m.Pending.Message, MaxReason)
	}
	return errors.Join(text("denied.code (1)", m.Denied.Code, MaxText), text("denied.message (2)", m.Denied.Message, MaxReason))
}
