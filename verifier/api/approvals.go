package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Consents is what the API needs of the part of the fleet that lets people approve manifests. It is a part of Fleet:
// events and errors are as there.
type Consents interface {
	// ManifestApprovals returns how many people other than the submitter must consent before a manifest counts,
	// SetManifestApprovals says so.
	ManifestApprovals(ctx context.Context, tenant string) (int, error)
	SetManifestApprovals(ctx context.Context, tenant string, n int, actor string) error
	// Approvals returns who consented to a manifest.
	Approvals(ctx context.Context, tenant, name string) (store.Manifest, []store.Approval, error)
	// ApproveManifest consents to a manifest's activation, RefuseManifest withdraws it.
	ApproveManifest(ctx context.Context, tenant, name, note, actor string) (store.Manifest, error)
	RefuseManifest(ctx context.Context, tenant, name, note, actor string) (store.Manifest, error)
}

type newApproval struct {
	Name string `path:"name" maxLength:"600" doc:"id, vendor:id, or the digest or its first characters (at least 8)"`
	Body v1.NewApproval
}

func (s *server) registerApprovals(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-approvals", Method: http.MethodGet, Path: "/v1/manifests/{name}/approvals",
		Summary: "Show who consented to a manifest's activation, and how many it takes",
	}, s.approvals)
	register(s, doc, huma.Operation{
		OperationID: "approve-manifest", Method: http.MethodPost, Path: "/v1/manifests/{name}/approvals",
		Summary: "Consent to a manifest's activation, or refuse it; this takes a person, who signed in, and is not who submitted it",
	}, s.approveManifest)
}

func (s *server) approvals(ctx context.Context, p principal, in *manifestName) (*body[v1.Approvals], error) {
	m, list, err := s.Fleet.Approvals(ctx, p.tenant, in.Name)
	if err != nil {
		return nil, err
	}
	return &body[v1.Approvals]{v1.Approvals{
		Needed: m.Needs, Waits: m.Awaits() && m.Withdrawn.IsZero(), Approvals: append([]v1.Approval{}, approvalDocuments(list)...),
	}}, nil
}

// approveManifest takes a person: whoever makes tokens has as many as they like.
func (s *server) approveManifest(ctx context.Context, p principal, in *newApproval) (*body[v1.Manifest], error) {
	if p.kind == byToken {
		return nil, problemf(http.StatusForbidden, "a token is no person: sign in with an account, or with its certificate, to approve or refuse a manifest")
	}
	decide := s.Fleet.ApproveManifest
	if in.Body.Refuse {
		decide = s.Fleet.RefuseManifest
	}
	m, err := decide(ctx, p.tenant, in.Name, in.Body.Note, p.actor())
	if err != nil {
		return nil, err
	}
	return s.manifest(ctx, p, &manifestName{m.Digest})
}

func approvalDocuments(list []store.Approval) []v1.Approval {
	var out []v1.Approval
	for _, a := range list {
		out = append(out, v1.Approval{Actor: a.Actor, At: a.At.UTC(), Note: a.Note})
	}
	return out
}
