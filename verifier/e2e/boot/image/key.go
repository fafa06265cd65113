package image

import (
	"crypto"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// Key signs EFI images.
type Key struct {
	Signer      crypto.Signer // RSA
	Certificate *x509.Certificate
}

// SnakeoilPassphrase is that of the key in Debian's package ovmf, as its documentation says.
const SnakeoilPassphrase = "snakeoil"

// keyBits is the size of a stranger's key.
const keyBits = 2048

// NewKey makes a key that no firmware trusts, with a certificate by itself.
func NewKey(name string) (*Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		// Firmware has no trustworthy clock and looks at neither.
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return &Key{key, cert}, nil
}

// ReadKey reads a key, encrypted in the form that OVMF's is (PKCS #8 with PBES2, PBKDF2 with SHA-256 and triple DES),
// and its certificate, both in PEM.
func ReadKey(keyFile, certificateFile, passphrase string) (*Key, error) {
	encrypted, err := readPEM(keyFile, "ENCRYPTED PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	der, err := decrypt(encrypted, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: wrong passphrase? %w", keyFile, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T, want RSA", keyFile, parsed)
	}
	der, err = readPEM(certificateFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificateFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not of the key in %s", certificateFile, keyFile)
	}
	return &Key{key, cert}, nil
}

func readPEM(file, kind string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no PEM block %q", file, kind)
	}
	return block.Bytes, nil
}

// Object identifiers of an encrypted key (RFC 8018, appendix C).
var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidTripleDES  = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
)

// encryptedKey is an EncryptedPrivateKeyInfo (RFC 5958, section 3) with the parameters of PBES2 (RFC 8018, appendix A).
type encryptedKey struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters struct {
			Derivation struct {
				ID         asn1.ObjectIdentifier
				Parameters struct {
					Salt       []byte
					Iterations int
					PRF        pkix.AlgorithmIdentifier
				}
			}
			Cipher struct {
				ID asn1.ObjectIdentifier
				IV []byte
			}
		}
	}
	Data []byte
}

// tripleDESKeySize is the size in bytes of a key of DES-EDE3.
const tripleDESKeySize = 24

// decrypt decrypts a PKCS #8 key.
func decrypt(der []byte, passphrase string) ([]byte, error) {
	var k encryptedKey
	rest, err := asn1.Unmarshal(der, &k)
	if err != nil {
		return nil, fmt.Errorf("not a key encrypted by PBES2: %w", err)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("encrypted key: %d bytes behind it", len(rest))
	}
	kdf, enc := k.Algorithm.Parameters.Derivation, k.Algorithm.Parameters.Cipher
	if !k.Algorithm.ID.Equal(oidPBES2) || !kdf.ID.Equal(oidPBKDF2) || !kdf.Parameters.PRF.Algorithm.Equal(oidHMACSHA256) ||
		!enc.ID.Equal(oidTripleDES) {
		return nil, fmt.Errorf("key encrypted by %v, %v, %v, %v: want PBES2 with PBKDF2, SHA-256 and triple DES",
			k.Algorithm.ID, kdf.ID, kdf.Parameters.PRF.Algorithm, enc.ID)
	}
	key, err := pbkdf2.Key(sha256.New, passphrase, kdf.Parameters.Salt, kdf.Parameters.Iterations, tripleDESKeySize)
	if err != nil {
		return nil, err
	}
	block, err := des.NewTripleDESCipher(key)
	if err != nil {
		return nil, err
	}
	if len(enc.IV) != des.BlockSize || len(k.Data) == 0 || len(k.Data)%des.BlockSize != 0 {
		return nil, errors.New("encrypted key is not of whole blocks")
	}
	plain := make([]byte, len(k.Data))
	cipher.NewCBCDecrypter(block, enc.IV).CryptBlocks(plain, k.Data)
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > des.BlockSize {
		return nil, errors.New("wrong passphrase")
	}
	return plain[:len(plain)-pad], nil
}
