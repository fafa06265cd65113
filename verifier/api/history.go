package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// page asks for a part of a list that comes newest first.
type page struct {
	Before int64 `query:"before" minimum:"1" doc:"next of the page before"`
	Limit  int   `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type devicePage struct {
	ID     string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Before int64  `query:"before" minimum:"1" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

func (s *server) registerHistory(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-results", Method: http.MethodGet, Path: "/v1/devices/{id}/results",
		Summary: "List a device's results with findings and signed tokens, newest first",
	}, s.results)
	register(s, doc, huma.Operation{
		OperationID: "list-device-events", Method: http.MethodGet, Path: "/v1/devices/{id}/events",
		Summary: "List what happened to a device, newest first; also of a removed one, by its full id",
	}, s.deviceEvents)
	register(s, doc, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Summary: "List what happened, newest first",
	}, s.events)
}

func (s *server) results(ctx context.Context, p principal, in *devicePage) (*body[v1.Results], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	found, err := s.Store.Results(ctx, p.tenant, d.ID, in.Before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list results: %w", err)
	}
	out := v1.Results{Results: []v1.Result{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Seq
	}
	for _, r := range found {
		out.Results = append(out.Results, v1.Result{Seq: r.Seq, EAR: r.EAR, Result: r.Result})
	}
	return &body[v1.Results]{out}, nil
}

func (s *server) deviceEvents(ctx context.Context, p principal, in *devicePage) (*body[v1.Events], error) {
	id := in.ID
	d, err := s.resolve(ctx, p, in.ID)
	switch {
	case err == nil:
		id = d.ID
	case !errors.Is(err, store.ErrNotFound) || !proto.ValidDevice(id): // events outlive devices
		return nil, err
	}
	return s.listEvents(ctx, p, id, page{in.Before, in.Limit})
}

func (s *server) events(ctx context.Context, p principal, in *page) (*body[v1.Events], error) {
	return s.listEvents(ctx, p, "", *in)
}

func (s *server) listEvents(ctx context.Context, p principal, device string, in page) (*body[v1.Events], error) {
	found, err := s.Store.Events(ctx, p.tenant, device, in.Before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	out := v1.Events{Events: []v1.Event{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Seq
	}
	for _, e := range found {
		out.Events = append(out.Events, v1.Event{
			Seq: e.Seq, At: e.At.UTC(), Device: e.Device, Kind: e.Kind, Actor: e.Actor, Detail: e.Detail,
		})
	}
	return &body[v1.Events]{out}, nil
}
