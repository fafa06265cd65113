package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
)

type newOutliers struct{ Body v1.NewOutliers }

func (s *server) registerOutliers(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "start-outliers", Method: http.MethodPost, Path: "/v1/outliers", DefaultStatus: http.StatusAccepted,
		Summary: "Begin to look for devices that differ from others of their model and version",
	}, s.startOutliers)
	register(s, doc, huma.Operation{
		OperationID: "get-outliers", Method: http.MethodGet, Path: "/v1/outliers/{id}",
		Summary: "Show how far the search is, and what it found; it is forgotten when the verifier ends",
	}, s.outliers)
}

func (s *server) startOutliers(ctx context.Context, p principal, in *newOutliers) (*body[v1.Job], error) {
	id, err := s.Fleet.StartOutliers(ctx, p.tenant, fleet.OutlierSpec{Vendor: in.Body.Vendor, Model: in.Body.Model})
	if err != nil {
		return nil, err
	}
	return &body[v1.Job]{v1.Job{ID: id}}, nil
}

func (s *server) outliers(ctx context.Context, p principal, in *jobID) (*body[v1.Outliers], error) {
	found, progress, over, err := s.Fleet.OutliersState(p.tenant, in.ID)
	out := v1.Outliers{}
	if out.JobProgress, err = s.progress(ctx, progress, over, err); err != nil || !over || out.Failed != "" {
		return &body[v1.Outliers]{out}, err
	}
	out.Devices = found.Devices
	for _, g := range found.Groups {
		group := v1.OutlierGroup{
			Vendor: g.Vendor, Model: g.Model, Firmware: g.Firmware, Devices: g.Devices, Notes: g.Notes, Left: g.Left, Outliers: []v1.Outlier{},
		}
		for _, o := range g.Outliers {
			one := v1.Outlier{
				Component: o.Component, Expected: o.Expected, Observed: o.Observed, Most: o.Most, Of: o.Of, Count: o.Count,
				Covered: o.Covered, Weak: o.Weak, Meaning: o.Meaning, Devices: []v1.Candidate{},
			}
			for _, d := range o.Devices {
				one.Devices = append(one.Devices, v1.Candidate{ID: d.ID, Label: d.Label})
			}
			group.Outliers = append(group.Outliers, one)
		}
		out.Groups = append(out.Groups, group)
	}
	return &body[v1.Outliers]{out}, nil
}
