package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

var setupLines = regexp.MustCompile(`(?m)^  (https://\S+)/setup\n\nwith the code (\S+)\.`)

// person asks the API as a browser does, with a client certificate if it has one.
func (r *running) person(t *testing.T, cert *tls.Certificate, method, path, body string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(r.cfg.StateDir, "keys", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: pool}
	if cert != nil { // whatever the server asks for
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.APIAddr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, []byte(err.Error())
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

// TestSetupCode: what the first start prints makes the first account, once, and is not printed when there is one.
func TestSetupCode(t *testing.T) {
	cfg := testConfig(t)
	first := start(t, cfg)
	m := setupLines.FindAllStringSubmatch(first.printed, -1)
	if len(m) != 1 || m[0][1] != "https://"+first.APIAddr() {
		t.Fatalf("printed %q, want where and with which code the first account is made", first.printed)
	}
	first.stop()
	second := start(t, cfg)
	again := setupLines.FindStringSubmatch(second.printed)
	if again == nil || again[2] == m[0][2] {
		t.Fatalf("the second start without an account prints %q, want a new code", second.printed)
	}
	body := func(code string) string {
		return `{"code":"` + code + `","name":"alice","password":"correct horse battery"}`
	}
	if res, b := second.person(t, nil, "POST", "/v1/setup", body(m[0][2]), nil); res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("the first start's code after the second = %s, want 403", b)
	}
	res, b := second.person(t, nil, "POST", "/v1/setup", body(again[2]), nil)
	if res == nil || res.StatusCode != http.StatusCreated || len(res.Cookies()) != 1 {
		t.Fatalf("setup = %s", b)
	}
	cookie := http.Header{"Cookie": {res.Cookies()[0].Name + "=" + res.Cookies()[0].Value}}
	var me v1.Me
	if res, b := second.person(t, nil, "GET", "/v1/me", "", cookie); res == nil || json.Unmarshal(b, &me) != nil || me.Name != "alice" || me.Role != v1.Admin || me.Tenant != cfg.Tenant {
		t.Errorf("GET /v1/me = %s, want alice, an admin", b)
	}
	second.stop()
	third := start(t, cfg)
	if strings.Contains(third.printed, "setup") {
		t.Errorf("a start with an account prints %q", third.printed)
	}
	if res, b := third.person(t, nil, "GET", "/v1/me", "", cookie); res == nil || res.StatusCode != http.StatusOK {
		t.Errorf("the session after a restart = %s, want that it goes on", b)
	}
}

// peoplesCA is an authority that issues client certificates.
type peoplesCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPeoplesCA(t *testing.T) *peoplesCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "people"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &peoplesCA{cert, key}
}

// issue returns a client certificate and the digest by which accounts know it.
func (ca *peoplesCA) issue(t *testing.T, usage x509.ExtKeyUsage) (*tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "robot"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(public)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hex.EncodeToString(digest[:])
}

// TestClientCertificates: a certificate opens the API if an authority that is configured issued it and its key is an
// account's; a device's certificate never does, though the verifier issued it, and its key were an account's.
func TestClientCertificates(t *testing.T) {
	ca, stranger := newPeoplesCA(t), newPeoplesCA(t)
	cfg := testConfig(t)
	cfg.Access.ClientCAs = filepath.Join(t.TempDir(), "people.pem")
	if err := os.WriteFile(cfg.Access.ClientCAs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	v := start(t, cfg)
	good, goodDigest := ca.issue(t, x509.ExtKeyUsageClientAuth)
	unknown, _ := ca.issue(t, x509.ExtKeyUsageClientAuth)
	server, serverDigest := ca.issue(t, x509.ExtKeyUsageServerAuth)
	foreign, foreignDigest := stranger.issue(t, x509.ExtKeyUsageClientAuth)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("ab", 32)
	chain, _, _, err := v.authority.IssueDevice(cfg.Tenant, id, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	device := &tls.Certificate{Certificate: chain, PrivateKey: key}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil || len(device.Certificate) == 0 {
		t.Fatalf("the device's certificate: %d in its chain, %v", len(device.Certificate), err)
	}
	deviceDigest := sha256.Sum256(public)
	if err := v.store.AddAccount(t.Context(), store.Account{
		Tenant: cfg.Tenant, Name: "robot", Role: "viewer", Created: time.Now(),
		Certificates: []string{goodDigest, serverDigest, foreignDigest, hex.EncodeToString(deviceDigest[:])},
	}, false); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		in   bool
	}{
		"registered": {good, true}, "not registered": {unknown, false}, "none": {nil, false}, "for servers": {server, false},
		"another authority's": {foreign, false}, "a device's": {device, false},
	} {
		res, b := v.person(t, tt.cert, "GET", "/v1/me", "", nil)
		if in := res != nil && res.StatusCode == http.StatusOK; in != tt.in || in && !bytes.Contains(b, []byte(`"kind":"certificate"`)) {
			t.Errorf("%s: GET /v1/me = %s, want that it is let in: %t", name, b, tt.in)
		}
	}
	if res, b := v.person(t, good, "DELETE", "/v1/devices/abcd", "", nil); res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer's certificate removes a device: %s", b)
	}
	cfg.Access.ClientCAs = filepath.Join(t.TempDir(), "none.pem")
	if _, err := (&Verifier{cfg: cfg, authority: v.authority}).apiTLS(); err == nil || !strings.Contains(err.Error(), "access.client-cas") {
		t.Errorf("apiTLS without the file = %v, want an error that names the key", err)
	}
}

func TestAccessConfiguration(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]string{"s3cret\n": "s3cret", "s3cret": "s3cret", "": "", "a\nb\n": "", strings.Repeat("x", maxSecret+1): ""} {
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a := Access{OIDC: []OIDC{{ID: "corp", Issuer: "https://idp.example", ClientID: "x", SecretFile: secret}}}
		got, err := a.providers()
		if (err == nil) != (want != "") || err == nil && got[0].Secret != want {
			t.Errorf("secret of %.10q = %+v, %v; want %q", content, got, err, want)
		}
	}
}
