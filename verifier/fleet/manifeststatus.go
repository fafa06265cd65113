package fleet

import (
	"context"
	"strings"

	"github.com/probity-attest/probity/verifier/store"
)

// ManifestStatus is a manifest, where it stands now, and who endorses it.
type ManifestStatus struct {
	store.Manifest
	State     string // as store.ManifestState, or "void": no endorsement of it counts any more
	Counts    bool   // devices are compared with it now
	Endorsers []EndorsementStatus
	Approvals []store.Approval // oldest first
}

// EndorsementStatus is an endorsement and what is known of its key.
type EndorsementStatus struct {
	store.Endorsement
	Name, Role string // of the key's holder
	Void       string // why it counts no longer; empty: it counts
}

// Manifests returns all manifests and deny-lists of a tenant in ascending vendor and name.
func (f *Fleet) Manifests(ctx context.Context, tenant string) ([]ManifestStatus, error) {
	all, err := f.cfg.Store.Manifests(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return f.statuses(ctx, tenant, all)
}

// ManifestStatus returns the one that Manifest returns.
func (f *Fleet) ManifestStatus(ctx context.Context, tenant, name string) (ManifestStatus, error) {
	m, err := f.Manifest(ctx, tenant, name)
	if err != nil {
		return ManifestStatus{}, err
	}
	out, err := f.statuses(ctx, tenant, []store.Manifest{m})
	if err != nil {
		return ManifestStatus{}, err
	}
	return out[0], nil
}

func (f *Fleet) statuses(ctx context.Context, tenant string, list []store.Manifest) ([]ManifestStatus, error) {
	keys, err := f.cfg.Store.VendorKeys(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ring, now := newKeyring(keys), f.cfg.Now()
	out := make([]ManifestStatus, len(list))
	for i := range list {
		m := &list[i]
		s := ManifestStatus{Manifest: *m, State: string(m.State(now)), Counts: m.Counts(now) && (m.Ends.IsZero() || now.Before(m.Ends))}
		valid := 0
		for _, e := range m.Endorsements {
			one := EndorsementStatus{Endorsement: e}
			k := ring.byID[e.Key]
			if k != nil {
				one.Name, one.Role = k.Name, k.Role
			}
			if err := endorses(k, m, &e, now); err != nil {
				one.Void = strings.TrimPrefix(err.Error(), errVoid.Error()+": ")
			} else {
				valid++
			}
			s.Endorsers = append(s.Endorsers, one)
		}
		if valid == 0 {
			s.Counts = false
			if m.Withdrawn.IsZero() {
				s.State = manifestVoid
			}
		}
		if m.Needs > 0 {
			if s.Approvals, err = f.cfg.Store.Approvals(ctx, tenant, m.Digest); err != nil {
				return nil, err
			}
		}
		out[i] = s
	}
	return out, nil
}
