package link

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/probity-attest/probity/proto"
)

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no handler": {Broker: "mqtt://x"},
		"no broker":  {Handler: newRecorder(nil)},
	} {
		if l, err := New(cfg); err == nil || l != nil {
			t.Errorf("%s: New() = %v, %v, want an error", name, l, err)
		}
	}
}

// TestOrder lets devices talk at once: each is heard in the order in which it spoke, never twice at the same time.
func TestOrder(t *testing.T) {
	r := newRig(t, Config{Workers: 3}, nil, nil)
	const devices, messages = 5, 100
	var wg sync.WaitGroup
	for n := range devices {
		d := r.connect(id(n))
		wg.Go(func() {
			for i := range messages {
				d.say(strconv.Itoa(i))
			}
		})
	}
	heard := make(map[string]int)
	for range devices * messages {
		c := r.next()
		if got, want := c.text, strconv.Itoa(heard[c.from.Device]); got != want {
			t.Fatalf("device %s: message %s, want %s", c.from.Device, got, want)
		}
		if c.from.Tenant != "t" || c.from.Leaf != proto.UpState {
			t.Errorf("message from %v", c.from)
		}
		heard[c.from.Device]++
	}
	wg.Wait()
	if got := r.Dropped() + r.Malformed(); got != 0 {
		t.Errorf("%d messages were dropped or malformed", got)
	}
}

// TestConversation sends each kind of message in both directions.
func TestConversation(t *testing.T) {
	r := newRig(t, Config{}, nil, nil)
	d := r.connect(id(1))
	d.publish(proto.UpEvidence, []byte("evidence, whatever it is"))
	if got := r.next(); got.text != "evidence, whatever it is" || got.from != topic(d.id, proto.UpEvidence) {
		t.Errorf("evidence %q from %v", got.text, got.from)
	}
	d.send(proto.UpEnroll, &proto.EnrollUp{Hello: []byte{1}, Token: "token"})
	if got := r.next(); got.text != "token" || got.from.Leaf != proto.UpEnroll {
		t.Errorf("enrolment with token %q from %v", got.text, got.from)
	}
	receipt := &proto.Receipt{Evidence: proto.Sum(nil), Status: proto.Appraised, State: "trusted", Next: 5}
	if err := r.Send(t.Context(), topic(d.id, proto.DownReceipt), receipt); err != nil {
		t.Fatal(err)
	}
	var got proto.Receipt
	if err := proto.Decode(d.next(proto.DownReceipt), &got); err != nil || got.State != "trusted" {
		t.Errorf("receipt %+v, %v", got, err)
	}
	if err := r.Send(t.Context(), topic(d.id, proto.DownReceipt), &proto.Receipt{}); err == nil {
		t.Error("an invalid message was sent")
	}

	log, list := random(3*proto.ChunkSize+1), random(10)
	want := &proto.Want{Evidence: proto.Sum(nil), Contents: []proto.Digest{proto.Sum(log), proto.Sum(list)}}
	if err := r.Send(t.Context(), topic(d.id, proto.DownWant), want); err != nil {
		t.Fatal(err)
	}
	d.next(proto.DownWant)
	for _, content := range [][]byte{log, list} {
		for _, c := range chunks(content) {
			d.send(proto.UpBlob, c)
		}
		if got := r.next(); got.text != string(content) || got.digest != proto.Sum(content) {
			t.Errorf("content of %d bytes, digest %s, want %d bytes", len(got.text), got.digest, len(content))
		}
	}
}

