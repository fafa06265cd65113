package api

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
)

// Overview is what the API needs of the fleet for what is done with many devices, and for what needs attention.
type Overview interface {
	// CountBulk returns how many devices an action is for; another number than it expects is refused. A quick count may end
	// early: more says that there may be more than n.
	CountBulk(ctx context.Context, tenant string, spec fleet.BulkSpec, quick bool) (n int, more bool, err error)
	// StartBulk begins an action. Each device's event names actor.
	StartBulk(ctx context.Context, tenant string, spec fleet.BulkSpec, actor string) (id string, n int, err error)
	// BulkState returns how far an action is.
	BulkState(tenant, id string) (done fleet.Bulk, p fleet.Progress, over bool, err error)
	// Notices returns what needs attention soon.
	Notices(ctx context.Context, tenant string) ([]fleet.Notice, error)
}

// bulkRoute takes up to a thousand ids.
const bulkRoute = "POST /v1/devices/bulk"

type bulkDevices struct{ Body v1.BulkAction }

func (s *server) registerBulk(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "bulk-devices", Method: http.MethodPost, Path: "/v1/devices/bulk", DefaultStatus: http.StatusAccepted,
		Summary: "Begin to do the same with many devices, or only count them",
	}, s.startBulk)
	register(s, doc, huma.Operation{
		OperationID: "get-bulk", Method: http.MethodGet, Path: "/v1/bulk/{id}",
		Summary: "Show how far an action with many devices is; it is forgotten when the verifier ends",
	}, s.bulk)
}

func (s *server) startBulk(ctx context.Context, p principal, in *bulkDevices) (*body[v1.Bulk], error) {
	spec, err := s.bulkSpec(p, &in.Body)
	if err != nil {
		return nil, err
	}
	out := v1.Bulk{Failures: []v1.BulkFailure{}}
	if in.Body.DryRun {
		out.Over = true
		out.Total, out.TotalMore, err = s.Fleet.CountBulk(ctx, p.tenant, spec, in.Body.Quick)
	} else {
		out.ID, out.Total, err = s.Fleet.StartBulk(ctx, p.tenant, spec, p.actor())
	}
	if err != nil {
		return nil, err
	}
	return &body[v1.Bulk]{out}, nil
}

// bulkSpec checks an action. A filter that selects all devices must be said: an empty one is more often a mistake.
func (s *server) bulkSpec(p principal, in *v1.BulkAction) (fleet.BulkSpec, error) {
	spec := fleet.BulkSpec{Action: in.Action, Devices: in.Devices, Group: in.Group, Labels: in.Labels, Expect: in.Expect}
	if (len(in.Devices) > 0) == (in.Filter != nil) {
		return spec, problemf(http.StatusUnprocessableEntity,
			"say which devices: either devices or filter, which is {} for all")
	}
	for _, id := range in.Devices {
		if !proto.ValidDevice(id) {
			return spec, problemf(http.StatusUnprocessableEntity, "devices: want full ids (64 hexadecimal digits)")
		}
	}
	if in.Filter != nil {
		f, err := s.selection(p, *in.Filter)
		if err != nil {
			return spec, err
		}
		spec.Filter = &f
	}
	if in.Quick && (!in.DryRun || in.Expect != nil) {
		return spec, problemf(http.StatusUnprocessableEntity, "quick is of dry_run without expect: what is done or expected is counted in full")
	}
	switch changes := in.Group != nil || len(in.Labels) > 0; {
	case changes && in.Action != fleet.BulkLabel:
		return spec, problemf(http.StatusUnprocessableEntity, "group and labels are of the action label")
	case !changes && in.Action == fleet.BulkLabel && !in.DryRun:
		return spec, problemf(http.StatusUnprocessableEntity, "label: say which group or labels the devices shall have")
	}
	if in.Group != nil {
		if err := checkTexts(map[string]string{"group": *in.Group}); err != nil {
			return spec, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Labels)) {
		if name == "" {
			return spec, problemf(http.StatusUnprocessableEntity, "labels: a label needs a name")
		}
		if err := checkTexts(map[string]string{"name of a label": name, "value of a label": in.Labels[name]}); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

func (s *server) bulk(ctx context.Context, p principal, in *jobID) (*body[v1.Bulk], error) {
	done, progress, over, err := s.Fleet.BulkState(p.tenant, in.ID)
	out := v1.Bulk{ID: in.ID, Failures: []v1.BulkFailure{}, Left: done.Left}
	if out.JobProgress, err = s.progress(ctx, progress, over, err); err != nil {
		return nil, err
	}
	for _, f := range done.Failures {
		out.Failures = append(out.Failures, v1.BulkFailure{Device: f.Device, Label: f.Label, Why: f.Why})
	}
	return &body[v1.Bulk]{out}, nil
}
