package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

// session is one connection that is subscribed to all devices. Every connection has a client of its own: paho's own
// reconnection sends what was not acknowledged again, in any order, so that an old result could replace a newer one.
type session struct {
	client mqtt.Client
	lost   chan error
}

// stayConnected has a session, or tries to get one, until ctx ends.
func (l *Link) stayConnected(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		s, err := l.connect(ctx)
		if err == nil {
			failures = 0
			l.session.Store(s)
			l.once.Do(func() { close(l.ready) })
			l.log.Info("listening to devices", "filter", l.filter())
			select {
			case err = <-s.lost:
			case <-ctx.Done():
			}
			l.session.Store(nil)
			s.client.Disconnect(farewell)
		}
		if ctx.Err() != nil {
			return
		}
		wait := rand.N(min(minBackoff<<min(failures, 16), maxBackoff)) // full jitter: replicas do not come back together
		l.log.Warn("not connected to the MQTT broker, trying again", "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// connect connects and subscribes.
func (l *Link) connect(ctx context.Context) (*session, error) {
	s := &session{lost: make(chan error, 1)}
	o := l.options(ctx)
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lost <- err })
	s.client = mqtt.NewClient(o)
	err := await(ctx, s.client.Connect(), connectTimeout)
	if err == nil {
		err = l.subscribe(ctx, s.client)
	}
	if err != nil {
		s.client.Disconnect(farewell)
		return nil, err
	}
	return s, nil
}

func (l *Link) options(ctx context.Context) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.SetClientID(l.cfg.ClientID)
	o.SetProtocolVersion(4)
	o.SetCleanSession(true)
	o.SetAutoReconnect(false)
	o.SetConnectTimeout(connectTimeout)
	o.SetWriteTimeout(writeTimeout)
	// The callback only puts the message into a queue, so order costs nothing and chunks stay in sequence.
	o.SetOrderMatters(true)
	o.SetDefaultPublishHandler(l.receive)
	if l.cfg.Dial == nil {
		o.AddBroker(l.cfg.Broker)
		o.SetTLSConfig(l.cfg.TLS)
		return o
	}
	o.AddBroker("tcp://embedded:1883")
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		return l.cfg.Dial(ctx)
	})
	return o
}

func (l *Link) filter() string {
	if l.cfg.Dial == nil {
		return "$share/probity/" + proto.AllUp // replicas share the load of an external broker
	}
	return proto.AllUp
}

func (l *Link) subscribe(ctx context.Context, c mqtt.Client) error {
	t := c.Subscribe(l.filter(), qos, nil)
	if err := await(ctx, t, publishTimeout); err != nil {
		return fmt.Errorf("subscribe to %s: %w", l.filter(), err)
	}
	for _, granted := range t.(*mqtt.SubscribeToken).Result() {
		if granted == refused {
			return fmt.Errorf("subscribe to %s: the broker refuses it: check its access control list", l.filter())
		}
	}
	return nil
}

var errNoAnswer = errors.New("the MQTT broker does not answer")

func await(ctx context.Context, t mqtt.Token, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errNoAnswer
	}
}

// Ready is closed when the link listens to devices for the first time.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Healthy returns an error while the broker cannot be reached.
func (l *Link) Healthy() error {
	_, err := l.connected()
	return err
}

func (l *Link) connected() (*session, error) {
	if s := l.session.Load(); s != nil && s.client.IsConnectionOpen() {
		return s, nil
	}
	return nil, errors.New("not connected to the MQTT broker")
}

// Send sends a message to a device. It returns when the broker has it.
func (l *Link) Send(ctx context.Context, to proto.Address, m Message) error {
	payload, err := proto.Encode(m)
	if err != nil {
		return err
	}
	if w, ok := m.(*proto.Want); ok {
		l.assembly.want(deviceOf(to), w.Contents)
	}
	return l.publish(ctx, to.String(), false, payload)
}

// Message is what a verifier sends: *proto.Challenge, *proto.Want, *proto.Receipt or *proto.EnrollDown.
type Message = proto.Message

// Retain publishes a device's newest result so that whoever subscribes later gets it at once; nil clears it.
func (l *Link) Retain(ctx context.Context, to proto.Address, payload []byte) error {
	return l.publish(ctx, to.String(), true, payload)
}

func (l *Link) publish(ctx context.Context, topic string, retain bool, payload []byte) error {
	s, err := l.connected()
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	sent := make(chan mqtt.Token, 1)
	go func() { sent <- s.client.Publish(topic, qos, retain, payload) }() // waits for its turn whatever becomes of ctx
	select {
	case t := <-sent:
		err = await(ctx, t, publishTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}
