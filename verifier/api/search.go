package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Finder is what the API needs of the part of the fleet that searches. It is a part of Fleet: errors are as there.
type Finder interface {
	// Search finds everything that a digest, file name, GUID, advisory or other text occurs in; another after than one
	// that it gave is store.ErrInvalid.
	Search(ctx context.Context, tenant, query, after string, limit int) (v1.Search, error)
	// Coverage tells which devices a manifest is about.
	Coverage(ctx context.Context, tenant, name string) (v1.Coverage, error)
}

type searchFor struct {
	Query string `query:"q" required:"true" minLength:"3" maxLength:"256" doc:"digest, with or without its algorithm; file name or part of one; EFI GUID; advisory; other text"`
	After string `query:"after" maxLength:"64" doc:"next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (s *server) registerSearch(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "search", Method: http.MethodGet, Path: "/v1/search",
		Summary: "Find every device, manifest, baseline and deny-list that something occurs in, and when",
	}, s.search)
	register(s, doc, huma.Operation{
		OperationID: "get-manifest-coverage", Method: http.MethodGet, Path: "/v1/manifests/{name}/coverage",
		Summary: "Show how many devices a manifest is about, and how those fare that rely on it",
	}, s.coverage)
}

func (s *server) search(ctx context.Context, p principal, in *searchFor) (*body[v1.Search], error) {
	out, err := s.Fleet.Search(ctx, p.tenant, in.Query, in.After, in.Limit)
	if errors.Is(err, store.ErrInvalid) {
		return nil, problemf(http.StatusUnprocessableEntity, "after: want the value of next of the page before, with the same q")
	}
	if err != nil {
		return nil, err
	}
	return &body[v1.Search]{out}, nil
}

func (s *server) coverage(ctx context.Context, p principal, in *manifestName) (*body[v1.Coverage], error) {
	out, err := s.Fleet.Coverage(ctx, p.tenant, in.Name)
	if err != nil {
		return nil, err
	}
	return &body[v1.Coverage]{out}, nil
}
