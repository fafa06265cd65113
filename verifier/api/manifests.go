package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
)

type submitManifest struct {
	Proof   string `header:"Probity-Log-Proof" maxLength:"12000" doc:"base64 of a proof of inclusion in a transparency log"`
	Overlap int64  `query:"overlap_seconds" minimum:"-1" maximum:"158112000" default:"-1" doc:"how long the manifests that this one supersedes stay valid; absent: as it says itself"`
	RawBody []byte `contentType:"application/cose" doc:"COSE_Sign1 of a CoRIM"`
}

type tryManifest struct {
	RawBody []byte `contentType:"application/cose" doc:"a CoRIM, signed or not"`
}

type listManifests struct {
	State  string `query:"state" enum:"submitted,active,superseded,withdrawn,void"`
	Vendor string `query:"vendor" maxLength:"256"`
	Model  string `query:"model" maxLength:"256"`
}

type manifestName struct {
	Name string `path:"name" maxLength:"600" doc:"id, vendor:id, or the digest or its first characters (at least 8)"`
}

type withdrawManifest struct {
	Name string `path:"name" maxLength:"600" doc:"id, vendor:id, or the digest or its first characters (at least 8)"`
	Body v1.Withdrawal
}

type supersedeManifest struct {
	Name string `path:"name" maxLength:"600" doc:"id, vendor:id, or the digest or its first characters (at least 8)"`
	Body v1.Supersession
}

type jobID struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *server) registerManifests(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "submit-manifest", Method: http.MethodPost, Path: "/v1/manifests",
		Summary: "Submit a signed manifest or deny-list, or another signature of one",
	}, s.submitManifest)
	register(s, doc, huma.Operation{
		OperationID: "list-manifests", Method: http.MethodGet, Path: "/v1/manifests", Summary: "List manifests and deny-lists",
	}, s.manifests)
	register(s, doc, huma.Operation{
		OperationID: "get-manifest", Method: http.MethodGet, Path: "/v1/manifests/{name}", Summary: "Show where a manifest stands",
	}, s.manifest)
	register(s, doc, huma.Operation{
		OperationID: "withdraw-manifest", Method: http.MethodPost, Path: "/v1/manifests/{name}/withdraw",
		Summary: "Declare that a manifest was wrong; it does not come back",
	}, s.withdrawManifest)
	register(s, doc, huma.Operation{
		OperationID: "supersede-manifest", Method: http.MethodPost, Path: "/v1/manifests/{name}/supersede",
		Summary: "Let another manifest take the place of this one, after an overlap",
	}, s.supersedeManifest)
	register(s, doc, huma.Operation{
		OperationID: "start-dry-run", Method: http.MethodPost, Path: "/v1/dry-runs", DefaultStatus: http.StatusAccepted,
		Summary: "Begin to find out, by all stored evidence, what a manifest would change; nothing is switched",
	}, s.startDryRun)
	register(s, doc, huma.Operation{
		OperationID: "get-dry-run", Method: http.MethodGet, Path: "/v1/dry-runs/{id}",
		Summary: "Show how far a dry run is, and what it found; it is forgotten when the verifier ends",
	}, s.dryRun)
}

func (s *server) submitManifest(ctx context.Context, p principal, in *submitManifest) (*body[v1.Manifest], error) {
	if err := ownDocument(&p, in.RawBody); err != nil {
		return nil, err
	}
	submission := fleet.Submission{Signed: in.RawBody}
	if in.Proof != "" {
		proof, err := base64.StdEncoding.DecodeString(in.Proof)
		if err != nil {
			return nil, problemf(http.StatusUnprocessableEntity, "%s: want base64", v1.LogProofHeader)
		}
		submission.Proof = proof
	}
	if in.Overlap >= 0 {
		overlap := time.Duration(in.Overlap) * time.Second
		submission.Overlap = &overlap
	}
	m, err := s.Fleet.SubmitManifest(ctx, p.tenant, submission, p.actor())
	if err != nil {
		return nil, err
	}
	return s.manifest(ctx, p, &manifestName{m.Digest})
}

