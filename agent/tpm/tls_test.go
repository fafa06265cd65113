package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
)

type randReader struct{}

func (randReader) Read(b []byte) (int, error) { return rand.Read(b) }

func number(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

// checkTLS authenticates a client with the TPM's TLS key in TLS 1.3.
func checkTLS(t *testing.T, d *tpm.TPM) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := func(name string, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: ca,
			BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
	}
	issue := func(c *x509.Certificate, pub crypto.PublicKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, template("ca", true), pub, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ca, err := x509.ParseCertificate(issue(template("ca", true), key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	server := tls.Certificate{Certificate: [][]byte{issue(template("server", false), key.Public())}, PrivateKey: key}
	client := d.TLSCertificate([][]byte{issue(template("client", false), d.TLSSigner().Public())})

	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		c := tls.Client(a, &tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: "server", RootCAs: pool, Certificates: []tls.Certificate{client},
		})
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 2))
		}
		done <- err
	}()
	c := tls.Server(b, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true,
	})
	if err := c.Handshake(); err != nil {
		t.Fatalf("server: %v, client: %v", err, <-done)
	}
	if _, err := c.Write([]byte("ok")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("client: %v", err)
	}
	if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "client" {
		t.Errorf("client certificate of %q", got)
	}
}

func TestTLS(t *testing.T) {
	checkTLS(t, tpmtest.Start(t, tpmtest.Options{}).TPM(t))
}

func TestSignerRefuses(t *testing.T) {
	d := tpmtest.Start(t, tpmtest.Options{}).TPM(t)
	k := d.TLSSigner()
	if sig, err := k.Sign(rand.Reader, make([]byte, 48), crypto.SHA384); err == nil {
		t.Errorf("Sign of SHA-384 = %x, want an error: the key signs SHA-256", sig)
	}
	if sig, err := k.Sign(rand.Reader, make([]byte, 31), crypto.SHA256); err == nil {
		t.Errorf("Sign of 31 bytes = %x", sig)
	}
	sig, err := k.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if pub, ok := k.Public().(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(pub, make([]byte, 32), sig) {
		t.Error("signature does not verify")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, tpm.ErrClosed) {
		t.Errorf("Sign after Close: %v, want ErrClosed", err)
	}
}

// TestRSASigner signs with every hash that TLS 1.3 has for RSA-PSS; a salt of another length than the hash is refused.
func TestRSASigner(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	k := newTPM(t, &hook{TPM: s.Transport(t), before: hideCurves}).TLSSigner()
	pub, ok := k.Public().(*rsa.PublicKey)
	if !ok {
		t.Fatalf("Public is a %T", k.Public())
	}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		digest := make([]byte, h.Size())
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		sig, err := k.Sign(rand.Reader, digest, opts)
		if err != nil {
			t.Errorf("Sign with %v: %v", h, err)
			continue
		}
		if err := rsa.VerifyPSS(pub, h, digest, sig, opts); err != nil {
			t.Errorf("VerifyPSS with %v: %v", h, err)
		}
	}
	digest := make([]byte, 32)
	for _, opts := range []crypto.SignerOpts{crypto.SHA256, &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}} {
		if _, err := k.Sign(rand.Reader, digest, opts); err == nil {
			t.Errorf("Sign with %#v passed", opts)
		}
	}
}
