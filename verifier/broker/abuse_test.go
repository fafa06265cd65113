package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqttclient "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/probity-attest/probity/proto"
)

func TestOversize(t *testing.T) {
	b := embedded(t, Config{})
	v, d := b.listener(), b.device("t", 1)
	largest := strings.Repeat("x", proto.MaxMessage)
	if err := d.publish(topic("t", 1, proto.UpBlob), 1, largest); err != nil {
		t.Fatalf("publish of %d bytes = %v", len(largest), err)
	}
	v.await(largest)
	_ = d.publish(topic("t", 1, proto.UpBlob), 1, strings.Repeat("y", maxPacket))
	d.awaitLost()
	if _, err := b.try(b.options("t", 1).SetWill(topic("t", 1, proto.UpState), strings.Repeat("z", maxBeforeConnect), 1, false)); err == nil {
		t.Errorf("a CONNECT of more than %d bytes was accepted", maxBeforeConnect)
	}
}

// rawDevice is a device that speaks MQTT by hand.
func (b *bed) rawDevice(n int) net.Conn {
	b.Helper()
	c, err := tls.Dial("tcp", b.address, &tls.Config{RootCAs: b.ca.pool, Certificates: []tls.Certificate{*b.ca.client("t", id(n))}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.ClientIdentifier = "MQTT", 4, true, id(n)
	if err := p.Write(c); err != nil {
		b.Fatal(err)
	}
	if ack, err := packets.ReadPacket(c); err != nil || ack.(*packets.ConnackPacket).ReturnCode != packets.Accepted {
		b.Fatalf("CONNACK = %v, %v", ack, err)
	}
	return c
}

// TestProtocolAbuse sends packets that no conforming device sends: the connection ends, the broker goes on.
func TestProtocolAbuse(t *testing.T) {
	b := embedded(t, Config{})
	v := b.listener()
	many := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	many.MessageID = 1
	for n := range 100 {
		many.Topics, many.Qoss = append(many.Topics, topic("t", n, proto.DownReceipt)), append(many.Qoss, 1)
	}
	again := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	again.ProtocolName, again.ProtocolVersion, again.ClientIdentifier = "MQTT", 4, id(2)
	again.PasswordFlag, again.UsernameFlag, again.Username, again.Password = true, true, "u", []byte("s3cr3t")
	empty := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	for name, send := range map[string]func(net.Conn) error{
		"many filters":         func(c net.Conn) error { return many.Write(c) },
		"second CONNECT":       func(c net.Conn) error { return again.Write(c) },
		"empty topic":          func(c net.Conn) error { return empty.Write(c) },
		"PUBREC":               func(c net.Conn) error { return packets.NewControlPacket(packets.Pubrec).Write(c) },
		"PUBREL":               func(c net.Conn) error { return packets.NewControlPacket(packets.Pubrel).Write(c) },
		"CONNACK":              func(c net.Conn) error { return packets.NewControlPacket(packets.Connack).Write(c) },
		"reserved type 0":      func(c net.Conn) error { _, err := c.Write([]byte{0, 0}); return err },
		"type 15":              func(c net.Conn) error { _, err := c.Write([]byte{0xf0, 0}); return err },
		"QoS 3":                func(c net.Conn) error { _, err := c.Write([]byte{0x36, 2, 0, 0}); return err },
		"endless length":       func(c net.Conn) error { _, err := c.Write([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff}); return err },
		"topic past the end":   func(c net.Conn) error { _, err := c.Write([]byte{0x30, 2, 0xff, 0xff}); return err },
		"256 MiB announced":    func(c net.Conn) error { _, err := c.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}); return err },
		"SUBSCRIBE of nothing": func(c net.Conn) error { _, err := c.Write([]byte{0x82, 2, 0, 1}); return err },
	} {
		c := b.rawDevice(1)
		if err := send(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p, err := packets.ReadPacket(c); err == nil {
			t.Errorf("%s: answered with %v, want the connection to end", name, p)
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("%s: the connection is still open", name)
		}
		c.Close()
	}
	b.nothing(v, b.sub("t", 2), "evil")
	if strings.Contains(b.log.String(), "s3cr3t") {
		t.Error("the log contains a password")
	}
}

// TestHalfOpen opens connections that never finish TLS, CONNECT or a packet: others are served meanwhile, and those end.
func TestHalfOpen(t *testing.T) {
	b := embedded(t, Config{ConnectTimeout: time.Second})
	var idle []net.Conn
	open := func() net.Conn {
		c, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		return c
	}
	for range 20 {
		open()                                                                  // silent
		if _, err := open().Write([]byte{0x16, 0x03, 0x01, 0x02}); err != nil { // part of a ClientHello
			t.Fatal(err)
		}
		c := tls.Client(open(), &tls.Config{RootCAs: b.ca.pool, ServerName: "localhost"}) // no CONNECT
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		c = tls.Client(open(), &tls.Config{RootCAs: b.ca.pool, ServerName: "localhost"})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte{0x10, 0x40, 0, 4, 'M'}); err != nil { // part of a CONNECT
			t.Fatal(err)
		}
	}
	half := b.rawDevice(3)
	if _, err := half.Write([]byte{0x32, 0x40, 0}); err != nil { // part of a PUBLISH
		t.Fatal(err)
	}
	v := b.listener()
	b.nothing(v, b.sub("t", 2), "evil")
	for _, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for {
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
					t.Fatal("a half-open connection is not ended")
				}
				break
			}
		}
	}
}

