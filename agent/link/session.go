package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/proto"
)

// errUnheard ends a connection on which nobody answers.
var errUnheard = errors.New("the verifier does not answer")

// session is what lives as long as one connection.
type session struct {
	*Link
	conn      *connection
	inflight  *ack // the one message that the broker has not acknowledged yet
	overdue   <-chan time.Time
	stopTimer func()
	enroll    *exchange // a renewal in progress
	enrollOut publication
	enrollBy  time.Time // when the renewal is given up

	captures    context.Context // of captures: ends with the connection
	captureNext *proto.CaptureRequest
	pieces      chan publication
	captureOut  publication // taken from pieces
}

// session runs one connection until it breaks or ctx ends.
func (l *Link) session(ctx context.Context, c *connection) error {
	s := &session{Link: l, conn: c, stopTimer: func() {}, pieces: make(chan publication)}
	var end func()
	s.captures, end = context.WithCancel(ctx)
	defer end()
	defer func() { s.stopTimer() }()
	l.talk.connected(l.cfg.Clock.Now())
	for {
		if err := s.act(ctx); err != nil {
			return err
		}
		if err := s.await(ctx); err != nil {
			if ctx.Err() != nil || errors.Is(err, errDone) {
				c.farewell(l.offline(), time.Second)
			}
			return err
		}
	}
}

// act does all that can be done now without waiting.
func (s *session) act(ctx context.Context) error {
	now := s.cfg.Clock.Now()
	s.renew(ctx, now)
	s.talk.tick(now)
	if s.talk.unheard() {
		return errUnheard
	}
	if m := s.talk.begin(now); m != nil {
		s.makeReport(ctx, m)
	}
	s.beginCapture(now)
	for s.inflight == nil {
		p := s.enrollOut
		s.enrollOut = publication{}
		if p.leaf == "" {
			end := s.watch.begin("reading content")
			var err error
			p, err = s.talk.next(ctx, now)
			end()
			if err != nil {
				s.cfg.Log.Warn("not sent", "reason", err)
				continue
			}
		}
		if p.leaf == "" { // nothing else is to be said
			p, s.captureOut = s.captureOut, publication{}
		}
		if p.leaf == "" {
			return nil
		}
		s.cfg.Log.Debug("sending", "leaf", string(p.leaf), "bytes", len(p.payload))
		s.inflight = s.conn.publish(p)
		s.overdue, s.stopTimer = s.cfg.Clock.After(s.cfg.Timing.Publish)
	}
	return nil
}

// await waits for the next event and takes it in.
func (s *session) await(ctx context.Context) error {
	var acknowledged <-chan struct{}
	if s.inflight != nil {
		acknowledged = s.inflight.Done()
	}
	pieces := s.pieces
	if s.captureOut.leaf != "" {
		pieces = nil
	}
	timer, stop := s.timer()
	defer stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.conn.lost:
		return fmt.Errorf("connection lost: %w", err)
	case <-s.overdue:
		return fmt.Errorf("the broker did not acknowledge a message within %s", s.cfg.Timing.Publish)
	case <-acknowledged:
		err := s.inflight.Error()
		s.stopTimer()
		s.inflight, s.overdue, s.stopTimer = nil, nil, func() {}
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	case r := <-s.reports:
		return s.reported(r)
	case <-s.soon:
		s.talk.hasten(s.cfg.Clock.Now())
	case s.captureOut = <-pieces:
	case m := <-s.conn.inbox:
		return s.receive(ctx, m)
	case <-timer:
	}
	return nil
}

// timer fires when act has something to do.
func (s *session) timer() (<-chan time.Time, func()) {
	at := s.talk.wake()
	renew := s.renewAt
	if s.enroll != nil {
		renew = s.enrollBy
	}
	if at.IsZero() || renew.Before(at) {
		at = renew
	}
	if s.captureNext != nil && s.capturing.Load() == nil && s.captureAt.Before(at) {
		at = s.captureAt
	}
	return s.cfg.Clock.After(max(0, at.Sub(s.cfg.Clock.Now())))
}

// makeReport works beside the session: a slow TPM must not keep the conversation from going on.
func (s *session) makeReport(ctx context.Context, m *proto.Challenge) {
	end := s.watch.begin("making evidence")
	s.status("making evidence")
	s.working.Go(func() {
		defer end()
		r, err := s.cfg.Attester.Report(ctx, m)
		s.reports <- reported{r, err}
	})
}

func (s *session) reported(r reported) error {
	s.talk.made(s.cfg.Clock.Now(), r.report, r.err)
	if r.err != nil {
		s.cfg.Log.Error("no evidence", "reason", r.err)
		s.status("no evidence: " + r.err.Error())
		return s.finish(outcome{err: r.err})
	}
	s.status("sending evidence")
	return nil
}

