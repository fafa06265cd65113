package image

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

func TestReadKey(t *testing.T) {
	s := debian.Need(t, debian.X86)
	k, err := ReadKey(s.SnakeoilKey, s.SnakeoilCertificate, SnakeoilPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Certificate.CheckSignature(k.Certificate.SignatureAlgorithm, k.Certificate.RawTBSCertificate, k.Certificate.Signature); err != nil {
		t.Errorf("the certificate is not by its own key: %v", err)
	}

	text := read(t, s.SnakeoilKey)
	block, _ := pem.Decode(text)
	encode := func(kind string, der []byte) string {
		return write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	change := func(from, to string) string {
		if !bytes.Contains(block.Bytes, []byte(from)) {
			t.Fatalf("the key has no %x", from)
		}
		return encode(block.Type, bytes.Replace(block.Bytes, []byte(from), []byte(to), 1))
	}
	stranger := newKey(t)
	strangers := write(t, "stranger.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate.Raw}))
	plain, err := x509.MarshalPKCS8PrivateKey(stranger.Signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ key, certificate, passphrase, want string }{
		"wrong passphrase":      {s.SnakeoilKey, s.SnakeoilCertificate, "other", "passphrase"},
		"no key file":           {"/nonexistent", s.SnakeoilCertificate, SnakeoilPassphrase, "no such file"},
		"no certificate file":   {s.SnakeoilKey, "/nonexistent", SnakeoilPassphrase, "no such file"},
		"certificate as key":    {s.SnakeoilCertificate, s.SnakeoilCertificate, SnakeoilPassphrase, "no PEM block"},
		"key as certificate":    {s.SnakeoilKey, s.SnakeoilKey, SnakeoilPassphrase, "no PEM block"},
		"another's certificate": {s.SnakeoilKey, strangers, SnakeoilPassphrase, "is not of the key"},
		"not encrypted":         {encode("ENCRYPTED PRIVATE KEY", plain), strangers, "", "not a key encrypted"},
		"another cipher":        {change("\x86\xf7\x0d\x03\x07", "\x86\xf7\x0d\x03\x02"), s.SnakeoilCertificate, SnakeoilPassphrase, "triple DES"},
		"bytes behind":          {encode(block.Type, append(bytes.Clone(block.Bytes), 0)), s.SnakeoilCertificate, "x", "1 bytes behind"},
	} {
		k, err := ReadKey(test.key, test.certificate, test.passphrase)
		wantError(t, "ReadKey: "+name, err, test.want)
		if k != nil {
			t.Errorf("ReadKey: %s: a key with an error", name)
		}
	}
}

func TestNewKey(t *testing.T) {
	a, b := newKey(t), newKey(t)
	if a.Certificate.Equal(b.Certificate) {
		t.Error("NewKey gave one key twice")
	}
	if a.Certificate.Subject.CommonName != "Test" {
		t.Errorf("NewKey(Test) is of %q", a.Certificate.Subject.CommonName)
	}
}