// TestUnwantedContent: what nobody asked for is not handed on, and what another device was asked for neither.
func TestUnwantedContent(t *testing.T) {
	r := newRig(t, Config{}, nil, nil)
	d, other := r.connect(id(1)), r.connect(id(2))
	content := []byte("boot log")
	want := &proto.Want{Evidence: proto.Sum(nil), Contents: []proto.Digest{proto.Sum(content)}}
	if err := r.Send(t.Context(), topic(other.id, proto.DownWant), want); err != nil {
		t.Fatal(err)
	}
	d.send(proto.UpBlob, chunks(content)[0])
	d.say("after")
	if got := r.next(); got.text != "after" {
		t.Errorf("the handler got %q", got.text)
	}
	other.send(proto.UpBlob, chunks(content)[0])
	if got := r.next(); got.text != string(content) {
		t.Errorf("the handler got %q, want the content", got.text)
	}
	if got := r.Malformed(); got != 1 {
		t.Errorf("Malformed() = %d, want 1", got)
	}
}

func TestRetain(t *testing.T) {
	r := newRig(t, Config{}, nil, nil)
	to := topic(id(1), proto.Result)
	for _, payload := range [][]byte{[]byte("result"), nil} {
		if err := r.Retain(t.Context(), to, payload); err != nil {
			t.Errorf("Retain(%q) = %v", payload, err)
		}
	}
}

// TestSlowDevice is ATTACKS row 16: a device whose messages take for ever delays nobody but itself and, for at most the
// time that one message may take, those that share its worker.
func TestSlowDevice(t *testing.T) {
	slow := id(1)
	begun := make(chan struct{}, 10)
	r := newRig(t, Config{Workers: 4}, func(c call) {
		if c.from.Device == slow {
			begun <- struct{}{}
			<-c.ctx.Done()
		}
	}, func(l *Link) { l.timeout = time.Second })
	d, elsewhere, beside := r.connect(slow), r.connect(r.sharing(slow, false)), r.connect(r.sharing(slow, true))
	d.say("slow")
	<-begun
	beside.say("beside")
	elsewhere.say("elsewhere")
	for i, want := range []string{"elsewhere", "slow", "beside"} {
		if got := r.next(); got.text != want {
			t.Errorf("call %d ended: %q, want %q", i, got.text, want)
		}
	}
}

// TestEndedCall: what a handler waits for ends with the link.
func TestEndedCall(t *testing.T) {
	begun := make(chan struct{})
	r := newRig(t, Config{}, func(c call) {
		close(begun)
		<-c.ctx.Done()
	}, nil)
	r.connect(id(1)).say("x")
	<-begun
	r.stop()
	if got := r.next(); got.ctx.Err() == nil {
		t.Error("the call's context did not end")
	}
}

// TestPanic is ATTACKS row 12: a handler that panics stops neither other devices nor the same one's next message.
func TestPanic(t *testing.T) {
	r := newRig(t, Config{Workers: 1}, func(c call) {
		if c.text == "boom" {
			panic("broken\ncode")
		}
	}, nil)
	a, b := r.connect(id(1)), r.connect(id(2))
	for range 3 {
		a.say("boom")
		r.next()
	}
	for text, d := range map[string]*device{"same device": a, "other device": b} {
		d.say(text)
		if got := r.next(); got.text != text {
			t.Errorf("handler got %q, want %q", got.text, text)
		}
	}
	if log := r.log.String(); strings.Count(log, "panicked") != 3 || !strings.Contains(log, id(1)) {
		t.Errorf("log:\n%s", log)
	}
}

// message is an MQTT message as a broker without access control might deliver it.
type message struct {
	topic   string
	payload []byte
}

func (m message) Topic() string   { return m.topic }
func (m message) Payload() []byte { return m.payload }
func (message) Duplicate() bool   { return false }
func (message) Qos() byte         { return 1 }
func (message) Retained() bool    { return false }
func (message) MessageID() uint16 { return 1 }
func (message) Ack()              {}