func (s *server) manifests(ctx context.Context, p principal, in *listManifests) (*body[v1.Manifests], error) {
	found, err := s.Fleet.Manifests(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	out := v1.Manifests{Manifests: []v1.Manifest{}}
	for i := range found {
		if !p.speaksFor(found[i].Vendor) {
			continue
		}
		m := manifestDocument(&found[i])
		if (in.State == "" || m.State == in.State) && (in.Vendor == "" || m.Vendor == in.Vendor) && (in.Model == "" || m.Model == in.Model) {
			out.Manifests = append(out.Manifests, m)
		}
	}
	return &body[v1.Manifests]{out}, nil
}

func (s *server) manifest(ctx context.Context, p principal, in *manifestName) (*body[v1.Manifest], error) {
	name, err := s.own(ctx, &p, in.Name)
	if err != nil {
		return nil, err
	}
	m, err := s.Fleet.ManifestStatus(ctx, p.tenant, name)
	if err != nil {
		return nil, err
	}
	return &body[v1.Manifest]{manifestDocument(&m)}, nil
}

func (s *server) withdrawManifest(ctx context.Context, p principal, in *withdrawManifest) (*body[v1.Manifest], error) {
	name, err := s.own(ctx, &p, in.Name)
	if err != nil {
		return nil, err
	}
	m, err := s.Fleet.WithdrawManifest(ctx, p.tenant, name, in.Body.Reason, p.actor())
	if err != nil {
		return nil, err
	}
	return s.manifest(ctx, p, &manifestName{m.Digest})
}

func (s *server) supersedeManifest(ctx context.Context, p principal, in *supersedeManifest) (*body[v1.Manifest], error) {
	overlap := time.Duration(in.Body.Overlap) * time.Second
	name, err := s.own(ctx, &p, in.Name)
	if err != nil {
		return nil, err
	}
	by, err := s.own(ctx, &p, in.Body.By)
	if err != nil {
		return nil, err
	}
	m, err := s.Fleet.SupersedeManifest(ctx, p.tenant, name, by, overlap, p.actor())
	if err != nil {
		return nil, err
	}
	return s.manifest(ctx, p, &manifestName{m.Digest})
}

func manifestDocument(m *fleet.ManifestStatus) v1.Manifest {
	out := v1.Manifest{
		Name: m.Name, Digest: m.Digest, Vendor: m.Vendor, Model: m.Model, Version: m.Version, Advisory: m.Advisory, State: m.State,
		Counts: m.Counts, NotBefore: moment(m.Begins), NotAfter: moment(m.Ends), Size: m.Size, Submitted: m.Submitted.UTC(),
		From: m.From.UTC(), Until: moment(m.Until), SupersededBy: m.SupersededBy, Withdrawn: moment(m.Withdrawn), Reason: m.Reason,
		LogProof: "none", Endorsements: []v1.Endorsement{}, Needed: m.Needs, Approvals: approvalDocuments(m.Approvals),
	}
	if len(m.Proof) > 0 {
		out.LogProof = "unchecked"
	}
	for _, e := range m.Endorsers {
		out.Endorsements = append(out.Endorsements, v1.Endorsement{
			Key: e.Key, Name: e.Name, Role: e.Role, Issuer: e.Issuer, Submitted: e.Submitted.UTC(), NotBefore: moment(e.Begins),
			NotAfter: moment(e.Ends), Actor: e.Actor, Void: e.Void,
		})
	}
	return out
}

func (s *server) startDryRun(ctx context.Context, p principal, in *tryManifest) (*body[v1.Job], error) {
	if err := ownDocument(&p, in.RawBody); err != nil {
		return nil, err
	}
	id, err := s.Fleet.StartDryRun(ctx, p.tenant, in.RawBody)
	if err != nil {
		return nil, err
	}
	return &body[v1.Job]{v1.Job{ID: id}}, nil
}

func (s *server) dryRun(ctx context.Context, p principal, in *jobID) (*body[v1.DryRun], error) {
	d, progress, over, err := s.Fleet.DryRunState(p.tenant, in.ID)
	out := v1.DryRun{}
	if over && err == nil && !p.speaksFor(d.Vendor) {
		return nil, problemf(http.StatusNotFound, "no such dry run")
	}
	if out.JobProgress, err = s.progress(ctx, progress, over, err); err != nil || !over || out.Failed != "" {
		return &body[v1.DryRun]{out}, err
	}
	out.Name, out.Vendor, out.Model, out.Version, out.Advisory = d.Name, d.Vendor, d.Model, d.Version, d.Advisory
	out.Supersedes, out.Notes, out.Devices, out.Unjudged, out.Left = d.Supersedes, d.Notes, d.Devices, d.Unjudged, d.Left
	out.Now, out.Overlap, out.After = d.Now, d.Overlap, d.After
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, v1.DryRunDevice{
			ID: c.ID, Label: c.Label, Now: c.Now, Overlap: c.Overlap, After: c.After, Came: c.Came, Went: c.Went, Problem: c.Problem,
		})
	}
	p.withoutDevices(&out)
	return &body[v1.DryRun]{out}, nil
}

// progress says how far long work is. Work that failed is an answer; that there is no such work is an error.
func (s *server) progress(ctx context.Context, p fleet.Progress, over bool, err error) (v1.JobProgress, error) {
	out := v1.JobProgress{Over: over, Done: p.Done, Total: p.Total}
	if err != nil && !over {
		return out, err
	}
	if err != nil {
		out.Failed = s.problem(ctx, err).Detail
	}
	return out, nil
}
