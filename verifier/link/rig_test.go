package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/broker"
)

// patience is how long a test waits for what must happen. Nothing waits for what must not.
const patience = 30 * time.Second

// call is one call of the handler.
type call struct {
	ctx     context.Context
	from    proto.Address
	text    string // agent of a state, evidence, or content
	digest  proto.Digest
	overlap bool // another call for the device was running
}

// recorder is a Handler that tells what it was called with.
type recorder struct {
	calls chan call
	on    func(call) // runs inside the call, if set

	mu      sync.Mutex
	running map[string]int
}

func newRecorder(on func(call)) *recorder {
	return &recorder{calls: make(chan call, 10_000), on: on, running: make(map[string]int)}
}

func (r *recorder) record(c call) {
	r.mu.Lock()
	r.running[deviceOf(c.from)]++
	c.overlap = r.running[deviceOf(c.from)] > 1
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running[deviceOf(c.from)]--
		r.mu.Unlock()
		r.calls <- c
	}()
	if r.on != nil {
		r.on(c)
	}
}

func (r *recorder) State(ctx context.Context, from proto.Address, m *proto.State) {
	r.record(call{ctx: ctx, from: from, text: m.Agent})
}

func (r *recorder) Enroll(ctx context.Context, from proto.Address, m *proto.EnrollUp) {
	r.record(call{ctx: ctx, from: from, text: m.Token})
}

func (r *recorder) Evidence(ctx context.Context, from proto.Address, message []byte) {
	r.record(call{ctx: ctx, from: from, text: string(message)})
}

func (r *recorder) Capture(ctx context.Context, from proto.Address, m *proto.CaptureUp) {
	r.record(call{ctx: ctx, from: from, text: m.Start.Source})
}

func (r *recorder) Content(ctx context.Context, from proto.Address, digest proto.Digest, content []byte) {
	r.record(call{ctx: ctx, from: from, text: string(content), digest: digest})
}

// rig is a Link on a running embedded broker.
type rig struct {
	*testing.T
	*Link
	*recorder
	ca      *authority.Authority
	address string
	log     syncBuffer
	stop    func() // ends the link and waits

	mu     sync.Mutex
	broker *broker.Broker
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newRig starts broker and link; change adapts the link before it runs.
func newRig(t *testing.T, cfg Config, on func(call), change func(*Link)) *rig {
	t.Helper()
	r := &rig{T: t, recorder: newRecorder(on), address: "127.0.0.1:0"}
	r.startBroker()
	cfg.Dial, cfg.Handler, cfg.ClientID = r.dial, r.recorder, "verifier"
	cfg.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	var err error
	if r.Link, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r.Link)
	}
	r.stop = run(t, r.Link)
	r.awaitReady()
	return r
}

// run runs a link until the test ends or stop is called.
func run(t *testing.T, l *Link) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run() = %v", err)
				}
			case <-time.After(patience):
				t.Error("Run does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func (r *rig) awaitReady() {
	r.Helper()
	select {
	case <-r.Ready():
	case <-time.After(patience):
		r.Fatalf("the link does not become ready:\n%s", r.log.String())
	}
}

func (r *rig) startBroker() {
	r.Helper()
	var err error
	if r.ca == nil {
		r.ca, err = authority.Open(authority.Config{Dir: r.TempDir(), Hosts: []string{"127.0.0.1"}})
		if err != nil {
			r.Fatal(err)
		}
	}
	b, err := broker.New(broker.Config{Address: r.address, TLS: r.ca.ServerTLS(), Access: access{r.ca}})
	if err != nil {
		r.Fatal(err)
	}
	if err := b.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = b.Close() })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broker, r.address = b, b.Addr().String()
}

func (r *rig) dial(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	b := r.broker
	r.mu.Unlock()
	return b.Dial(ctx)
}

// access lets in every device with a certificate.
type access struct{ ca *authority.Authority }

