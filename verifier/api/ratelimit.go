package api

import (
	"cmp"
	"crypto/sha256"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how often something may happen: Burst times at once, and PerSecond in the long run. The zero value is the
// default of where it stands, a negative Burst no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Rates is how fast clients may ask. Who signed in is counted by itself, whatever address it comes from; only
// strangers, and those whose credential is refused, are counted by address. So nobody who shares an address with a
// flood loses service that he has.
type Rates struct {
	Principal Rate // requests of one principal
	Write     Rate // those of them that change something
	Address   Rate // requests of strangers from one IPv4 address or IPv6 /64
}

func (r Rates) orDefault() Rates {
	return Rates{
		Principal: cmp.Or(r.Principal, Rate{100, 500}),
		Write:     cmp.Or(r.Write, Rate{20, 200}),
		Address:   cmp.Or(r.Address, Rate{10, 200}),
	}
}

// gauge applies Rates.
type gauge struct {
	principals, writes, addresses *limiter
	welcome                       *recent
	now                           func() time.Time
}

func newGauge(r Rates, now func() time.Time) *gauge {
	r = r.orDefault()
	return &gauge{
		principals: newLimiter(r.Principal), writes: newLimiter(r.Write), addresses: newLimiter(r.Address),
		welcome: &recent{}, now: now,
	}
}

// stranger is asked before the credential of a request is looked at, which costs a look into the store. It returns how
// long the client must wait, 0 if it need not.
func (g *gauge) stranger(r *http.Request, open bool) time.Duration {
	now, from := g.now(), addressOf(r)
	if open {
		return g.addresses.take(from, now)
	}
	if g.welcome.has(credentialOf(r), now) {
		return 0
	}
	return g.addresses.peek(from, now)
}

// refused counts a request whose credential was refused, or that had none.
func (g *gauge) refused(r *http.Request) { g.addresses.take(addressOf(r), g.now()) }

// principal counts a request of a principal, and returns how long it must wait, 0 if it need not.
func (g *gauge) principal(r *http.Request, p principal) time.Duration {
	now, key := g.now(), p.tenant+"\x00"+p.kind+"\x00"+p.name
	g.welcome.add(credentialOf(r), now)
	wait := g.principals.take(key, now)
	if wait == 0 && !safe(r.Method) {
		wait = g.writes.take(key, now)
	}
	return wait
}

// tooMany answers a request that came too soon.
func tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", seconds)
	writeProblem(w, r, problemf(http.StatusTooManyRequests, "too many requests: try again in %s s", seconds))
}

func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// addressOf returns what requests of strangers are counted by: an IPv4 address, or an IPv6 /64, which is what one site
// has.
func addressOf(r *http.Request) string { return origin(r.RemoteAddr) }

func origin(address string) string {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return address
		}
		return host
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, _ := ip.Prefix(64) // the length is valid for the family
	return p.String()
}

// credentialOf returns a digest of everything in a request that may say who sends it.
func credentialOf(r *http.Request) [32]byte {
	h := sha256.New()
	for _, name := range []string{"Authorization", "Cookie"} {
		for _, v := range r.Header[name] {
			h.Write([]byte(name + "\x00" + v + "\x00"))
		}
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		h.Write(r.TLS.PeerCertificates[0].Raw)
	}
	return [32]byte(h.Sum(nil))
}

// limiter limits each of many keys in bounded memory. What was not used for as long as it takes to have its whole burst
// again is forgotten without loss; more than maxBuckets at a time are forgotten with a new burst.
type limiter struct {
	limit rate.Limit
	burst int
	full  time.Duration // from an empty bucket to a full one

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
	turned     time.Time
}

func newLimiter(r Rate) *limiter {
	if r.Burst < 0 || r.PerSecond <= 0 {
		return nil
	}
	full := time.Duration(float64(r.Burst) / r.PerSecond * float64(time.Second))
	return &limiter{limit: rate.Limit(r.PerSecond), burst: r.Burst, full: full, young: map[string]*rate.Limiter{}}
}

// take counts one and returns 0, or counts nothing and returns how long to wait.
func (l *limiter) take(key string, now time.Time) time.Duration { return l.ask(key, now, true) }

// peek returns what take would, and counts nothing.
func (l *limiter) peek(key string, now time.Time) time.Duration { return l.ask(key, now, false) }

func (l *limiter) ask(key string, now time.Time, count bool) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.young) >= maxBuckets || now.Sub(l.turned) > l.full {
		l.old, l.young, l.turned = l.young, map[string]*rate.Limiter{}, now
	}
	one := l.young[key]
	if one == nil {
		if one = l.old[key]; one == nil {
			one = rate.NewLimiter(l.limit, l.burst)
		}
		l.young[key] = one
	}
	reserved := one.ReserveN(now, 1)
	wait := reserved.DelayFrom(now)
	if wait > 0 || !count {
		reserved.CancelAt(now)
	}
	return wait
}

// recent remembers credentials that were good a while ago.
type recent struct {
	mu         sync.Mutex
	young, old map[[32]byte]bool
	turned     time.Time
}

func (r *recent) turn(now time.Time) {
	if r.young == nil || len(r.young) >= maxBuckets || now.Sub(r.turned) > welcomeTime {
		r.old, r.young, r.turned = r.young, map[[32]byte]bool{}, now
	}
}

func (r *recent) add(key [32]byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	r.young[key] = true
}

func (r *recent) has(key [32]byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	return r.young[key] || r.old[key]
}
