package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-tpm/tpm2"
)

// TestOAEPCertificate: some makers mark the EK's key with id-RSAES-OAEP instead of rsaEncryption.
func TestOAEPCertificate(t *testing.T) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ek, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := func(name string, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidEKCertificate},
		}
	}
	issue := func(c *x509.Certificate, pub any) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, template("ca", true), pub, caKey)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	root, leaf := issue(template("ca", true), caKey.Public()), issue(template("ek", false), ek.Public())
	rsaOID := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	oaep := append(bytes.Clone(rsaOID[:8]), 7)
	if n := bytes.Count(leaf.RawTBSCertificate, rsaOID); n != 1 {
		t.Fatalf("%d times rsaEncryption in the certificate", n)
	}
	tbs := bytes.Replace(leaf.RawTBSCertificate, rsaOID, oaep, 1)
	digest := sha256.Sum256(tbs)
	sig, err := ecdsa.SignASN1(rand.Reader, caKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: tbs},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
		asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)},
	})
	if err != nil {
		t.Fatal(err)
	}
	set := &rootSet{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	set.roots.AddCert(root)
	public := tpm2.RSAEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: ek.N.Bytes()})
	if issuer, err := verifyEK([][]byte{der}, &public, set, time.Now()); err != nil || issuer != "CN=ca" {
		t.Errorf("verifyEK = %q, %v", issuer, err)
	}
	if issuer, err := verifyEK([][]byte{der}, &public, set, time.Now().Add(2*time.Hour)); err == nil {
		t.Errorf("verifyEK of an expired certificate = %q", issuer)
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("a", 300), strings.Repeat("é", 300), strings.Repeat("\xff", 300)} {
		got := clip(s)
		if len(got) > maxDetail+3 || utf8.ValidString(s) && !utf8.ValidString(got) || len(s) <= maxDetail && got != s {
			t.Errorf("clip of %d bytes = %d bytes %q", len(s), len(got), got)
		}
	}
}

// TestQuiet: what is remembered of refused devices is bounded.
func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Now()
	for i := range 3 * maxQuiet {
		if !q.first(big.NewInt(int64(i)).String(), now) {
			t.Fatalf("event %d was taken for an old one", i)
		}
		if len(q.seen) > maxQuiet {
			t.Fatalf("%d remembered, at most %d allowed", len(q.seen), maxQuiet)
		}
	}
	q.first("x", now)
	if q.first("x", now.Add(quietTime-1)) || !q.first("x", now.Add(quietTime)) || !q.first("x", now.Add(-time.Hour)) {
		t.Error("an event is not told again after its quiet time")
	}
}
