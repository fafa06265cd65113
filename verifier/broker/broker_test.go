package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqttclient "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

func TestNewRefusesUnsafeConfigurations(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no TLS":                 {Access: access{}},
		"no client certificates": {Access: access{}, TLS: &tls.Config{}},
		"no access rules":        {TLS: &tls.Config{ClientAuth: tls.RequestClientCert}},
	} {
		if b, err := New(cfg); err == nil || b != nil {
			t.Errorf("New with %s = %v, %v, want an error", name, b, err)
		}
	}
}

func TestWhoMayConnect(t *testing.T) {
	b := embedded(t, Config{})
	stranger := newAuthority(t)
	for _, test := range []struct {
		name    string
		options *mqttclient.ClientOptions
		ok      bool
	}{
		{"device", b.options("t", 1), true},
		{"device with user name and password", b.options("t", 1).SetUsername(id(2)).SetPassword("good"), true},
		{"device with another's client id", b.options("t", 1).SetClientID(id(2)), false},
		{"device without client id", b.options("t", 1).SetClientID(""), false},
		{"device with the enrolment client id", b.options("t", 1).SetClientID("enroll-" + id(1)), false},
		{"device with the verifier's id", b.options("t", 1).SetClientID("verifier"), false},
		{"certificate without tenant", b.options("", 1), false},
		{"certificate with a hostile tenant", b.options("t/#", 1), false},
		{"certificate with a hostile name", b.with(b.ca.client("t", "+")).SetClientID("+"), false},
		{"certificate of another authority", b.with(stranger.client("t", id(1))).SetClientID(id(1)), false},
		{"token", b.with(nil).SetUsername(id(1)).SetPassword("good").SetClientID("enroll-" + id(1)), true},
		{"wrong token", b.with(nil).SetUsername(id(1)).SetPassword("s3cr3t").SetClientID("enroll-" + id(1)), false},
		{"empty token", b.with(nil).SetUsername(id(1)).SetClientID("enroll-" + id(1)), false},
		{"token with a device's client id", b.with(nil).SetUsername(id(1)).SetPassword("good").SetClientID(id(1)), false},
		{"token with another's client id", b.with(nil).SetUsername(id(1)).SetPassword("good").SetClientID("enroll-" + id(2)), false},
		{"token for no device", b.with(nil).SetUsername("#").SetPassword("good").SetClientID("enroll-#"), false},
		{"token for a hostile device", b.with(nil).SetUsername(id(1) + "/../x\n").SetPassword("good").SetClientID("enroll-\n"), false},
		{"operator", b.with(nil).SetUsername("operator").SetPassword("operator").SetClientID("any"), true},
		{"operator with a device's client id", b.with(nil).SetUsername("operator").SetPassword("operator").SetClientID(id(1)), true},
		{"operator with an enrolment token", b.with(nil).SetUsername("operator").SetPassword("good").SetClientID("any"), false},
		{"operator without token", b.with(nil).SetUsername("operator").SetClientID("any"), false},
		{"nothing", b.with(nil).SetClientID("x"), false},
		{"MQTT 3.1", b.options("t", 1).SetProtocolVersion(3), false},
	} {
		version := test.options.ProtocolVersion
		c, err := b.tryVersion(test.options, version)
		if (err == nil) != test.ok {
			t.Errorf("%s: connect = %v, want success %t", test.name, err, test.ok)
		}
		if err == nil {
			c.Disconnect(0)
		}
	}
	log := b.log.String()
	for _, secret := range []string{"s3cr3t", "good"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log contains the token %q", secret)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a client broke the log into a line of its own: %q", line)
		}
	}
	if got := b.broker.Stats(); got.Unauthenticated < 16 {
		t.Errorf("Unauthenticated = %d, want every refused client", got.Unauthenticated)
	}
}

func TestEnrolmentTopics(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	enrol := func(n int) *client {
		return b.connect(b.with(nil).SetUsername(id(n)).SetPassword("good").SetClientID("enroll-" + id(n)))
	}
	for _, topic := range append(denied(), topic("t", 1, proto.UpEvidence), topic("t", 1, proto.UpState), topic("t", 1, proto.UpBlob), topic("t", 2, proto.UpEnroll)) {
		_ = enrol(1).publish(topic, 1, "evil")
	}
	c := enrol(1)
	for _, filter := range []string{"#", proto.Address{Tenant: "t", Device: id(1)}.Down(), topic("t", 1, proto.DownReceipt), topic("t", 2, proto.DownEnroll), proto.AllUp} {
		if got := c.subscribe(filter); got != 0x80 {
			t.Errorf("subscription of an enrolling device to %q = %#x, want refused", filter, got)
		}
	}
	if got := c.subscribe(topic("t", 1, proto.DownEnroll)); got > 2 {
		t.Errorf("subscription to the own enrolment = %#x, want granted", got)
	}
	second := enrol(1) // another holder of the token cannot end the enrolment by claiming the same device
	if err := c.publish(topic("t", 1, proto.UpEnroll), 1, "hello"); err != nil {
		t.Fatal(err)
	}
	for _, m := range v.await("hello") {
		if string(m.Payload()) == "evil" {
			t.Errorf("enrolling device published on %q", m.Topic())
		}
	}
	if err := v.publish(topic("t", 1, proto.DownEnroll), 1, "challenge"); err != nil {
		t.Fatal(err)
	}
	c.await("challenge")
	b.broker.Disconnect("t", id(1))
	c.awaitLost()
	second.awaitLost()
}

