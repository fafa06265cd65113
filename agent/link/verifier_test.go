package link

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/probity-attest/probity/proto"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

const (
	tenant = "acme"
	token  = "pbt1.acme.id.secret"
)

// authority is a CA made for one test.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, serial: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) fingerprint() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(a.cert.Raw)) }

// issue returns the chain of a certificate; change may alter it before it is signed.
func (a *authority) issue(t *testing.T, subject pkix.Name, pub crypto.PublicKey, use x509.ExtKeyUsage, change func(*x509.Certificate)) [][]byte {
	t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{use},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der, a.cert.Raw}
}

func (a *authority) device(t *testing.T, d *device) [][]byte {
	return a.issue(t, pkix.Name{CommonName: d.ID(), Organization: []string{tenant}}, d.key.Public(), x509.ExtKeyUsageClientAuth, nil)
}

// device is a Device with a software key.
type device struct {
	key    *ecdsa.PrivateKey
	public []byte
}

func newDevice(t *testing.T) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &device{key, public}
}

func (d *device) ID() string               { return proto.DeviceID(d.public) }
func (d *device) TLSSigner() crypto.Signer { return d.key }

func (d *device) Hello(context.Context) ([]byte, error) {
	return proto.Encode(&proto.Hello{Agent: "1.0", Software: d.public})
}

func (d *device) Answer(_ context.Context, hello []byte, c *proto.EnrollChallenge) ([]byte, error) {
	m := proto.EnrollMessage(c.Nonce, hello)
	return ecdsa.SignASN1(rand.Reader, d.key, m[:])
}

// attester makes evidence of fixed contents and remembers what was accepted.
type attester struct {
	mu       sync.Mutex
	contents [][]byte
	fail     error
	accepted int
	made     int
}

func (a *attester) Report(_ context.Context, c *proto.Challenge) (*Report, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made++
	if a.fail != nil {
		return nil, a.fail
	}
	ev, err := proto.Encode(&proto.Evidence{Nonce: c.Nonce, Claims: []byte{0xa0}, Signature: []byte{1}})
	if err != nil {
		return nil, err
	}
	return &Report{
		Evidence: ev,
		Content: func(_ context.Context, d proto.Digest) ([]byte, error) {
			for _, b := range a.contents {
				if proto.Sum(b) == d {
					return b, nil
				}
			}
			return nil, errors.New("no such content")
		},
		Accepted: func() { a.mu.Lock(); a.accepted++; a.mu.Unlock() },
	}, nil
}

func (a *attester) counts() (made, accepted int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made, a.accepted
}

// login1 is one CONNECT that the broker saw.
type login1 struct {
	clientID, username, password, certificate string
	willTopic                                 string
}

// verifier plays the other side over a real broker with real TLS. Tests drive it by hand.
type verifier struct {
	mqtt.HookBase
	t       *testing.T
	ca      *authority
	server  *mqtt.Server
	address string
	device  *device
	got     chan message
	logins  chan login1

	mu           sync.Mutex
	refuseToken  bool
	refuseDevice bool
	refuseTLS    bool
	cut          proto.Leaf // disconnect when the next message of this leaf comes, before it is passed on
}

func newVerifier(t *testing.T, d *device) *verifier {
	t.Helper()
	v := &verifier{t: t, ca: newAuthority(t), device: d, got: make(chan message, 256), logins: make(chan login1, 64)}
	v.start("127.0.0.1:0")
	return v
}

// start listens. A second call, after stop, is a broker that lost everything.
func (v *verifier) start(address string) {
	t := v.t
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain := v.ca.issue(t, pkix.Name{CommonName: "broker"}, key.Public(), x509.ExtKeyUsageServerAuth, func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			if len(raw) > 0 && v.refuseTLS {
				return errors.New("unknown device")
			}
			return nil
		},
	}
	v.server = mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := v.server.AddHook(v, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "tls", Address: address, TLSConfig: config})
	if err := v.server.AddListener(l); err != nil {
		t.Fatal(err)
	}
	v.address = l.Address()
	if err := v.server.Serve(); err != nil {
		t.Fatal(err)
	}
	err = v.server.Subscribe(proto.AllUp, 1, func(_ *mqtt.Client, _ packets.Subscription, p packets.Packet) {
		a, err := proto.ParseAddress(p.TopicName)
		if err != nil || a.Device != v.device.ID() || a.Tenant != tenant {
			t.Errorf("message on %s: %v", p.TopicName, err)
			return
		}
		v.got <- message{a.Leaf, bytes.Clone(p.Payload)}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.stop() })
}

