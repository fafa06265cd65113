package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// RefusedError says, in words for an operator, why something was not done.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Refused returns the words for the operator.
func (e *RefusedError) Refused() string { return e.Reason }

func refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// Attest challenges a device now.
func (f *Fleet) Attest(ctx context.Context, tenant, id string) error {
	d, err := f.cfg.Store.Device(ctx, tenant, id)
	if err != nil {
		return err
	}
	if d.Status != store.Active {
		return refuse("device %s is %s and has no key to attest with: approve it, and let it enrol", id[:12], d.Status)
	}
	return f.challenge(ctx, &d)
}

// Approve lets a pending device in, or one with this full id when it comes.
func (f *Fleet) Approve(ctx context.Context, tenant, id, actor string) (store.Device, error) {
	if !proto.ValidDevice(id) {
		return store.Device{}, refuse("%q is not a full device id (64 hexadecimal digits, as the device prints it)", id)
	}
	d, err := f.cfg.Store.Device(ctx, tenant, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		d = store.Device{Tenant: tenant, ID: id, Level: result.Pinned, State: result.NeverAttested, Since: f.cfg.Now()}
	case err != nil:
		return store.Device{}, err
	case d.Status == store.Active:
		return store.Device{}, refuse("device %s is enrolled already", id[:12])
	}
	d.Status = store.Approved
	d.Version, err = f.cfg.Store.SaveDevice(ctx, d, f.event(tenant, id, "approved", actor, "may enrol"))
	return d, err
}

// Remove forgets a device and ends its connection.
func (f *Fleet) Remove(ctx context.Context, tenant, id, actor string) error {
	if err := f.cfg.Store.RemoveDevice(ctx, tenant, id, f.event(tenant, id, "removed", actor, "device and its results removed")); err != nil {
		return err
	}
	f.cfg.Disconnect(tenant, id)
	to := proto.Address{Tenant: tenant, Device: id, Leaf: proto.Result}
	if err := f.cfg.Sender.Retain(ctx, to, nil); err != nil {
		f.log.Warn("result of a removed device is still published", "device", id, "error", err)
	}
	return nil
}

func (f *Fleet) event(tenant, device, kind, actor, detail string) store.Event {
	return store.Event{At: f.cfg.Now(), Tenant: tenant, Device: device, Kind: kind, Actor: actor, Detail: detail}
}

// RetireReference takes reference values out of force and asks the devices that they were for to attest again.
func (f *Fleet) RetireReference(ctx context.Context, tenant, name, actor string) error {
	err := f.cfg.Store.RetireReference(ctx, tenant, name, f.cfg.Now(), f.event(tenant, "", "reference-retired", actor, name))
	if err != nil {
		return err
	}
	f.references.changed(tenant)
	if err := f.askReferenced(ctx, tenant, name); err != nil {
		f.log.Warn("devices of the model were not all asked to attest; they will with their next report", "error", err)
	}
	return nil
}

// askReferenced challenges the devices that a reference is for.
func (f *Fleet) askReferenced(ctx context.Context, tenant, name string) error {
	documents, err := f.cfg.Store.References(ctx, tenant)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if d.Name != name {
			continue
		}
		b, err := f.references.open(d)
		if err != nil {
			return err
		}
		return f.askModel(ctx, tenant, b.Model)
	}
	return nil
}
