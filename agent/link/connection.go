package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/probity-attest/probity/proto"
)

// errRefused marks a connection that the broker refused because of who we are.
var errRefused = errors.New("refused by the broker")

const (
	// inboxSize is how many messages may wait for the conversation. The protocol never has more than a few on their way;
	// what exceeds it is dropped, which the conversation survives like any other loss.
	inboxSize = 32
	// outboxSize is how many packets may wait for the network: one message, acknowledgements and a ping.
	outboxSize = 2*inboxSize + 4
)

// login is how one connection introduces itself.
type login struct {
	clientID           string
	username, password string
	certificate        *tls.Certificate
	subscribe          string
	will               publication
}

// publication is a message to send. One without a leaf is nothing.
type publication struct {
	leaf    proto.Leaf
	payload []byte
}

// message is what came.
type message struct {
	leaf    proto.Leaf
	payload []byte
}

// connection is one MQTT 3.1.1 session with a clean start. It frames, pings and matches acknowledgements with paho's
// packets; what was not received is the conversation's affair. paho's client is not used: its queue has no bound, its
// reconnecting no jitter, and it brings an HTTP stack for WebSockets, 700 KB that no device should carry.
type connection struct {
	conn  net.Conn
	in    *bufio.Reader
	out   chan packets.ControlPacket
	inbox chan message
	lost  chan error // receives once
	self  proto.Address
	limit time.Duration // for one write
	ping  time.Duration
	log   *slog.Logger

	once    sync.Once
	ended   chan struct{}
	working sync.WaitGroup

	mu      sync.Mutex
	nextID  uint16
	pending map[uint16]*ack
}

// ack is a message that waits for the broker's acknowledgement.
type ack struct {
	done chan struct{}
	err  error // valid once done is closed
}

// Done is closed when the broker has the message, or never will.
func (a *ack) Done() <-chan struct{} { return a.done }

// Error returns why the broker does not have the message; nil if it has.
func (a *ack) Error() error { return a.err }

// dial connects, logs in and subscribes. It returns errors that wrap errRefused where another identity might get in.
func (l *Link) dial(ctx context.Context, who login) (*connection, error) {
	defer l.watch.begin("connecting")()
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.Timing.Connect,
		fmt.Errorf("no connection within %s", l.cfg.Timing.Connect))
	defer cancel()
	raw, err := l.open(ctx, who.certificate)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", l.server, advise(err))
	}
	c := &connection{
		conn: raw, in: bufio.NewReader(&guard{from: raw}), out: make(chan packets.ControlPacket, outboxSize),
		inbox: make(chan message, inboxSize), lost: make(chan error, 1),
		self: l.address(""), limit: l.cfg.Timing.Publish, ping: l.cfg.Timing.KeepAlive, log: l.cfg.Log,
		ended: make(chan struct{}), pending: map[uint16]*ack{},
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := c.login(l.connect(who)); err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect to %s: %w", l.server, cause(ctx, err))
	}
	c.working.Go(c.read)
	c.working.Go(c.write)
	if err := c.subscribe(who.subscribe); err != nil {
		c.close()
		return nil, fmt.Errorf("subscribe to %s: %w", who.subscribe, cause(ctx, err))
	}
	return c, nil
}

// advise adds what to do where the verifier cannot be reached at all.
func advise(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: check that the verifier runs, and that this device reaches its port", err)
	}
	return err
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// open makes the TLS connection.
func (l *Link) open(ctx context.Context, certificate *tls.Certificate) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", l.server.address())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, l.trust.tls(l.server.host, certificate))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, explain(err, time.Now())
	}
	return conn, nil
}

// connect returns the CONNECT packet (MQTT 3.1.1, section 3.1).
func (l *Link) connect(who login) *packets.ConnectPacket {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", 4, true
	p.Keepalive = uint16(l.cfg.Timing.KeepAlive / time.Second)
	p.ClientIdentifier = who.clientID
	if who.username != "" {
		p.UsernameFlag, p.Username = true, who.username
		p.PasswordFlag, p.Password = true, []byte(who.password)
	}
	if who.will.leaf != "" {
		p.WillFlag, p.WillQos = true, 1
		p.WillTopic, p.WillMessage = l.address(who.will.leaf).String(), who.will.payload
	}
	return p
}

// login sends CONNECT and reads CONNACK.
func (c *connection) login(p *packets.ConnectPacket) error {
	sent := p.Write(c.conn)
	// In TLS 1.3 a server refuses a client certificate only after the handshake, so the reason is to be read even if
	// writing failed.
	m, err := packets.ReadPacket(c.in)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "remote error" { // a TLS alert
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		return errors.Join(sent, err)
	}
	answer, ok := m.(*packets.ConnackPacket)
	if !ok {
		return fmt.Errorf("broker answers CONNECT with %T", m)
	}
	switch answer.ReturnCode {
	case packets.Accepted:
		return nil
	case packets.ErrRefusedBadUsernameOrPassword, packets.ErrRefusedNotAuthorised, packets.ErrRefusedIDRejected:
		return fmt.Errorf("%w: %w", errRefused, packets.ConnErrors[answer.ReturnCode])
	}
	return fmt.Errorf("broker answers CONNECT with return code %d", answer.ReturnCode)
}

func (c *connection) subscribe(filter string) error {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.Qos = 1 // of the packet itself, as the standard wants it
	p.Topics, p.Qoss = []string{filter}, []byte{1}
	id, a := c.expect()
	p.MessageID = id
	c.enqueue(p)
	<-a.Done() // ends with the connection at the latest
	return a.Error()
}

// publish hands a message to the broker with QoS 1.
func (c *connection) publish(p publication) *ack {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	topic := c.self
	topic.Leaf = p.leaf
	m.Qos, m.TopicName, m.Payload = 1, topic.String(), p.payload
	id, a := c.expect()
	m.MessageID = id
	c.enqueue(m)
	return a
}

// expect reserves an identifier for a packet that the broker is to acknowledge.
func (c *connection) expect() (uint16, *ack) {
	a := &ack{done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended:
		a.err = net.ErrClosed
		close(a.done)
		return 0, a
	default:
	}
	for c.nextID++; c.nextID == 0 || c.pending[c.nextID] != nil; c.nextID++ {
	}
	c.pending[c.nextID] = a
	return c.nextID, a
}

// settle ends the wait for one packet.
func (c *connection) settle(id uint16, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.pending[id]; a != nil {
		a.err = err
		close(a.done)
		delete(c.pending, id)
	}
}

// enqueue gives a packet to the writer. It never blocks.
func (c *connection) enqueue(p packets.ControlPacket) {
	select {
	case c.out <- p:
	default:
		c.fail(errors.New("the broker does not take what is sent"))
	}
}

// fail ends the connection, the first time, with a reason.
func (c *connection) fail(err error) {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.ended)
		c.conn.Close()
		for id, a := range c.pending {
			a.err = err
			close(a.done)
			delete(c.pending, id)
		}
		c.lost <- err
	})
}

// farewell says that we leave, if the broker takes it in time, and closes.
func (c *connection) farewell(p publication, limit time.Duration) {
	if p.leaf != "" {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-c.publish(p).Done():
		case <-timer.C:
		}
	}
	c.enqueue(packets.NewControlPacket(packets.Disconnect))
	select {
	case <-c.ended: // the writer ends the connection after DISCONNECT
	case <-time.After(limit):
	}
	c.close()
}

// close ends the connection without a word: the broker publishes the will.
func (c *connection) close() {
	c.fail(net.ErrClosed)
	c.working.Wait()
}
