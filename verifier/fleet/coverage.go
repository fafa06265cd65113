package fleet

import (
	"context"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// Coverage tells which devices a manifest or deny-list is about, by the name as in Manifest.
func (f *Fleet) Coverage(ctx context.Context, tenant, name string) (v1.Coverage, error) {
	m, err := f.ManifestStatus(ctx, tenant, name)
	if err != nil {
		return v1.Coverage{}, err
	}
	models, err := f.cfg.Store.ModelCounts(ctx, tenant)
	if err != nil {
		return v1.Coverage{}, err
	}
	out := v1.Coverage{States: map[result.State]int{}}
	for _, c := range models {
		if (m.Vendor == "" || fold(c.Vendor) == fold(m.Vendor)) && (m.Model == "" || fold(c.Model) == fold(m.Model)) {
			out.Devices += c.Devices
		}
	}
	if m.Advisory == "" { // what was compared with a deny-list is not written down
		if out.States, err = f.cfg.Store.Relying(ctx, tenant, m.Name); err != nil {
			return v1.Coverage{}, err
		}
	}
	for _, n := range out.States {
		out.Relying += n
	}
	if end := m.expires(); !end.IsZero() {
		out.Expires = &end
	}
	return out, nil
}

// expires returns when the first of a manifest's periods ends; zero: never, or it does not count any more.
func (m *ManifestStatus) expires() (end time.Time) {
	if !m.Withdrawn.IsZero() {
		return end
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && (end.IsZero() || t.Before(end)) {
			end = t.UTC()
		}
	}
	sooner(m.Ends)
	sooner(m.Until)
	for _, e := range m.Endorsers {
		if e.Void == "" {
			sooner(e.Ends)
		}
	}
	return end
}
