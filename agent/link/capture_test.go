package link

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

// capturer sends what a test gives it.
type capturer struct {
	mu     sync.Mutex
	pieces [][]byte
	err    error
	begun  int
	hold   chan struct{} // if set, pieces wait for it
	ended  chan error    // receives what sending gave
}

func (c *capturer) Capture(ctx context.Context, m *proto.CaptureRequest, send func(*proto.CaptureUp) error) (err error) {
	c.mu.Lock()
	c.begun++
	pieces, fail, hold := c.pieces, c.err, c.hold
	c.mu.Unlock()
	defer func() {
		select {
		case c.ended <- err:
		default:
		}
	}()
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if size > 0 {
		if err := send(&proto.CaptureUp{Start: &proto.CaptureStart{Size: uint32(size), Source: m.Region}}); err != nil {
			return err
		}
	}
	at := 0
	for _, p := range pieces {
		if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := send(&proto.CaptureUp{Piece: &proto.CapturePiece{Offset: uint32(at), Data: p}}); err != nil {
			return err
		}
		at += len(p)
	}
	if fail != nil {
		return fail
	}
	return send(&proto.CaptureUp{End: &proto.CaptureEnd{Statement: []byte{1}, Signature: []byte{2}}})
}

// capturing returns a rig whose device sends these pieces.
func capturing(t *testing.T, c *capturer) *rig {
	t.Helper()
	r := newRig(t)
	c.ended = make(chan error, 16)
	r.cfg.Capturer = c
	r.enrolled()
	return r
}

func (r *rig) ask(nonce byte) *proto.CaptureRequest {
	r.t.Helper()
	m := &proto.CaptureRequest{Nonce: bytes.Repeat([]byte{nonce}, proto.NonceSize), Region: "bios", Banks: []uint16{11}, PCRs: 1}
	r.send(proto.DownCapture, m)
	return m
}

// up waits for the next message about a capture.
func (r *rig) up(nonce byte) *proto.CaptureUp {
	r.t.Helper()
	m := &proto.CaptureUp{}
	r.decode(r.next(proto.UpCapture), m)
	if m.Nonce[0] != nonce {
		r.t.Fatalf("message %+v is about capture %d, want %d", m, m.Nonce[0], nonce)
	}
	return m
}

func (c *capturer) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

func (c *capturer) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the capture does not end")
	}
	return nil
}

func TestCapture(t *testing.T) {
	c := &capturer{pieces: [][]byte{bytes.Repeat([]byte{1}, proto.ChunkSize), {2, 3}}}
	r := capturing(t, c)
	r.ask(1)
	if m := r.up(1); m.Start == nil || m.Start.Size != proto.ChunkSize+2 || m.Start.Source != "bios" {
		t.Errorf("start = %+v", m)
	}
	if m := r.up(1); m.Piece == nil || len(m.Piece.Data) != proto.ChunkSize {
		t.Errorf("first piece = %+v", m)
	}
	if m := r.up(1); m.Piece == nil || m.Piece.Offset != proto.ChunkSize {
		t.Errorf("second piece = %+v", m)
	}
	if m := r.up(1); m.End == nil {
		t.Errorf("end = %+v", m)
	}
	// Another one so soon waits; of several the newest counts.
	r.ask(2)
	r.ask(3)
	r.settled()
	if c.count() != 1 {
		t.Error("another capture began at once")
	}
	r.clock.pass(t, 10*time.Second)
	if m := r.up(3); m.Start == nil {
		t.Errorf("second capture after a while = %+v, want its start", m)
	}
}

func TestCaptureRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		cause  proto.Cause
		reason string
	}{
		"by the charter": {&proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: "charter"}, proto.CauseNotAllowed, "charter"},
		"by a failure":   {errors.New("chip fell off" + strings.Repeat("ü", proto.MaxReason)), proto.CauseIO, "chip fell off"},
	} {
		t.Run(name, func(t *testing.T) {
			r := capturing(t, &capturer{err: tt.err})
			r.ask(1)
			m := r.up(1)
			if m.Refused == nil || m.Refused.Cause != tt.cause || !strings.HasPrefix(m.Refused.Reason, tt.reason) {
				t.Errorf("answer = %+v, want %s: %s", m, tt.cause, tt.reason)
			}
		})
	}
}

// TestCaptureOneAtATime: a request that repeats the running one changes nothing, another one waits for its end, and evidence
// goes before pieces.
func TestCaptureOneAtATime(t *testing.T) {
	c := &capturer{pieces: [][]byte{{1}, {2}}, hold: make(chan struct{})}
	r := capturing(t, c)
	r.ask(1)
	if m := r.up(1); m.Start == nil {
		t.Fatalf("start = %+v", m)
	}
	r.clock.advance(10 * time.Second)
	r.ask(1)
	r.ask(2)
	r.receipt(r.evidence(r.challenge()))
	close(c.hold)
	for range 2 {
		if m := r.up(1); m.Piece == nil {
			t.Errorf("got %+v, want a piece", m)
		}
	}
	if m := r.up(1); m.End == nil {
		t.Errorf("got %+v, want the end", m)
	}
	if err := c.wait(t); err != nil {
		t.Error(err)
	}
	if m := r.up(2); m.Start == nil || c.count() != 2 {
		t.Errorf("after %d captures came %+v, want the start of the second", c.count(), m)
	}
}

// TestCaptureEndsWithTheConnection: nothing of it is sent on the next one, until it is asked for again.
func TestCaptureEndsWithTheConnection(t *testing.T) {
	c := &capturer{pieces: [][]byte{{1}, {2}}}
	r := capturing(t, c)
	r.set(func() { r.cut = proto.UpCapture })
	r.ask(1)
	if err := c.wait(t); err == nil {
		t.Error("the capture went on without a connection")
	}
	r.state(proto.StateOffline) // the will
	r.gone()
	r.clock.pass(t, time.Second)
	r.login()
	r.state(proto.StateReady)
	r.clock.advance(10 * time.Second)
	r.ask(1)
	for i, is := range []func(*proto.CaptureUp) bool{
		func(m *proto.CaptureUp) bool { return m.Start != nil },
		func(m *proto.CaptureUp) bool { return m.Piece != nil && m.Piece.Offset == 0 },
		func(m *proto.CaptureUp) bool { return m.Piece != nil && m.Piece.Offset == 1 },
		func(m *proto.CaptureUp) bool { return m.End != nil },
	} {
		if m := r.up(1); !is(m) {
			t.Errorf("message %d = %+v", i, m)
		}
	}
}

// TestCaptureIgnored: an agent that reads no flash for others, and a request that is none.
func TestCaptureIgnored(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.ask(1)
	<-r.ignored
	r.sendRaw(proto.Address{Tenant: tenant, Device: r.device.ID(), Leaf: proto.DownCapture}.String(), []byte{0xa0}, false)
	<-r.ignored
	r.receipt(r.evidence(r.challenge())) // and the conversation goes on
}