// receive takes in one message. Whatever is not understood is logged and ignored.
func (s *session) receive(ctx context.Context, m message) error {
	now := s.cfg.Clock.Now()
	var err error
	switch m.leaf {
	case proto.DownChallenge:
		var c proto.Challenge
		if err = proto.Decode(m.payload, &c); err == nil {
			s.talk.challenge(now, &c)
		}
	case proto.DownWant:
		var w proto.Want
		if err = proto.Decode(m.payload, &w); err == nil {
			err = s.talk.want(now, &w)
		}
	case proto.DownReceipt:
		var r proto.Receipt
		if err = proto.Decode(m.payload, &r); err == nil {
			return s.receipt(now, &r)
		}
	case proto.DownCapture:
		var r proto.CaptureRequest
		if err = proto.Decode(m.payload, &r); err == nil {
			err = s.capture(&r)
		}
	case proto.DownEnroll:
		err = s.renewal(ctx, now, m.payload)
	default:
		err = errors.New("not a message of this conversation")
	}
	if err != nil {
		s.cfg.Log.Warn("message ignored", "leaf", string(m.leaf), "reason", err)
	}
	return nil
}

func (s *session) receipt(now time.Time, m *proto.Receipt) error {
	if !s.talk.receipt(now, m) {
		s.cfg.Log.Debug("receipt for evidence that is not waiting", "evidence", m.Evidence.String())
		return nil
	}
	if s.cfg.OnReceipt != nil {
		s.cfg.OnReceipt(m)
	}
	if m.Status == proto.Rejected {
		s.cfg.Log.Warn("evidence rejected", "code", m.Code, "reasons", m.Reasons)
		s.status("evidence rejected: " + m.Code)
		if m.Code == proto.CodeNonceExpired || m.Code == proto.CodeOutOfSync { // another challenge settles both
			return nil
		}
		return s.finish(outcome{receipt: m, err: &RejectedError{Code: m.Code, Reasons: m.Reasons}})
	}
	first := ""
	if len(m.Reasons) > 0 {
		first = m.Reasons[0]
	}
	s.cfg.Log.Info("evidence appraised", "evidence", m.Evidence.String(), "state", m.State,
		"findings", len(m.Reasons), "first", first, "next_in", time.Duration(m.Next)*time.Second)
	s.status("attested: " + m.State)
	return s.finish(outcome{receipt: m})
}

// RejectedError says that the verifier found evidence not authentic or not fresh: there is no verdict.
type RejectedError struct {
	Code    string
	Reasons []string
}

// Error implements error.
func (e *RejectedError) Error() string {
	s := "the verifier rejects the evidence (" + e.Code + ")"
	for _, r := range e.Reasons {
		s += "; " + r
	}
	return s
}

// renew starts a renewal of the certificate when it is due, and gives one up that was not answered.
func (s *session) renew(ctx context.Context, now time.Time) {
	if s.enroll != nil && !now.Before(s.enrollBy) {
		s.renewLater(now, s.cfg.Timing.Answer, errors.New("no answer"))
	}
	if s.enroll != nil || now.Before(s.renewAt) {
		return
	}
	defer s.watch.begin("renewing the certificate")()
	x := &exchange{device: s.cfg.Device}
	p, err := x.start(ctx)
	if err != nil {
		s.renewLater(now, s.cfg.Timing.RenewRetry, err)
		return
	}
	s.enroll, s.enrollOut, s.enrollBy = x, p, now.Add(s.cfg.Timing.AnswerMax)
}

// renewal takes what the verifier says to a renewal.
func (s *session) renewal(ctx context.Context, now time.Time, payload []byte) error {
	if s.enroll == nil {
		return errors.New("nothing was asked on this topic")
	}
	var m proto.EnrollDown
	if err := proto.Decode(payload, &m); err != nil {
		return err
	}
	defer s.watch.begin("renewing the certificate")()
	p, certificate, err := s.enroll.answer(ctx, &m)
	var again *retryError
	switch {
	case errors.As(err, &again):
		s.renewLater(now, again.after, err)
	case err != nil:
		s.renewLater(now, s.cfg.Timing.RenewRetry, err)
	case certificate != nil:
		s.enroll = nil
		if err := s.enrolled(certificate); err != nil {
			s.renewLater(now, s.cfg.Timing.RenewRetry, err)
		}
	default:
		s.enrollOut = p
	}
	return nil
}

// renewLater ends a renewal that led to nothing. The connection stays: a device whose certificate was withheld is still
// appraised, so that it comes back by itself once its evidence is good again.
func (s *session) renewLater(now time.Time, after time.Duration, reason error) {
	s.enroll = nil
	s.renewAt = now.Add(spread(after, s.cfg.Jitter))
	s.cfg.Log.Warn("the certificate was not renewed", "reason", reason, "expires", s.expires, "retry_in", after)
}
