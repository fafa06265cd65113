package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/store"
)

type policyVersion struct {
	Version int64 `query:"version" minimum:"1" doc:"absent: the one in force"`
}

type setPolicy struct{ Body v1.NewPolicy }

type testPolicy struct{ Body v1.NewPolicyTest }

func (s *server) registerPolicy(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "get-policy", Method: http.MethodGet, Path: "/v1/policy",
		Summary: "Show the policy document in force, or another version of it",
	}, s.policy)
	register(s, doc, huma.Operation{
		OperationID: "set-policy", Method: http.MethodPut, Path: "/v1/policy",
		Summary: "Put a policy document in force; devices are asked to attest",
	}, s.setPolicy)
	register(s, doc, huma.Operation{
		OperationID: "list-policy-versions", Method: http.MethodGet, Path: "/v1/policy/versions",
		Summary: "List the versions of the policy document, newest first",
	}, s.policyVersions)
	register(s, doc, huma.Operation{
		OperationID: "test-policy", Method: http.MethodPost, Path: "/v1/policy/test",
		Summary: "Say what a policy document would change, by the newest stored evidence; nothing is switched",
	}, s.testPolicy)
}

func (s *server) policy(ctx context.Context, p principal, in *policyVersion) (*body[v1.Policy], error) {
	found, err := s.Fleet.Policy(ctx, p.tenant, in.Version)
	if errors.Is(err, store.ErrNotFound) {
		return nil, problemf(http.StatusNotFound, "the policy has no version %d", in.Version)
	}
	if err != nil {
		return nil, err
	}
	setVersion(ctx, versionOf(found.Version))
	return &body[v1.Policy]{policyDocument(&found)}, nil
}

func (s *server) setPolicy(ctx context.Context, p principal, in *setPolicy) (*body[v1.Policy], error) {
	now, err := s.Fleet.Policy(ctx, p.tenant, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err := checkVersion(ctx, versionOf(now.Version)); err != nil {
		return nil, err
	}
	set, err := s.Fleet.SetPolicy(ctx, p.tenant, []byte(in.Body.Document), in.Body.BasedOn, p.actor())
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "version %d is not the one in force any more: see what changed, and try again", in.Body.BasedOn)
	}
	if err != nil {
		return nil, wrongPolicy(err)
	}
	setVersion(ctx, versionOf(set.Version))
	return &body[v1.Policy]{policyDocument(&set)}, nil
}

func (s *server) policyVersions(ctx context.Context, p principal, in *page) (*body[v1.Policies], error) {
	found, err := s.Store.Policies(ctx, p.tenant, in.Before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	newest, err := s.Store.Policies(ctx, p.tenant, 0, 1)
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	out := v1.Policies{Policies: []v1.Policy{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Version
	}
	for i := range found {
		one := fleet.Policy{Policy: found[i], InForce: len(newest) > 0 && found[i].Version == newest[0].Version}
		out.Policies = append(out.Policies, policyDocument(&one))
	}
	return &body[v1.Policies]{out}, nil
}

func (s *server) testPolicy(ctx context.Context, p principal, in *testPolicy) (*body[v1.PolicyTest], error) {
	spec := fleet.PolicyTestSpec{After: in.Body.After, Limit: in.Body.Limit}
	if in.Body.Device != "" {
		d, err := s.resolve(ctx, p, in.Body.Device)
		if err != nil {
			return nil, err
		}
		spec.Device = d.ID
	}
	t, err := s.Fleet.TestPolicy(ctx, p.tenant, []byte(in.Body.Document), spec)
	if err != nil {
		return nil, wrongPolicy(err)
	}
	out := v1.PolicyTest{Name: t.Name, Digest: t.Digest, BasedOn: t.Based, Notices: t.Notices, Devices: []v1.PolicyChange{}, Next: t.Next}
	for _, c := range t.Devices {
		out.Devices = append(out.Devices, v1.PolicyChange{
			ID: c.ID, Label: c.Label, GroupBefore: c.GroupBefore, GroupAfter: c.GroupAfter, Before: c.Before, After: c.After,
			Reasons: c.Reasons, Note: c.Note,
		})
	}
	return &body[v1.PolicyTest]{out}, nil
}

// wrongPolicy makes what is wrong with a document a problem that names its lines; other errors stay.
func wrongPolicy(err error) error {
	var wrong *policy.Error
	if !errors.As(err, &wrong) {
		return err
	}
	p := problemf(http.StatusUnprocessableEntity, "the policy document is not correct")
	for _, one := range wrong.Problems {
		detail := v1.ProblemDetail{Message: one.Detail}
		if one.Key != "" {
			detail.Message = one.Key + ": " + one.Detail
		}
		if one.Line > 0 {
			detail.Location = fmt.Sprintf("line %d", one.Line)
		}
		p.Errors = append(p.Errors, detail)
	}
	return p
}

func policyDocument(p *fleet.Policy) v1.Policy {
	return v1.Policy{
		Version: p.Version, Name: p.Name, Digest: p.Digest, InForce: p.InForce, Author: p.Author, Created: moment(p.Created),
		Document: string(p.Document), Notices: p.Notices,
	}
}
