package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/store"
)

// policies keeps every tenant's compiled policy document. Like references it asks the store again when what it knows is
// referenceAge old: another replica may have set one.
type policies struct {
	store   store.Policies
	builtin policy.Builtin
	plain   policy.InForce // where a tenant has no document
	now     func() time.Time

	mu      sync.Mutex
	tenants map[string]*tenantPolicy
}

type tenantPolicy struct {
	document *policy.Document // nil: the tenant has none
	at       time.Time
}

func newPolicies(s store.Policies, b policy.Builtin, now func() time.Time) *policies {
	return &policies{store: s, builtin: b, plain: b.Of(), now: now, tenants: make(map[string]*tenantPolicy)}
}

// document returns the tenant's document in force, nil if there is none. Where the store cannot be asked, or has a
// document that cannot be read, nothing is appraised.
func (p *policies) document(ctx context.Context, tenant string) (*policy.Document, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, now := p.tenants[tenant], p.now()
	if t != nil && now.Before(t.at.Add(referenceAge)) {
		return t.document, nil
	}
	stored, err := p.store.Policy(ctx, tenant, 0)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t = &tenantPolicy{}
	case err != nil:
		return nil, fmt.Errorf("reading the policy: %w", err)
	case t == nil || t.document == nil || t.document.Version != stored.Version || t.document.Digest != stored.Digest:
		d, err := policy.Compile(stored.Document, stored.Version, p.builtin)
		if err != nil {
			return nil, fmt.Errorf("policy version %d, which is in force, cannot be used: set a correct one: %w", stored.Version, err)
		}
		t = &tenantPolicy{document: d}
	}
	p.tenants[tenant] = &tenantPolicy{document: t.document, at: now}
	return t.document, nil
}

// of returns what is in force for a device.
func (p *policies) of(ctx context.Context, d *store.Device) (policy.InForce, error) {
	document, err := p.document(ctx, d.Tenant)
	if err != nil || document == nil {
		return p.plain, err
	}
	return document.For(policyDevice(d)), nil
}

// changed makes the next use read the store.
func (p *policies) changed(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tenants, tenant)
}

// shortest returns the shortest time of silence after which a device of any tenant is stale, of those known.
func (p *policies) shortest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := p.builtin.Policy.StaleAfter
	for _, t := range p.tenants {
		if t.document != nil {
			least = min(least, t.document.Shortest())
		}
	}
	return least
}

func policyDevice(d *store.Device) policy.Device {
	return policy.Device{
		ID: d.ID, Label: d.Label, Group: d.Group, Labels: d.Labels, Vendor: d.Vendor, Model: d.Model, Firmware: d.Firmware,
		Agent: d.Agent, Level: d.Level,
	}
}

// Policy is a policy document with what an operator should know of it.
type Policy struct {
	store.Policy          // Version 0: the built-in policy, written as a document
	InForce      bool     // it is what devices are appraised by
	Notices      []string // waivers that expired or soon will
}

// Policy returns one version of a tenant's policy document, for 0 the one in force: the built-in where none was set.
func (f *Fleet) Policy(ctx context.Context, tenant string, version int64) (Policy, error) {
	newest, err := f.cfg.Store.Policy(ctx, tenant, 0)
	if errors.Is(err, store.ErrNotFound) && version == 0 {
		text := f.policies.builtin.Document()
		return Policy{Policy: store.Policy{Tenant: tenant, Name: policy.BuiltinName, Document: text, Digest: proto.Sum(text).String()}, InForce: true}, nil
	}
	if err != nil {
		return Policy{}, err
	}
	found := newest
	if version != 0 && version != newest.Version {
		if found, err = f.cfg.Store.Policy(ctx, tenant, version); err != nil {
			return Policy{}, err
		}
	}
	out := Policy{Policy: found, InForce: found.Version == newest.Version}
	if d, err := policy.Compile(found.Document, found.Version, f.policies.builtin); err == nil {
		out.Notices = d.Notices(f.cfg.Now())
	} else {
		out.Notices = []string{"this version of the verifier cannot use it: " + err.Error()}
	}
	return out, nil
}

// SetPolicy puts a policy document in force, which follows version after (0: the built-in policy): another one in force
// is store.ErrConflict. Devices are asked to attest, so that it shows soon. A document that is wrong is a
// *policy.Error.
func (f *Fleet) SetPolicy(ctx context.Context, tenant string, text []byte, after int64, actor string) (Policy, error) {
	d, err := policy.Compile(text, after+1, f.policies.builtin)
	if err != nil {
		return Policy{}, err
	}
	p := store.Policy{
		Tenant: tenant, Version: d.Version, Name: d.Name, Document: text, Digest: d.Digest, Author: actor, Created: f.cfg.Now().UTC(),
	}
	detail := fmt.Sprintf("%s, version %d, sha256:%s", d.Name, d.Version, d.Digest)
	if err := f.cfg.Store.AddPolicy(ctx, p, f.event(tenant, "", "policy-set", actor, detail)); err != nil {
		return Policy{}, err
	}
	f.policies.changed(tenant)
	if err := f.askAll(ctx, tenant); err != nil {
		f.log.Warn("devices were not all asked to attest; they will with their next report", "error", err)
	}
	return Policy{Policy: p, InForce: true, Notices: d.Notices(f.cfg.Now())}, nil
}
