package link

import (
	"cmp"
	"fmt"
	"sync"
	"time"
)

// Timing are the link's tuning constants. Zero fields take the default in brackets.
type Timing struct {
	Connect      time.Duration // for TCP, TLS and MQTT handshake together (30 s)
	Publish      time.Duration // for the broker to acknowledge one message (60 s)
	Answer       time.Duration // for the verifier to answer before the message is repeated (30 s); doubles to AnswerMax
	AnswerMax    time.Duration // (15 min)
	MinInterval  time.Duration // between two reports, whoever asks (10 s)
	ReconnectMin time.Duration // first bound of the random wait before the next connection (1 s); doubles to ReconnectMax
	ReconnectMax time.Duration // (5 min)
	Stable       time.Duration // a connection that lasted so long resets the backoff (1 min)
	RenewRetry   time.Duration // after a renewal that was denied without a time (1 h)
	KeepAlive    time.Duration // of MQTT (60 s)
	Stuck        time.Duration // an operation that takes longer makes the link unhealthy (5 min)
}

func (t Timing) orDefault() Timing {
	return Timing{
		Connect:      cmp.Or(t.Connect, 30*time.Second),
		Publish:      cmp.Or(t.Publish, time.Minute),
		Answer:       cmp.Or(t.Answer, 30*time.Second),
		AnswerMax:    cmp.Or(t.AnswerMax, 15*time.Minute),
		MinInterval:  cmp.Or(t.MinInterval, 10*time.Second),
		ReconnectMin: cmp.Or(t.ReconnectMin, time.Second),
		ReconnectMax: cmp.Or(t.ReconnectMax, 5*time.Minute),
		Stable:       cmp.Or(t.Stable, time.Minute),
		RenewRetry:   cmp.Or(t.RenewRetry, time.Hour),
		KeepAlive:    cmp.Or(t.KeepAlive, time.Minute),
		Stuck:        cmp.Or(t.Stuck, 5*time.Minute),
	}
}

// maxRepeats is how often a message is repeated on one connection. Then the connection is made anew: a broker may have
// lost our subscription, which no acknowledgement ever shows.
const maxRepeats = 3

// maxNext is the longest silence that a receipt can ask for: longer ones would make a device look dead.
const maxNext = 7 * 24 * time.Hour

// Clock tells the time and wakes. Tests bring their own.
type Clock interface {
	Now() time.Time
	// After returns a channel that receives once d has passed, and a function that releases it.
	After(d time.Duration) (<-chan time.Time, func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// backoff yields waits with full jitter: random below a bound that doubles from min to max.
type backoff struct {
	min, max time.Duration
	jitter   func() float64
	bound    time.Duration
	count    int // calls since reset
}

func (b *backoff) next() time.Duration {
	b.bound = b.peek()
	b.count++
	return time.Duration(b.jitter() * float64(b.bound))
}

func (b *backoff) peek() time.Duration {
	if b.bound == 0 {
		return b.min
	}
	return min(2*b.bound, b.max)
}

func (b *backoff) reset() { b.bound, b.count = 0, 0 }

// atLeastHalf yields waits between half the bound and the bound: for repeating a message that may just be slow.
func (b *backoff) atLeastHalf() time.Duration {
	b.bound = b.peek()
	b.count++
	half := b.bound / 2
	return half + time.Duration(b.jitter()*float64(half))
}

// spread adds up to a tenth to a time that somebody else chose, so that a fleet does not return at once.
func spread(d time.Duration, jitter func() float64) time.Duration {
	return d + time.Duration(jitter()*float64(d)/10)
}

// watch knows since when operations that should be short are running.
type watch struct {
	clock Clock
	mu    sync.Mutex
	since map[string]time.Time
}

// begin marks the start of an operation and returns what ends it.
func (w *watch) begin(name string) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[string]time.Time{}
	}
	w.since[name] = w.clock.Now()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.since, name)
	}
}

// Healthy fails if an operation has been running for longer than Timing.Stuck, for example in a TPM driver that hangs.
func (l *Link) Healthy() error {
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	for name, since := range l.watch.since {
		if d := l.cfg.Clock.Now().Sub(since); d > l.cfg.Timing.Stuck {
			return fmt.Errorf("%s has been running for %s", name, d.Round(time.Second))
		}
	}
	return nil
}