// stop closes the port and every connection.
func (v *verifier) stop() {
	if v.server != nil {
		v.server.Close()
		v.server = nil
	}
}

// ID implements mqtt.Hook.
func (v *verifier) ID() string { return "fake verifier" }

// Provides implements mqtt.Hook.
func (v *verifier) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish}, []byte{b})
}

// OnConnectAuthenticate implements mqtt.Hook.
func (v *verifier) OnConnectAuthenticate(cl *mqtt.Client, p packets.Packet) bool {
	l := login1{
		clientID: p.Connect.ClientIdentifier, username: string(p.Connect.Username), password: string(p.Connect.Password),
		willTopic: p.Connect.WillTopic,
	}
	if c, ok := cl.Net.Conn.(*tls.Conn); ok && len(c.ConnectionState().PeerCertificates) > 0 {
		l.certificate = c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	v.logins <- l
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.certificate == "" {
		return !v.refuseToken
	}
	return !v.refuseDevice
}

// OnACLCheck implements mqtt.Hook: each connection reaches only what the protocol gives it.
func (v *verifier) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	a := proto.Address{Tenant: tenant, Device: v.device.ID()}
	if cl.ID == "enroll-"+v.device.ID() {
		up, down := a, a
		up.Leaf, down.Leaf = proto.UpEnroll, proto.DownEnroll
		return write && topic == up.String() || !write && topic == down.String()
	}
	got, err := proto.ParseAddress(topic)
	return write && err == nil && got.Device == a.Device || !write && (topic == a.Down() || err == nil)
}

// OnPublish implements mqtt.Hook: it breaks the connection where a test wants it.
func (v *verifier) OnPublish(cl *mqtt.Client, p packets.Packet) (packets.Packet, error) {
	a, err := proto.ParseAddress(p.TopicName)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && v.cut != "" && a.Leaf == v.cut && !cl.Net.Inline {
		v.cut = ""
		cl.Net.Conn.Close()
		return p, packets.ErrRejectPacket
	}
	return p, nil
}

// gone waits until the broker has forgotten the device's connection. Without it, a device that is back at once may find
// its new session swept away with the old one: that is a race in this broker.
func (v *verifier) gone() {
	v.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		_, device := v.server.Clients.Get(v.device.ID())
		_, enrolling := v.server.Clients.Get("enroll-" + v.device.ID())
		if !device && !enrolling {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			v.t.Fatal("device does not disconnect")
		}
	}
}

func (v *verifier) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// next waits for the next message and checks its leaf.
func (v *verifier) next(leaf proto.Leaf) []byte {
	v.t.Helper()
	select {
	case m := <-v.got:
		if m.leaf != leaf {
			v.t.Fatalf("device sent %s (%x), want %s", m.leaf, m.payload, leaf)
		}
		return m.payload
	case <-time.After(patience):
		v.t.Fatalf("device did not send %s", leaf)
	}
	return nil
}

// login waits for the next CONNECT.
func (v *verifier) login() login1 {
	v.t.Helper()
	select {
	case l := <-v.logins:
		return l
	case <-time.After(patience):
		v.t.Fatal("device did not connect")
	}
	return login1{}
}

func (v *verifier) state(want proto.StateKind) {
	v.t.Helper()
	var s proto.State
	v.decode(v.next(proto.UpState), &s)
	if s.Kind != want || s.Agent != "1.0" {
		v.t.Fatalf("state = %+v, want kind %d of agent 1.0", s, want)
	}
}

func (v *verifier) decode(b []byte, m proto.Message) {
	v.t.Helper()
	if err := proto.Decode(b, m); err != nil {
		v.t.Fatal(err)
	}
}

