package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqttclient "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

// patience is how long a test waits for what must happen. Nothing waits for what must not.
const patience = 20 * time.Second

// authority is a certificate authority made for one test.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert, a.key = a.sign(pkix.Name{CommonName: "test CA"}, nil)
	a.pool.AddCert(a.cert)
	return a
}

// sign issues a certificate; the first is the authority's own.
func (a *authority) sign(name pkix.Name, usage []x509.ExtKeyUsage) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// client returns a certificate for CN, in tenant O.
func (a *authority) client(tenant, cn string) *tls.Certificate {
	cert, key := a.sign(pkix.Name{CommonName: cn, Organization: []string{tenant}}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) serverTLS() *tls.Config {
	cert, key := a.sign(pkix.Name{CommonName: "broker"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}
}

// write stores the authority's and a server's certificate as mosquitto reads them.
func (a *authority) write(dir string) (ca, cert, key string) {
	server := a.serverTLS().Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	files := []string{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")}
	for i, block := range []*pem.Block{
		{Type: "CERTIFICATE", Bytes: a.cert.Raw}, {Type: "CERTIFICATE", Bytes: server.Certificate[0]}, {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(files[i], pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return files[0], files[1], files[2]
}

// access accepts certificates with a tenant, and the token "good" of tenant "t".
type access struct{}

func (access) Token(_ context.Context, token, _ string) (string, error) {
	if token != "good" {
		return "", errors.New("unknown token")
	}
	return "t", nil
}

func (access) Operator(_ context.Context, token string) (string, error) {
	if token != "operator" {
		return "", errors.New("unknown token")
	}
	return "t", nil
}

func (access) Device(_ context.Context, cert *x509.Certificate) (string, string, error) {
	if len(cert.Subject.Organization) != 1 {
		return "", "", errors.New("certificate without tenant")
	}
	return cert.Subject.Organization[0], cert.Subject.CommonName, nil
}

// bed is a running broker with everything that a test needs around it.
type bed struct {
	*testing.T
	ca       *authority
	address  string
	broker   *Broker // nil: mosquitto
	log      *logBuffer
	verifier func() *mqttclient.ClientOptions // a client that is the verifier
}

// logBuffer collects what the broker logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// embedded starts a broker.
func embedded(t *testing.T, cfg Config) *bed {
	t.Helper()
	b := &bed{T: t, ca: newAuthority(t), log: &logBuffer{}}
	cfg.Address, cfg.TLS, cfg.Log = "127.0.0.1:0", b.ca.serverTLS(), slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.Access == nil {
		cfg.Access = access{}
	}
	var err error
	if b.broker, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := b.broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.broker.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if n := b.broker.Stats().Panics; n != 0 {
			t.Errorf("the MQTT library panicked %d times:\n%s", n, b.log)
		}
	})
	b.address = b.broker.Addr().String()
	b.verifier = func() *mqttclient.ClientOptions {
		o := mqttclient.NewClientOptions().AddBroker("tcp://embedded").SetClientID("verifier")
		return o.SetCustomOpenConnectionFn(func(*url.URL, mqttclient.ClientOptions) (net.Conn, error) {
			return b.broker.Dial(t.Context())
		})
	}
	return b
}

// id returns the n-th device id.
func id(n int) string { return fmt.Sprintf("%064x", n) }

func topic(tenant string, n int, leaf proto.Leaf) string {
	return proto.Address{Tenant: tenant, Device: id(n), Leaf: leaf}.String()
}

// options are those of a device with a certificate.
func (b *bed) options(tenant string, n int) *mqttclient.ClientOptions {
	return b.with(b.ca.client(tenant, id(n))).SetClientID(id(n))
}

// with returns options with a client certificate or, with nil, without.
func (b *bed) with(cert *tls.Certificate) *mqttclient.ClientOptions {
	cfg := &tls.Config{RootCAs: b.ca.pool}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return mqttclient.NewClientOptions().AddBroker("ssl://" + b.address).SetTLSConfig(cfg)
}

// client is a connected client that remembers what it received.
type client struct {
	*bed
	mqttclient.Client
	mu       sync.Mutex
	received []mqttclient.Message
	arrived  chan struct{} // one signal
	lost     chan struct{} // closed when the connection is lost
	raw      *rawConn
}

// rawConn is the TCP connection under a client, for tests that cut it.
type rawConn struct {
	mu   sync.Mutex
	conn net.Conn
}

// try connects.
func (b *bed) try(o *mqttclient.ClientOptions) (*client, error) { return b.tryVersion(o, 4) }

// tryVersion connects with a protocol level; 0 is 4.
func (b *bed) tryVersion(o *mqttclient.ClientOptions, version uint) (*client, error) {
	if version == 0 {
		version = 4
	}
	c := &client{bed: b, arrived: make(chan struct{}, 1), lost: make(chan struct{}), raw: &rawConn{}}
	if o.CustomOpenConnectionFn == nil {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqttclient.ClientOptions) (net.Conn, error) {
			raw, err := net.Dial("tcp", b.address)
			if err != nil {
				return nil, err
			}
			cfg := o.TLSConfig.Clone()
			cfg.ServerName = "127.0.0.1"
			c.raw.mu.Lock()
			c.raw.conn = raw
			c.raw.mu.Unlock()
			return tls.Client(raw, cfg), nil
		})
	}
	o.SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(patience).SetProtocolVersion(version)
	o.SetDefaultPublishHandler(func(_ mqttclient.Client, m mqttclient.Message) {
		c.mu.Lock()
		c.received = append(c.received, m)
		c.mu.Unlock()
		select {
		case c.arrived <- struct{}{}:
		default:
		}
	})
	o.SetConnectionLostHandler(func(mqttclient.Client, error) { close(c.lost) })
	c.Client = mqttclient.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(patience) {
		return nil, errors.New("no answer to CONNECT")
	}
	b.Cleanup(func() { c.Disconnect(0) })
	return c, token.Error()
}

func (b *bed) connect(o *mqttclient.ClientOptions) *client {
	b.Helper()
	c, err := b.try(o)
	if err != nil {
		b.Fatalf("connect as %q = %v", o.ClientID, err)
	}
	return c
}

func (b *bed) device(tenant string, n int) *client {
	b.Helper()
	return b.connect(b.options(tenant, n))
}

// subscribe returns what the broker granted.
func (c *client) subscribe(filter string) byte {
	c.Helper()
	token := c.Subscribe(filter, 1, nil).(*mqttclient.SubscribeToken)
	if !token.WaitTimeout(patience) {
		c.Fatalf("no answer to SUBSCRIBE %q", filter)
	}
	for _, granted := range token.Result() { // paho's key is the filter without "$share/GROUP/"
		return granted
	}
	c.Fatalf("SUBSCRIBE %q: no result, %v", filter, token.Error())
	return 0
}

// publish waits until the broker has dealt with the message; it may have disconnected the client instead.
func (c *client) publish(topic string, qos byte, payload string) error {
	c.Helper()
	token := c.Publish(topic, qos, false, payload)
	if !token.WaitTimeout(patience) {
		c.Fatalf("no answer to PUBLISH on %q", topic)
	}
	return token.Error()
}

// await waits for a message with this payload and returns everything that came up to then.
func (c *client) await(payload string) []mqttclient.Message {
	c.Helper()
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		seen := c.received
		c.mu.Unlock()
		for i, m := range seen {
			if string(m.Payload()) == payload {
				return seen[:i+1]
			}
		}
		select {
		case <-c.arrived:
		case <-timeout:
			c.Fatalf("message %q did not arrive; %d others did", payload, len(seen))
		}
	}
}

// awaitLost waits until the broker has ended the connection.
func (c *client) awaitLost() {
	c.Helper()
	select {
	case <-c.lost:
	case <-time.After(patience):
		c.Fatal("the client is still connected")
	}
}

// until waits for a condition of the broker's counters.
func (b *bed) until(what string, ok func(Stats) bool) {
	b.Helper()
	tick, deadline := time.NewTicker(time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok(b.broker.Stats()) {
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("%s did not happen: %+v", what, b.broker.Stats())
		}
	}
}
