package fleet

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/store"
)

// BaselineKey signs baselines, and says which signatures are believed.
type BaselineKey struct{ Key *ecdsa.PrivateKey }

// referenceAge is how old the compiled references of a tenant may be before the store is asked again: another replica
// may have added some.
const referenceAge = 10 * time.Second

// referenceStale is how old they may be at most, while others are being compiled: where the store cannot be asked,
// nothing is appraised.
const referenceStale = time.Minute

// tableSlack is how many entries of documents that are gone a table may keep before a new one is begun, beside as many
// as there are.
const tableSlack = 1 << 20

// references keeps every tenant's compiled reference values.
type references struct {
	store referenceStore
	key   *BaselineKey
	now   func() time.Time

	mu      sync.Mutex
	tenants map[string]*tenantReferences
}

type tenantReferences struct {
	newest *compiled // nil: never compiled
	dirty  bool      // the store must be asked
	flight *flight   // being compiled; nil: it is not
}

// flight is one run of compile, which many may wait for.
type flight struct {
	done  chan struct{} // closed when fresh and err are set
	fresh compiled
	err   error
}

// referenceStore is what reference values are made of.
type referenceStore interface {
	store.References
	endorsed
}

type compiled struct {
	set   *reference.Set
	names string // of the documents in force, and what else decides what counts
	at    time.Time
	cache *releaseCache
	docs  documents
}

// documents are a tenant's reference values as they are compiled.
type documents struct {
	reference.Documents
	digests []string // of the manifests in Releases
}

func newReferences(s referenceStore, key *BaselineKey, now func() time.Time) *references {
	return &references{store: s, key: key, now: now, tenants: make(map[string]*tenantReferences)}
}

// set returns the references of a tenant that are in force. Where the store cannot be asked, nothing is appraised.
func (r *references) set(ctx context.Context, tenant string) (*reference.Set, error) {
	c, err := r.compiled(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return c.set, nil
}

// documents returns what the set of a tenant is made of. Do not change what it refers to.
func (r *references) documents(ctx context.Context, tenant string) (documents, error) {
	c, err := r.compiled(ctx, tenant)
	if err != nil {
		return documents{}, err
	}
	return c.docs, nil
}

// compiled returns what is in force, compiled anew where something changed. What it returned is not changed any more.
// One caller compiles, and meanwhile the others work with what there was.
func (r *references) compiled(ctx context.Context, tenant string) (compiled, error) {
	for {
		r.mu.Lock()
		t := r.tenants[tenant]
		if t == nil {
			t = &tenantReferences{}
			r.tenants[tenant] = t
		}
		now := r.now()
		if c := t.newest; c != nil {
			compiling := t.flight != nil && now.Before(c.at.Add(referenceStale))
			if compiling || !t.dirty && now.Before(c.at.Add(referenceAge)) {
				r.mu.Unlock()
				return *c, nil
			}
		}
		fl := t.flight
		if fl == nil {
			fl = &flight{done: make(chan struct{})}
			t.flight, t.dirty = fl, false
			was := t.newest
			r.mu.Unlock()
			return r.fly(ctx, t, fl, tenant, was)
		}
		r.mu.Unlock()
		select {
		case <-fl.done:
		case <-ctx.Done():
			return compiled{}, fmt.Errorf("waiting for reference values: %w", ctx.Err())
		}
		if fl.err == nil {
			return fl.fresh, nil
		}
		if !errors.Is(fl.err, context.Canceled) && !errors.Is(fl.err, context.DeadlineExceeded) {
			return compiled{}, fl.err
		} // whoever compiled was called off: do it oneself
	}
}

// fly compiles, and lands whatever happens.
func (r *references) fly(ctx context.Context, t *tenantReferences, fl *flight, tenant string, was *compiled) (compiled, error) {
	fl.err = errors.New("compiling reference values was given up")
	defer func() {
		r.mu.Lock()
		if t.flight = nil; fl.err == nil {
			t.newest = &fl.fresh
		} else {
			t.dirty = true
		}
		r.mu.Unlock()
		close(fl.done)
	}()
	fl.fresh, fl.err = r.compile(ctx, tenant, was)
	return fl.fresh, fl.err
}

// compile reads the store and builds the set, unless nothing changed.
func (r *references) compile(ctx context.Context, tenant string, was *compiled) (compiled, error) {
	now := r.now()
	stored, err := r.store.References(ctx, tenant)
	if err != nil {
		return compiled{}, fmt.Errorf("reading reference values: %w", err)
	}
	plan, err := planReleases(ctx, r.store, tenant, now)
	if err != nil {
		return compiled{}, err
	}
	names := plan.key
	for _, d := range stored {
		if d.Retired.IsZero() {
			names += d.Name + "\x00"
		}
	}
	if was != nil && was.names == names {
		same := *was
		same.at = now
		return same, nil
	}
	fresh := compiled{names: names, at: now, cache: newReleaseCache()}
	if was != nil && was.cache.table.Entries() <= 2*was.set.Files()+tableSlack {
		fresh.cache = was.cache
	}
	if err := r.baselines(stored, &fresh.docs); err != nil {
		return compiled{}, err
	}
	if err := plan.open(ctx, fresh.cache, &fresh.docs); err != nil {
		return compiled{}, err
	}
	if fresh.set, err = reference.Build(fresh.docs.Documents); err != nil {
		return compiled{}, err
	}
	return fresh, nil
}

// baselines opens the stored baselines.
func (r *references) baselines(stored []store.Reference, into *documents) error {
	for _, d := range stored {
		b, err := r.open(d)
		switch {
		case !d.Retired.IsZero() && err != nil: // retiring it was how to get rid of it
		case !d.Retired.IsZero():
			into.Retired = append(into.Retired, b)
		case err != nil:
			return err
		default:
			into.Baselines = append(into.Baselines, b)
		}
	}
	return nil
}

// open verifies a document, and that it is stored where it belongs.
func (r *references) open(d store.Reference) (reference.Baseline, error) {
	b, err := reference.Open(d.Document, &r.key.Key.PublicKey)
	if err != nil {
		return reference.Baseline{}, fmt.Errorf("reference values %q: %w: retire them", d.Name, err)
	}
	if b.Name != d.Name || b.Tenant != d.Tenant {
		return reference.Baseline{}, fmt.Errorf("reference values %q of %q: signed for %q of %q: retire them",
			d.Name, d.Tenant, b.Name, b.Tenant)
	}
	return b, nil
}

// changed makes the next use read the store.
func (r *references) changed(tenant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tenants[tenant]; t != nil {
		t.dirty = true
	}
}
