package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/store"
)

// What a bulk action does with each device.
const (
	BulkLabel   = "label"
	BulkApprove = "approve"
	BulkAttest  = "attest"
	BulkRemove  = "remove"
)

// BulkSpec says what to do with which devices: Devices, or those that Filter selects.
type BulkSpec struct {
	Action  string
	Devices []string      // full ids
	Filter  *store.Filter // its Tenant, Now, order and page don't matter
	Group   *string       // of BulkLabel; empty removes the group
	Labels  map[string]string
	Expect  *int // how many devices it must be; nil: any number
}

// Bulk is what came of an action.
type Bulk struct {
	Failures []BulkFailure // the first ones, at most maxFailures
	Left     int           // failures that are not in the list
}

// BulkFailure is a device that the action was not done with.
type BulkFailure struct{ Device, Label, Why string }

// CountBulk returns how many devices an action is for. Another number than the one that it expects is refused. A quick
// count ends where it takes long in a large fleet: more says that there may be more than n.
func (f *Fleet) CountBulk(ctx context.Context, tenant string, spec BulkSpec, quick bool) (n int, more bool, err error) {
	if n = len(unique(spec.Devices)); spec.Filter != nil {
		upTo := 0
		if quick && spec.Expect == nil {
			upTo = math.MaxInt32
		}
		if n, more, err = f.cfg.Store.Total(ctx, f.selected(tenant, spec), upTo); err != nil {
			return 0, false, err
		}
	}
	if spec.Expect != nil && *spec.Expect != n {
		return 0, false, refuse("the action is for %d devices now, not %d: look at them again", n, *spec.Expect)
	}
	return n, more, nil
}

func unique(ids []string) []string {
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}

// selected returns the filter of an action.
func (f *Fleet) selected(tenant string, spec BulkSpec) store.Filter {
	s := *spec.Filter
	s.Tenant, s.Now, s.Sort, s.Desc, s.After, s.AfterKey, s.Limit = tenant, f.cfg.Now(), store.ByID, false, "", "", 1000
	return s
}

// StartBulk begins an action and returns the id under which BulkState knows it, and for how many devices it is. Which
// devices these are is found out before the first is changed. Each device's event names actor.
func (f *Fleet) StartBulk(
	ctx context.Context, tenant string, spec BulkSpec, actor string,
) (id string, n int, err error) {
	if n, _, err = f.CountBulk(ctx, tenant, spec, false); err != nil {
		return "", 0, err
	}
	id, err = f.bulks.start(tenant, "bulk", f.cfg.Now(), func(ctx context.Context, report func(Progress)) (any, error) {
		report(Progress{0, n})
		return f.bulk(ctx, tenant, spec, actor, report)
	})
	var refused *RefusedError
	if errors.As(err, &refused) {
		err = refuse("%d actions with many devices are running already: try again when one is over", maxRunning)
	}
	return id, n, err
}

// BulkState returns how far an action is, and once it is over what came of it.
func (f *Fleet) BulkState(tenant, id string) (done Bulk, p Progress, over bool, err error) {
	one, err := f.bulks.get(tenant, "bulk", id)
	if err != nil {
		return Bulk{}, Progress{}, false, err
	}
	return jobState[Bulk](one)
}

// bulkRun is an action that runs.
type bulkRun struct {
	*Fleet
	tenant, actor string
	spec          BulkSpec
	pace          *rate.Limiter
	report        func(Progress)

	mu    sync.Mutex
	done  int
	total int
	out   Bulk
}

func (f *Fleet) bulk(
	ctx context.Context, tenant string, spec BulkSpec, actor string, report func(Progress),
) (Bulk, error) {
	ids := unique(spec.Devices)
	if spec.Filter != nil {
		var err error
		if ids, err = f.selectAll(ctx, f.selected(tenant, spec)); err != nil {
			return Bulk{}, err
		}
	}
	r := &bulkRun{
		Fleet: f, tenant: tenant, actor: actor, spec: spec, report: report, total: len(ids),
		pace: rate.NewLimiter(bulkAttestRate, bulkWorkers),
	}
	report(Progress{0, len(ids)})
	queue := make(chan string)
	var workers sync.WaitGroup
	for range bulkWorkers {
		workers.Go(func() {
			for id := range queue {
				r.one(ctx, id)
			}
		})
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		queue <- id
	}
	close(queue)
	workers.Wait()
	return r.out, ctx.Err()
}