func (a access) Token(context.Context, string, string) (string, error) {
	return "", fmt.Errorf("no tokens here")
}

func (a access) Operator(context.Context, string) (string, error) {
	return "", fmt.Errorf("no operators here")
}

func (a access) Device(_ context.Context, cert *x509.Certificate) (string, string, error) {
	return a.ca.Device(cert)
}

// id returns the n-th device id.
func id(n int) string { return fmt.Sprintf("%064x", n) }

func topic(device string, leaf proto.Leaf) proto.Address {
	return proto.Address{Tenant: "t", Device: device, Leaf: leaf}
}

// sharing returns a device on the same worker as another or, with false, on another worker.
func (r *rig) sharing(device string, same bool) string {
	for n := 1000; ; n++ {
		if got := r.queue(topic(id(n), proto.UpState)) == r.queue(topic(device, proto.UpState)); got == same && id(n) != device {
			return id(n)
		}
	}
}

// device is a device's MQTT client.
type device struct {
	r  *rig
	id string
	c  mqtt.Client
	in chan mqtt.Message
}

// tlsOf returns TLS with a certificate of the device.
func (r *rig) tlsOf(id string) *tls.Config {
	r.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.Fatal(err)
	}
	chain, _, _, err := r.ca.IssueDevice("t", id, key.Public())
	if err != nil {
		r.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.Certificate())
	return &tls.Config{
		RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
	}
}

// connect connects a device and subscribes it to what is meant for it.
func (r *rig) connect(id string) *device {
	r.Helper()
	d := &device{r: r, id: id, in: make(chan mqtt.Message, 1000)}
	o := mqtt.NewClientOptions().AddBroker("ssl://" + r.address).SetClientID(id).SetTLSConfig(r.tlsOf(id))
	o.SetProtocolVersion(4).SetAutoReconnect(false).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { d.in <- m })
	d.c = mqtt.NewClient(o)
	d.wait("connect", d.c.Connect())
	d.wait("subscribe", d.c.Subscribe(topic(id, "").Down(), 1, nil))
	r.Cleanup(func() { d.c.Disconnect(0) })
	return d
}

func (d *device) wait(what string, token mqtt.Token) {
	d.r.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		d.r.Fatalf("device %s: %s: %v", d.id, what, token.Error())
	}
}

func (d *device) publish(leaf proto.Leaf, payload []byte) {
	d.r.Helper()
	d.wait("publish on "+string(leaf), d.c.Publish(topic(d.id, leaf).String(), 1, false, payload))
}

func (d *device) send(leaf proto.Leaf, m proto.Message) {
	d.r.Helper()
	b, err := proto.Encode(m)
	if err != nil {
		d.r.Fatal(err)
	}
	d.publish(leaf, b)
}

// say sends a state with a text.
func (d *device) say(text string) {
	d.r.Helper()
	d.send(proto.UpState, &proto.State{Kind: proto.StateReady, Agent: text})
}

// next returns the next message to the device.
func (d *device) next(leaf proto.Leaf) []byte {
	d.r.Helper()
	select {
	case m := <-d.in:
		if want := topic(d.id, leaf).String(); m.Topic() != want {
			d.r.Fatalf("message on %s, want %s", m.Topic(), want)
		}
		return m.Payload()
	case <-time.After(patience):
		d.r.Fatalf("nothing came on %s", leaf)
		return nil
	}
}

// next returns the next call of the handler that ended.
func (r *rig) next() call {
	r.Helper()
	select {
	case c := <-r.calls:
		if c.overlap {
			r.Errorf("two calls for device %s at once", c.from.Device)
		}
		return c
	case <-time.After(patience):
		r.Fatalf("the handler was not called:\n%s", r.log.String())
		return call{}
	}
}

// until waits for a condition.
func (r *rig) until(what string, is func() bool) {
	r.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			r.Fatalf("%s did not happen:\n%s", what, r.log.String())
		}
	}
}
