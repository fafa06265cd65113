// Package broker is the MQTT broker inside the verifier: MQTT 3.1.1 over TLS, default-deny.
//
// Four kinds of client exist. A device with a client certificate publishes to its own up/ topics and subscribes to its own
// dn/ topics. A device without one, that has an enrolment token as password, reaches only its own up/enroll and dn/enroll.
// Whoever has an operator's token, as password of the user "operator", receives the results of the tenant and sends nothing.
// The verifier itself, connected in memory by Dial, receives all up/ topics and publishes to dn/ topics and result.
// Everything else is denied: other topics and tenants, other wildcards, $SYS, retained publications and wills of devices
// outside their topics. QoS 2 is served as QoS 1. principal.go has the rules, README.md the same rules for mosquitto.
//
// One client cannot hurt the others: each connection has its own goroutine from its first byte, deadlines for TLS handshake
// and CONNECT, a bounded queue for what is sent to it, a rate for what it sends, and the number of connections is limited
// in all and for each address. Between devices and the verifier there is flow control: while the verifier is connected, no
// acknowledged message is dropped.
//
// Limits: sessions end with their connection. Retained messages are kept in memory only, so the verifier publishes the
// newest results again after it has started. Nothing here is proof of delivery: that is the receipt of the conversation.
//
// The MQTT protocol itself is mochi-mqtt, which is used without its listeners, event loop and $SYS topics.
package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2"

	"github.com/probity-attest/probity/proto"
)

// Access decides who may connect. Its methods are called concurrently; their errors are logged and the client learns only
// that it was refused.
type Access interface {
	// Token returns the tenant whose enrolment token this is, if the device may use it.
	Token(ctx context.Context, token, device string) (tenant string, err error)
	// Operator returns the tenant whose operator token this is.
	Operator(ctx context.Context, token string) (tenant string, err error)
	// Device returns whose certificate this is. TLS has checked what Config.TLS says, for example its issuer.
	Device(ctx context.Context, cert *x509.Certificate) (tenant, device string, err error)
}

// Config says how the broker is reached. TLS and Access must be set; every other zero value has a default.
type Config struct {
	Address string       // host:port to listen on; default ":8883"
	TLS     *tls.Config  // server certificate; must request client certificates
	Access  Access       // who may connect
	Log     *slog.Logger // default: none

	// Hold keeps clients from the network waiting until it is closed, so that nobody speaks before the verifier listens;
	// default: nobody waits.
	Hold <-chan struct{}

	MaxConnections int           // from the network, in all; default 200,000
	MaxPerAddress  int           // from one IPv4 address or IPv6 /64; default 20,000
	MaxPending     int           // not yet authenticated, in all, and a quarter of it from one address; default 4,096
	ConnectTimeout time.Duration // from accepting a connection to the end of its authentication; default 15 s
	WriteTimeout   time.Duration // for one write to a client; default 30 s
	MessageRate    float64       // packets a second from one client; default 50
	MessageBurst   int           // packets that may come at once; default 500
	MaxQueue       int           // bytes that wait for one client; default 1 MiB
}

// Broker is the broker. Its methods are safe for concurrent use.
type Broker struct {
	cfg    Config
	log    *slog.Logger
	server *mqtt.Server
	stats  counters
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of connections and the accepting goroutine
	serial atomic.Uint64

	mu       sync.Mutex
	listener net.Listener
	started  bool
	open     map[net.Conn]netip.Prefix // connections from the network
	origins  map[netip.Prefix]*usage
	pending  int
	sessions map[string]*conn // authenticated, by key
}

// usage counts the connections of one origin.
type usage struct{ open, pending int }