// selectAll returns the ids of all devices that a filter selects.
func (f *Fleet) selectAll(ctx context.Context, s store.Filter) (out []string, err error) {
	for {
		page, err := f.cfg.Store.Devices(ctx, s)
		if err != nil {
			return nil, err
		}
		for i := range page {
			out = append(out, page[i].ID)
		}
		if len(page) < s.Limit {
			return out, nil
		}
		s.After = page[len(page)-1].ID
	}
}

// one does the action with a device.
func (r *bulkRun) one(ctx context.Context, id string) {
	label, err := r.act(ctx, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if err != nil {
		r.fail(id, label, err)
	}
	r.report(Progress{r.done, r.total})
}

func (r *bulkRun) fail(id, label string, err error) {
	if len(r.out.Failures) == maxFailures {
		r.out.Left++
		return
	}
	why := "failed inside the verifier: its log says more"
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		why = refused.Reason
	case errors.Is(err, store.ErrNotFound):
		why = "there is no such device"
	case errors.Is(err, store.ErrConflict):
		why = "it kept changing meanwhile"
	default:
		r.log.Error("bulk action failed", "action", r.spec.Action, "tenant", r.tenant, "device", id, "error", err)
	}
	r.out.Failures = append(r.out.Failures, BulkFailure{Device: id, Label: label, Why: clean(why, maxDetail)})
}

// act returns the device's label beside the error.
func (r *bulkRun) act(ctx context.Context, id string) (string, error) {
	if !proto.ValidDevice(id) {
		return "", refuse("%q is not a full device id (64 hexadecimal digits)", clean(id, maxName))
	}
	d, err := r.cfg.Store.Device(ctx, r.tenant, id)
	if err != nil {
		return "", err
	}
	switch r.spec.Action {
	case BulkLabel:
		return d.Label, r.relabel(ctx, d)
	case BulkApprove:
		_, err = r.Approve(ctx, r.tenant, id, r.actor)
	case BulkRemove:
		err = r.Remove(ctx, r.tenant, id, r.actor)
	case BulkAttest:
		if err = r.pace.Wait(ctx); err == nil {
			err = r.cfg.Store.AddEvent(ctx, r.event(r.tenant, id, "operator", r.actor, "asked for evidence now"))
		}
		if err == nil {
			err = r.Attest(ctx, r.tenant, id)
		}
	default:
		err = refuse("unknown action %q", clean(r.spec.Action, maxName))
	}
	return d.Label, err
}

// relabel changes group and labels. Evidence that comes meanwhile writes the same record.
func (r *bulkRun) relabel(ctx context.Context, d store.Device) (err error) {
	for range bulkRetries {
		changes := applyLabels(&d, r.spec.Group, r.spec.Labels)
		if len(changes) == 0 {
			return nil
		}
		if len(d.Labels) > maxLabels {
			return refuse("a device has at most %d labels", maxLabels)
		}
		event := r.event(d.Tenant, d.ID, "operator", r.actor, "changed the device: "+strings.Join(changes, ", "))
		if _, err = r.cfg.Store.SaveDevice(ctx, d, event); !errors.Is(err, store.ErrConflict) {
			return err
		}
		if d, err = r.cfg.Store.Device(ctx, d.Tenant, d.ID); err != nil {
			return err
		}
	}
	return fmt.Errorf("after %d attempts: %w", bulkRetries, store.ErrConflict)
}

// applyLabels sets group and labels and returns what it changed, in words. An empty value removes a label.
func applyLabels(d *store.Device, group *string, labels map[string]string) (changes []string) {
	if group != nil && d.Group != *group {
		changes = append(changes, fmt.Sprintf("group %q, was %q", *group, d.Group))
		d.Group = *group
	}
	changed := maps.Clone(d.Labels)
	if changed == nil {
		changed = make(map[string]string)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value := labels[name]
		if changed[name] == value {
			continue
		}
		changes = append(changes, fmt.Sprintf("label %q=%q, was %q", name, value, changed[name]))
		if changed[name] = value; value == "" {
			delete(changed, name)
		}
	}
	d.Labels = changed
	return changes
}
