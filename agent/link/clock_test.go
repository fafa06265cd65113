package link

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// manualClock stands still until a test moves it.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer
	armed  chan struct{} // receives when a timer is set
}

type manualTimer struct {
	at   time.Time
	wait time.Duration
	c    chan time.Time
}

func newManualClock() *manualClock {
	return &manualClock{now: time.Now(), armed: make(chan struct{}, 1)}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{at: c.now.Add(d), wait: d, c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- c.now
		return t.c, func() {}
	}
	c.timers = append(c.timers, t)
	select {
	case c.armed <- struct{}{}:
	default:
	}
	return t.c, func() { c.remove(t) }
}

func (c *manualClock) remove(t *manualTimer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = slices.DeleteFunc(c.timers, func(o *manualTimer) bool { return o == t })
}

// due reports whether a timer is set that fires in exactly d from now.
func (c *manualClock) due(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.timers, func(t *manualTimer) bool { return t.at.Sub(c.now) == d })
}

// advance moves the clock and fires what is due.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t *manualTimer) bool {
		if t.at.After(c.now) {
			return false
		}
		t.c <- c.now
		return true
	})
}

// pass waits until somebody waits for exactly d, then lets d pass.
func (c *manualClock) pass(t *testing.T, d time.Duration) {
	t.Helper()
	c.await(t, d)
	c.advance(d)
}

// await waits until somebody waits for exactly d.
func (c *manualClock) await(t *testing.T, d time.Duration) {
	t.Helper()
	deadline := time.After(patience)
	for !c.due(d) {
		select {
		case <-c.armed:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			var have []time.Duration
			for _, m := range c.timers {
				have = append(have, m.at.Sub(c.now))
			}
			t.Fatalf("nobody waits for %s; timers: %v", d, have)
		}
	}
}
