package verifier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

const patience = 60 * time.Second

// testConfig is a configuration on free ports and a state folder that is not there yet.
func testConfig(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig()
	c.StateDir = filepath.Join(t.TempDir(), "state")
	c.MQTT.Listen, c.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	return c
}

// running is a verifier that serves.
type running struct {
	*Verifier
	printed string // what it told people
	stop    func()
}

// start runs a verifier until it is ready.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	v, err := New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var out bytes.Buffer // written before Ready only
	go func() { ended <- v.Run(ctx, &out) }()
	r := &running{Verifier: v}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(r.stop)
	select {
	case <-v.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatalf("Run = %v before it was ready", err)
	case <-time.After(patience):
		t.Fatal("the verifier does not become ready")
	}
	r.printed = out.String()
	return r
}

var enrolLine = regexp.MustCompile(`(?m)^  probity-agent run --verifier mqtts://(\S+) --ca-fingerprint (\S+) --token (\S+)$`)

// operator is what operator.yaml holds.
type operator struct {
	URL         string `yaml:"url"`
	Fingerprint string `yaml:"ca_fingerprint"`
	Token       string `yaml:"token"`
}

func readOperator(t *testing.T, cfg Config) (operator, []byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cfg.StateDir, "operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var o operator
	if err := yaml.Unmarshal(b, &o); err != nil {
		t.Fatalf("operator.yaml: %v", err)
	}
	return o, b
}