// New returns a broker that does not listen yet.
func New(cfg Config) (*Broker, error) {
	if cfg.TLS == nil {
		return nil, errors.New("broker: no TLS configuration")
	}
	if cfg.TLS.ClientAuth == tls.NoClientCert && cfg.TLS.GetConfigForClient == nil {
		return nil, errors.New("broker: the TLS configuration does not request client certificates: no device could connect")
	}
	if cfg.Access == nil {
		return nil, errors.New("broker: no access rules")
	}
	if cfg.Address == "" {
		cfg.Address = defaultAddress
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	orElse(&cfg.MaxConnections, defaultConnections)
	orElse(&cfg.MaxPerAddress, defaultPerAddress)
	orElse(&cfg.MaxPending, defaultPending)
	orElse(&cfg.ConnectTimeout, defaultConnectTimeout)
	orElse(&cfg.WriteTimeout, defaultWriteTimeout)
	orElse(&cfg.MessageRate, defaultRate)
	orElse(&cfg.MessageBurst, defaultBurst)
	orElse(&cfg.MaxQueue, defaultQueue)
	b := &Broker{
		cfg: cfg, log: cfg.Log, open: make(map[net.Conn]netip.Prefix), origins: make(map[netip.Prefix]*usage),
		sessions: make(map[string]*conn),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = window // a channel of this size is made for every client
	caps.MaximumMessageExpiryInterval = 0    // retained results do not expire
	caps.MaximumPacketSize = maxPacket
	caps.MinimumProtocolVersion = 4
	caps.MaximumQos = 1
	caps.TopicAliasMaximum = 0
	caps.SubIDAvailable = 0
	// mochi logs whole packets, passwords included: its log is dropped, and hook.go logs what matters.
	b.server = mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler)})
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

func orElse[T int | float64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Start listens and returns; clients are served until Close.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started || b.ctx.Err() != nil {
		return errors.New("broker: started twice or after it was closed")
	}
	l, err := net.Listen("tcp", b.cfg.Address)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	b.listener, b.started = l, true
	b.wg.Go(func() {
		if b.cfg.Hold != nil {
			select {
			case <-b.cfg.Hold:
			case <-b.ctx.Done():
				return
			}
		}
		b.accept(l)
	})
	return nil
}

// Addr returns the address that the broker listens on, nil before Start.
func (b *Broker) Addr() net.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener == nil {
		return nil
	}
	return b.listener.Addr()
}

// Close stops listening, disconnects everybody and waits until that is done. Closing twice is no error.
func (b *Broker) Close() error {
	b.mu.Lock()
	first := b.ctx.Err() == nil
	b.cancel()
	if b.listener != nil {
		b.listener.Close()
	}
	for c := range b.open {
		_ = c.SetDeadline(time.Now()) // ends handshakes; connections that are established end with the context
	}
	b.mu.Unlock()
	b.wg.Wait()
	if !first {
		return nil
	}
	return b.server.Close()
}

// accept gives every connection its own goroutine before the first byte is read.
func (b *Broker) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if b.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			b.log.Error("cannot accept a connection: raise the limit of open files if that is the reason", "error", err)
			select { // do not spin while the reason lasts
			case <-time.After(100 * time.Millisecond):
			case <-b.ctx.Done():
			}
			continue
		}
		from := origin(c.RemoteAddr())
		if !b.admit(c, from) {
			b.stats.refused.Add(1)
			c.Close()
			continue
		}
		b.wg.Go(func() {
			defer b.release(c, from)
			b.handshake(c, from)
		})
	}
}

// admit counts a connection if there is room for it.
func (b *Broker) admit(c net.Conn, from netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.origins[from]
	if u == nil {
		u = &usage{}
	}
	if b.ctx.Err() != nil || len(b.open) >= b.cfg.MaxConnections || u.open >= b.cfg.MaxPerAddress ||
		b.pending >= b.cfg.MaxPending || u.pending >= max(1, b.cfg.MaxPending/4) {
		return false
	}
	b.origins[from], b.open[c] = u, from
	u.open++
	u.pending++
	b.pending++
	return true
}

// settle says that a connection is not pending any more.
func (b *Broker) settle(from netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending--
	b.origins[from].pending--
}

func (b *Broker) release(c net.Conn, from netip.Prefix) {
	c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
	if u := b.origins[from]; u.open > 1 {
		u.open--
	} else {
		delete(b.origins, from)
	}
}