func TestConnectionLimits(t *testing.T) {
	b := embedded(t, Config{MaxPerAddress: 3, MaxPending: 8, ConnectTimeout: time.Minute})
	var kept []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
		b.until("accepting", func(s Stats) bool { return s.Connections == len(kept) })
	}
	if _, err := b.try(b.options("t", 1)); err == nil {
		t.Error("a third connection before the first two were authenticated was accepted, want a quarter of MaxPending")
	}
	kept[1].Close()
	b.until("end of a connection", func(s Stats) bool { return s.Connections == 1 })
	b.device("t", 1)
	b.device("t", 2)
	if _, err := b.try(b.options("t", 3)); err == nil {
		t.Error("a connection over MaxPerAddress was accepted")
	}
	kept[0].Close()
	b.until("end of a connection", func(s Stats) bool { return s.Connections == 2 })
	b.device("t", 3)
	if got := b.broker.Stats().Refused; got != 2 {
		t.Errorf("Refused = %d, want 2", got)
	}
	b.listener() // the verifier does not count
}

func TestOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1/32", "[::ffff:192.0.2.1]:1": "192.0.2.1/32", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1": "fe80::/64",
	} {
		addr, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			addr = &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}
		}
		if got := origin(addr).String(); got != want {
			t.Errorf("origin(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestFlood lets one device send as fast as it can: it is slowed down, the other one is served at once.
func TestFlood(t *testing.T) {
	b := embedded(t, Config{MessageRate: 20, MessageBurst: 30})
	v, flooder, calm := b.listener(), b.device("t", 1), b.device("t", 2)
	const sent = 60
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range sent {
			flooder.Publish(topic("t", 1, proto.UpBlob), 1, false, fmt.Sprintf("flood %d", n)).WaitTimeout(patience)
		}
	}()
	b.until("limiting", func(s Stats) bool { return s.RateLimited > 0 })
	if err := calm.publish(topic("t", 2, proto.UpState), 1, "calm"); err != nil {
		t.Fatal(err)
	}
	v.await("calm")
	<-done
	v.await(fmt.Sprintf("flood %d", sent-1)) // slowed down, not dropped
	if took := time.Since(start); took < (sent-30-2)*time.Second/20 {
		t.Errorf("%d messages took %v, faster than the limit", sent, took)
	}
}

// TestSlowConsumer lets one device subscribe and never read: it is disconnected, and neither the verifier nor another
// device waits for it.
func TestSlowConsumer(t *testing.T) {
	b := embedded(t, Config{MaxQueue: 256 << 10})
	v, other := b.listener(), b.sub("t", 2)
	slow := b.rawDevice(1)
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = 1, []string{topic("t", 1, proto.DownWant)}, []byte{0}
	if err := s.Write(slow); err != nil {
		t.Fatal(err)
	}
	if p, err := packets.ReadPacket(slow); err != nil {
		t.Fatalf("SUBACK = %v, %v", p, err)
	}
	payload := strings.Repeat("x", 60<<10)
	deadline := time.Now().Add(patience)
	for n := 0; b.broker.Stats().Slow == 0; n++ {
		if err := v.publish(topic("t", 1, proto.DownWant), 1, payload); err != nil {
			t.Fatalf("verifier's publication %d = %v", n, err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the device that does not read is still connected after %d messages", n)
		}
	}
	if err := v.publish(topic("t", 2, proto.DownReceipt), 1, "to the other"); err != nil {
		t.Fatal(err)
	}
	other.await("to the other")
	b.until("end of the slow device", func(s Stats) bool { return s.Sessions == 2 })
}

// TestUnacknowledged lets a device read and never acknowledge.
func TestUnacknowledged(t *testing.T) {
	b := embedded(t, Config{})
	v, d := b.listener(), b.rawDevice(1)
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = 1, []string{topic("t", 1, proto.DownWant)}, []byte{1}
	if err := s.Write(d); err != nil {
		t.Fatal(err)
	}
	if p, err := packets.ReadPacket(d); err != nil {
		t.Fatalf("SUBACK = %v, %v", p, err)
	}
	go func() {
		for {
			if _, err := packets.ReadPacket(d); err != nil {
				return
			}
		}
	}()
	for range maxUnacknowledged + 50 {
		if err := v.publish(topic("t", 1, proto.DownWant), 1, "x"); err != nil {
			t.Fatal(err)
		}
	}
	b.until("end of the device", func(s Stats) bool { return s.Slow > 0 && s.Sessions == 1 })
}

// TestNothingDropped floods a verifier that acknowledges slowly from many devices: all that was acknowledged to a device
// arrives, far more than fits into the window.
func TestNothingDropped(t *testing.T) {
	const devices, each = 8, 3 * window / 4
	b := embedded(t, Config{MessageRate: 1e6, MessageBurst: 1e6})
	var mu sync.Mutex
	seen := make(map[string]int)
	gate := make(chan struct{})
	v := b.connect(b.verifier())
	v.Subscribe(proto.AllUp, 1, func(_ mqttclient.Client, m mqttclient.Message) {
		<-gate // nothing is acknowledged until all devices are stuck
		mu.Lock()
		seen[string(m.Payload())]++
		mu.Unlock()
	}).WaitTimeout(patience)
	var wg sync.WaitGroup
	var clients []*client
	for n := range devices {
		clients = append(clients, b.device("t", n))
	}
	for n, c := range clients {
		wg.Go(func() {
			var tokens []mqttclient.Token
			for i := range each {
				tokens = append(tokens, c.Publish(topic("t", n, proto.UpEvidence), 1, false, fmt.Sprintf("%d %d", n, i)))
			}
			for _, token := range tokens {
				if !token.WaitTimeout(patience) || token.Error() != nil {
					t.Errorf("publish = %v", token.Error())
				}
			}
		})
	}
	b.until("a full window", func(s Stats) bool { return s.MessagesOut >= window/2 })
	close(gate)
	wg.Wait()
	complete := func(Stats) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == devices*each
	}
	b.until("arrival of everything", complete)
	for payload, n := range seen {
		if n != 1 {
			t.Errorf("message %q arrived %d times", payload, n)
		}
	}
	// Both directions share packet ids inside mochi; a new subscription still works while messages flow.
	if got := v.subscribe(proto.AllUp); got > 2 {
		t.Errorf("second subscription = %#x", got)
	}
}
