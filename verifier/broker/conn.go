package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2"
	"golang.org/x/time/rate"
)

var (
	errSlow  = errors.New("client does not read fast enough")
	errEarly = errors.New("too many bytes before authentication")
)

// conn is one client's connection as mochi sees it. Its Write never blocks: mochi writes while it holds locks that whoever
// publishes to the client needs, so that one client that does not read would stop the verifier and with it everybody. What
// is written goes to a queue of bounded size; a client that lets it overflow is disconnected.
type conn struct {
	net.Conn // TLS, or a pipe to the verifier
	b        *Broker
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	done     chan struct{}     // closed when mochi has forgotten the connection
	settled  func()            // says that it is not pending any more
	peer     *x509.Certificate // nil: none presented
	limit    *rate.Limiter     // nil: unlimited

	// who and client are set once, when the client is authenticated, by the goroutine that reads.
	who      principal
	client   *mqtt.Client
	key      string
	received int // bytes before authentication
	trusted  atomic.Bool
	denials  atomic.Int64
	flow     *flow // of a verifier

	mu     sync.Mutex
	queue  []byte
	wake   chan struct{} // holds one signal
	closed bool
	ended  chan struct{} // closed when the writing goroutine has ended
}

func (b *Broker) newConn(c net.Conn, peer *x509.Certificate) *conn {
	ctx, cancel := context.WithCancel(b.ctx)
	k := &conn{
		Conn: c, b: b, ctx: ctx, cancel: cancel, peer: peer, limit: rate.NewLimiter(rate.Limit(b.cfg.MessageRate), b.cfg.MessageBurst),
		done: make(chan struct{}), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go k.send()
	return k
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.stats.bytesIn.Add(int64(n))
	if !c.trusted.Load() {
		if c.received += n; c.received > maxBeforeConnect {
			return 0, errEarly
		}
	}
	return n, err
}

// Write implements net.Conn: it queues p.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.queue)+len(p) > c.b.queueLimit(c.who.role) {
		c.b.stats.slow.Add(1)
		c.closed, c.queue = true, nil
		c.cancel()
		_ = c.Conn.SetDeadline(time.Now()) // ends the reader and a write in progress
		return 0, errSlow
	}
	c.queue = append(c.queue, p...)
	c.signal()
	return len(p), nil
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send writes what is queued, many packets at once, until the connection ends; then it closes it.
func (c *conn) send() {
	defer close(c.ended)
	defer c.Conn.Close()
	defer c.cancel()
	var spare []byte
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
		}
		c.mu.Lock()
		out, last := c.queue, c.closed || c.ctx.Err() != nil
		c.queue = spare[:0]
		c.closed = last
		if !last {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(c.b.cfg.WriteTimeout))
		}
		c.mu.Unlock()
		if len(out) > 0 {
			n, err := c.Conn.Write(out)
			c.b.stats.bytesOut.Add(int64(n))
			if err != nil {
				last = true
			}
		}
		if last {
			c.Close()
			return
		}
		if spare = out; cap(spare) > 64<<10 {
			spare = nil // do not keep what a rare burst needed
		}
	}
}

// SetDeadline implements net.Conn. mochi sets it from the keep-alive before every packet that it reads; writes have their
// own deadline.
func (c *conn) SetDeadline(t time.Time) error {
	if c.ctx.Err() != nil {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(t)
}

// Close implements net.Conn: the reader ends at once; what is queued is still sent if that does not take long.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	if c.closed {
		return nil
	}
	c.closed = true
	_ = c.Conn.SetWriteDeadline(time.Now().Add(min(closing, c.b.cfg.WriteTimeout)))
	return c.Conn.SetReadDeadline(time.Now())
}

// flow bounds the messages on their way to a verifier. A slot is taken before a message is queued and given back when the
// verifier has acknowledged it, or, with QoS 0, when it was written.
type flow struct {
	slots chan struct{}
	mu    sync.Mutex
	sent  map[uint16]bool // packet ids that are not acknowledged
}

func newFlow() *flow { return &flow{slots: make(chan struct{}, window), sent: make(map[uint16]bool)} }

// take waits for a slot; without one the connection has ended.
func (f *flow) take(ctx context.Context) bool {
	select {
	case f.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *flow) give() {
	select {
	case <-f.slots:
	default:
	}
}

func (f *flow) mark(id uint16) {
	f.mu.Lock()
	again := f.sent[id]
	f.sent[id] = true
	f.mu.Unlock()
	if again { // the broker gave up on the first message with this id
		f.give()
	}
}

func (f *flow) acknowledge(id uint16) {
	f.mu.Lock()
	known := f.sent[id]
	delete(f.sent, id)
	f.mu.Unlock()
	if known {
		f.give()
	}
}
