package enroll

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// checkEK checks that a public area is that of an endorsement key: it must be one of the profile's templates with a
// well-formed key in it. Any freedom here would be another device id for the same TPM.
func checkEK(raw []byte) (*tpm2.TPMTPublic, error) {
	pub, err := parse[tpm2.TPMTPublic](raw)
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	if err := checkEKAttributes(pub); err != nil {
		return nil, err
	}
	if _, err := ekKey(pub); err != nil {
		return nil, err
	}
	for _, t := range ekTemplates {
		t.Unique = pub.Unique
		if t.Type == pub.Type && bytes.Equal(tpm2.Marshal(t), raw) {
			return pub, nil
		}
	}
	return nil, errors.New("it follows none of the templates L-1, L-2, H-1, H-2, H-3 of the TCG EK Credential Profile 2.5")
}

// checkEKAttributes names the attribute that is wrong, which a template's mismatch would not.
func checkEKAttributes(pub *tpm2.TPMTPublic) error {
	a := pub.ObjectAttributes
	return checkAttributes(a, tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, Restricted: true, Decrypt: true,
		AdminWithPolicy: true, UserWithAuth: a.UserWithAuth, // set in the high range
	})
}

func ekKey(pub *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	switch pub.Type {
	case tpm2.TPMAlgECC:
		return ecPoint(pub)
	case tpm2.TPMAlgRSA:
		p, err := pub.Parameters.RSADetail()
		if err != nil {
			return nil, err
		}
		return rsaModulus(pub, p)
	}
	return nil, fmt.Errorf("type %#x, want ECC or RSA", uint16(pub.Type))
}

// ekTemplates are the templates of the EK Credential Profile 2.5, section B.3 and B.4, but for their unique fields.
var ekTemplates = []tpm2.TPMTPublic{
	tpm2.RSAEKTemplate, // L-1
	tpm2.ECCEKTemplate, // L-2
	highTemplate(tpm2.TPMAlgRSA, tpm2.TPMAlgSHA256, policyB256, // H-1
		tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Symmetric: aes(128), KeyBits: 2048})),
	highTemplate(tpm2.TPMAlgECC, tpm2.TPMAlgSHA256, policyB256, // H-2
		tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: aes(128), CurveID: tpm2.TPMECCNistP256})),
	highTemplate(tpm2.TPMAlgECC, tpm2.TPMAlgSHA384, policyB384, // H-3
		tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: aes(256), CurveID: tpm2.TPMECCNistP384})),
}

func highTemplate(kind, name tpm2.TPMAlgID, policy []byte, p tpm2.TPMUPublicParms) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: kind, NameAlg: name, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy}, Parameters: p,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, AdminWithPolicy: true,
			Restricted: true, Decrypt: true,
		},
	}
}

func aes(bits tpm2.TPMKeyBits) tpm2.TPMTSymDefObject {
	return tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, bits),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
}

// Policies "B" of the high range (section B.6): TPM2_PolicyOR of TPM2_PolicySecret and TPM2_PolicyAuthorizeNV.
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
