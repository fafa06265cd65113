package apitest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Fleet is an api.Fleet without devices: a challenge is answered at once with what Answer says.
type Fleet struct {
	*fleet.Fleet // what deals with manifests, deny-lists and vendors' keys

	Store  store.Store
	Signer *result.Signer // signs results; may be nil where Answer is
	Fail   error          // what every method returns, if it is set

	mu     sync.Mutex
	answer func(device string) *result.Result
	asked  []string

	content []byte // of every flash region
	reason  string // why none is sent
}

var _ api.Fleet = (*Fleet)(nil)

// Answer sets what challenges give; before the first call devices are not connected. No result stands for silence, one
// without a state for evidence that is rejected.
func (f *Fleet) Answer(answer func(device string) *result.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// Asked returns the ids of the devices that were challenged.
func (f *Fleet) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

type refused string

func (r refused) Error() string   { return "fleet: " + string(r) }
func (r refused) Refused() string { return string(r) }

// Attest implements api.Fleet.
func (f *Fleet) Attest(ctx context.Context, tenant, id string) error {
	f.mu.Lock()
	f.asked = append(f.asked, id)
	answer := f.answer
	f.mu.Unlock()
	if f.Fail != nil {
		return f.Fail
	}
	if answer == nil {
		return refused("the device is not connected")
	}
	r := answer(id)
	switch {
	case r == nil:
		return nil
	case r.State == "":
		return f.Store.AddEvent(ctx, store.Event{
			At: time.Now(), Tenant: tenant, Device: id, Kind: "evidence-rejected", Actor: "verifier", Detail: "signature",
		})
	}
	return f.Record(ctx, tenant, id, *r)
}

// Record stores a result of a device as if its evidence had been appraised now. Fields that tie it to the device and the
// evidence are set here.
func (f *Fleet) Record(ctx context.Context, tenant, id string, r result.Result) error {
	d, err := f.Store.Device(ctx, tenant, id)
	if err != nil {
		return err
	}
	evidence := make([]byte, 32)
	_, _ = rand.Read(evidence)
	sum := sha256.Sum256(evidence)
	r.Tenant, r.Device, r.Evidence = tenant, id, hex.EncodeToString(sum[:])
	if r.At.IsZero() {
		r.At = time.Now().UTC()
	}
	if r.StaleAt.IsZero() {
		r.StaleAt = r.At.Add(time.Hour)
	}
	ear, err := f.Signer.Sign(r)
	if err != nil {
		return err
	}
	d.State, d.StaleAt, d.LastSeen, d.Since, d.Result = r.State, r.StaleAt, r.At, r.At, []byte(ear)
	return f.Store.Record(ctx, store.Outcome{Device: d, Evidence: evidence, Result: r, EAR: ear})
}

func event(tenant, id, actor, detail string) store.Event {
	return store.Event{At: time.Now(), Tenant: tenant, Device: id, Kind: "operator", Actor: actor, Detail: detail}
}

// Approve implements api.Fleet.
func (f *Fleet) Approve(ctx context.Context, tenant, id, actor string) (store.Device, error) {
	if f.Fail != nil {
		return store.Device{}, f.Fail
	}
	d, err := f.Store.Device(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		d, err = store.Device{Tenant: tenant, ID: id, State: result.NeverAttested, Level: result.Pinned}, nil
	}
	if err != nil {
		return store.Device{}, err
	}
	d.Status = store.Approved
	d.Version, err = f.Store.SaveDevice(ctx, d, event(tenant, id, actor, "approved"))
	return d, err
}

// Remove implements api.Fleet.
func (f *Fleet) Remove(ctx context.Context, tenant, id, actor string) error {
	if f.Fail != nil {
		return f.Fail
	}
	return f.Store.RemoveDevice(ctx, tenant, id, event(tenant, id, actor, "removed"))
}

// CreateBaseline implements api.Fleet. The document only repeats what was asked for; flash regions that could not be read
// are noted.
func (f *Fleet) CreateBaseline(ctx context.Context, tenant string, spec fleet.BaselineSpec, actor string) (
	fleet.NewBaseline, error,
) {
	if f.Fail != nil {
		return fleet.NewBaseline{}, f.Fail
	}
	results, err := f.Store.Results(ctx, tenant, spec.Device, 0, 1)
	if err != nil {
		return fleet.NewBaseline{}, err
	}
	if len(results) == 0 {
		return fleet.NewBaseline{}, refused("the device has never attested: nothing to take values of")
	}
	if spec.Name == "" {
		spec.Name = "baseline-" + spec.Device[:8]
	}
	made := fleet.NewBaseline{Reference: store.Reference{
		Tenant: tenant, Name: spec.Name, Kind: "baseline", Created: time.Now().UTC(),
		Document: []byte(fmt.Sprintf("%s %v %q", spec.Device, spec.ReportOnly, spec.ReportOnlyFlash)),
	}}
	for _, r := range results[0].Result.Regions {
		if r.Status == result.RegionUnavailable {
			made.Notes = append(made.Notes, "flash region "+r.Name+": "+r.Reason)
		}
	}
	return made, f.Store.AddReference(ctx, made.Reference, event(tenant, spec.Device, actor, "created baseline "+made.Name))
}

// RetireReference implements api.Fleet.
func (f *Fleet) RetireReference(ctx context.Context, tenant, name, actor string) error {
	if f.Fail != nil {
		return f.Fail
	}
	return f.Store.RetireReference(ctx, tenant, name, time.Now().UTC(), event(tenant, "", actor, "retired "+name))
}
