package fleet

import (
	"context"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/store"
)

// Limits of what is asked about other devices. Ids are digests, so that the first of them are a sample like any other.
const (
	peerSample = 200              // devices of a group that are looked at
	peerScan   = 5000             // devices of a model among which they are looked for
	peerLeast  = 10               // fewer say nothing
	peerFresh  = time.Hour        // how long what was found holds
	peerEvery  = 10 * time.Second // how often a group is looked at, beyond peerBurst: devices name their group themselves
	peerBurst  = 50
	maxPeers   = 1000 // groups that are remembered
)

// peers remembers what the devices of each vendor, model and firmware version have in their flash memory.
type peers struct {
	mu    sync.Mutex
	of    map[string]*peerGroup // by tenant and groupKey
	pause *rate.Limiter
}

type peerGroup struct {
	until   time.Time
	busy    bool
	regions map[string]appraise.Majority
}

func newPeers() *peers {
	return &peers{of: make(map[string]*peerGroup), pause: rate.NewLimiter(rate.Every(peerEvery), peerBurst)}
}

// due returns what is known of a group, and whether the caller is to look again: one does.
func (p *peers) due(key string, now time.Time) (known map[string]appraise.Majority, look bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.of[key]
	if g != nil && (g.busy || now.Before(g.until)) {
		return g.regions, false
	}
	if !p.pause.AllowN(now, 1) {
		if g != nil {
			return g.regions, false
		}
		return nil, false
	}
	if g == nil {
		if len(p.of) >= maxPeers {
			clear(p.of)
		}
		g = &peerGroup{}
		p.of[key] = g
	}
	g.busy = true
	return g.regions, true
}

func (p *peers) found(key string, regions map[string]appraise.Majority, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[key] = &peerGroup{until: until, regions: regions}
}

// peersOf returns what most devices like d have in a flash region, for an appraisal that asks. Where it cannot be found out
// nothing is said: what other devices have never makes one good.
func (f *Fleet) peersOf(ctx context.Context, d *store.Device) func(region string) appraise.Majority {
	var regions map[string]appraise.Majority
	asked := false
	return func(region string) appraise.Majority {
		if !asked {
			asked = true
			regions = f.majorities(ctx, d)
		}
		return regions[region]
	}
}

func (f *Fleet) majorities(ctx context.Context, d *store.Device) map[string]appraise.Majority {
	if d.Model == "" {
		return nil
	}
	key, now := d.Tenant+"\x00"+groupKey(d), f.cfg.Now()
	known, look := f.peers.due(key, now)
	if !look {
		return known
	}
	found, err := f.lookAtPeers(ctx, d)
	if err != nil {
		f.log.Warn("flash memory of other devices of the model not looked at", "tenant", d.Tenant, "model", d.Model, "error", err)
		found = known
	}
	f.peers.found(key, found, now.Add(peerFresh))
	return found
}

// lookAtPeers counts the flash regions of a sample.
func (f *Fleet) lookAtPeers(ctx context.Context, like *store.Device) (map[string]appraise.Majority, error) {
	g, key := newCensus(like), groupKey(like)
	looked, scanned := 0, 0
	for after := ""; looked < peerSample && scanned < peerScan; {
		page, err := f.cfg.Store.Devices(ctx, store.Filter{
			Tenant: like.Tenant, Status: store.Active, Model: like.Model, Now: f.cfg.Now(), After: after, Limit: peerSample,
		})
		if err != nil {
			return nil, err
		}
		for i := range page {
			d := &page[i]
			after = d.ID
			if scanned++; groupKey(d) != key || looked == peerSample {
				continue
			}
			_, err := f.look(ctx, g, d, func(kind string, found map[string]string) {
				if kind == store.SeenFlash {
					looked++
					g.add(OutlierDevice{ID: d.ID}, kind, found)
				}
			})
			if err != nil {
				return nil, err
			}
		}
		if len(page) < peerSample {
			break
		}
	}
	return g.majorities(), nil
}

// majorities returns the flash regions of which nearly all devices have the same.
func (g *census) majorities() map[string]appraise.Majority {
	total := g.kinds[store.SeenFlash]
	if total < peerLeast {
		return nil
	}
	out := make(map[string]appraise.Majority)
	for name, c := range g.components {
		value, n := c.most(total)
		digest, err := hex.DecodeString(value)
		if err != nil || value == "" || n < total-few(total) {
			continue
		}
		out[strings.TrimPrefix(name, regionPlace)] = appraise.Majority{Digest: digest, Most: n, Of: total}
	}
	return out
}
