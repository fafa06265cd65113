package fleet

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// staleLifetime is how long a published result that says "stale" may be believed.
const staleLifetime = 24 * time.Hour

// Watch tells of devices that fall silent until ctx ends. A device is stale by its StaleAt alone, whoever asks and
// whatever runs; Watch writes it down, once, and publishes it. Beside that it looks after captures.
func (f *Fleet) Watch(ctx context.Context) error {
	if err := f.expectCaptures(ctx); err != nil && ctx.Err() == nil {
		f.log.Warn("captures of devices that come back now are resumed later", "error", err)
	}
	for {
		if err := f.Sweep(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("looking for silent devices failed, trying again", "error", err)
		}
		if err := f.tendCaptures(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("looking after captures failed, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(f.policies.shortest()/20, 200*time.Millisecond), 30*time.Second)):
		}
	}
}

// sweepers is how many devices Sweep writes down at the same time: the store commits together what comes together.
const sweepers = 64

// Sweep writes down which devices became stale since it last ran.
func (f *Fleet) Sweep(ctx context.Context) error {
	for {
		silent, err := f.cfg.Store.Overdue(ctx, f.cfg.Now(), 500)
		if err != nil || len(silent) == 0 {
			return err
		}
		var group errgroup.Group
		group.SetLimit(sweepers)
		for i := range silent {
			group.Go(func() error {
				err := f.stale(ctx, &silent[i])
				if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
					return nil
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// stale marks one device. A device that reported meanwhile is a conflict, one that was removed is not found: it stays
// as it is.
func (f *Fleet) stale(ctx context.Context, d *store.Device) error {
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return err
	}
	was := d.State
	r := result.Result{
		Tenant: d.Tenant, Device: d.ID, At: d.StaleAt, StaleAt: f.cfg.Now().Add(staleLifetime),
		State: result.Stale, Level: d.Level, Policy: in.ID, Vendor: d.Vendor, Model: d.Model,
		Findings: []result.Finding{{
			Code: "silent", Severity: result.Warn, Submod: result.Identity, Component: "device",
			Expected: "evidence every " + in.Interval.String(), Observed: "none since " + d.LastSeen.Format(time.RFC3339),
			Meaning:   "the device stopped attesting, so nothing is known of what it runs now",
			Action:    "check that the device and its agent run and can reach the verifier",
			FirstSeen: d.StaleAt,
		}},
	}
	ear, err := f.cfg.Signer.Sign(r)
	if err != nil {
		return err
	}
	d.Silenced, d.Since, d.Result = true, d.StaleAt, []byte(ear)
	event := stateChanged(d, was, result.Stale, d.StaleAt, []string{r.Findings[0].Line()})
	if _, err := f.cfg.Store.SaveDevice(ctx, *d, event); err != nil {
		return err
	}
	f.cfg.Metrics.silenced.Inc()
	f.log.Warn("device fell silent", "tenant", d.Tenant, "device", d.ID, "last_seen", d.LastSeen, "was", was)
	if err := f.publish(ctx, *d); err != nil && ctx.Err() == nil {
		f.log.Warn("result not published", "device", d.ID, "error", err)
	}
	return nil
}

// publish publishes a device's result from outside of its own conversation, in which evidence may be appraised at the
// same time: it publishes until what was published last is the newest.
func (f *Fleet) publish(ctx context.Context, d store.Device) error {
	if err := f.cfg.Sender.Retain(ctx, address(&d, proto.Result), d.Result); err != nil {
		return err
	}
	return f.overtake(ctx, d, d.Result)
}

// overtake publishes the newest result of a device until it is the one that was published last.
func (f *Fleet) overtake(ctx context.Context, d store.Device, published []byte) error {
	for {
		newest, err := f.cfg.Store.Device(ctx, d.Tenant, d.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return f.cfg.Sender.Retain(ctx, address(&d, proto.Result), nil)
		case err != nil || bytes.Equal(newest.Result, published):
			return err
		}
		if err := f.cfg.Sender.Retain(ctx, address(&d, proto.Result), newest.Result); err != nil {
			return err
		}
		published = newest.Result
	}
}

// Republish publishes the newest result of every device again, for an embedded broker forgets them when it ends.
// Devices whose silence was not yet written down are left to Sweep, for their newest result has expired. It takes its
// time where there are many, so that devices that report meanwhile and people who look need not wait.
func (f *Fleet) Republish(ctx context.Context, tenant string) error {
	filter := store.Filter{Tenant: tenant, Limit: republishPage}
	pace := time.NewTicker(republishPace)
	defer pace.Stop()
	for {
		filter.Now = f.cfg.Now()
		page, err := f.cfg.Store.Devices(ctx, filter)
		if err != nil {
			return err
		}
		if err := f.republish(ctx, page, filter); err != nil {
			return err
		}
		if len(page) < republishPage {
			return nil
		}
		filter.After = page[len(page)-1].ID
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// republish publishes the results of a page, and those that came meanwhile.
func (f *Fleet) republish(ctx context.Context, page []store.Device, filter store.Filter) error {
	published := func(d *store.Device) bool {
		return len(d.Result) > 0 && (d.Silenced || d.Current(filter.Now) != result.Stale)
	}
	for i := range page {
		if d := &page[i]; published(d) {
			if err := f.cfg.Sender.Retain(ctx, address(d, proto.Result), d.Result); err != nil {
				return err
			}
		}
	}
	again, err := f.cfg.Store.Devices(ctx, filter)
	if err != nil {
		return err
	}
	newest := make(map[string][]byte, len(again))
	for i := range again {
		newest[again[i].ID] = again[i].Result
	}
	for i := range page {
		d := &page[i]
		if now, ok := newest[d.ID]; !published(d) || ok && bytes.Equal(now, d.Result) {
			continue
		}
		if err := f.overtake(ctx, *d, d.Result); err != nil {
			return err
		}
	}
	return nil
}
