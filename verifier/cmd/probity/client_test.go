package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate; without a parent it signs itself.
func issue(t *testing.T, template x509.Certificate, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	issuer, signer := &template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func authority(t *testing.T) tls.Certificate {
	return issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

func serverTemplate() x509.Certificate {
	return x509.Certificate{
		DNSNames: []string{"verifier.test"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// handshake returns the client's view of a TLS handshake with a server that shows chain.
func handshake(t *testing.T, host string, pin []byte, chain tls.Certificate) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a pipe has no buffer: both sides may write at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		far, err := l.Accept()
		if err != nil {
			return
		}
		defer far.Close()
		if server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{chain}}); server.Handshake() == nil {
			_, _ = io.Copy(io.Discard, server)
		}
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	config := tlsConfig(host, pin)
	config.ServerName = host // as net/http does
	return tls.Client(near, config).Handshake()
}

// The pin stands for the CA's key, not for its certificate, which anybody may show.
func TestPinnedCA(t *testing.T) {
	ca, stranger := authority(t), authority(t)
	sum := sha256.Sum256(ca.Leaf.Raw)
	with := func(leaf, root tls.Certificate) tls.Certificate {
		leaf.Certificate = append(leaf.Certificate, root.Certificate...)
		return leaf
	}
	client := serverTemplate()
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	expired := serverTemplate()
	expired.NotAfter = time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name, host string
		chain      tls.Certificate
		want       string
	}{
		{"genuine", "verifier.test", with(issue(t, serverTemplate(), &ca), ca), ""},
		{"genuine by address", "192.0.2.1", with(issue(t, serverTemplate(), &ca), ca), ""},
		{"stranger's chain", "verifier.test", with(issue(t, serverTemplate(), &stranger), stranger), "not the one in ca_fingerprint"},
		{"stranger's key with the CA's certificate", "verifier.test", with(issue(t, serverTemplate(), &stranger), ca), "unknown authority"},
		{"self-signed with the CA's certificate", "verifier.test", with(issue(t, serverTemplate(), nil), ca), "unknown authority"},
		{"without the CA's certificate", "verifier.test", issue(t, serverTemplate(), &ca), "not the one in ca_fingerprint"},
		{"other host", "other.test", with(issue(t, serverTemplate(), &ca), ca), "not other.test"},
		{"other address", "192.0.2.2", with(issue(t, serverTemplate(), &ca), ca), "not 192.0.2.2"},
		{"a device's certificate", "verifier.test", with(issue(t, client, &ca), ca), "incompatible key usage"},
		{"expired", "verifier.test", with(issue(t, expired, &ca), ca), "expired"},
	} {
		err := handshake(t, c.host, sum[:], c.chain)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: handshake = %v, want %q", c.name, err, c.want)
		}
	}
}

// What a server answers never makes the token travel further, and never becomes raw terminal output.
func TestAnswersOfStrangers(t *testing.T) {
	tokens := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tokens <- r.Header.Get("Authorization")
	}))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "is this a Probity verifier?"},
		"not JSON":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "not what this version"},
		"proxy error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) }, "502 Bad Gateway"},
		"lying status": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"status":404,"detail":"not found"}`)
		}, "500 Internal Server Error"},
	} {
		s := httptest.NewServer(c.answer)
		client := &client{base: s.URL, token: "secret", http: newHTTP(nil)}
		var out map[string]any
		err := client.call(t.Context(), "GET", "/v1/counts", nil, nil, &out)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: call = %v, want %q", name, err, c.want)
		}
		s.Close()
	}
	select {
	case got := <-tokens:
		t.Errorf("the token went elsewhere: %q", got)
	default:
	}
	if err := (&client{base: "https://x"}).unreachable(x509.UnknownAuthorityError{}); !strings.Contains(err.Error(), "ca_fingerprint") {
		t.Errorf("unreachable = %v, want what to set", err)
	}
	var pin *pinError
	if err := (&client{}).unreachable(&pinError{}); !errors.As(err, &pin) {
		t.Errorf("unreachable = %v, want the pin error", err)
	}
}
