package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier"
)

// TestClientCertificate: an operator's CA signs people's certificates, an account is bound to the key of one, and the
// command line signs in with it alone.
func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, caKey := issue(t, path("ca.pem"), "", &x509.Certificate{
		Subject: pkix.Name{CommonName: "Acme people"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	for _, name := range []string{"ops", "stranger"} {
		issue(t, path(name+".pem"), path(name+".key"), &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca, caKey)
	}
	w := newWorld(t, func(c *verifier.Config) { c.Access.ClientCAs = path("ca.pem") })
	w.command()("account", "add", "ops", "--role", "operator", "--certificate", path("ops.pem"))
	run := func(name string) (stdout, stderr string, err error) {
		return w.program("PROBITY_CONTEXT=", "PROBITY_URL="+w.URL, "PROBITY_CA_FINGERPRINT="+w.Fingerprint,
			"PROBITY_CERTIFICATE="+path(name+".pem"), "PROBITY_KEY="+path(name+".key"))("me")
	}
	if out, problem, err := run("ops"); err != nil || !strings.Contains(out, "certificate") || !strings.Contains(out, "operator:") {
		t.Errorf("probity me: %v: %s%s, want operator by certificate", err, out, problem)
	}
	var exit *exec.ExitError
	if out, problem, err := run("stranger"); !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("probity me with a certificate of no account: %v: %s%s, want exit code 4", err, out, problem)
	}
}

// issue makes a key and a certificate of it, signed by a parent or by itself, and writes them as PEM.
func issue(t *testing.T, file, keyFile string, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) {
		if name == "" {
			return
		}
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "CERTIFICATE", der)
	write(keyFile, "PRIVATE KEY", private)
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}
