package collect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto"
)

// errPrefix says that flash has changed under an interrupted capture.
var errPrefix = errors.New("what was captured before has changed")

// Capture reads a region of flash, or a part of it, as it is: excluded ranges included. It sends a start and pieces by
// send, which may wait, and returns what is to be said of all bytes, without the boot id. Reading keeps to the configured
// rate and holds no more than one piece. A region that is not known, or cannot be read, is a *proto.Unavailable.
func (f *Flash) Capture(
	ctx context.Context, m *proto.CaptureRequest, send func(*proto.CaptureUp) error,
) (*proto.CaptureStatement, error) {
	planned, err := f.planned(m.Region)
	if err != nil {
		return nil, err
	}
	var out *proto.CaptureStatement
	err = f.guarded(ctx, &f.captured, func(uint64) {}, func(ctx context.Context, tick func(uint64)) error {
		source, err := f.machine.Open(planned.Source)
		if err != nil {
			return err
		}
		out, err = f.capture(ctx, planned, source, m, send, tick)
		return errors.Join(err, source.Close())
	})
	var un *proto.Unavailable
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &un):
		return nil, un
	case errors.Is(err, errHangs):
		return nil, unavailable(proto.CausePending, "%v", err)
	}
	return nil, whyNot(err)
}

// planned returns a region as it is planned.
func (f *Flash) planned(name string) (flash.Region, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.regions == nil {
		return flash.Region{}, unavailable(proto.CausePending, "the agent has only just begun to look for flash")
	}
	for _, r := range f.regions {
		switch {
		case r.Name != name:
		case r.unplanned != nil:
			return flash.Region{}, whyNot(r.unplanned)
		default:
			return r.Region, nil
		}
	}
	return flash.Region{}, unavailable(proto.CauseNotFound, "this device has no flash region of this name: %d are known", len(f.regions))
}

// capture reads from an open source. If what the verifier has is not what is read, it begins again.
func (f *Flash) capture(
	ctx context.Context, planned flash.Region, source flash.Reader, m *proto.CaptureRequest,
	send func(*proto.CaptureUp) error, tick func(uint64),
) (*proto.CaptureStatement, error) {
	whole, err := planned.Fit(source.Size())
	if err != nil {
		return nil, err
	}
	if m.Offset >= whole.Length || uint64(m.Length) > whole.Length-m.Offset {
		return nil, unavailable(proto.CauseNotFound, "%d bytes at %#x are asked for: the region has %#x bytes", m.Length, m.Offset, whole.Length)
	}
	n := cmp.Or(uint64(m.Length), whole.Length-m.Offset)
	if n > proto.MaxCapture {
		return nil, unavailable(proto.CauseTooLarge, "%d bytes, at most %d at once: ask for a part", n, proto.MaxCapture)
	}
	part := flash.Region{Name: planned.Name, Source: planned.Source, Offset: whole.Offset + m.Offset, Length: n}
	w := &pieces{send: send, start: proto.CaptureStart{Size: uint32(n), Source: planned.Source.String()}}
	if uint64(m.Held) <= n {
		w.start.From, w.prefix, w.hash = m.Held, m.Prefix, sha256.New()
	}
	opts := flash.HashOptions{BytesPerSecond: f.cfg.Rate, Progress: func(done, _ uint64) { tick(done) }}
	sum, err := flash.Copy(ctx, w, source, part, opts)
	if errors.Is(err, errPrefix) {
		w.start.From, w.done = 0, 0
		sum, err = flash.Copy(ctx, w, source, part, opts)
	}
	if err != nil {
		return nil, err
	}
	if n := len(sum.Bad); n > proto.MaxFlashRanges {
		return nil, fmt.Errorf("%d ranges of bad blocks, at most %d can be reported", n, proto.MaxFlashRanges)
	}
	return &proto.CaptureStatement{
		Region: planned.Name, Source: w.start.Source, Offset: m.Offset, Size: uint32(n), Digest: sum.Digest,
		Bad: ranges(sum.Bad), Chip: source.Describe().JEDEC,
	}, nil
}

// pieces sends what is written to it, but for the bytes that the verifier has, which it compares.
type pieces struct {
	send   func(*proto.CaptureUp) error
	start  proto.CaptureStart
	prefix []byte    // digest of the first start.From bytes
	hash   hash.Hash // of them
	done   uint32
	began  bool // start was sent
}

// Write implements io.Writer.
func (w *pieces) Write(p []byte) (int, error) {
	n := len(p)
	if w.done < w.start.From {
		held := p[:min(n, int(w.start.From-w.done))]
		w.hash.Write(held)
		w.done += uint32(len(held))
		p = p[len(held):]
		if w.done < w.start.From {
			return n, nil
		}
		if !bytes.Equal(w.hash.Sum(nil), w.prefix) {
			return 0, errPrefix
		}
	}
	if !w.began {
		w.began = true
		start := w.start
		if err := w.send(&proto.CaptureUp{Start: &start}); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 {
		return n, nil
	}
	if err := w.send(&proto.CaptureUp{Piece: &proto.CapturePiece{Offset: w.done, Data: p}}); err != nil {
		return 0, err
	}
	w.done += uint32(len(p))
	return n, nil
}