func TestMalformed(t *testing.T) {
	r := newRig(t, Config{}, nil, nil)
	d := r.connect(id(1))
	bad := 0
	for _, leaf := range []proto.Leaf{proto.UpState, proto.UpEnroll, proto.UpBlob} {
		for _, payload := range [][]byte{nil, []byte("x"), {0xa0}, random(1000), bytes.Repeat([]byte{0x9f}, 1000)} {
			d.publish(leaf, payload)
			bad++
		}
	}
	// The broker is not trusted to keep foreign topics away.
	for _, topic := range []string{
		"", "#", "$SYS/x", "probity/v1/t/" + id(1), "probity/v1/t/" + id(1) + "/up/../up/state", "probity/v1/T/" + id(1) + "/up/state",
		topic(id(1), proto.DownReceipt).String(), topic(id(1), proto.Result).String(), topic("\x00\n", proto.UpState).String(),
	} {
		r.receive(nil, message{topic, []byte("x")})
		bad++
	}
	r.receive(nil, message{topic(id(1), proto.UpEvidence).String(), make([]byte, proto.MaxMessage+1)})
	bad++
	r.until("counting", func() bool { return r.Malformed() == uint64(bad) })
	d.say("well")
	if got := r.next(); got.text != "well" {
		t.Errorf("the handler got %q", got.text)
	}
	if n := strings.Count(r.log.String(), "ignored"); n > 15 {
		t.Errorf("%d lines of log for %d malformed messages: a device can flood it", n, bad)
	}
}

// TestQueueFull: a worker that is behind drops messages and counts them; what it had taken is handled afterwards.
func TestQueueFull(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, Config{Workers: 1}, func(call) { <-release }, nil)
	const devices, messages = 3, 400
	var wg sync.WaitGroup
	for n := range devices {
		d := r.connect(id(n))
		wg.Go(func() {
			for range messages {
				d.say("x")
			}
		})
	}
	wg.Wait()
	// The broker has all; the last may be on their way.
	r.until("dropping", func() bool { return r.Dropped() == devices*messages-queueSize-1 })
	close(release)
	for range queueSize + 1 {
		r.next()
	}
	if got := r.queued.Load(); got != 0 {
		t.Errorf("%d bytes are queued in empty queues", got)
	}
}

