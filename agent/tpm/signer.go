package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// tlsSigner signs with the TLS key.
type tlsSigner struct {
	t      *TPM
	public crypto.PublicKey
}

// TLSSigner returns the TLS key as a crypto.Signer that TLS 1.3 can use: ECDSA with SHA-256 (ASN.1 signatures), or
// RSA-PSS with a salt as long as the hash. Every signature is checked before it is returned.
func (t *TPM) TLSSigner() crypto.Signer {
	public, err := cryptoKey(t.tls.public)
	if err != nil {
		public = nil // cannot be: the TPM made it from our template; Sign reports it
	}
	return &tlsSigner{t: t, public: public}
}

// TLSCertificate returns the TLS key with its certificate chain (DER, the key's own first) for a tls.Config.
func (t *TPM) TLSCertificate(chain [][]byte) tls.Certificate {
	return tls.Certificate{Certificate: chain, PrivateKey: t.TLSSigner()}
}

// Public returns an *ecdsa.PublicKey or *rsa.PublicKey.
func (s *tlsSigner) Public() crypto.PublicKey { return s.public }

// Sign signs a digest. The TPM's own random numbers are used, or for RSA-PSS those of crypto/rand.
func (s *tlsSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash := opts.HashFunc()
	if hash == 0 || len(digest) != hash.Size() {
		return nil, fmt.Errorf("sign with TLS key: digest of %d bytes does not fit %v", len(digest), hash)
	}
	switch pub := s.public.(type) {
	case *ecdsa.PublicKey:
		if hash != crypto.SHA256 {
			return nil, fmt.Errorf("sign with TLS key: it signs SHA-256, not %v", hash)
		}
		return s.ecdsa(pub, digest)
	case *rsa.PublicKey:
		pss, ok := opts.(*rsa.PSSOptions)
		if !ok || (pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != hash.Size()) {
			return nil, errors.New("sign with TLS key: an RSA key signs with PSS and a salt as long as the hash only, as TLS 1.3 does")
		}
		return s.pss(pub, hash, digest)
	}
	return nil, fmt.Errorf("sign with TLS key: unknown type of key %T", s.public)
}

var errBadSignature = errors.New("the signature of the TPM does not verify with the TLS key")

func (s *tlsSigner) ecdsa(pub *ecdsa.PublicKey, digest []byte) ([]byte, error) {
	var out []byte
	err := s.t.with(func() error {
		rsp, err := tpm2.Sign{
			KeyHandle:  s.t.tls.auth(),
			Digest:     tpm2.TPM2BDigest{Buffer: digest},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
		}.Execute(s.t.dev)
		if err != nil {
			return explain("sign with TLS key", err)
		}
		sig, err := rsp.Signature.Signature.ECDSA()
		if err != nil {
			return fmt.Errorf("sign with TLS key: %w", err)
		}
		out, err = asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
		})
		if err != nil {
			return fmt.Errorf("sign with TLS key: %w", err)
		}
		if !ecdsa.VerifyASN1(pub, digest, out) {
			return fmt.Errorf("sign with TLS key: %w", errBadSignature)
		}
		return nil
	}, &s.t.tls)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// pss pads here and has the TPM apply the private key with TPM2_RSA_Decrypt and no scheme, because the salt of
// TPM2_Sign is "the largest size allowed" on some TPMs and the hash's size on others (Part 1, annex B.7), while TLS 1.3
// wants the latter (RFC 8446, section 4.2.3).
func (s *tlsSigner) pss(pub *rsa.PublicKey, hash crypto.Hash, digest []byte) ([]byte, error) {
	salt := make([]byte, hash.Size())
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("sign with TLS key: %w", err)
	}
	padded, err := encodePSS(hash, digest, salt, pub.N.BitLen())
	if err != nil {
		return nil, err
	}
	var out []byte
	err = s.t.with(func() error {
		rsp, err := tpm2.RSADecrypt{
			KeyHandle:  s.t.tls.auth(),
			CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: padded},
			InScheme:   tpm2.TPMTRSADecrypt{Scheme: tpm2.TPMAlgNull},
		}.Execute(s.t.dev)
		if err != nil {
			return explain("sign with TLS key", err)
		}
		if len(rsp.Message.Buffer) > pub.Size() {
			return fmt.Errorf("sign with TLS key: signature of %d bytes, want %d", len(rsp.Message.Buffer), pub.Size())
		}
		out = make([]byte, pub.Size())
		copy(out[len(out)-len(rsp.Message.Buffer):], rsp.Message.Buffer)
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		if err := rsa.VerifyPSS(pub, hash, digest, out, opts); err != nil {
			return fmt.Errorf("sign with TLS key: %w", errBadSignature)
		}
		return nil
	}, &s.t.tls)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// encodePSS is EMSA-PSS-ENCODE of RFC 8017, section 9.1.1, for a modulus of bits, which is a multiple of 8.
func encodePSS(hash crypto.Hash, digest, salt []byte, bits int) ([]byte, error) {
	size := bits / 8
	h := hash.Size()
	if bits%8 != 0 || size < h+len(salt)+2 {
		return nil, fmt.Errorf("RSA key of %d bits is too short for %v", bits, hash)
	}
	inner := hash.New()
	inner.Write(make([]byte, 8))
	inner.Write(digest)
	inner.Write(salt)
	sum := inner.Sum(nil)
	db := make([]byte, size-h-1)
	db[len(db)-len(salt)-1] = 1
	copy(db[len(db)-len(salt):], salt)
	for i, at := uint32(0), 0; at < len(db); i++ { // MGF1, annex B.2.1
		mask := hash.New()
		mask.Write(sum)
		mask.Write([]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		for _, m := range mask.Sum(nil) {
			if at < len(db) {
				db[at] ^= m
				at++
			}
		}
	}
	db[0] &= 0x7f // emBits = bits - 1
	return append(append(db, sum...), 0xbc), nil
}