// handshake does TLS and then serves the client.
func (b *Broker) handshake(raw net.Conn, from netip.Prefix) {
	settled := sync.OnceFunc(func() { b.settle(from) })
	defer settled()
	_ = raw.SetDeadline(time.Now().Add(b.cfg.ConnectTimeout))
	if b.ctx.Err() != nil {
		return // Close may have looked through the open connections before the deadline was set
	}
	t := tls.Server(raw, b.cfg.TLS)
	if err := t.HandshakeContext(b.ctx); err != nil {
		b.stats.handshakes.Add(1)
		b.log.Debug("TLS handshake failed", "remote", raw.RemoteAddr().String(), "error", err)
		return
	}
	var peer *x509.Certificate
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		peer = certs[0]
	}
	c := b.newConn(t, peer)
	c.settled = settled
	b.serve(c)
}

// serve runs the MQTT protocol on c until it ends.
func (b *Broker) serve(c *conn) {
	defer func() {
		if r := recover(); r != nil {
			b.stats.panics.Add(1)
			b.log.Error("MQTT server failed on a client's packet; only this client was disconnected", "panic", r, "stack", string(debug.Stack()))
		}
		c.Close()
		b.forget(c)
		close(c.done)
		<-c.ended
	}()
	_ = b.server.EstablishConnection("probity", c) // its error was logged by the hook
}

// keyOf returns the id under which mochi knows a client. Only a device with a certificate has the same one again.
func (b *Broker) keyOf(who principal) string {
	key := fmt.Sprintf("%s/%s/%s", who.role, who.tenant, who.device)
	if who.role != device {
		key += fmt.Sprintf("/%d", b.serial.Add(1))
	}
	return key
}

// claim makes c the session of its key, after an older one has ended completely: mochi's own take-over lets the end of the
// old connection remove the new one.
func (b *Broker) claim(c *conn) error {
	timeout := time.NewTimer(b.cfg.ConnectTimeout)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		old := b.sessions[c.key]
		if old == nil {
			b.sessions[c.key] = c
			b.mu.Unlock()
			c.settled()
			return nil
		}
		b.mu.Unlock()
		old.Close()
		select {
		case <-old.done:
		case <-c.ctx.Done():
			return errors.New("connection ended")
		case <-timeout.C:
			return errors.New("the device's older connection does not end")
		}
	}
}

// forget removes what is left of a connection.
func (b *Broker) forget(c *conn) {
	if c.client != nil { // mochi keeps a client whose CONNACK could not be sent
		b.server.UnsubscribeClient(c.client)
		if cl, ok := b.server.Clients.Get(c.key); ok && cl == c.client {
			b.server.Clients.Delete(c.key)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.key != "" && b.sessions[c.key] == c {
		delete(b.sessions, c.key)
	}
}

// Disconnect ends the connections of a device that was removed. It may come back if Access lets it.
func (b *Broker) Disconnect(tenant, device string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.sessions {
		if c.who.tenant == tenant && c.who.device == device {
			c.Close()
		}
	}
}

// Dial returns an in-memory connection for an MQTT client that is the verifier; there is no other way to be it. The client
// needs no credentials, its client id does not matter, and it subscribes to proto.AllUp or to "$share/GROUP/" and that.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broker: dial: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.started || b.ctx.Err() != nil {
		return nil, errors.New("broker: dial: not running")
	}
	ours, theirs := net.Pipe()
	c := b.newConn(ours, nil)
	c.flow, c.settled = newFlow(), func() {}
	b.wg.Go(func() { b.serve(c) })
	return &dialled{Conn: theirs, r: bufio.NewReaderSize(theirs, 64<<10)}, nil
}

// dialled buffers reads: MQTT clients read a packet in several small pieces.
type dialled struct {
	net.Conn
	r io.Reader
}

// Read implements net.Conn.
func (d *dialled) Read(p []byte) (int, error) { return d.r.Read(p) }

// queueLimit is how many bytes may wait for a client. To the verifier go at most a window of messages and its PUBACKs.
func (b *Broker) queueLimit(r role) int {
	if r == verifier {
		return window*maxPacket + b.cfg.MaxQueue
	}
	return max(b.cfg.MaxQueue, 2*proto.MaxMessage)
}
