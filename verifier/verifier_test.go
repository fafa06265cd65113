package verifier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
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
	_, context := readOperator(t, cfg)
	first.stop()
	second := start(t, cfg)
	if second.printed != "" {
		t.Errorf("the second start prints %q although the first token still works", second.printed)
	}
	if second.Fingerprint() != first.Fingerprint() {
		t.Error("the CA changed")
	}
	if _, again := readOperator(t, cfg); !bytes.Equal(context, again) {
		t.Error("the operator's context was written again")
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
		"operator's only":            {with(func(t *store.Token) { t.Operator = true }), false, true},
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

// occupy listens on a port as another program would.
func occupy(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// alter changes the database of a verifier that was started before.
func alter(t *testing.T, cfg Config, query string) {
	t.Helper()
	start(t, cfg).stop()
	db, err := sql.Open("sqlite", filepath.Join(cfg.StateDir, "probity.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites the middle of the database of a verifier that was started before.
func damage(t *testing.T, cfg *Config) {
	t.Helper()
	start(t, *cfg).stop()
	path := filepath.Join(cfg.StateDir, "probity.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 4; i < len(b)/2; i++ {
		b[i] = 0xaa
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStartFails (ATTACKS row 51): the error says what and what to do, and nothing is left running.
func TestStartFails(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *Config)
		want    []string
	}{
		"wrong configuration": {
			func(_ *testing.T, c *Config) { c.Policy.IMA = "maybe" }, []string{"configuration: policy.ima", "want one of"},
		},
		"state folder below a file": {
			func(t *testing.T, c *Config) { write(t, c.StateDir, ""); c.StateDir += "/below" },
			[]string{"state-dir: ", "not a directory", "choose a folder that this user may write to with --state-dir"},
		},
		"state folder cannot be made": {
			func(_ *testing.T, c *Config) { c.StateDir = "/proc/probity" }, []string{"state-dir: ", "/proc/probity", "--state-dir"},
		},
		"database newer": {
			func(t *testing.T, c *Config) {
				alter(t, *c, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
			},
			[]string{"probity.db", "newer version", "schema is 99", "run that version, or restore the backup"},
		},
		"database corrupt": {damage, []string{"probity.db", "damaged", "restore the newest backup"}},
		"no database": {
			func(t *testing.T, c *Config) {
				write(t, filepath.Join(c.StateDir, "probity.db"), strings.Repeat("no database\n", 500))
			},
			[]string{"probity.db", "not a database of this program", "give another path"},
		},
		"a key is lost": {
			func(t *testing.T, c *Config) {
				start(t, *c).stop()
				if err := os.Remove(filepath.Join(c.StateDir, "keys", "signing.pem")); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"signing.pem", "restore it from a backup"},
		},
		"keys folder is a file": {
			func(t *testing.T, c *Config) { write(t, filepath.Join(c.StateDir, "keys"), "") }, []string{"authority", "keys"},
		},
		"roots folder cannot be made": {
			func(t *testing.T, c *Config) { c.Enrollment.Roots = "/proc/probity" }, []string{"enrollment.tpm-roots: ", "/proc/probity"},
		},
		"address of the API in use": {
			func(t *testing.T, c *Config) { c.API.Listen = occupy(t) },
			[]string{"api.listen: ", "address already in use", "choose another address with --api-listen"},
		},
		"address of the API is another machine's": {
			func(_ *testing.T, c *Config) { c.API.Listen = "192.0.2.1:0" }, []string{"api.listen: ", "192.0.2.1", "--api-listen"},
		},
		"address of the broker in use": {
			func(t *testing.T, c *Config) { c.MQTT.Listen = occupy(t) },
			[]string{"mqtt.listen: ", "address already in use", "choose another address with --mqtt-listen"},
		},
		"operator's context cannot be written": {
			func(t *testing.T, c *Config) {
				path := filepath.Join(c.StateDir, "operator.yaml")
				if err := errors.Join(os.MkdirAll(c.StateDir, 0o700), os.Symlink(path, path)); err != nil { // a loop
					t.Fatal(err)
				}
			},
			[]string{"operator's context", "operator.yaml", "remove it, and it is made again"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.prepare(t, &cfg)
			wantFailure(t, cfg, tt.want...)
		})
	}
}

// wantFailure starts a verifier, which must fail saying all of want and leave nothing behind.
func wantFailure(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	before := runtime.NumGoroutine()
	var out bytes.Buffer
	wantSays(t, attempt(t.Context(), cfg, &out), want...)
	if enrolLine.MatchString(out.String()) {
		t.Errorf("printed %q before it failed", out.String())
	}
	nothingLeft(t, cfg, before)
}

// attempt runs a verifier and returns why it did not stay.
func attempt(ctx context.Context, cfg Config, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, err := New(ctx, cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return v.Run(ctx, out)
}

func wantSays(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("the verifier started, or ended without an error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// nothingLeft waits until all goroutines and open files of a verifier are gone.
func nothingLeft(t *testing.T, cfg Config, goroutines int) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		files := openBelow(t, cfg.StateDir)
		now := runtime.NumGoroutine()
		if now <= goroutines && len(files) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Fatalf("%d goroutines, %d before; open files %q\n%s", now, goroutines, files, stacks)
		}
	}
}

// openBelow returns this process's open files below a folder.
func openBelow(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("SKIPPED: open files cannot be listed here: %v", err)
	}
	var out []string
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.HasPrefix(to, dir+"/") {
			out = append(out, to)
		}
	}
	return out
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
