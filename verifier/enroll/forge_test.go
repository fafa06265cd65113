package enroll_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/proto"
)

// forger is an attacker without a TPM: it makes keys in software and signs whatever attestation it likes about them.
type forger struct {
	t        testing.TB
	ek       tpm2.TPMTPublic
	ak, tls  tpm2.TPMTPublic
	akKey    crypto.Signer
	creation tpm2.TPMSCreationData
	// what is signed, changed by a test before it is
	created, certified tpm2.TPMSAttest
	sign               func(digest []byte) tpm2.TPMTSignature
}

func eccPublic(t testing.TB, k *ecdsa.PublicKey, restricted bool) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
			Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, ecdsaParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)),
		Unique:     pointOf(t, k),
	}
}

func ecdsaParms(curve tpm2.TPMECCCurve, hash tpm2.TPMAlgID) *tpm2.TPMSECCParms {
	return &tpm2.TPMSECCParms{
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash}),
		},
		CurveID: curve,
	}
}

func pointOf(t testing.TB, k *ecdsa.PublicKey) tpm2.TPMUPublicID {
	t.Helper()
	b, err := k.Bytes() // 4 || x || y
	if err != nil {
		t.Fatal(err)
	}
	size := len(b) / 2
	return point(new(big.Int).SetBytes(b[1:1+size]), new(big.Int).SetBytes(b[1+size:]), size)
}

func point(x, y *big.Int, size int) tpm2.TPMUPublicID {
	return tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x.FillBytes(make([]byte, size))},
		Y: tpm2.TPM2BECCParameter{Buffer: y.FillBytes(make([]byte, size))},
	})
}

func rsaPublic(n *big.Int, bits int, restricted bool, scheme tpm2.TPMTRSAScheme) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
			Restricted: restricted, SignEncrypt: true, Decrypt: !restricted,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: tpm2.TPMKeyBits(bits), Scheme: scheme}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: n.FillBytes(make([]byte, bits/8))}),
	}
}

func rsassa(hash tpm2.TPMAlgID) tpm2.TPMTRSAScheme {
	return tpm2.TPMTRSAScheme{
		Scheme:  tpm2.TPMAlgRSASSA,
		Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash}),
	}
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newForger(t testing.TB) *forger {
	t.Helper()
	ek, ak, tls := newP256(t), newP256(t), newP256(t)
	f := &forger{t: t, ek: tpm2.ECCEKTemplate, ak: eccPublic(t, &ak.PublicKey, true), tls: eccPublic(t, &tls.PublicKey, false), akKey: ak}
	f.ek.Unique = pointOf(t, &ek.PublicKey)
	f.sign = f.ecdsa(ak, tpm2.TPMAlgSHA256)
	f.creation = tpm2.TPMSCreationData{
		PCRDigest:     tpm2.TPM2BDigest{Buffer: make([]byte, 32)},
		ParentNameAlg: tpm2.TPMAlgNull, ParentName: tpm2.HandleName(tpm2.TPMRHEndorsement),
		ParentQualifiedName: tpm2.HandleName(tpm2.TPMRHEndorsement),
	}
	f.attest()
	return f
}

func (f *forger) ecdsa(k *ecdsa.PrivateKey, label tpm2.TPMAlgID) func([]byte) tpm2.TPMTSignature {
	return func(digest []byte) tpm2.TPMTSignature {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			f.t.Fatal(err)
		}
		return tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       label,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: s.FillBytes(make([]byte, 32))},
		})}
	}
}

func (f *forger) rsa(k *rsa.PrivateKey) func([]byte) tpm2.TPMTSignature {
	return func(digest []byte) tpm2.TPMTSignature {
		sig, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, digest)
		if err != nil {
			f.t.Fatal(err)
		}
		return tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
			Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig},
		})}
	}
}

func (f *forger) name(p *tpm2.TPMTPublic) []byte {
	n, err := tpm2.ObjectName(p)
	if err != nil {
		f.t.Fatal(err)
	}
	return n.Buffer
}

func (f *forger) qualified(p *tpm2.TPMTPublic) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMRHEndorsement)))
	h.Write(f.name(p))
	return append([]byte{0, 0x0b}, h.Sum(nil)...)
}

// attest makes the attestations that a TPM would make of the keys as they are now.
func (f *forger) attest() {
	creation := sha256.Sum256(tpm2.Marshal(f.creation))
	signer := tpm2.TPM2BName{Buffer: f.qualified(&f.ak)}
	f.created = tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCreation, QualifiedSigner: signer,
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{
			ObjectName: tpm2.TPM2BName{Buffer: f.name(&f.ak)}, CreationHash: tpm2.TPM2BDigest{Buffer: creation[:]},
		}),
	}
	bound := proto.TLSKeyQualifyingData(tpm2.Marshal(f.ek))
	f.certified = tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify, QualifiedSigner: signer,
		ExtraData: tpm2.TPM2BData{Buffer: bound[:]},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{
			Name: tpm2.TPM2BName{Buffer: f.name(&f.tls)}, QualifiedName: tpm2.TPM2BName{Buffer: f.qualified(&f.tls)},
		}),
	}
}

// hello signs the attestations and puts the hello together.
func (f *forger) hello() *proto.Hello {
	signed := func(a tpm2.TPMSAttest) (raw, sig []byte) {
		raw = tpm2.Marshal(a)
		digest := sha256.Sum256(raw)
		return raw, tpm2.Marshal(f.sign(digest[:]))
	}
	ak := &proto.CertifiedKey{Public: tpm2.Marshal(f.ak), CreationData: tpm2.Marshal(f.creation)}
	ak.Attest, ak.Signature = signed(f.created)
	tls := &proto.CertifiedKey{Public: tpm2.Marshal(f.tls)}
	tls.Attest, tls.Signature = signed(f.certified)
	return &proto.Hello{Agent: "1.0", EKPublic: tpm2.Marshal(f.ek), AK: ak, TLS: tls}
}
