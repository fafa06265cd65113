package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqttclient "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

// TestACL attacks the embedded broker and mosquitto, with the configuration that we publish, in the same ways: a device
// (1) publishes where it must not, subscribes to what is not its own, and leaves wills elsewhere. MQTT 3.1.1 does not tell
// a client that it was denied, so the test looks at what arrives at the verifier and at another device (2), and knows that
// nothing more is coming when a later, allowed message has arrived.
func TestACL(t *testing.T) {
	beds := map[string]func(*testing.T) *bed{
		"embedded":  func(t *testing.T) *bed { return embedded(t, Config{}) },
		"mosquitto": mosquitto,
	}
	for name, start := range beds {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			t.Run("allowed", func(t *testing.T) { b.as(t).allowed() })
			t.Run("publish", func(t *testing.T) { b.as(t).publishes() })
			t.Run("subscribe", func(t *testing.T) { b.as(t).subscribes() })
			t.Run("will", func(t *testing.T) { b.as(t).wills() })
			t.Run("take over", func(t *testing.T) { b.as(t).takeOver() })
		})
	}
}

// as returns the bed for a subtest.
func (b *bed) as(t *testing.T) *bed {
	c := *b
	c.T = t
	return &c
}

// listener is the verifier, subscribed to all devices.
func (b *bed) listener() *client {
	b.Helper()
	v := b.connect(b.verifier())
	if got := v.subscribe(proto.AllUp); got > 2 {
		b.Fatalf("verifier's subscription was refused: %#x", got)
	}
	return v
}

func (b *bed) allowed() {
	v, d := b.listener(), b.device("t", 1)
	if got := d.subscribe(proto.Address{Tenant: "t", Device: id(1)}.Down()); got > 2 {
		b.Fatalf("device's subscription was refused: %#x", got)
	}
	for _, leaf := range []proto.Leaf{proto.UpEnroll, proto.UpEvidence, proto.UpBlob, proto.UpState, proto.UpCapture} {
		for qos := range byte(3) {
			payload := fmt.Sprintf("%s %d", leaf, qos)
			if err := d.publish(topic("t", 1, leaf), qos, payload); err != nil {
				b.Errorf("publish on %s with QoS %d = %v", leaf, qos, err)
			}
			v.await(payload)
		}
	}
	for _, leaf := range []proto.Leaf{proto.DownEnroll, proto.DownChallenge, proto.DownWant, proto.DownReceipt, proto.DownCapture} {
		if err := v.publish(topic("t", 1, leaf), 1, "for you "+string(leaf)); err != nil {
			b.Errorf("verifier publishes on %s = %v", leaf, err)
		}
		d.await("for you " + string(leaf))
	}
}

// denied are topics that device 1 of tenant t must not publish to.
func denied() []string {
	own := "probity/v1/t/" + id(1)
	return []string{
		topic("t", 2, proto.UpEvidence), topic("t", 2, proto.UpState), topic("t", 2, proto.UpEnroll), topic("t", 2, proto.UpBlob), topic("t", 2, proto.UpCapture), topic("other", 1, proto.UpEvidence),
		topic("t", 2, proto.DownReceipt), topic("t", 2, proto.DownChallenge), topic("t", 2, proto.Result),
		topic("t", 1, proto.DownReceipt), topic("t", 1, proto.Result),
		own + "/up", own + "/up/", own + "/up/other", own + "/up/evidence/more", own + "/up/evidence/", own + "//up/evidence",
		own + "/UP/evidence", own + "/up/../../" + id(2) + "/up/evidence", own + "/epoch", "probity/v1/t/epoch",
		"/" + own + "/up/evidence", "probity/v2/t/" + id(1) + "/up/evidence", "probity/v1//" + id(1) + "/up/evidence",
		"probity/v1/t/" + strings.ToUpper(id(0xabc)) + "/up/evidence", "probity/v1/t/" + id(1)[:63] + "/up/evidence",
		own + "/up/evidence\n", own + "/up/evidence ", "probity/v1/t\\/" + id(1) + "/up/evidence", "'; DROP TABLE devices; --",
		"$SYS/broker/version", "$SYS/x", "$share/g/" + own + "/up/evidence", "$", "/", " ", "x", strings.Repeat("a/", 200) + "a",
	}
}

func (b *bed) publishes() {
	v, other := b.listener(), b.device("t", 2)
	other.subscribe(proto.Address{Tenant: "t", Device: id(2)}.Down())
	for _, topic := range denied() {
		for qos := range byte(2) {
			attacker := b.device("t", 1)
			_ = attacker.publish(topic, qos, "evil "+topic)
			attacker.Disconnect(0)
		}
	}
	b.nothing(v, other, "evil")
}

// nothing checks that no message with this text has reached the verifier or the other device.
func (b *bed) nothing(v, other *client, text string) {
	b.Helper()
	marker := "marker " + b.Name()
	if err := b.device("t", 1).publish(topic("t", 1, proto.UpState), 1, marker); err != nil {
		b.Fatalf("allowed publication = %v", err)
	}
	for _, m := range v.await(marker) {
		if strings.Contains(string(m.Payload()), text) {
			b.Errorf("verifier received %q on %q", m.Payload(), m.Topic())
		}
	}
	if err := v.publish(topic("t", 2, proto.DownReceipt), 1, marker); err != nil {
		b.Fatalf("verifier's publication = %v", err)
	}
	for _, m := range other.await(marker) {
		if strings.Contains(string(m.Payload()), text) {
			b.Errorf("device 2 received %q on %q", m.Payload(), m.Topic())
		}
	}
}

