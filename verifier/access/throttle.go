package access

import (
	"net/netip"
	"sync"
	"time"
)

// throttle counts attempts by key, each in a bucket that holds burst of them and gains one each every.
type throttle struct {
	burst  float64
	every  time.Duration
	mu     sync.Mutex
	spent  map[string]*bucket
	others bucket // of all keys for which there is no room
}

// bucket is how many attempts were spent at a time.
type bucket struct {
	spent float64
	at    time.Time
}

func newThrottle(burst int, every time.Duration) *throttle {
	return &throttle{burst: float64(burst), every: every, spent: map[string]*bucket{}}
}

// take spends one attempt of key, or returns how long until there is one.
func (t *throttle) take(key string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key, now)
	t.refill(b, now)
	if over := b.spent + 1 - t.burst; over > 0 {
		return time.Duration(over * float64(t.every))
	}
	b.spent++
	return 0
}

// forgive gives an attempt back: it succeeded.
func (t *throttle) forgive(key string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key, now)
	b.spent = max(0, b.spent-1)
}

func (t *throttle) refill(b *bucket, now time.Time) {
	if gone := now.Sub(b.at); gone > 0 {
		b.spent = max(0, b.spent-float64(gone)/float64(t.every))
		b.at = now
	}
}

// bucket returns the bucket of key. Where there are too many, those that are as good as new make room.
func (t *throttle) bucket(key string, now time.Time) *bucket {
	if b := t.spent[key]; b != nil {
		return b
	}
	if len(t.spent) >= maxBuckets {
		for k, b := range t.spent {
			if t.refill(b, now); b.spent == 0 {
				delete(t.spent, k)
			}
		}
	}
	if len(t.spent) >= maxBuckets {
		return &t.others
	}
	b := &bucket{at: now}
	t.spent[key] = b
	return b
}

// neighbourhood returns what of an address HOST:PORT attempts are counted by: who has an IPv6 address has a /64 of them.
func neighbourhood(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