// TestQueueBytes: what waits is bounded in bytes, too, over all workers.
func TestQueueBytes(t *testing.T) {
	l, err := New(Config{Handler: newRecorder(nil), Broker: "mqtt://nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, proto.MaxMessage)
	fit := maxQueued / len(payload)
	for n := range fit + 10 {
		l.receive(nil, message{topic(id(n), proto.UpEvidence).String(), payload})
	}
	if got := l.Dropped(); got != 10 {
		t.Errorf("Dropped() = %d, want 10 of %d", got, fit+10)
	}
	if got, want := l.queued.Load(), int64(fit*len(payload)); got != want {
		t.Errorf("%d bytes queued, want %d", got, want)
	}
}

// TestReconnect lets the broker end and come back.
func TestReconnect(t *testing.T) {
	r := newRig(t, Config{}, nil, nil)
	to := topic(id(1), proto.DownReceipt)
	m := &proto.Receipt{Evidence: proto.Sum(nil), Status: proto.Appraised, Next: 1}
	for round := range 2 {
		if err := r.Healthy(); err != nil {
			t.Fatalf("Healthy() = %v", err)
		}
		d := r.connect(id(1))
		d.say("hello")
		r.next()
		if err := r.broker.Close(); err != nil {
			t.Fatal(err)
		}
		r.until("noticing", func() bool { return r.Healthy() != nil })
		for name, err := range map[string]error{"Send": r.Send(t.Context(), to, m), "Retain": r.Retain(t.Context(), to, nil)} {
			if err == nil || !strings.Contains(err.Error(), "not connected") {
				t.Errorf("round %d: %s = %v, want that there is no connection", round, name, err)
			}
		}
		r.startBroker()
		r.until("reconnecting", func() bool { return r.Healthy() == nil })
		again := r.connect(id(1))
		again.say("again")
		if got := r.next(); got.text != "again" {
			t.Errorf("handler got %q", got.text)
		}
		if err := r.Send(t.Context(), to, m); err != nil {
			t.Error(err)
		}
		again.next(proto.DownReceipt)
		again.c.Disconnect(0)
	}
	if !strings.Contains(r.log.String(), "trying again") {
		t.Errorf("log does not tell of the loss:\n%s", r.log.String())
	}
	r.stop()
	if r.Healthy() == nil || r.Send(t.Context(), to, m) == nil {
		t.Error("a link that ended sends")
	}
}

// silent is a broker that answers CONNECT and SUBSCRIBE and nothing else. A deaf one does not read on then.
func silent(c net.Conn, deaf bool) {
	for listening := true; listening; {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			err = packets.NewControlPacket(packets.Connack).Write(c)
		case *packets.SubscribePacket:
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, []byte{1}
			err = a.Write(c)
			listening = !deaf
		}
		if err != nil {
			return
		}
	}
}

// TestSilentBroker is ATTACKS row 16 for the broker itself: what waits for its answer ends with its context, with the
// connection, and with the link.
func TestSilentBroker(t *testing.T) {
	r := &rig{T: t, recorder: newRecorder(nil)}
	conns := make(chan net.Conn, 100)
	var err error
	r.Link, err = New(Config{Handler: r.recorder, Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go silent(ours, false)
		conns <- ours
		return theirs, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, r.Link)
	r.awaitReady()
	broker := <-conns
	to := topic(id(1), proto.Result)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Retain(ctx, to, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Retain without an answer = %v, want that its context ended", err)
	}
	lost := make(chan error, 1)
	go func() { lost <- r.Retain(t.Context(), to, []byte("x")) }()
	broker.Close()
	if err := <-lost; err == nil {
		t.Error("Retain succeeded without an answer")
	}
	<-conns // it connects again
	r.until("reconnecting", func() bool { return r.Healthy() == nil })
	stop()
}

// TestEndedPublish: of messages that a broker does not take, none is waited for longer than its context lasts.
func TestEndedPublish(t *testing.T) {
	r := &rig{T: t, recorder: newRecorder(nil)}
	var err error
	r.Link, err = New(Config{Handler: r.recorder, Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go silent(ours, true)
		t.Cleanup(func() { ours.Close() })
		return theirs, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Link)
	r.awaitReady()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ended := make(chan error, 100)
	for range cap(ended) {
		go func() { ended <- r.Retain(ctx, topic(id(1), proto.Result), []byte("x")) }()
	}
	for range cap(ended) {
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Retain = %v, want that its context ended", err)
			}
		case <-time.After(writeTimeout / 2):
			t.Fatal("Retain outlives its context")
		}
	}
}

// TestDeafBroker: a broker that does not even answer CONNECT does not keep Run from ending.
func TestDeafBroker(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	dialled := make(chan struct{}, 100)
	l, err := New(Config{Handler: newRecorder(nil), Dial: func(context.Context) (net.Conn, error) {
		dialled <- struct{}{}
		return theirs, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	<-dialled
	if l.Healthy() == nil {
		t.Error("healthy without an answer of the broker")
	}
	stop()
}

// TestDialFails: a link starts before its broker.
func TestDialFails(t *testing.T) {
	r := &rig{T: t, recorder: newRecorder(nil), address: "127.0.0.1:0"}
	r.startBroker()
	failures := 2
	var err error
	r.Link, err = New(Config{Handler: r.recorder, Dial: func(ctx context.Context) (net.Conn, error) {
		if failures > 0 {
			failures--
			return nil, context.DeadlineExceeded
		}
		return r.dial(ctx)
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Link)
	r.awaitReady()
}

// TestRefusedSubscription: a broker that refuses the subscription is not one that the link listens to.
func TestRefusedSubscription(t *testing.T) {
	r := &rig{T: t, recorder: newRecorder(nil), address: "127.0.0.1:0"}
	r.startBroker()
	r.Link = r.external("ssl://"+r.address, id(1))
	run(t, r.Link)
	r.until("refusing", func() bool { return strings.Contains(r.log.String(), "access control") })
	select {
	case <-r.Ready():
		t.Error("the link is ready without a subscription")
	default:
	}
	if r.Healthy() == nil {
		t.Error("the link is healthy without a subscription")
	}
}
