package tpm

import (
	"crypto/sha256"

	"github.com/google/go-tpm/tpm2"
)

// Labels tell the two signing primaries apart: their SHA-256 is the template's unique field. A change of a label is a
// change of every device's key.
const (
	akLabel  = "probity/v1/attestation-key"
	tlsLabel = "probity/v1/tls-key"
)

// signing are the attributes of keys that never leave the TPM. noDA: they have no password to guess, and a lockout
// caused by somebody else must not end attestation.
func signing(restricted, decrypt bool) tpm2.TPMAObject {
	return tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
		Restricted: restricted, SignEncrypt: true, Decrypt: decrypt,
	}
}

// eccKey is the template of a P-256 ECDSA-SHA256 key.
func eccKey(label string, restricted bool) tpm2.TPMTPublic {
	x := sha256.Sum256([]byte(label))
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: signing(restricted, false),
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x[:]}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		}),
	}
}

// rsaKey is the template of an RSA-2048 key, for TPMs without P-256. Restricted: RSASSA-SHA256. Unrestricted: no fixed
// scheme and also decrypting, because TLS 1.3 wants a PSS salt as long as the hash while TPM2_Sign may use the longest
// that fits (Part 1, annex B.7): TLSSigner pads and has the TPM apply the bare private key.
func rsaKey(label string, restricted bool) tpm2.TPMTPublic {
	sum := sha256.Sum256([]byte(label))
	parms := &tpm2.TPMSRSAParms{KeyBits: 2048}
	if restricted {
		parms.Scheme = tpm2.TPMTRSAScheme{
			Scheme:  tpm2.TPMAlgRSASSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
		}
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: signing(restricted, !restricted),
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, parms),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{
			Buffer: append(sum[:], make([]byte, 256-len(sum))...),
		}),
	}
}

// EndorsementProfile is one kind of endorsement key of the TCG EK Credential Profile for TPM Family 2.0, version 2.5,
// sections 2.2.1.4 (NV indices) and B.3, B.4 (templates).
type EndorsementProfile struct {
	Name        string          // such as "P-256 (L-2)"
	Certificate uint32          // NV index of the certificate
	Nonce       uint32          // NV index of the nonce, 0 where the profile has none
	Template    uint32          // NV index of the template, 0 where the profile has none
	Persistent  tpm2.TPMHandle  // where platforms keep the key
	Public      tpm2.TPMTPublic // template
	// Password says how the key is authorised: by its empty password (high range, userWithAuth is set) or by
	// TPM2_PolicySecret of the endorsement hierarchy (low range).
	Password bool
}

// EndorsementProfiles are the endorsement keys that this package knows, in the order in which it prefers them.
var EndorsementProfiles = []EndorsementProfile{
	{
		Name: "P-256 (L-2)", Certificate: 0x01c0000a, Nonce: 0x01c0000b, Template: 0x01c0000c,
		Persistent: 0x8101000a, Public: tpm2.ECCEKTemplate,
	},
	{
		Name: "P-256 (H-2)", Certificate: 0x01c00014, Persistent: 0x81010014, Password: true,
		Public: highECC(tpm2.TPMAlgSHA256, tpm2.TPMECCNistP256, 128, policyB256),
	},
	{
		Name: "P-384 (H-3)", Certificate: 0x01c00016, Persistent: 0x81010016, Password: true,
		Public: highECC(tpm2.TPMAlgSHA384, tpm2.TPMECCNistP384, 256, policyB384),
	},
	{
		Name: "RSA-2048 (L-1)", Certificate: 0x01c00002, Nonce: 0x01c00003, Template: 0x01c00004,
		Persistent: 0x81010001, Public: tpm2.RSAEKTemplate,
	},
	{
		Name: "RSA-2048 (H-1)", Certificate: 0x01c00012, Persistent: 0x81010012, Password: true, Public: highRSA(),
	},
}

// Policies "B" of the high range (EK Credential Profile 2.5, section B.6): TPM2_PolicyOR of TPM2_PolicySecret and
// TPM2_PolicyAuthorizeNV.
var (
	policyB256 = []byte{
		0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
		0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
	}
	policyB384 = []byte{
		0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
		0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
		0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
	}
)

var highAttributes = tpm2.TPMAObject{
	FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, AdminWithPolicy: true,
	Restricted: true, Decrypt: true,
}

func aes(bits tpm2.TPMKeyBits) tpm2.TPMTSymDefObject {
	return tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, bits),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
}

func highECC(name tpm2.TPMAlgID, curve tpm2.TPMECCCurve, bits tpm2.TPMKeyBits, policy []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: name, ObjectAttributes: highAttributes, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: aes(bits), CurveID: curve}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

func highRSA() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: highAttributes,
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policyB256},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Symmetric: aes(128), KeyBits: 2048}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{}),
	}
}
