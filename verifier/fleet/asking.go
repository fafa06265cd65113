package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/verifier/store"
)

// pager returns the next page of devices, and whether there may be more.
type pager func(ctx context.Context) (page []store.Device, more bool, err error)

// askEach does something with devices because what they are compared with has changed: with those of the first page before it
// returns, so that an operator sees it at once, with the others afterwards and no faster than the verifier can answer. What
// fails or is cut off by the verifier's end is no loss: every device reports by itself before it is stale.
func (f *Fleet) askEach(ctx context.Context, next pager, ask func(context.Context, *store.Device) error) error {
	more, err := f.askPage(ctx, next, ask)
	if err != nil || !more {
		return err
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTimeout)
	f.asking.Go(func() {
		defer cancel()
		for more := true; more; {
			if more, err = f.askPage(later, next, ask); err != nil {
				f.log.Warn("devices were not all asked to attest; they will with their next report", "error", err)
				return
			}
		}
	})
	return nil
}

func (f *Fleet) askPage(ctx context.Context, next pager, ask func(context.Context, *store.Device) error) (more bool, err error) {
	page, more, err := next(ctx)
	if err != nil {
		return false, err
	}
	for i := range page {
		if err := f.askPace.Wait(ctx); err != nil {
			return false, err
		}
		if err := ask(ctx, &page[i]); err != nil {
			return false, err
		}
	}
	return more, nil
}

// enrolled returns a pager over the enrolled devices of a tenant that a filter selects.
func (f *Fleet) enrolled(filter store.Filter) pager {
	filter.Status, filter.Limit = store.Active, askPage
	return func(ctx context.Context) ([]store.Device, bool, error) {
		filter.Now = f.cfg.Now()
		page, err := f.cfg.Store.Devices(ctx, filter)
		if len(page) > 0 {
			filter.After = page[len(page)-1].ID
		}
		return page, len(page) == filter.Limit, err
	}
}

// askModel challenges all devices of a model.
func (f *Fleet) askModel(ctx context.Context, tenant, model string) error {
	return f.askEach(ctx, f.enrolled(store.Filter{Tenant: tenant, Model: model}), func(ctx context.Context, d *store.Device) error {
		if d.Model != model { // a filter without a model selects all
			return nil
		}
		return f.challenge(ctx, d)
	})
}

// askAll challenges a tenant's devices.
func (f *Fleet) askAll(ctx context.Context, tenant string) error {
	return f.askEach(ctx, f.enrolled(store.Filter{Tenant: tenant}), f.challenge)
}

// askHolders appraises the newest evidence again of the devices that have a digest, and challenges them.
func (f *Fleet) askHolders(ctx context.Context, tenant string, digest []byte) error {
	return f.askEach(ctx, f.holders(tenant, digest), func(ctx context.Context, d *store.Device) error {
		return errors.Join(f.condemn(ctx, d), f.challenge(ctx, d))
	})
}

// holders returns a pager over the enrolled devices of which the newest evidence has a digest.
func (f *Fleet) holders(tenant string, digest []byte) pager {
	after, asked := int64(0), make(map[string]bool)
	return func(ctx context.Context) (devices []store.Device, more bool, err error) {
		page, err := f.cfg.Store.Sightings(ctx, tenant, digest, after, sightingPage)
		if err != nil {
			return nil, false, err
		}
		for _, s := range page {
			after = s.Seq
			if !s.Until.IsZero() || asked[s.Device] {
				continue
			}
			asked[s.Device] = true
			d, err := f.cfg.Store.Device(ctx, tenant, s.Device)
			switch {
			case errors.Is(err, store.ErrNotFound):
			case err != nil:
				return nil, false, fmt.Errorf("device %s: %w", s.Device, err)
			case d.Status == store.Active:
				devices = append(devices, d)
			}
		}
		return devices, len(page) == sightingPage, nil
	}
}