// get asks the API as the operator of operator.yaml.
func (o operator) get(t *testing.T, cfg Config, path string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cfg.StateDir, "keys", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+o.Token)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// TestFirstStart: nothing has to be set up. What is printed enrols a device, what is written lets an operator in.
func TestFirstStart(t *testing.T) {
	cfg := testConfig(t)
	v := start(t, cfg)
	m := enrolLine.FindAllStringSubmatch(v.printed, -1)
	if len(m) != 1 {
		t.Fatalf("printed %q, want one line that enrols a device", v.printed)
	}
	if at, pin := m[0][1], m[0][2]; at != v.MQTTAddr() || pin != v.Fingerprint() {
		t.Errorf("printed verifier %s with CA %s, want %s with %s", at, pin, v.MQTTAddr(), v.Fingerprint())
	}
	if tenant, err := (access{v.store, v.authority}).Token(t.Context(), m[0][3], "any"); err != nil || tenant != "default" {
		t.Errorf("the printed token: tenant %q, %v", tenant, err)
	}
	for name, want := range map[string]fs.FileMode{
		".": 0o700, "operator.yaml": 0o600, "probity.db": 0o600, "keys/ca.pem": 0o600, "keys/signing.pem": 0o600, "keys/server.pem": 0o600,
	} {
		info, err := os.Stat(filepath.Join(cfg.StateDir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, want)
		}
	}
	if info, err := os.Stat(cfg.roots()); err != nil || !info.IsDir() {
		t.Errorf("folder for the roots of TPM makers: %v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.StateDir, ".*")); err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	o, _ := readOperator(t, cfg)
	if o.URL != "https://"+v.APIAddr() || o.Fingerprint != v.Fingerprint() {
		t.Errorf("operator.yaml = %+v, want https://%s and %s", o, v.APIAddr(), v.Fingerprint())
	}
	if got := o.get(t, cfg, "/v1/devices"); got != http.StatusOK {
		t.Errorf("the operator's token gets %d", got)
	}
	o.Token = m[0][3]
	if got := o.get(t, cfg, "/v1/devices"); got != http.StatusForbidden {
		t.Errorf("the device's token gets %d from the API, want 403", got)
	}
	if strings.Contains(v.printed, "pbo1.") {
		t.Error("the operator's token is printed, where logs keep it")
	}
}

// TestNextStart: whoever has the line can use it as long as it works, and nobody is told another.
func TestNextStart(t *testing.T) {
	cfg := testConfig(t)
	first := start(t, cfg)
	token := enrolLine.FindStringSubmatch(first.printed)[3]
	before, _ := readOperator(t, cfg)
	first.stop()
	second := start(t, cfg)
	if enrolLine.MatchString(second.printed) {
		t.Errorf("the second start prints %q although the first token still works", second.printed)
	}
	if second.Fingerprint() != first.Fingerprint() {
		t.Error("the CA changed")
	}
	after, _ := readOperator(t, cfg)
	if after.Token != before.Token || after.URL != "https://"+second.APIAddr() {
		t.Errorf("operator's context is %+v, was %+v, want the same token and the API's new address %s", after, before, second.APIAddr())
	}
	if _, err := (access{second.store, second.authority}).Token(t.Context(), token, "any"); err != nil {
		t.Errorf("the first token after a restart: %v", err)
	}
}

// TestWelcome: the line is printed whenever no device was ever let in and nobody can be.
func TestWelcome(t *testing.T) {
	now := time.Now()
	good := store.Token{Uses: 5, Created: now, Expires: now.Add(time.Hour)}
	with := func(change func(*store.Token)) []store.Token {
		token := good
		change(&token)
		return []store.Token{token}
	}
	for name, tt := range map[string]struct {
		tokens  []store.Token
		used    bool // a device was let in
		printed bool
	}{
		"no token":                   {nil, false, true},
		"works":                      {[]store.Token{good}, false, false},
		"expired":                    {with(func(t *store.Token) { t.Expires = now.Add(-time.Hour) }), false, true},
		"revoked":                    {with(func(t *store.Token) { t.Revoked = true }), false, true},
		"operator's only":            {with(func(t *store.Token) { t.Operator, t.Role = true, "admin" }), false, true},
		"of another tenant":          {with(func(t *store.Token) { t.Tenant = "other" }), false, true},
		"revoked, but let one in":    {[]store.Token{good}, true, false},
		"one expired, another works": {append(with(func(t *store.Token) { t.Expires = now }), good), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			seed(t, cfg, tt.tokens, tt.used)
			if got := enrolLine.MatchString(start(t, cfg).printed); got != tt.printed {
				t.Errorf("the line is printed: %t, want %t", got, tt.printed)
			}
		})
	}
}

// seed puts tokens into the database before the verifier's first start; used lets a device in with each, and revokes it.
func seed(t *testing.T, cfg Config, tokens []store.Token, used bool) {
	t.Helper()
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(cfg.StateDir, "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, token := range tokens {
		token.ID, token.Hash = fmt.Sprintf("%016x", i), bytes.Repeat([]byte{byte(i)}, 32)
		if token.Tenant == "" {
			token.Tenant = cfg.Tenant
		}
		if err := s.AddToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if !used {
			continue
		}
		if err := errors.Join(s.UseToken(t.Context(), token.ID, strings.Repeat("ab", 32), time.Now()), s.RevokeToken(t.Context(), token.ID)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStopLeavesNothing, and the addresses can be used again at once.
func TestStopLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	cfg := testConfig(t)
	v := start(t, cfg)
	mqtt, api := v.MQTTAddr(), v.APIAddr()
	v.stop()
	nothingLeft(t, cfg, before)
	cfg.MQTT.Listen, cfg.API.Listen = mqtt, api
	again := start(t, cfg)
	if again.MQTTAddr() != mqtt || again.APIAddr() != api {
		t.Errorf("listens on %s and %s, want %s and %s", again.MQTTAddr(), again.APIAddr(), mqtt, api)
	}
}

// TestContextEndsEarly: being stopped while starting is no failure.
func TestContextEndsEarly(t *testing.T) {
	v, err := New(t.Context(), testConfig(t), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Run(ctx, io.Discard); err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
}

// TestHealth: what the watchdog and /healthz ask for.
func TestHealth(t *testing.T) {
	v := start(t, testConfig(t))
	if err := v.healthy(t.Context()); err != nil {
		t.Errorf("healthy = %v", err)
	}
	v.stop()
	err := v.healthy(t.Context())
	if !errors.Is(err, sqlite.ErrClosed) || !strings.Contains(err.Error(), "MQTT") {
		t.Errorf("healthy after the end = %v, want the store and the broker named", err)
	}
}

// TestServerCertificate: what the API shows is what agents and operators pin, and it asks nobody for a certificate.
func TestServerCertificate(t *testing.T) {
	v := start(t, testConfig(t))
	for name, at := range map[string]string{"API": v.APIAddr(), "broker": v.MQTTAddr()} {
		asked := false
		c, err := tls.Dial("tcp", at, &tls.Config{
			InsecureSkipVerify: true, // the chain is looked at below
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return &tls.Certificate{}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		state := c.ConnectionState()
		c.Close()
		if n := len(state.PeerCertificates); n != 2 || !state.PeerCertificates[1].Equal(v.authority.Certificate()) {
			t.Errorf("%s: %d certificates, want two, the second the CA's", name, n)
		}
		if state.Version != tls.VersionTLS13 || asked != (name == "broker") {
			t.Errorf("%s: TLS %#x, asks for a certificate: %t", name, state.Version, asked)
		}
	}
}

// TestReadyIsToldLate: systemd, people and tests are told that the verifier is ready after it listens to devices, never
// before.
func TestReadyIsToldLate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	told := func(within time.Duration) string {
		t.Helper()
		b := make([]byte, 4096)
		if err := systemd.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		n, err := systemd.Read(b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return string(b[:n])
	}

	cfg := testConfig(t)
	v, err := New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	// The link to the broker does not run, so nobody is heard, however long one waits.
	if err := v.ready(stopped, &out); err != nil {
		t.Errorf("ready = %v after its context ended", err)
	}
	v.close()
	// What was told is in the socket's queue by now.
	if got := told(time.Millisecond); got != "" || out.Len() > 0 {
		t.Errorf("systemd was told %q and people %q while nobody is heard", got, &out)
	}
	select {
	case <-v.Ready():
		t.Error("ready while nobody is heard")
	default:
	}

	again := start(t, cfg)
	select {
	case <-again.link.Ready():
	default:
		t.Error("the verifier is ready before it listens to devices")
	}
	if got := told(patience); got != "READY=1" {
		t.Errorf("systemd was told %q, want READY=1", got)
	}
	again.stop()
	if got := told(patience); got != "STOPPING=1" {
		t.Errorf("systemd was told %q, want STOPPING=1", got)
	}
}
