package collect

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto"
)

// taker collects what Capture sends.
type taker struct {
	starts []proto.CaptureStart
	data   []byte
	from   uint32
	fail   error
	before func()
}

func (k *taker) send(m *proto.CaptureUp) error {
	if k.before != nil {
		k.before()
	}
	if k.fail != nil {
		return k.fail
	}
	if m.Start != nil {
		k.starts, k.data, k.from = append(k.starts, *m.Start), nil, m.Start.From
		return nil
	}
	if int(m.Piece.Offset) != int(k.from)+len(k.data) || len(m.Piece.Data) > proto.ChunkSize {
		return errors.New("pieces are not in order")
	}
	k.data = append(k.data, m.Piece.Data...)
	return nil
}

func ofRegion(region string) *proto.CaptureRequest { return &proto.CaptureRequest{Region: region} }

// wantRefusal checks why a capture is refused.
func (r *flashRig) wantRefusal(m *proto.CaptureRequest, cause proto.Cause, reason string) {
	r.Helper()
	k := &taker{}
	s, err := r.Capture(r.Context(), m, k.send)
	var un *proto.Unavailable
	if s != nil || !errors.As(err, &un) || un.Cause != cause || !strings.Contains(un.Reason, reason) {
		r.Errorf("Capture(%+v) = %+v, %v, want %s: %s", m, s, err, cause, reason)
	}
}

func TestCapture(t *testing.T) {
	m := newFakeFlash(200_000, 4096)
	m.regions[0].Exclude = []flash.Range{{Offset: 16, Length: 16}} // raw bytes are raw
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		all := m.chip(0).data
		name := m.regions[0].Name
		for _, tt := range []struct {
			offset       uint64
			length, held uint32
		}{
			{0, 0, 0},
			{0, 200_000, 0},
			{100_000, 0, 0},
			{1, 65_537, 0},
			{199_999, 1, 0},
			{0, 0, 1},
			{0, 0, 65_536},
			{0, 0, 65_537},
			{0, 0, 199_999},
			{0, 0, 200_000},
			{100_000, 50_000, 49_999},
		} {
			want := all[tt.offset:]
			if tt.length > 0 {
				want = want[:tt.length]
			}
			q := &proto.CaptureRequest{Region: name, Offset: tt.offset, Length: tt.length, Held: tt.held}
			if tt.held > 0 {
				q.Prefix = digest(want[:tt.held])
			}
			k := &taker{}
			got, err := r.Capture(r.Context(), q, k.send)
			if err != nil {
				t.Fatalf("%+v: %v", tt, err)
			}
			size := uint32(len(want))
			statement := &proto.CaptureStatement{
				Region: name, Source: "mtd:mtd0", Offset: tt.offset, Size: size, Digest: proto.Sum(want), Chip: "ef4018",
			}
			if diff := cmp.Diff(statement, got); diff != "" {
				t.Errorf("%+v: statement (-want +got): %s", tt, diff)
			}
			start := []proto.CaptureStart{{Size: size, Source: "mtd:mtd0", From: tt.held}}
			if diff := cmp.Diff(start, k.starts); diff != "" || !bytes.Equal(k.data, want[tt.held:]) {
				t.Errorf("%+v: %d bytes of %d came, start %s", tt, len(k.data), size, diff)
			}
		}
	})
}

// TestCaptureBeginsAgain: what came before an interruption is not what is there now, or is more than there is.
func TestCaptureBeginsAgain(t *testing.T) {
	m := newFakeFlash(200_000)
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		all, name := m.chip(0).data, m.regions[0].Name
		for _, q := range []*proto.CaptureRequest{
			{Region: name, Held: 100_000, Prefix: digest([]byte("other bytes"))},
			{Region: name, Length: 50_000, Held: 50_001, Prefix: digest(all[:50_001])},
		} {
			k := &taker{}
			got, err := r.Capture(r.Context(), q, k.send)
			if err != nil {
				t.Fatal(err)
			}
			if len(k.starts) != 1 || k.starts[0].From != 0 || proto.Sum(k.data) != got.Digest || uint32(len(k.data)) != got.Size {
				t.Errorf("start %+v, %d bytes, want all of %d", k.starts, len(k.data), got.Size)
			}
		}
	})
}

func TestCaptureRefuses(t *testing.T) {
	m := newFakeFlash(4096, 4096)
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		name := m.regions[0].Name
		r.wantRefusal(ofRegion("other"), proto.CauseNotFound, "no flash region of this name")
		r.wantRefusal(ofRegion("x\x1b[2J\u202e"), proto.CauseNotFound, "no flash region of this name")
		r.wantRefusal(&proto.CaptureRequest{Region: name, Offset: 4096}, proto.CauseNotFound, "0x1000 bytes")
		r.wantRefusal(&proto.CaptureRequest{Region: name, Offset: 1, Length: 4096}, proto.CauseNotFound, "0x1000 bytes")
		r.wantRefusal(&proto.CaptureRequest{Region: name, Offset: 1<<64 - 1, Length: 1}, proto.CauseNotFound, "0x1000 bytes")

		ctx, cancel := context.WithCancelCause(r.Context())
		lost := errors.New("connection lost")
		k := &taker{before: func() { cancel(lost) }, fail: lost}
		if _, err := r.Capture(ctx, ofRegion(name), k.send); !errors.Is(err, lost) {
			t.Errorf("Capture = %v after the connection was lost", err)
		}
		m.do(func() { m.chip(0).hangs = true })
		r.wantRefusal(ofRegion(name), proto.CausePending, "hangs in the kernel")
		// One thread hangs at most, whatever is asked for.
		r.wantRefusal(ofRegion(m.regions[1].Name), proto.CausePending, "hangs in the kernel")
		m.chip(0).release()
		r.later(time.Second)
		k = &taker{}
		if _, err := r.Capture(r.Context(), ofRegion(m.regions[1].Name), k.send); err != nil {
			t.Errorf("Capture = %v after nothing hangs any more", err)
		}
	})
}

func TestCaptureTooLarge(t *testing.T) {
	m := newFakeFlash(proto.MaxCapture + 2)
	inBubble(t, m, FlashConfig{Interval: 1000 * time.Hour}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		name := m.regions[0].Name
		r.wantRefusal(ofRegion(name), proto.CauseTooLarge, "ask for a part")
		k := &taker{}
		if s, err := r.Capture(r.Context(), &proto.CaptureRequest{Region: name, Offset: proto.MaxCapture}, k.send); err != nil || s.Size != 2 {
			t.Errorf("Capture of a part = %+v, %v", s, err)
		}
	})
}

// TestCaptureKeepsTheRate: raw bytes are read as gently as digests are made.
func TestCaptureKeepsTheRate(t *testing.T) {
	m := newFakeFlash(1 << 20)
	inBubble(t, m, FlashConfig{Interval: 1000 * time.Hour, Rate: 64 << 10}, func(r *flashRig) {
		r.Wait(r.Context(), time.Hour)
		began := time.Now()
		var at []time.Duration
		k := &taker{before: func() { at = append(at, time.Since(began)) }}
		if _, err := r.Capture(r.Context(), ofRegion(m.regions[0].Name), k.send); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 15*time.Second || took > 17*time.Second || !slices.IsSorted(at) || len(at) != 17 {
			t.Errorf("1 MiB at 64 KiB/s took %s in %d messages, want 16 s in 17", took, len(at))
		}
	})
}
