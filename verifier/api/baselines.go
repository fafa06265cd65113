package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/store"
)

type createBaseline struct{ Body v1.NewBaseline }

type baselineName struct {
	Name string `path:"name" maxLength:"128"`
}

func (s *server) registerBaselines(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-baselines", Method: http.MethodGet, Path: "/v1/baselines",
		Summary: "List baselines in ascending name, retired ones included",
	}, s.baselines)
	register(s, doc, huma.Operation{
		OperationID: "create-baseline", Method: http.MethodPost, Path: "/v1/baselines",
		Summary: "Make what a device last attested a baseline", DefaultStatus: http.StatusCreated,
	}, s.createBaseline)
	register(s, doc, huma.Operation{
		OperationID: "retire-baseline", Method: http.MethodDelete, Path: "/v1/baselines/{name}",
		Summary: "Take a baseline out of force; it stays in the list", DefaultStatus: http.StatusNoContent,
	}, s.retireBaseline)
}

func (s *server) baselines(ctx context.Context, p principal, _ *empty) (*body[v1.Baselines], error) {
	found, err := s.Store.References(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("list references: %w", err)
	}
	out := v1.Baselines{Baselines: []v1.Baseline{}}
	for _, r := range found {
		out.Baselines = append(out.Baselines, baselineDocument(r))
	}
	return &body[v1.Baselines]{out}, nil
}

func (s *server) createBaseline(ctx context.Context, p principal, in *createBaseline) (*body[v1.Baseline], error) {
	for _, i := range in.Body.ReportOnly {
		if i < 0 || i >= pcr.Count {
			return nil, problemf(http.StatusUnprocessableEntity, "report_only_pcrs: want 0 to %d, got %d", pcr.Count-1, i)
		}
	}
	d, err := s.resolve(ctx, p, in.Body.Device)
	if err != nil {
		return nil, err
	}
	spec := fleet.BaselineSpec{
		Device: d.ID, Name: in.Body.Name, ReportOnly: in.Body.ReportOnly, ReportOnlyFlash: in.Body.ReportOnlyFlash,
	}
	r, err := s.Fleet.CreateBaseline(ctx, p.tenant, spec, p.actor())
	var told refusal
	if errors.Is(err, store.ErrConflict) && !errors.As(err, &told) {
		return nil, problemf(http.StatusConflict, "there was a baseline of this name before: choose another")
	}
	if err != nil {
		return nil, err
	}
	made := baselineDocument(r.Reference)
	made.Notes = r.Notes
	return &body[v1.Baseline]{made}, nil
}

func (s *server) retireBaseline(ctx context.Context, p principal, in *baselineName) (*empty, error) {
	return nil, s.Fleet.RetireReference(ctx, p.tenant, in.Name, p.actor())
}

func baselineDocument(r store.Reference) v1.Baseline {
	sum := sha256.Sum256(r.Document)
	return v1.Baseline{
		Name: r.Name, Kind: r.Kind, Digest: hex.EncodeToString(sum[:]), Size: len(r.Document),
		Created: r.Created.UTC(), Retired: moment(r.Retired),
	}
}
