package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/proto"
)

// phase is where the conversation stands.
type phase uint8

const (
	idle      phase = iota // waiting for the time of the next report
	asked                  // said ready, waiting for a challenge
	reporting              // evidence is being made
	sent                   // waiting for the receipt, sending wanted content meanwhile
)

// maxSends is how often one content of one report is sent: the verifier, or a second replica of it, may have lost it,
// but it can't drain the uplink.
const maxSends = 4

// conversation decides what to say and when. It does no I/O, starts nothing and reads no clock: a session feeds it with
// events, and asks what to publish (next), what to report on (begin) and when to come back (wake). It outlives sessions.
type conversation struct {
	timing Timing
	jitter func() float64
	agent  string

	phase    phase
	wakeAt   time.Time // when tick has something to do; zero: never
	ready    bool      // a State ready is to be published
	answer   backoff   // of repetitions
	failures backoff   // of reports that could not be made or were rejected

	pending   *proto.Challenge // newest challenge that was not begun
	pendingBy time.Time        // when its nonce expires
	started   time.Time        // when the newest report was begun
	hurry     bool             // what was reported has changed since

	report   *Report // the outbox
	digest   proto.Digest
	nonce    []byte
	expires  time.Time // of the nonce
	evidence bool      // the evidence is to be published
	wanted   []proto.Digest
	sends    map[proto.Digest]int
	blob     []byte // the content that is being sent, wanted[0]
	offset   int
}

func newConversation(t Timing, jitter func() float64, agent string) *conversation {
	return &conversation{
		timing: t, jitter: jitter, agent: agent,
		answer:   backoff{min: t.Answer, max: t.AnswerMax, jitter: jitter},
		failures: backoff{min: t.Answer, max: t.AnswerMax, jitter: jitter},
	}
}

// connected begins a session: the outbox goes first, otherwise we ask for a challenge.
func (c *conversation) connected(now time.Time) {
	c.answer.reset()
	c.stopSending()
	switch {
	case c.phase == reporting:
	case c.report != nil && now.Before(c.expires):
		c.send(now)
	default:
		c.ask(now)
	}
}

// ask says ready.
func (c *conversation) ask(now time.Time) {
	c.report = nil
	c.phase, c.ready = asked, true
	c.wakeAt = now.Add(c.answer.atLeastHalf())
}

// send puts the outbox on the wire, again or for the first time.
func (c *conversation) send(now time.Time) {
	c.phase, c.evidence = sent, true
	c.wakeAt = now.Add(c.answer.atLeastHalf())
}

// rest waits for the time of the next report.
func (c *conversation) rest(until time.Time) {
	c.phase, c.report, c.wakeAt = idle, nil, until
	c.stopSending()
}

func (c *conversation) stopSending() {
	c.ready, c.evidence, c.wanted, c.blob, c.offset = false, false, nil, nil, 0
}

// challenge takes a challenge, asked for or pushed. The newest wins; one that repeats the nonce in the outbox means that
// the evidence was lost.
func (c *conversation) challenge(now time.Time, m *proto.Challenge) {
	if c.report != nil && string(m.Nonce) == string(c.nonce) {
		c.send(now)
		return
	}
	c.pending, c.pendingBy = m, now.Add(time.Duration(m.Lifetime)*time.Second)
	c.ready = false
}

// begin returns the challenge to make evidence for, if now is the time for it.
func (c *conversation) begin(now time.Time) *proto.Challenge {
	if c.pending == nil || c.phase == reporting || !c.started.IsZero() && now.Before(c.started.Add(c.timing.MinInterval)) {
		return nil
	}
	m := c.pending
	c.pending = nil
	if !now.Before(c.pendingBy) { // it waited for too long
		if c.phase != sent {
			c.ask(now)
		}
		return nil
	}
	c.stopSending()
	c.phase, c.wakeAt, c.started = reporting, time.Time{}, now
	c.report, c.nonce, c.expires, c.hurry = nil, m.Nonce, c.pendingBy, false
	return m
}

// made takes the evidence that begin led to.
func (c *conversation) made(now time.Time, r *Report, err error) {
	c.answer.reset()
	if err != nil {
		c.rest(now.Add(c.failures.atLeastHalf()))
		return
	}
	c.report, c.digest, c.sends = r, proto.Sum(r.Evidence), map[proto.Digest]int{}
	c.send(now)
}