// TestTakeOver connects the same device many times at once: in the end one connection is left, and it receives.
func TestTakeOver(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	old := b.connect(b.options("t", 1).SetWill(topic("t", 1, proto.UpState), "old is gone", 1, false))
	for round := range 20 {
		c := b.device("t", 1)
		old.awaitLost()
		if got := c.subscribe(proto.Address{Tenant: "t", Device: id(1)}.Down()); got > 2 {
			t.Fatalf("round %d: subscription refused", round)
		}
		text := fmt.Sprintf("round %d", round)
		if err := v.publish(topic("t", 1, proto.DownReceipt), 1, text); err != nil {
			t.Fatal(err)
		}
		c.await(text)
		old = c
	}
	v.await("old is gone")

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _, _ = b.try(b.options("t", 2)) })
	}
	wg.Wait()
	last := b.device("t", 2)
	last.subscribe(topic("t", 2, proto.DownReceipt))
	if err := v.publish(topic("t", 2, proto.DownReceipt), 1, "last"); err != nil {
		t.Fatal(err)
	}
	last.await("last")
	b.until("end of the older connections", func(s Stats) bool { return s.Sessions == 3 })

	// The same device id in another tenant is another device.
	other := b.device("other", 2)
	if !last.IsConnectionOpen() || !other.IsConnectionOpen() {
		t.Error("a device of one tenant ended the connection of its namesake in another")
	}
}

func TestDisconnect(t *testing.T) {
	b := embedded(t, Config{})
	removed, namesake, kept := b.device("t", 1), b.device("other", 1), b.device("t", 2)
	b.broker.Disconnect("t", id(1))
	removed.awaitLost()
	v := b.listener()
	for n, c := range []*client{1: namesake, 2: kept} {
		if c == nil {
			continue
		}
		tenant := []string{"", "other", "t"}[n]
		if err := c.publish(topic(tenant, n, proto.UpState), 1, tenant); err != nil {
			t.Errorf("device of %s was disconnected too: %v", tenant, err)
		}
		v.await(tenant)
	}
}

func TestRetained(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	retain := func(c *client, topic, payload string) error {
		token := c.Publish(topic, 1, true, payload)
		if !token.WaitTimeout(patience) {
			t.Fatal("no answer to PUBLISH")
		}
		return token.Error()
	}
	// A challenge is delivered but never kept; a result is kept.
	d := b.device("t", 1)
	d.subscribe(topic("t", 1, proto.DownChallenge))
	if err := retain(v, topic("t", 1, proto.DownChallenge), "challenge"); err != nil {
		t.Fatal(err)
	}
	d.await("challenge")
	if err := retain(v, topic("t", 1, proto.Result), "result"); err != nil {
		t.Fatal(err)
	}
	if got := b.broker.server.Topics.Retained.Len(); got != 1 {
		t.Errorf("%d retained messages, want the result only", got)
	}
	if err := retain(v, topic("t", 1, proto.Result), ""); err != nil {
		t.Fatal(err)
	}
	if got := b.broker.server.Topics.Retained.Len(); got != 0 {
		t.Errorf("%d retained messages after the result was cleared", got)
	}
	// A device retains nothing, not even on its own topic.
	_ = retain(d, topic("t", 1, proto.UpState), "evil")
	d.awaitLost()
	if _, err := b.try(b.options("t", 1).SetWill(topic("t", 1, proto.UpState), "evil", 1, true)); err == nil {
		t.Error("a device with a retained will was let in")
	}
	if got := b.broker.server.Topics.Retained.Len(); got != 0 {
		t.Errorf("%d retained messages, a device left one", got)
	}
	b.nothing(v, b.sub("t", 2), "evil")
}

