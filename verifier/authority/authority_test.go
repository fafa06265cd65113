package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var device = strings.Repeat("ab", 32)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, c Config) *Authority {
	t.Helper()
	a, err := Open(c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return a
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestStateIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authority")
	a := open(t, Config{Dir: dir})
	b := open(t, Config{Dir: dir})
	if a.Fingerprint() != b.Fingerprint() || !a.SigningKey().Equal(b.SigningKey()) {
		t.Error("the second start has another CA or signing key")
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(a.Certificate().Raw)); a.Fingerprint() != want {
		t.Errorf("Fingerprint = %s, want %s", a.Fingerprint(), want)
	}
	if a.SigningKey().PublicKey.Equal(a.Certificate().PublicKey) {
		t.Error("the CA's key signs results")
	}
	if c := open(t, Config{Dir: t.TempDir()}); c.Fingerprint() == a.Fingerprint() {
		t.Error("two authorities have one fingerprint")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("folder has %v, %v, want three files", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", f.Name(), info.Mode(), err)
		}
	}
}

func TestConcurrentFirstStart(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	prints := make([]string, 8)
	for i := range prints {
		group.Go(func() {
			a, err := Open(Config{Dir: dir})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			prints[i] = a.Fingerprint() + fmt.Sprint(a.SigningKey().Public())
		})
	}
	group.Wait()
	if len(slices.Compact(prints)) != 1 {
		t.Errorf("verifiers that start at once have different keys: %v", prints)
	}
}

// TestInterruptedFirstStart has every prefix of a first start's writes on disk: all are continued.
func TestInterruptedFirstStart(t *testing.T) {
	full := t.TempDir()
	open(t, Config{Dir: full})
	for n, files := range [][]string{nil, {signingFile}, {signingFile, caFile}} {
		dir := t.TempDir()
		for _, f := range files {
			copyFile(t, full, dir, f)
		}
		if err := os.WriteFile(filepath.Join(dir, ".ca.pem-123"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := open(t, Config{Dir: dir})
		if b := open(t, Config{Dir: dir}); a.Fingerprint() != b.Fingerprint() {
			t.Errorf("after %d files: not continued", n)
		}
	}
}

func TestDamagedState(t *testing.T) {
	full, other := t.TempDir(), t.TempDir()
	open(t, Config{Dir: full})
	open(t, Config{Dir: other})
	read := func(dir, name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ca := read(full, caFile)
	keyAt := strings.Index(string(ca), "-----BEGIN PRIVATE")
	otherCA := read(other, caFile)
	otherKey := otherCA[strings.Index(string(otherCA), "-----BEGIN PRIVATE"):]
	for name, spoil := range map[string]func(dir string) error{
		"no signing key":     func(d string) error { return os.Remove(filepath.Join(d, signingFile)) },
		"no CA":              func(d string) error { return os.Remove(filepath.Join(d, caFile)) },
		"CA empty":           func(d string) error { return put(d, caFile, nil) },
		"CA half-written":    func(d string) error { return put(d, caFile, ca[:len(ca)/2]) },
		"CA without key":     func(d string) error { return put(d, caFile, ca[:keyAt]) },
		"CA's key another's": func(d string) error { return put(d, caFile, append(slices.Clone(ca[:keyAt]), otherKey...)) },
		"CA twice":           func(d string) error { return put(d, caFile, append(slices.Clone(ca[:keyAt]), ca...)) },
		"two keys":           func(d string) error { return put(d, caFile, append(slices.Clone(ca), otherKey...)) },
		"trailing rubbish":   func(d string) error { return put(d, caFile, append(slices.Clone(ca), "rubbish"...)) },
		"another CA":         func(d string) error { return put(d, caFile, otherCA) },
		"not a CA":           func(d string) error { return put(d, caFile, read(full, serverFile)) },
		"same key twice":     func(d string) error { return put(d, signingFile, ca[keyAt:]) },
		"server's rubbish":   func(d string) error { return put(d, serverFile, []byte("rubbish")) },
		"server another's":   func(d string) error { return put(d, serverFile, read(other, serverFile)) },
		"too large":          func(d string) error { return put(d, caFile, make([]byte, maxFile+1)) },
		"open to everybody":  func(d string) error { return os.Chmod(filepath.Join(d, caFile), 0o644) },
	} {
		dir := t.TempDir()
		for _, f := range []string{caFile, signingFile, serverFile} {
			copyFile(t, full, dir, f)
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrState) {
			t.Errorf("%s: Open: %v, want ErrState", name, err)
		}
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("Open without a folder passed")
	}
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err == nil {
		err = put(to, name, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func put(dir, name string, b []byte) error { return os.WriteFile(filepath.Join(dir, name), b, 0o600) }

func TestIssueDevice(t *testing.T) {
	c := &clock{now: time.Now()}
	a := open(t, Config{Dir: t.TempDir(), Now: c.Now, DeviceLifetime: time.Hour})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range []crypto.PublicKey{newP256(t).Public(), rsaKey.Public()} {
		chain, serial, expires, err := a.IssueDevice("acme", device, pub)
		if err != nil {
			t.Fatalf("IssueDevice(%T): %v", pub, err)
		}
		cert, err := x509.ParseCertificate(chain[0])
		if err != nil {
			t.Fatal(err)
		}
		if serial != cert.SerialNumber.Text(16) || !expires.Equal(cert.NotAfter) || len(chain) != 2 || cert.IsCA {
			t.Errorf("serial %s, expires %v, chain of %d", serial, expires, len(chain))
		}
		if got := expires.Sub(c.Now()); got > time.Hour || got < time.Hour-2*time.Second {
			t.Errorf("certificate lives %v, want an hour", got)
		}
		pool := x509.NewCertPool()
		pool.AddCert(a.Certificate())
		if _, err := cert.Verify(x509.VerifyOptions{
			Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: c.Now(),
		}); err != nil {
			t.Errorf("Verify: %v", err)
		}
		c.add(48 * time.Hour) // expired: still tells who it is
		tenant, id, err := a.Device(cert)
		if err != nil || tenant != "acme" || id != device {
			t.Errorf("Device = %s, %s, %v", tenant, id, err)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range []crypto.PublicKey{p384.Public(), short.Public(), ed, nil} {
		if _, _, _, err := a.IssueDevice("acme", device, pub); err == nil {
			t.Errorf("IssueDevice for a key of type %T passed", pub)
		}
	}
	for _, who := range [][2]string{{"", device}, {"Acme", device}, {"acme", "x"}, {"acme", strings.ToUpper(device)}} {
		if _, _, _, err := a.IssueDevice(who[0], who[1], newP256(t).Public()); err == nil {
			t.Errorf("IssueDevice for %v passed", who)
		}
	}
}

func TestDeviceRefuses(t *testing.T) {
	a, other := open(t, Config{Dir: t.TempDir()}), open(t, Config{Dir: t.TempDir()})
	issue := func(by *Authority, change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{
			Subject:   pkix.Name{CommonName: device, Organization: []string{"acme"}},
			NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		change(c)
		cert, err := by.issue(c, newP256(t).Public())
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	server, err := a.serverCertificate()
	if err != nil {
		t.Fatal(err)
	}
	same := func(*x509.Certificate) {}
	if _, _, err := a.Device(issue(a, same)); err != nil {
		t.Fatalf("Device of a good certificate: %v", err)
	}
	for name, c := range map[string]*x509.Certificate{
		"none":            nil,
		"another CA's":    issue(other, same),
		"the CA's own":    a.Certificate(),
		"the server's":    server.Leaf,
		"no usage":        issue(a, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"any usage":       issue(a, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }),
		"a CA":            issue(a, func(c *x509.Certificate) { c.IsCA = true }),
		"no tenant":       issue(a, func(c *x509.Certificate) { c.Subject.Organization = nil }),
		"two tenants":     issue(a, func(c *x509.Certificate) { c.Subject.Organization = []string{"a", "b"} }),
		"odd tenant":      issue(a, func(c *x509.Certificate) { c.Subject.Organization = []string{"a/b"} }),
		"odd device":      issue(a, func(c *x509.Certificate) { c.Subject.CommonName = "+" }),
		"upper-case id":   issue(a, func(c *x509.Certificate) { c.Subject.CommonName = strings.ToUpper(device) }),
		"signature wrong": spoilt(t, issue(a, same)),
	} {
		if tenant, id, err := a.Device(c); !errors.Is(err, ErrNotDevice) || tenant != "" || id != "" {
			t.Errorf("%s: Device = %q, %q, %v, want ErrNotDevice", name, tenant, id, err)
		}
	}
}

func spoilt(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	raw := slices.Clone(c.Raw)
	raw[len(raw)-1] ^= 1
	out, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// handshake connects a client with a certificate (nil: none) and returns the server's chain and both sides' errors.
func handshake(t *testing.T, a *Authority, version uint16, cert *tls.Certificate) (shown []*x509.Certificate, server, client error) {
	t.Helper()
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	config := &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: version, Time: a.config.Now}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	done := make(chan error, 1)
	c := tls.Client(x, config)
	go func() {
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		x.Close()
		done <- err
	}()
	s := tls.Server(y, a.ServerTLS())
	server = s.Handshake()
	if server == nil {
		_, server = s.Write([]byte{1})
	}
	client = <-done
	return c.ConnectionState().PeerCertificates, server, client
}

func TestServerTLS(t *testing.T) {
	c := &clock{now: time.Now()}
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, Now: c.Now, DeviceLifetime: time.Hour})
	other := open(t, Config{Dir: t.TempDir()})
	certify := func(by *Authority) *tls.Certificate {
		key := newP256(t)
		chain, _, _, err := by.IssueDevice("acme", device, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: chain, PrivateKey: key}
	}
	mine, foreign := certify(a), certify(other)
	wrongKey := &tls.Certificate{Certificate: mine.Certificate, PrivateKey: newP256(t)}
	for _, tc := range []struct {
		name    string
		version uint16
		cert    *tls.Certificate
		ok      bool
	}{
		{"no certificate", 0, nil, true},
		{"device", 0, mine, true},
		{"device of another CA", 0, foreign, false},
		{"certificate without its key", 0, wrongKey, false},
		{"TLS 1.2", tls.VersionTLS12, nil, false},
	} {
		chain, server, client := handshake(t, a, tc.version, tc.cert)
		if ok := server == nil && client == nil; ok != tc.ok {
			t.Errorf("%s: server %v, client %v", tc.name, server, client)
		}
		if tc.ok && (len(chain) != 2 || !chain[1].Equal(a.Certificate())) {
			t.Errorf("%s: the CA is not in the chain of %d", tc.name, len(chain))
		}
	}
	before, _, _ := handshake(t, a, 0, nil)
	c.add(2 * time.Hour)
	if _, server, client := handshake(t, a, 0, mine); server != nil || client != nil {
		t.Errorf("expired device: %v, %v, want it to pass", server, client)
	}
	if chain, _, _ := handshake(t, a, 0, nil); !chain[0].Equal(before[0]) {
		t.Error("the server certificate was renewed too early")
	}
	c.add(ServerLifetime * 2 / 3)
	if chain, server, client := handshake(t, a, 0, nil); server != nil || client != nil || chain[0].Equal(before[0]) {
		t.Errorf("after two thirds of its life: %v, %v, renewed %t", server, client, !chain[0].Equal(before[0]))
	}
	b := open(t, Config{Dir: dir, Now: c.Now})
	if !b.server.Leaf.Equal(a.server.Leaf) {
		t.Error("the renewed certificate was not kept")
	}
}

func TestServerHosts(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, Hosts: []string{"verifier.example", "192.0.2.7", "2001:db8::1"}})
	leaf := a.server.Leaf
	for _, h := range []string{"verifier.example", "192.0.2.7", "2001:db8::1"} {
		if err := leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	b := open(t, Config{Dir: dir, Hosts: []string{"other.example"}})
	if err := b.server.Leaf.VerifyHostname("other.example"); err != nil || a.Fingerprint() != b.Fingerprint() {
		t.Errorf("other hosts: %v", err)
	}
}

// TestFullDisk: a server certificate that cannot be written is used all the same.
func TestFullDisk(t *testing.T) {
	c := &clock{now: time.Now()}
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, Now: c.Now})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.add(ServerLifetime)
	if _, server, client := handshake(t, a, 0, nil); server != nil || client != nil {
		t.Errorf("handshake: %v, %v", server, client)
	}
	if _, err := Open(Config{Dir: filepath.Join("/proc/self/fd", "none")}); err == nil {
		t.Error("Open where nothing can be written passed")
	}
}

func TestExpiredCA(t *testing.T) {
	c := &clock{now: time.Now()}
	dir := t.TempDir()
	open(t, Config{Dir: dir, Now: c.Now})
	c.add(CALifetime + time.Hour)
	if _, err := Open(Config{Dir: dir, Now: c.Now}); !errors.Is(err, ErrState) {
		t.Errorf("Open with an expired CA: %v, want ErrState", err)
	}
}
