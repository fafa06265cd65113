package fleet

import (
	"context"
	"crypto/ecdsa"
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

// references keeps every tenant's compiled reference values.
type references struct {
	store store.References
	key   *BaselineKey
	now   func() time.Time

	mu      sync.Mutex
	tenants map[string]*compiled
}

type compiled struct {
	set   *reference.Set
	names string // of the documents in force
	at    time.Time
}

func newReferences(s store.References, key *BaselineKey, now func() time.Time) *references {
	return &references{store: s, key: key, now: now, tenants: make(map[string]*compiled)}
}

// set returns the references of a tenant that are in force. Where the store cannot be asked, nothing is appraised.
func (r *references) set(ctx context.Context, tenant string) (*reference.Set, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.tenants[tenant]
	now := r.now()
	if c != nil && now.Before(c.at.Add(referenceAge)) {
		return c.set, nil
	}
	documents, err := r.store.References(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading reference values: %w", err)
	}
	names := ""
	for _, d := range documents {
		if d.Retired.IsZero() {
			names += d.Name + "\x00"
		}
	}
	if c != nil && c.names == names {
		c.at = now
		return c.set, nil
	}
	var open, retired []reference.Baseline
	for _, d := range documents {
		b, err := r.open(d)
		switch {
		case !d.Retired.IsZero() && err != nil: // retiring it was how to get rid of it
		case !d.Retired.IsZero():
			retired = append(retired, b)
		case err != nil:
			return nil, err
		default:
			open = append(open, b)
		}
	}
	set := reference.Compile(open)
	set.Remember(retired)
	c = &compiled{set: set, names: names, at: now}
	r.tenants[tenant] = c
	return c.set, nil
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
	if c := r.tenants[tenant]; c != nil {
		c.at = time.Time{}
	}
}
