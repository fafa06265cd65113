// Package apitest runs the HTTP API for tests: over TLS, on a SQLite store in a temporary directory, with a Fleet that
// keeps its word in the store and answers challenges with what a test prepared.
package apitest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/probity-attest/probity/verifier/access"
	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// Tenant is whose devices the tests see.
const Tenant = "acme"

// Server is a running API.
type Server struct {
	URL         string // https://127.0.0.1:port
	Fingerprint string // of the CA that issued its certificate, as a client pins it
	Root        *x509.Certificate
	Store       store.Store
	Fleet       *Fleet
	Operator    string // token
	Key         *ecdsa.PrivateKey
	Signer      *result.Signer
}

// Store opens an empty store that is closed with the test.
func Store(tb testing.TB) store.Store {
	tb.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(tb.TempDir(), "probity.db")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	return s
}

// Config returns a working configuration on a new store.
func Config(tb testing.TB) api.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	s := Store(tb)
	return api.Config{
		Store: s, Fleet: &Fleet{Fleet: publications(tb, s), Store: s}, Keys: []*ecdsa.PublicKey{&key.PublicKey},
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Version: "test",
		Access: access.Config{Tenant: Tenant, Hash: access.Cost{Memory: 8, Time: 1, Threads: 1}},
		Rates:  api.Rates{Principal: api.Rate{Burst: -1}, Write: api.Rate{Burst: -1}, Address: api.Rate{Burst: -1}},
	}
}

// Start runs the API until the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	c := Config(tb)
	s := &Server{Store: c.Store, Fleet: c.Fleet.(*Fleet)}
	var err error
	if s.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	c.Keys = []*ecdsa.PublicKey{&s.Key.PublicKey}
	if s.Signer, err = result.NewSigner(s.Key, "verifier.test", "test"); err != nil {
		tb.Fatal(err)
	}
	s.Fleet.Signer = s.Signer
	handler, err := api.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	root, config := certificates(tb)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(root.Raw)
	s.URL, s.Root, s.Fingerprint = "https://"+l.Addr().String(), root, "sha256:"+hex.EncodeToString(sum[:])
	s.Operator = AddToken(tb, s.Store, store.Token{Operator: true})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, tls.NewListener(l, config), handler) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Serve() = %v", err)
		}
	})
	return s
}

// certificates makes a CA and a server certificate for 127.0.0.1. The chain that the server sends includes the CA.
func certificates(tb testing.TB) (*x509.Certificate, *tls.Config) {
	tb.Helper()
	now := time.Now()
	caKey, caCert := certificate(tb, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}, nil, nil)
	key, cert := certificate(tb, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "verifier"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}, caCert, caKey)
	return caCert, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw, caCert.Raw}, PrivateKey: key}},
	}
}

func certificate(tb testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (
	*ecdsa.PrivateKey, *x509.Certificate,
) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return key, cert
}

// NewToken stores a token and returns its text. Tenant, Operator, Role, Vendors, Name, Uses, Revoked and Expires are those
// of t; without Tenant it is Tenant's, without Expires valid for an hour, and without Role one for the API is an admin's.
func NewToken(s store.Store, t store.Token) (string, error) {
	kind := enroll.DeviceToken
	if t.Operator {
		kind = enroll.OperatorToken
	}
	if t.Tenant == "" {
		t.Tenant = Tenant
	}
	text, made, err := enroll.NewToken(kind, t.Tenant)
	if err != nil {
		return "", err
	}
	t.ID, t.Hash, t.Created = made.ID, made.Hash, time.Now()
	if t.Operator && t.Role == "" {
		t.Role = "admin"
	}
	if t.Expires.IsZero() {
		t.Expires = time.Now().Add(time.Hour)
	}
	return text, s.AddToken(context.Background(), t)
}

// AddToken is NewToken for tests.
func AddToken(tb testing.TB, s store.Store, t store.Token) string {
	tb.Helper()
	text, err := NewToken(s, t)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TokenID returns the public id of a token.
func TokenID(tb testing.TB, text string) string {
	tb.Helper()
	p, err := enroll.ParseToken(text)
	if err != nil {
		tb.Fatal(err)
	}
	return p.ID
}

// ID returns a device id made of a name.
func ID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// AddDevice stores a device. What is not set gets a value: tenant Tenant, status active, level certified, never attested.
func AddDevice(tb testing.TB, s store.Store, d store.Device) store.Device {
	tb.Helper()
	if d.Tenant == "" {
		d.Tenant = Tenant
	}
	if d.Status == "" {
		d.Status = store.Active
	}
	if d.Level == "" {
		d.Level = result.Certified
	}
	if d.State == "" {
		d.State = result.NeverAttested
	}
	version, err := s.SaveDevice(context.Background(), d)
	if err != nil {
		tb.Fatal(err)
	}
	d.Version = version
	return d
}
