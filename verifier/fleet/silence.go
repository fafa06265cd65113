package fleet

import (
	"bytes"
	"context"
	"errors"
	"time"

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

// Sweep writes down which devices became stale since it last ran.
func (f *Fleet) Sweep(ctx context.Context) error {
	for {
		silent, err := f.cfg.Store.Overdue(ctx, f.cfg.Now(), 500)
		if err != nil {
			return err
		}
		for i := range silent {
			err := f.stale(ctx, &silent[i])
			if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if len(silent) == 0 {
			return nil
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
	if err := f.publish(ctx, *d); err != nil {
		f.log.Warn("result not published", "device", d.ID, "error", err)
	}
	return nil
}

// publish publishes a device's result from outside of its own conversation, in which evidence may be appraised at the
// same time: it publishes until what was published last is the newest.
func (f *Fleet) publish(ctx context.Context, d store.Device) error {
	for {
		published := d.Result
		if err := f.cfg.Sender.Retain(ctx, address(&d, proto.Result), published); err != nil {
			return err
		}
		newest, err := f.cfg.Store.Device(ctx, d.Tenant, d.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return f.cfg.Sender.Retain(ctx, address(&d, proto.Result), nil)
		case err != nil || bytes.Equal(newest.Result, published):
			return err
		}
		d = newest
	}
}

// Republish publishes the newest result of every device again, for an embedded broker forgets them when it ends.
// Devices whose silence was not yet written down are left to Sweep, for their newest result has expired. It takes its
// time where there are many, so that those that report meanwhile need not wait.
func (f *Fleet) Republish(ctx context.Context, tenant string) error {
	after := ""
	pace := time.NewTicker(republishPace)
	defer pace.Stop()
	for {
		page, err := f.cfg.Store.Devices(ctx, store.Filter{Tenant: tenant, Now: f.cfg.Now(), After: after, Limit: 1000})
		if err != nil {
			return err
		}
		for i := range page {
			d := &page[i]
			if len(d.Result) == 0 || !d.Silenced && d.Current(f.cfg.Now()) == result.Stale {
				continue
			}
			if err := f.publish(ctx, *d); err != nil {
				return err
			}
		}
		if len(page) < 1000 {
			return nil
		}
		after = page[len(page)-1].ID
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
