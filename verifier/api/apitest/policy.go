package apitest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func builtin() policy.Builtin {
	p := appraise.DefaultPolicy()
	return policy.Builtin{Policy: p, Interval: p.Due()}
}

// Policy implements api.Fleet.
func (f *Fleet) Policy(ctx context.Context, tenant string, version int64) (fleet.Policy, error) {
	if f.Fail != nil {
		return fleet.Policy{}, f.Fail
	}
	found, err := f.Store.Policy(ctx, tenant, version)
	if errors.Is(err, store.ErrNotFound) && version == 0 {
		text := builtin().Document()
		return fleet.Policy{Policy: store.Policy{Name: policy.BuiltinName, Document: text, Digest: proto.Sum(text).String()}, InForce: true}, nil
	}
	if err != nil {
		return fleet.Policy{}, err
	}
	d, err := policy.Compile(found.Document, found.Version, builtin())
	if err != nil {
		return fleet.Policy{}, err
	}
	newest, err := f.Store.Policy(ctx, tenant, 0)
	return fleet.Policy{Policy: found, InForce: newest.Version == found.Version, Notices: d.Notices(time.Now())}, err
}

// SetPolicy implements api.Fleet.
func (f *Fleet) SetPolicy(ctx context.Context, tenant string, text []byte, after int64, actor string) (fleet.Policy, error) {
	if f.Fail != nil {
		return fleet.Policy{}, f.Fail
	}
	d, err := policy.Compile(text, after+1, builtin())
	if err != nil {
		return fleet.Policy{}, err
	}
	p := store.Policy{
		Tenant: tenant, Version: d.Version, Name: d.Name, Document: text, Digest: d.Digest, Author: actor, Created: time.Now().UTC(),
	}
	err = f.Store.AddPolicy(ctx, p, event(tenant, "", actor, fmt.Sprintf("set policy %s, version %d", d.Name, d.Version)))
	return fleet.Policy{Policy: p, InForce: true, Notices: d.Notices(time.Now())}, err
}

// TestPolicy implements api.Fleet. It does not appraise anew: only severities, rules and waivers of the document show,
// over the findings that results were recorded with.
func (f *Fleet) TestPolicy(ctx context.Context, tenant string, text []byte, spec fleet.PolicyTestSpec) (fleet.PolicyTest, error) {
	if f.Fail != nil {
		return fleet.PolicyTest{}, f.Fail
	}
	newest, err := f.Policy(ctx, tenant, 0)
	if err != nil {
		return fleet.PolicyTest{}, err
	}
	d, err := policy.Compile(text, newest.Version+1, builtin())
	if err != nil {
		return fleet.PolicyTest{}, err
	}
	out := fleet.PolicyTest{Name: d.Name, Digest: d.Digest, Based: newest.Version, Notices: d.Notices(time.Now())}
	devices, err := f.Store.Devices(ctx, store.Filter{Tenant: tenant, Now: time.Now(), After: spec.After, Limit: spec.Limit})
	if spec.Device != "" {
		devices = make([]store.Device, 1)
		devices[0], err = f.Store.Device(ctx, tenant, spec.Device)
	}
	if err != nil {
		return fleet.PolicyTest{}, err
	}
	for i := range devices {
		c, err := f.change(ctx, &devices[i], d)
		if err != nil {
			return fleet.PolicyTest{}, err
		}
		out.Devices = append(out.Devices, c)
	}
	if spec.Device == "" && len(devices) == store.PageSize(spec.Limit) {
		out.Next = devices[len(devices)-1].ID
	}
	return out, nil
}

func (f *Fleet) change(ctx context.Context, d *store.Device, doc *policy.Document) (fleet.PolicyChange, error) {
	in := doc.For(policy.Device{ID: d.ID, Label: d.Label, Group: d.Group, Labels: d.Labels, Vendor: d.Vendor, Model: d.Model, Level: d.Level})
	c := fleet.PolicyChange{
		ID: d.ID, Label: d.Label, GroupBefore: "default", GroupAfter: in.Group, Before: d.State, After: d.State,
	}
	results, err := f.Store.Results(ctx, d.Tenant, d.ID, 0, 1)
	if err != nil || len(results) == 0 {
		return c, err
	}
	r := results[0].Result
	in.Rules.Apply(&r, time.Now())
	c.After = result.Trusted
	for _, finding := range r.Findings {
		switch {
		case finding.Severity == result.Critical:
			c.After = result.Untrusted
		case finding.Severity == result.Warn && c.After == result.Trusted:
			c.After = result.Warning
		}
		if finding.Severity != result.Info && c.After != c.Before {
			c.Reasons = append(c.Reasons, finding.Line())
		}
	}
	return c, nil
}
