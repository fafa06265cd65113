package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
)

type newDenial struct{ Body v1.NewDenial }

type denialDigest struct {
	Digest string `path:"digest" maxLength:"136" doc:"hexadecimal"`
}

type listSightings struct {
	Digest string `query:"digest" required:"true" maxLength:"136" doc:"hexadecimal SHA-256, SHA-384 or SHA-512"`
	After  int64  `query:"after" minimum:"1" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (s *server) registerDenyList(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "get-deny-list", Method: http.MethodGet, Path: "/v1/denylist",
		Summary: "List what is known to be bad: operators' entries, then those of signed deny-lists",
	}, s.denyList)
	register(s, doc, huma.Operation{
		OperationID: "add-denial", Method: http.MethodPost, Path: "/v1/denylist", DefaultStatus: http.StatusCreated,
		Summary: "Put a digest on the deny-list; devices that have it are asked to attest",
	}, s.deny)
	register(s, doc, huma.Operation{
		OperationID: "remove-denial", Method: http.MethodDelete, Path: "/v1/denylist/{digest}", DefaultStatus: http.StatusNoContent,
		Summary: "Take an operator's entry off the deny-list; signed deny-lists are withdrawn as manifests",
	}, s.undeny)
	register(s, doc, huma.Operation{
		OperationID: "list-sightings", Method: http.MethodGet, Path: "/v1/sightings",
		Summary: "List the devices that ever had a digest, where and when",
	}, s.sightings)
}

func (s *server) denyList(ctx context.Context, p principal, _ *empty) (*body[v1.DenyList], error) {
	found, err := s.Fleet.DenyList(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	out := v1.DenyList{Entries: []v1.DeniedEntry{}}
	for _, e := range found {
		entry := v1.DeniedEntry{
			Component: e.Component.String(), Advisory: e.Advisory, Note: e.Note, Issuer: e.Issuer, Manifest: e.Manifest, Vendor: e.Vendor,
			Model: e.Model,
		}
		for _, d := range e.Digests {
			entry.Digests = append(entry.Digests, d.String())
		}
		out.Entries = append(out.Entries, entry)
	}
	return &body[v1.DenyList]{out}, nil
}

func (s *server) deny(ctx context.Context, p principal, in *newDenial) (*body[v1.DeniedEntry], error) {
	d, err := s.Fleet.Deny(ctx, p.tenant, fleet.DenialSpec{Digest: in.Body.Digest, Advisory: in.Body.Advisory, Note: in.Body.Note}, p.actor())
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("sha%d:%x", len(d.Digest)*8, d.Digest)
	return &body[v1.DeniedEntry]{v1.DeniedEntry{
		Digests: []string{name}, Component: "any component", Advisory: d.Advisory, Note: d.Note, Issuer: d.Actor,
	}}, nil
}

func (s *server) undeny(ctx context.Context, p principal, in *denialDigest) (*empty, error) {
	return nil, s.Fleet.Undeny(ctx, p.tenant, in.Digest, p.actor())
}

func (s *server) sightings(ctx context.Context, p principal, in *listSightings) (*body[v1.Sightings], error) {
	digest, err := fleet.ParseDigest(in.Digest)
	if err != nil {
		return nil, err
	}
	found, err := s.Store.Sightings(ctx, p.tenant, digest, in.After, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list sightings: %w", err)
	}
	out := v1.Sightings{Sightings: []v1.Sighting{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Seq
	}
	for _, x := range found {
		out.Sightings = append(out.Sightings, v1.Sighting{
			Device: x.Device, Label: x.Label, Kind: x.Kind, Place: x.Place, First: x.First.UTC(), Until: moment(x.Until),
		})
	}
	return &body[v1.Sightings]{out}, nil
}