func (v *verifier) send(leaf proto.Leaf, m proto.Message) {
	v.t.Helper()
	b, err := proto.Encode(m)
	if err != nil {
		v.t.Fatal(err)
	}
	v.sendRaw(proto.Address{Tenant: tenant, Device: v.device.ID(), Leaf: leaf}.String(), b, false)
}

func (v *verifier) sendRaw(topic string, payload []byte, retain bool) {
	v.t.Helper()
	if err := v.server.Publish(topic, payload, retain, 1); err != nil {
		v.t.Fatal(err)
	}
}

// challenge sends a challenge with a fresh nonce.
func (v *verifier) challenge() *proto.Challenge {
	v.t.Helper()
	c := &proto.Challenge{Nonce: make([]byte, proto.NonceSize), Banks: []uint16{11}, PCRs: 1, Lifetime: 120}
	if _, err := rand.Read(c.Nonce); err != nil {
		v.t.Fatal(err)
	}
	v.send(proto.DownChallenge, c)
	return c
}

// evidence waits for evidence and returns its digest.
func (v *verifier) evidence(c *proto.Challenge) proto.Digest {
	v.t.Helper()
	b := v.next(proto.UpEvidence)
	var e proto.Evidence
	v.decode(b, &e)
	if !bytes.Equal(e.Nonce, c.Nonce) {
		v.t.Fatalf("evidence answers nonce %x, want %x", e.Nonce, c.Nonce)
	}
	return proto.Sum(b)
}

func (v *verifier) receipt(d proto.Digest) {
	v.t.Helper()
	v.send(proto.DownReceipt, &proto.Receipt{Evidence: d, Status: proto.Appraised, State: "trusted", Next: 100})
}

// content waits for all chunks of one content.
func (v *verifier) content(want []byte) {
	v.t.Helper()
	var got []byte
	for len(got) < len(want) {
		var c proto.Chunk
		v.decode(v.next(proto.UpBlob), &c)
		if c.Digest != proto.Sum(want) || int(c.Size) != len(want) || int(c.Offset) != len(got) {
			v.t.Fatalf("chunk of %s at %d of %d, want %s at %d of %d", c.Digest, c.Offset, c.Size, proto.Sum(want), len(got), len(want))
		}
		got = append(got, c.Data...)
	}
	if !bytes.Equal(got, want) {
		v.t.Fatal("content differs")
	}
}

// enroll plays an enrolment from hello to certificate.
func (v *verifier) enroll(wantToken string) {
	v.t.Helper()
	var up proto.EnrollUp
	v.decode(v.next(proto.UpEnroll), &up)
	if up.Token != wantToken || len(up.Hello) == 0 {
		v.t.Fatalf("hello with token %q, want %q", up.Token, wantToken)
	}
	nonce := make([]byte, proto.NonceSize)
	v.send(proto.DownEnroll, &proto.EnrollDown{Challenge: &proto.EnrollChallenge{Nonce: nonce}})
	hello := up.Hello
	up = proto.EnrollUp{}
	v.decode(v.next(proto.UpEnroll), &up)
	if up.Proof == nil || !bytes.Equal(up.Proof.Hello, hello) {
		v.t.Fatal("proof does not repeat the hello")
	}
	m := proto.EnrollMessage(nonce, hello)
	if !ecdsa.VerifyASN1(&v.device.key.PublicKey, m[:], up.Proof.Answer) {
		v.t.Fatal("answer does not verify")
	}
	v.certify()
}

func (v *verifier) certify() {
	v.t.Helper()
	v.send(proto.DownEnroll, &proto.EnrollDown{Certificate: &proto.EnrollCertificate{
		Chain: v.ca.device(v.t, v.device), Renew: 1000, Level: "software",
	}})
}

// ignored is a log handler that reports ignored messages.
type ignored chan struct{}

func (ignored) Enabled(context.Context, slog.Level) bool { return true }
func (h ignored) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h ignored) WithGroup(string) slog.Handler          { return h }

func (h ignored) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "message ignored" {
		h <- struct{}{}
	}
	return nil
}
