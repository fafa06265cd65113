// Package link is the verifier's side of the MQTT conversation: it hears all devices of all tenants and answers each.
//
// Messages of one device are handled in the order in which they came, those of different devices in parallel by a fixed
// number of workers. Their queues are bounded, in messages and in bytes; what exceeds them is dropped and counted, for
// every message of this protocol is sent again until it is answered. Nothing here trusts the broker's access control:
// topics are parsed strictly and a device is only ever what its topic says, which its evidence must prove.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/proto"
)

// Handler deals with what devices say. Calls for one device never overlap. The context of a call ends after 30 s: a
// call that outlasts it keeps the devices waiting that share its worker.
type Handler interface {
	// State is called when a device asks for a challenge or leaves.
	State(ctx context.Context, from proto.Address, m *proto.State)
	// Enroll is called for each step of an enrolment.
	Enroll(ctx context.Context, from proto.Address, m *proto.EnrollUp)
	// Evidence is called with an evidence message, not yet decoded.
	Evidence(ctx context.Context, from proto.Address, message []byte)
	// Content is called with content that was wanted from the device and has the digest that was asked for.
	Content(ctx context.Context, from proto.Address, digest proto.Digest, content []byte)
	// Capture is called with each message about a capture.
	Capture(ctx context.Context, from proto.Address, m *proto.CaptureUp)
}

// Config says how to reach the broker. Zero values of the rest work.
type Config struct {
	// Dial opens a connection to the embedded broker. Nil: Broker is used.
	Dial func(ctx context.Context) (net.Conn, error)
	// Broker is the address of an external broker, such as mqtts://broker.example:8883.
	Broker string
	// TLS authenticates the verifier to an external broker.
	TLS *tls.Config
	// ClientID names this verifier to the broker.
	ClientID string
	Handler  Handler
	Log      *slog.Logger
	// Workers is how many devices are dealt with at once; zero: 32. They mostly wait for the store, which commits
	// together what waits.
	Workers int
}

// Link is a connection to the broker. Make one with New, then Run it.
type Link struct {
	cfg        Config
	log        *slog.Logger
	timeout    time.Duration // of one message
	session    atomic.Pointer[session]
	queues     []chan inbound
	queued     atomic.Int64 // bytes in all queues
	assembly   *assembly
	dropped    atomic.Uint64
	malformed  atomic.Uint64
	complaints rate.Sometimes // a device that talks nonsense must not flood the log
	ready      chan struct{}  // closed when first subscribed
	once       sync.Once
}

type inbound struct {
	from    proto.Address
	payload []byte
}

// New returns a Link. It does not connect yet.
func New(cfg Config) (*Link, error) {
	if cfg.Handler == nil {
		return nil, errors.New("link: no handler")
	}
	if cfg.Dial == nil && cfg.Broker == "" {
		return nil, errors.New("link: neither an embedded broker nor the address of one")
	}
	if cfg.Workers <= 0 {
		cfg.Workers = defaultWorkers
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{
		cfg: cfg, log: cfg.Log, timeout: handleTimeout, assembly: newAssembly(maxAssembly), ready: make(chan struct{}),
		complaints: rate.Sometimes{First: 10, Interval: time.Second},
	}
	for range cfg.Workers {
		l.queues = append(l.queues, make(chan inbound, queueSize))
	}
	return l, nil
}

// Dropped returns how many messages were dropped because a queue was full, Malformed how many were not of this
// protocol.
func (l *Link) Dropped() uint64 { return l.dropped.Load() }

// Malformed returns how many messages did not decode.
func (l *Link) Malformed() uint64 { return l.malformed.Load() }

// Run connects, handles messages until ctx ends, and disconnects.
func (l *Link) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, q := range l.queues {
		wg.Go(func() { l.work(ctx, q) })
	}
	l.stayConnected(ctx)
	wg.Wait()
	return nil
}

// receive runs on paho's goroutine: it must not block.
func (l *Link) receive(_ mqtt.Client, m mqtt.Message) {
	from, err := proto.ParseAddress(m.Topic())
	if err != nil || len(m.Payload()) > proto.MaxMessage {
		l.malformed.Add(1)
		return
	}
	size := int64(len(m.Payload()))
	if l.queued.Add(size) <= maxQueued {
		select {
		case l.queue(from) <- inbound{from, m.Payload()}:
			return
		default:
		}
	}
	l.queued.Add(-size)
	l.dropped.Add(1)
}

// queue returns the queue of the worker that deals with a device.
func (l *Link) queue(from proto.Address) chan inbound {
	h := fnv.New32a()
	_, _ = h.Write([]byte(from.Device))
	return l.queues[h.Sum32()%uint32(len(l.queues))]
}

func (l *Link) work(ctx context.Context, q <-chan inbound) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-q:
			l.queued.Add(-int64(len(m.payload)))
			l.handle(ctx, m)
		}
	}
}

// handle decodes a message and passes it on. A handler that panics, or hangs, must not stop the others from attesting.
func (l *Link) handle(ctx context.Context, m inbound) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("handling a message panicked: please report this", "tenant", m.from.Tenant, "device", m.from.Device,
				"leaf", m.from.Leaf, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var err error
	switch m.from.Leaf {
	case proto.UpState:
		var s proto.State
		if err = proto.Decode(m.payload, &s); err == nil {
			l.cfg.Handler.State(ctx, m.from, &s)
		}
	case proto.UpEnroll:
		var e proto.EnrollUp
		if err = proto.Decode(m.payload, &e); err == nil {
			l.cfg.Handler.Enroll(ctx, m.from, &e)
		}
	case proto.UpEvidence:
		l.cfg.Handler.Evidence(ctx, m.from, m.payload)
	case proto.UpBlob:
		err = l.chunk(ctx, m)
	case proto.UpCapture:
		var c proto.CaptureUp
		if err = proto.Decode(m.payload, &c); err == nil {
			l.cfg.Handler.Capture(ctx, m.from, &c)
		}
	default:
		err = fmt.Errorf("nothing is expected on %s", m.from.Leaf)
	}
	if err != nil {
		l.malformed.Add(1)
		l.complaints.Do(func() {
			l.log.Warn("message ignored", "tenant", m.from.Tenant, "device", m.from.Device, "leaf", m.from.Leaf, "error", err)
		})
	}
}

func (l *Link) chunk(ctx context.Context, m inbound) error {
	var c proto.Chunk
	if err := proto.Decode(m.payload, &c); err != nil {
		return err
	}
	content, err := l.assembly.add(deviceOf(m.from), &c)
	if err != nil || content == nil {
		return err
	}
	l.cfg.Handler.Content(ctx, m.from, c.Digest, content)
	return nil
}

func deviceOf(a proto.Address) string { return a.Tenant + "/" + a.Device }