func (b *bed) subscribes() {
	own := "probity/v1/t/" + id(1)
	filters := []string{
		"#", "+", "+/#", "probity/#", "probity/v1/#", "probity/v1/t/#", "probity/v1/+/+/dn/#", "probity/v1/t/+/dn/#", proto.AllUp,
		"probity/v1/t/" + id(2) + "/dn/#", topic("t", 2, proto.DownChallenge), topic("t", 2, proto.Result), topic("t", 1, proto.Result),
		own + "/#", own + "/+/#", own + "/up/#", topic("t", 1, proto.UpEvidence), own + "/dn/+/+", own + "/../" + id(2) + "/dn/#",
		"$SYS/#", "$SYS/broker/version", "$share/x/#", "$share/x/" + proto.AllUp, "$share/x/" + own + "/dn/#", "$share/x/probity/v1/t/" + id(2) + "/dn/#",
		"+/+/+/+/+/+", "/#", "probity/v1/+/" + id(2) + "/dn/#", "probity/v1/t/" + id(2) + "/+/challenge",
	}
	v, victim, attacker := b.listener(), b.device("t", 2), b.device("t", 1)
	for _, filter := range filters {
		granted := attacker.subscribe(filter)
		if b.broker != nil && granted != 0x80 { // mosquitto grants and then delivers nothing
			b.Errorf("subscription to %q = %#x, want refused", filter, granted)
		}
	}
	attacker.subscribe(proto.Address{Tenant: "t", Device: id(1)}.Down())
	for _, leaf := range []proto.Leaf{proto.DownChallenge, proto.DownReceipt, proto.DownWant, proto.DownEnroll, proto.Result} {
		if err := v.publish(topic("t", 2, leaf), 1, "secret"); err != nil {
			b.Fatal(err)
		}
	}
	if err := victim.publish(topic("t", 2, proto.UpEvidence), 1, "secret"); err != nil {
		b.Fatal(err)
	}
	v.await("secret")
	if err := v.publish(topic("t", 1, proto.DownReceipt), 1, "marker"); err != nil {
		b.Fatal(err)
	}
	for _, m := range attacker.await("marker") {
		if m.Topic() != topic("t", 1, proto.DownReceipt) {
			b.Errorf("device 1 received %q on %q", m.Payload(), m.Topic())
		}
	}
}

func (b *bed) wills() {
	v, other := b.listener(), b.device("t", 2)
	other.subscribe(proto.Address{Tenant: "t", Device: id(2)}.Down())
	for _, topic := range denied() {
		c, err := b.try(b.options("t", 1).SetWill(topic, "evil will", 1, false))
		if err == nil {
			c.drop()
		}
	}
	b.nothing(v, other, "evil")

	c := b.connect(b.options("t", 1).SetWill(topic("t", 1, proto.UpState), "gone", 1, false))
	c.drop()
	v.await("gone")
}

// drop ends the connection without DISCONNECT, so that the broker publishes the will.
func (c *client) drop() {
	c.Helper()
	c.raw.mu.Lock()
	conn := c.raw.conn
	c.raw.mu.Unlock()
	if err := conn.SetReadDeadline(time.Now()); err != nil { // paho takes this for a lost connection and closes it
		c.Fatal(err)
	}
	c.awaitLost()
}

func (b *bed) takeOver() {
	v, victim := b.listener(), b.device("t", 2)
	victim.subscribe(proto.Address{Tenant: "t", Device: id(2)}.Down())
	c, err := b.try(b.options("t", 1).SetClientID(id(2))) // mosquitto lets it in under its own id
	if b.broker != nil && err == nil {
		b.Error("a device with another's client id was let in")
	}
	if err == nil {
		c.Disconnect(0)
	}
	if err := v.publish(topic("t", 2, proto.DownReceipt), 1, "still there"); err != nil {
		b.Fatal(err)
	}
	victim.await("still there")
	if !victim.IsConnectionOpen() {
		b.Error("the other device was disconnected")
	}
}

// mosquitto starts mosquitto with mosquitto.conf and mosquitto.acl on a free port.
func mosquitto(t *testing.T) *bed {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("mosquitto is not installed: install with make deps (%v)", err)
	}
	b := &bed{T: t, ca: newAuthority(t)}
	dir := t.TempDir()
	ca, cert, key := b.ca.write(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(b.address)
	conf, err := os.ReadFile("mosquitto.conf")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("mosquitto.acl")
	if err != nil {
		t.Fatal(err)
	}
	acl := filepath.Join(dir, "probity.acl")
	if err := os.WriteFile(acl, []byte(strings.ReplaceAll(string(rules), "/default/", "/t/")), 0o600); err != nil {
		t.Fatal(err)
	}
	// As root mosquitto would change to a user that cannot read the test's files.
	text := "user root\n" + strings.NewReplacer("/etc/mosquitto/probity.acl", acl, "/etc/mosquitto/probity-ca.pem", ca,
		"/etc/mosquitto/server.pem", cert, "/etc/mosquitto/server.key", key, "listener 8883", "listener "+port+" 127.0.0.1").Replace(string(conf))
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out logBuffer
	cmd := exec.CommandContext(context.Background(), path, "-c", file)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("mosquitto's log:\n%s", out.String())
		}
	})
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", b.address)
		if err == nil {
			c.Close()
			break
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("mosquitto ended: %v\n%s", err, out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.New("mosquitto does not listen"))
		}
	}
	b.verifier = func() *mqttclient.ClientOptions { return b.with(b.ca.client("", "verifier-1")).SetClientID("any") }
	return b
}
