package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/store"
)

// manifestApprovals is the name of the choice.
const manifestApprovals = "manifest-approvals"

// ManifestApprovals returns how many people, other than who submitted it, must consent before a manifest of a tenant
// counts.
func (f *Fleet) ManifestApprovals(ctx context.Context, tenant string) (int, error) {
	v, err := f.cfg.Store.Choice(ctx, tenant, manifestApprovals)
	if err != nil || v == "" {
		return 0, err
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("stored choice %s: %q", manifestApprovals, v)
	}
	return n, nil
}

// SetManifestApprovals says how many. Manifests that were submitted before keep what held then.
func (f *Fleet) SetManifestApprovals(ctx context.Context, tenant string, n int, actor string) error {
	if n < 0 || n > maxApprovals {
		return refuse("%s: want 0 to %d", manifestApprovals, maxApprovals)
	}
	value := strconv.Itoa(n)
	return f.cfg.Store.Choose(ctx, tenant, manifestApprovals, value,
		f.event(tenant, "", "choice-changed", actor, manifestApprovals+": "+value))
}

// Approvals returns who consented to a manifest, oldest first.
func (f *Fleet) Approvals(ctx context.Context, tenant, name string) (store.Manifest, []store.Approval, error) {
	m, err := f.Manifest(ctx, tenant, name)
	if err != nil {
		return m, nil, err
	}
	list, err := f.cfg.Store.Approvals(ctx, tenant, m.Digest)
	return m, list, err
}

// ApproveManifest consents to the activation of a manifest or deny-list that awaits it. Nobody consents twice, nor to
// what they submitted. With the last consent that was missing it counts, and what it says of other manifests, as a
// submission without consents does.
func (f *Fleet) ApproveManifest(ctx context.Context, tenant, name, note, actor string) (store.Manifest, error) {
	m, err := f.awaiting(ctx, tenant, name)
	if err != nil {
		return store.Manifest{}, err
	}
	now := f.cfg.Now().UTC()
	switch {
	case slices.ContainsFunc(m.Endorsements, func(e store.Endorsement) bool { return e.Actor == actor }):
		return store.Manifest{}, refuse("you submitted %q: somebody else must approve it", m.Name)
	case !m.Ends.IsZero() && !now.Before(m.Ends):
		return store.Manifest{}, refuse("%q has expired: it was valid until %s", m.Name, m.Ends.Format(time.RFC3339))
	}
	changes, names, denied, err := f.activation(ctx, &m, now)
	if err != nil {
		return store.Manifest{}, err
	}
	note = clean(strings.TrimSpace(note), maxDetail/2)
	done := []store.Event{f.event(tenant, "", "manifest-activated", actor, clean(describeManifest(&m), maxDetail))}
	for _, n := range names {
		done = append(done, f.event(tenant, "", "manifest-changed", actor, clean(n, maxDetail)))
	}
	detail := describeManifest(&m)
	if note != "" {
		detail += ": " + note
	}
	err = f.cfg.Store.Approve(ctx, tenant, m.Digest, store.Approval{Actor: actor, At: store.Micro(now), Note: note}, changes, done,
		f.event(tenant, "", "manifest-approved", actor, clean(detail, maxDetail)))
	if errors.Is(err, store.ErrConflict) {
		return store.Manifest{}, refuse("you have approved %q already, or it awaits no approval any more", m.Name)
	}
	if err != nil {
		return store.Manifest{}, err
	}
	if m, err = f.Manifest(ctx, tenant, m.Digest); err != nil || m.Awaits() {
		return m, err
	}
	f.references.changed(tenant)
	f.askAgain(ctx, tenant, &m)
	f.ask(ctx, tenant, deniedDigests(denied)...)
	return m, nil
}

// RefuseManifest withdraws a manifest that awaits consent.
func (f *Fleet) RefuseManifest(ctx context.Context, tenant, name, note, actor string) (store.Manifest, error) {
	m, err := f.awaiting(ctx, tenant, name)
	if err != nil {
		return store.Manifest{}, err
	}
	reason := "refused"
	if note = strings.TrimSpace(note); note != "" {
		reason += ": " + note
	}
	return f.WithdrawManifest(ctx, tenant, m.Digest, reason, actor)
}

// awaiting returns a manifest that awaits consent, and refuses any other.
func (f *Fleet) awaiting(ctx context.Context, tenant, name string) (store.Manifest, error) {
	m, err := f.Manifest(ctx, tenant, name)
	switch {
	case err != nil:
		return store.Manifest{}, err
	case !m.Withdrawn.IsZero():
		return store.Manifest{}, refuse("%q was withdrawn at %s (%s)", m.Name, m.Withdrawn.Format(time.RFC3339), m.Reason)
	case !m.Awaits():
		return store.Manifest{}, refuse("%q awaits no approval", m.Name)
	}
	return m, nil
}

// activation returns what a manifest changes of others when it begins to count, with names for people, and what it
// denies. Its signatures are verified as of when they were accepted; without one that still counts it is refused.
func (f *Fleet) activation(ctx context.Context, m *store.Manifest, now time.Time) (
	changes []store.ManifestChange, names []string, denied []manifest.Denial, err error,
) {
	keys, err := f.cfg.Store.VendorKeys(ctx, m.Tenant)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := f.cfg.Store.Manifests(ctx, m.Tenant)
	if err != nil {
		return nil, nil, nil, err
	}
	ring, counts := newKeyring(keys), 0
	for i := range m.Endorsements {
		e := &m.Endorsements[i]
		k := ring.byID[e.Key]
		if endorses(k, m, e, now) != nil {
			continue
		}
		document, err := f.cfg.Store.ManifestDocument(ctx, m.Tenant, m.Digest, e.Key)
		if err != nil {
			return nil, nil, nil, err
		}
		opened, _, err := manifest.Open(document, manifest.TrustKeys(ring.public[e.Key]), e.Judged)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: signature of %s: %w", describeManifest(m), k.Name, err)
		}
		counts++
		a := &accepted{manifest: opened, key: k, stored: *m}
		a.stored.From = later(m.From, now)
		more, told := a.effects(all, m.Overlap, now)
		changes, denied = append(changes, more...), opened.Denied
		for _, n := range told {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	if counts == 0 {
		return nil, nil, nil, refuse("none of the signatures of %q counts any more: see its endorsements", m.Name)
	}
	return changes, names, denied, nil
}