// want queues content for sending. It returns an error, for the log, if there is nothing to send.
func (c *conversation) want(now time.Time, m *proto.Want) error {
	if c.report == nil || c.phase != sent || m.Evidence != c.digest {
		return fmt.Errorf("content of evidence %.8s is wanted, which is not what was sent last", m.Evidence)
	}
	var errs []error
	for _, d := range m.Contents {
		switch {
		case c.queued(d):
		case c.sends[d] >= maxSends:
			errs = append(errs, fmt.Errorf("content %.8s is wanted once more after it was sent %d times", d, maxSends))
		default:
			c.wanted = append(c.wanted, d)
		}
	}
	c.wakeAt = now.Add(c.answer.peek())
	return errors.Join(errs...)
}

func (c *conversation) queued(d proto.Digest) bool {
	for _, w := range c.wanted {
		if w == d {
			return true
		}
	}
	return false
}

// receipt takes a receipt and reports whether it is for the outbox.
func (c *conversation) receipt(now time.Time, m *proto.Receipt) bool {
	if c.report == nil || m.Evidence != c.digest {
		return false
	}
	c.answer.reset()
	next := min(time.Duration(m.Next)*time.Second, maxNext)
	if m.Status == proto.Appraised {
		if c.report.Accepted != nil {
			c.report.Accepted()
		}
		c.failures.reset()
		c.rest(now.Add(max(spread(next, c.jitter), c.timing.MinInterval)))
		if c.hurry {
			c.hasten(now)
		}
		return true
	}
	first := c.failures.bound == 0
	wait := max(spread(next, c.jitter), c.failures.atLeastHalf())
	if first && m.Code == proto.CodeNonceExpired {
		wait = 0
	}
	c.rest(now.Add(wait))
	return true
}

// hasten makes the next report due as soon as may be, without a fleet doing so all at once. A report that is being made
// or waits for its receipt may be too old: another one follows. After a failure the wait for the next try stays.
func (c *conversation) hasten(now time.Time) {
	switch {
	case c.phase == reporting, c.phase == sent:
		c.hurry = true
	case c.phase == idle && c.failures.bound == 0:
		at := later(now, c.started.Add(c.timing.MinInterval))
		at = at.Add(time.Duration(c.jitter() * float64(c.timing.MinInterval)))
		if at.Before(c.wakeAt) {
			c.wakeAt = at
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wake returns when tick and begin have something to do; zero: when something comes.
func (c *conversation) wake() time.Time {
	if c.pending != nil && c.phase != reporting {
		return c.started.Add(c.timing.MinInterval)
	}
	return c.wakeAt
}

// tick does what is due: the next report, or the repetition of what was not answered.
func (c *conversation) tick(now time.Time) {
	if c.wakeAt.IsZero() || now.Before(c.wakeAt) || c.pending != nil {
		return
	}
	switch {
	case c.phase == idle, c.phase == asked:
		c.ask(now)
	case c.phase == sent && !now.Before(c.expires):
		c.stopSending()
		c.ask(now)
	case c.phase == sent:
		c.send(now)
	}
}

// unheard reports whether so much went unanswered that the connection is to blame. connected begins anew.
func (c *conversation) unheard() bool {
	return (c.phase == asked || c.phase == sent) && c.answer.count > maxRepeats+1
}

// next returns what to publish, if anything. It is called only when nothing is on its way to the broker.
func (c *conversation) next(ctx context.Context, now time.Time) (publication, error) {
	switch {
	case c.ready:
		c.ready = false
		b, err := proto.Encode(&proto.State{Kind: proto.StateReady, Agent: c.agent})
		return publication{leaf: proto.UpState, payload: b}, err
	case c.evidence:
		c.evidence = false
		return publication{leaf: proto.UpEvidence, payload: c.report.Evidence}, nil
	case len(c.wanted) > 0:
		return c.chunk(ctx, now)
	}
	return publication{}, nil
}

// chunk returns the next piece of the content that is first in line.
func (c *conversation) chunk(ctx context.Context, now time.Time) (publication, error) {
	d := c.wanted[0]
	if c.blob == nil {
		b, err := c.report.Content(ctx, d)
		if err == nil && (len(b) == 0 || proto.Sum(b) != d) {
			err = errors.New("it has changed since it was reported")
		}
		if err != nil {
			c.wanted = c.wanted[1:]
			return publication{}, fmt.Errorf("content %.8s: %w", d, err)
		}
		c.blob, c.offset = b, 0
		c.sends[d]++
	}
	end := min(c.offset+proto.ChunkSize, len(c.blob))
	b, err := proto.Encode(&proto.Chunk{
		Digest: d, Size: uint32(len(c.blob)), Offset: uint32(c.offset), Data: c.blob[c.offset:end],
	})
	if c.offset = end; end == len(c.blob) {
		c.wanted, c.blob = c.wanted[1:], nil
	}
	c.wakeAt = now.Add(c.timing.Publish + c.answer.peek()) // as long as content flows, nothing is repeated
	return publication{leaf: proto.UpBlob, payload: b}, err
}
