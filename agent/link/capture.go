package link

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/probity-attest/probity/proto"
)

// capture takes a request for raw bytes of flash. One capture runs at a time, and ends with the connection: the verifier asks
// again on the next one. A request that comes while another one runs, or too soon after it, waits; the newest counts.
func (s *session) capture(m *proto.CaptureRequest) error {
	if s.cfg.Capturer == nil {
		return errors.New("raw bytes of flash are asked for, which this agent does not read")
	}
	if running := s.capturing.Load(); running == nil || !bytes.Equal(running.Nonce, m.Nonce) {
		s.captureNext = m
	}
	return nil
}

// beginCapture answers the request that waits, if now is the time for it, beside the session.
func (s *session) beginCapture(now time.Time) {
	m := s.captureNext
	if m == nil || s.capturing.Load() != nil || now.Before(s.captureAt) {
		return
	}
	// The device's owner can see in the log who asked for what, whether it is given or not.
	s.cfg.Log.Warn("raw bytes of flash are asked for", "region", m.Region, "offset", m.Offset, "length", m.Length)
	s.captureNext, s.captureAt = nil, now.Add(s.cfg.Timing.MinInterval)
	s.capturing.Store(m)
	ctx := s.captures
	s.working.Go(func() {
		s.answerCapture(ctx, m)
		s.capturing.Store(nil)
		select {
		case s.pieces <- publication{}: // nothing to send, but perhaps another one to begin
		case <-ctx.Done():
		}
	})
}

// answerCapture sends all of a capture, or why there is none.
func (s *session) answerCapture(ctx context.Context, m *proto.CaptureRequest) {
	err := s.cfg.Capturer.Capture(ctx, m, func(up *proto.CaptureUp) error { return s.offer(ctx, m, up) })
	switch {
	case err == nil:
		s.cfg.Log.Info("raw bytes of flash were sent", "region", m.Region)
		return
	case ctx.Err() != nil: // there is nobody to tell
		return
	}
	s.cfg.Log.Warn("raw bytes of flash are not sent", "region", m.Region, "reason", err)
	var un *proto.Unavailable
	if !errors.As(err, &un) {
		reason := err.Error()
		reason = strings.ToValidUTF8(reason[:min(len(reason), proto.MaxReason)], "?")
		un = &proto.Unavailable{Cause: proto.CauseIO, Reason: reason}
	}
	if err := s.offer(ctx, m, &proto.CaptureUp{Refused: un}); err != nil {
		s.cfg.Log.Warn("not sent", "reason", err)
	}
}

// offer hands a message to the session, which sends it when nothing else is to be said.
func (s *session) offer(ctx context.Context, m *proto.CaptureRequest, up *proto.CaptureUp) error {
	up.Nonce = m.Nonce
	b, err := proto.Encode(up)
	if err != nil {
		return err
	}
	select {
	case s.pieces <- publication{leaf: proto.UpCapture, payload: b}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
