package link

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// trust is the pinned CA: either its fingerprint or certificates from a file.
type trust struct {
	fingerprint []byte
	roots       *x509.CertPool
}

func newTrust(fingerprint, file string) (trust, error) {
	switch {
	case fingerprint == "" && file == "":
		return trust{}, errors.New("no CA configured: give --ca-fingerprint, which the verifier prints when it starts, " +
			"or --ca-file")
	case fingerprint != "" && file != "":
		return trust{}, errors.New("both a CA fingerprint and a CA file are configured: give one of them")
	case file != "":
		pem, err := os.ReadFile(file)
		if err != nil {
			return trust{}, fmt.Errorf("CA file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return trust{}, fmt.Errorf("CA file %s: no PEM certificate in it", file)
		}
		return trust{roots: roots}, nil
	}
	digits, ok := strings.CutPrefix(fingerprint, "sha256:")
	sum, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if !ok || err != nil || len(sum) != sha256.Size {
		return trust{}, fmt.Errorf("CA fingerprint %s: want sha256: and 64 hexadecimal digits", quoteShort(fingerprint))
	}
	return trust{fingerprint: sum}, nil
}

// tls returns the configuration of one connection, with which certificate (nil: none) to present.
func (t trust) tls(host string, certificate *tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: t.roots}
	if certificate != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	if t.fingerprint != nil {
		// The standard verification needs the root beforehand; verify does the same with the root that is pinned.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := t.verify(host, s.PeerCertificates, time.Now()); err != nil {
				return &untrustedError{err}
			}
			return nil
		}
	}
	return c
}

// verify checks the server's chain. The checks, in order: one certificate has the pinned fingerprint; it is a CA; the
// server's certificate chains to it, is in force, is for servers and for this host.
func (t trust) verify(host string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("server presented no certificate")
	}
	var ca *x509.Certificate
	between := x509.NewCertPool()
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); bytes.Equal(sum[:], t.fingerprint) {
			ca = c
			continue
		}
		between.AddCert(c)
	}
	if ca == nil {
		return t.mismatch(chain)
	}
	if !ca.IsCA {
		return fmt.Errorf("CA fingerprint sha256:%x is that of the server's own certificate: "+
			"configure the fingerprint of its CA", t.fingerprint)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: host, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// untrustedError says that the server is not the verifier that is pinned.
type untrustedError struct{ error }

func (e *untrustedError) Unwrap() error { return e.error }

// mismatch names both fingerprints: what is configured and what the server has.
func (t trust) mismatch(chain []*x509.Certificate) error {
	top := chain[len(chain)-1]
	sum := sha256.Sum256(top.Raw)
	if !top.IsCA {
		return fmt.Errorf("server does not present its CA certificate, so the configured fingerprint sha256:%x cannot be "+
			"compared (its own certificate has sha256:%x): configure --ca-file instead", t.fingerprint, sum)
	}
	return fmt.Errorf("server's CA has the fingerprint sha256:%x, configured is sha256:%x: "+
		"either the fingerprint is mistyped, or this is not the verifier", sum, t.fingerprint)
}

// explain adds what to do to an error of a TLS handshake.
func explain(err error, now time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w; this device's clock says %s: if that is wrong, set it", err, now.UTC().Format(time.RFC3339))
	}
	return err
}
