package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// PolicyTestSpec says what a policy document is tested on.
type PolicyTestSpec struct {
	Device string // full id; empty: all, in pages
	After  string // id after which the page starts
	Limit  int    // devices of a page; 0: 100
}

// PolicyTest is what a policy document would change.
type PolicyTest struct {
	Name, Digest string
	Based        int64 // version in force, which it was compared with; 0: the built-in policy
	Notices      []string
	Devices      []PolicyChange // of this page, in ascending id
	Next         string         // After of the next page; empty: there is none
}

// PolicyChange is what a policy document would change for one device.
type PolicyChange struct {
	ID, Label string
	// Groups of the document in force and of the new one that the device falls into.
	GroupBefore, GroupAfter string
	// States by the stored evidence; empty where they cannot be told, and Note says why.
	Before, After result.State
	Reasons       []string // findings of the new state that weigh and did not before, in words
	Note          string
}

// maxReasons is how many findings of one device a test names.
const maxReasons = 5

// TestPolicy appraises the newest stored evidence by a document and by the one in force. Nothing is switched or
// recorded. A document that is wrong is a *policy.Error.
func (f *Fleet) TestPolicy(ctx context.Context, tenant string, text []byte, spec PolicyTestSpec) (PolicyTest, error) {
	before, err := f.policies.document(ctx, tenant)
	if err != nil {
		return PolicyTest{}, err
	}
	var based int64
	if before != nil {
		based = before.Version
	}
	after, err := policy.Compile(text, based+1, f.policies.builtin)
	if err != nil {
		return PolicyTest{}, err
	}
	set, err := f.references.set(ctx, tenant)
	if err != nil {
		return PolicyTest{}, err
	}
	out := PolicyTest{Name: after.Name, Digest: after.Digest, Based: based, Notices: after.Notices(f.cfg.Now())}
	page, err := f.tested(ctx, tenant, spec)
	if err != nil {
		return PolicyTest{}, err
	}
	for i := range page {
		d := &page[i]
		dev := policyDevice(d)
		now := f.policies.plain
		if before != nil {
			now = before.For(dev)
		}
		change, err := f.compare(ctx, d, set, now, after.For(dev))
		if err != nil {
			return PolicyTest{}, err
		}
		out.Devices = append(out.Devices, change)
	}
	if spec.Device == "" && len(page) == store.PageSize(spec.Limit) {
		out.Next = page[len(page)-1].ID
	}
	return out, nil
}

// tested returns the devices of a test.
func (f *Fleet) tested(ctx context.Context, tenant string, spec PolicyTestSpec) ([]store.Device, error) {
	if spec.Device == "" {
		return f.cfg.Store.Devices(ctx, store.Filter{Tenant: tenant, Status: store.Active, Now: f.cfg.Now(), After: spec.After, Limit: spec.Limit})
	}
	d, err := f.cfg.Store.Device(ctx, tenant, spec.Device)
	if err != nil {
		return nil, err
	}
	return []store.Device{d}, nil
}

// compare appraises a device's newest evidence by two policies.
func (f *Fleet) compare(ctx context.Context, d *store.Device, set *reference.Set, before, after policy.InForce) (PolicyChange, error) {
	c := PolicyChange{ID: d.ID, Label: d.Label, GroupBefore: before.Group, GroupAfter: after.Group}
	if d.LastSeen.IsZero() {
		c.Before, c.After = result.NeverAttested, result.NeverAttested
		return c, nil
	}
	e, err := f.newest(ctx, d)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		c.Note = refused.Reason
		return c, nil
	case errors.Is(err, store.ErrNotFound):
		c.Note = "its newest evidence is not stored any more"
		return c, nil
	case err != nil:
		return c, err
	}
	if e.record, err = appraise.DecodeRecord(d.Record); err != nil {
		return c, err
	}
	e.record.NonceAt = e.nonce.IssuedAt().UnixNano() - 1 // so that the evidence is fresh
	was, err := f.would(ctx, e, set, before, &c)
	if err != nil {
		return c, err
	}
	will, err := f.would(ctx, e, set, after, &c)
	if err != nil {
		return c, err
	}
	c.Before, c.After = was.State, will.State
	weighed := map[string]bool{}
	for i := range was.Findings {
		weighed[weight(&was.Findings[i])] = true
	}
	for i := range will.Findings {
		finding := &will.Findings[i]
		if finding.Severity != result.Info && !weighed[weight(finding)] && len(c.Reasons) < maxReasons {
			c.Reasons = append(c.Reasons, clean(finding.Line(), maxDetail))
		}
	}
	return c, nil
}

func weight(f *result.Finding) string {
	return string(f.Severity) + "\x00" + f.Code + "\x00" + f.Component + "\x00" + f.Observed
}

// would returns what evidence gives under a policy now. Where that cannot be told it notes why; only a store that fails
// is an error.
func (f *Fleet) would(ctx context.Context, e *oldEvidence, set *reference.Set, in policy.InForce, c *PolicyChange) (result.Result, error) {
	r, err := e.appraise(ctx, set, in, f.cfg.Now(), f.memo)
	var rejected *appraise.Rejection
	var missing *appraise.MissingError
	switch {
	case e.failed != nil:
		return r, e.failed
	case errors.As(err, &rejected):
		c.Note = "its newest evidence does not fit, so it would have to attest anew: " + clean(rejected.Err.Error(), maxDetail)
		return r, nil
	case errors.As(err, &missing):
		c.Note = "content of its newest evidence is not stored, so it would have to attest anew"
		return r, nil
	case err != nil:
		return r, err
	}
	if silence := f.cfg.Now().Sub(e.device.LastSeen); silence >= in.Policy.StaleAfter {
		r.State = result.Stale
		r.Findings = []result.Finding{{
			Code: "silent", Severity: result.Warn, Component: "device",
			Meaning: fmt.Sprintf("silent for %s, stale after %s", silence.Round(time.Second), in.Policy.StaleAfter),
		}}
	}
	return r, nil
}