// TestHold: a device that comes before the verifier listens waits, and is then served.
func TestHold(t *testing.T) {
	hold := make(chan struct{})
	b := embedded(t, Config{Hold: hold})
	connected := make(chan error, 1)
	go func() {
		c, err := b.try(b.options("t", 1))
		if err == nil {
			c.Disconnect(0)
		}
		connected <- err
	}()
	v := b.listener() // does not wait
	defer v.Disconnect(0)
	select {
	case err := <-connected:
		t.Fatalf("a device was served before its time: %v", err)
	default:
	}
	if got := b.broker.Stats().Connections; got != 0 {
		t.Errorf("%d connections were accepted before their time", got)
	}
	close(hold)
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

// TestReader: an operator's token opens the results of its tenant, the retained ones at once, and nothing else.
func TestReader(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	publish := func(tenant string, n int, payload string) {
		t.Helper()
		if token := v.Publish(topic(tenant, n, proto.Result), 1, true, payload); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	publish("t", 1, "first")
	publish("other", 1, "foreign")
	r := b.connect(b.with(nil).SetUsername("operator").SetPassword("operator").SetClientID(id(1)))
	for _, filter := range []string{"#", "probity/v1/+/+/result", proto.Results("other"), proto.AllUp, "probity/v1/t/+/dn/#", "probity/v1/t/+/+/challenge"} {
		if got := r.subscribe(filter); got != 0x80 {
			t.Errorf("subscription to %q = %#x, want it refused", filter, got)
		}
	}
	if got := r.subscribe(proto.Results("t")); got > 1 {
		t.Fatalf("subscription to results was refused: %#x", got)
	}
	r.await("first")
	publish("other", 2, "foreign")
	publish("t", 2, "second")
	r.await("second")
	b.device("t", 1) // a reader with a device's client id takes no session over, and loses its own to none
	publish("t", 3, "third")
	r.await("third")
	r.Publish(topic("t", 1, proto.UpState), 1, false, "evil")
	r.awaitLost()
}

// sub is a device that is subscribed to what is meant for it.
func (b *bed) sub(tenant string, n int) *client {
	c := b.device(tenant, n)
	c.subscribe(proto.Address{Tenant: tenant, Device: id(n)}.Down())
	return c
}

func TestVerifierIsBoundToo(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	for _, filter := range []string{"#", "$SYS/#", "probity/v1/+/+/dn/#", "$share/g/#"} {
		if got := v.subscribe(filter); got != 0x80 {
			t.Errorf("verifier's subscription to %q = %#x, want refused", filter, got)
		}
	}
	if got := v.subscribe("$share/replicas/" + proto.AllUp); got > 2 {
		t.Errorf("verifier's shared subscription = %#x, want granted", got)
	}
	_ = v.publish(topic("t", 1, proto.UpEvidence), 1, "forged")
	v.awaitLost()
}

func TestDialAndClose(t *testing.T) {
	b := embedded(t, Config{})
	if err := b.broker.Start(); err == nil {
		t.Error("second Start succeeded")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.broker.Dial(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial with an ended context = %v", err)
	}
	first, second := b.listener(), b.listener() // two verifiers do not end one another
	d := b.device("t", 1)
	if err := d.publish(topic("t", 1, proto.UpState), 1, "both"); err != nil {
		t.Fatal(err)
	}
	first.await("both")
	second.await("both")
	idle, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	closed := make(chan error, 1)
	go func() { closed <- b.broker.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("Close() = %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Close does not end")
	}
	d.awaitLost()
	first.awaitLost()
	if _, err := b.broker.Dial(t.Context()); err == nil {
		t.Error("Dial after Close succeeded")
	}
	if got := b.broker.Stats(); got.Connections != 0 || got.Sessions != 0 {
		t.Errorf("after Close %+v, want no connections", got)
	}
	unstarted, err := New(Config{TLS: b.ca.serverTLS(), Access: access{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unstarted.Dial(t.Context()); err == nil || unstarted.Addr() != nil {
		t.Error("a broker that was not started can be dialled")
	}
	if err := unstarted.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := unstarted.Start(); err == nil {
		t.Error("Start after Close succeeded")
	}
}

// stuckAccess does not answer for device 1 until the context ends.
type stuckAccess struct{ access }

func (a stuckAccess) Device(ctx context.Context, cert *x509.Certificate) (string, string, error) {
	if cert.Subject.CommonName == id(1) {
		<-ctx.Done()
		return "", "", ctx.Err()
	}
	return a.access.Device(ctx, cert)
}

func TestSlowAccess(t *testing.T) {
	b := embedded(t, Config{Access: stuckAccess{}, ConnectTimeout: time.Second})
	stuck := make(chan error, 1)
	go func() {
		_, err := b.try(b.options("t", 1))
		stuck <- err
	}()
	b.until("connecting", func(s Stats) bool { return s.Connections == 1 })
	b.device("t", 2)
	if err := <-stuck; err == nil {
		t.Error("a device that could not be checked was let in")
	}
}
