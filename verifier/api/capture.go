package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/store"
)

// rawSize is the most captured bytes in one answer.
const rawSize = 4 << 20

type newCapture struct {
	ID   string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Body v1.NewCapture
}

type captureID struct {
	ID      string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Capture int64  `path:"capture" minimum:"1" doc:"number of the capture"`
}

type rawCapture struct {
	ID      string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Capture int64  `path:"capture" minimum:"1" doc:"number of the capture"`
	Offset  uint32 `query:"offset" doc:"first byte that is wanted; an answer has at most 4194304 bytes"`
}

// raw is an answer of bytes.
type raw struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func (s *server) registerCaptures(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "create-capture", Method: http.MethodPost, Path: "/v1/devices/{id}/captures",
		Summary:       "Ask a device for raw bytes of its flash memory; its owner's charter decides whether they come",
		DefaultStatus: http.StatusAccepted,
	}, s.createCapture)
	register(s, doc, huma.Operation{
		OperationID: "list-captures", Method: http.MethodGet, Path: "/v1/devices/{id}/captures",
		Summary: "List a device's captures, newest first",
	}, s.captures)
	register(s, doc, huma.Operation{
		OperationID: "get-capture", Method: http.MethodGet, Path: "/v1/devices/{id}/captures/{capture}", Summary: "Show a capture",
	}, s.capture)
	register(s, doc, huma.Operation{
		OperationID: "get-capture-raw", Method: http.MethodGet, Path: "/v1/devices/{id}/captures/{capture}/raw",
		Summary: "Get captured bytes from an offset on; ask again behind them for more, up to held",
		Responses: map[string]*huma.Response{"200": {
			Description: "bytes", Content: map[string]*huma.MediaType{
				"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			},
		}},
	}, s.rawCapture)
	register(s, doc, huma.Operation{
		OperationID: "remove-capture", Method: http.MethodDelete, Path: "/v1/devices/{id}/captures/{capture}",
		Summary: "Delete a capture with its bytes, or give an open one up", DefaultStatus: http.StatusNoContent,
	}, s.removeCapture)
	register(s, doc, huma.Operation{
		OperationID: "get-similar", Method: http.MethodGet, Path: "/v1/devices/{id}/similar",
		Summary: "Show on how many other devices each finding of a device's newest result is at present",
	}, s.similar)
}

func (s *server) createCapture(ctx context.Context, p principal, in *newCapture) (*body[v1.Capture], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	spec := fleet.CaptureSpec{Device: d.ID, Region: in.Body.Region, Offset: in.Body.Offset, Length: in.Body.Length}
	c, err := s.Fleet.AskCapture(ctx, p.tenant, spec, p.actor())
	if err != nil {
		return nil, err
	}
	return &body[v1.Capture]{captureDocument(&c)}, nil
}

func (s *server) captures(ctx context.Context, p principal, in *deviceID) (*body[v1.Captures], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	found, err := s.Store.Captures(ctx, p.tenant, d.ID)
	if err != nil {
		return nil, fmt.Errorf("list captures: %w", err)
	}
	out := v1.Captures{Captures: []v1.Capture{}}
	for i := range found {
		out.Captures = append(out.Captures, captureDocument(&found[i]))
	}
	return &body[v1.Captures]{out}, nil
}

func (s *server) findCapture(ctx context.Context, p principal, device string, seq int64) (store.Capture, error) {
	d, err := s.resolve(ctx, p, device)
	if err != nil {
		return store.Capture{}, err
	}
	c, err := s.Store.Capture(ctx, p.tenant, d.ID, seq)
	if errors.Is(err, store.ErrNotFound) {
		return c, missing{problemf(http.StatusNotFound, "this device has no capture %d", seq)}
	}
	return c, err
}

func (s *server) capture(ctx context.Context, p principal, in *captureID) (*body[v1.Capture], error) {
	c, err := s.findCapture(ctx, p, in.ID, in.Capture)
	if err != nil {
		return nil, err
	}
	return &body[v1.Capture]{captureDocument(&c)}, nil
}

func (s *server) rawCapture(ctx context.Context, p principal, in *rawCapture) (*raw, error) {
	c, err := s.findCapture(ctx, p, in.ID, in.Capture)
	if err != nil {
		return nil, err
	}
	if in.Offset > c.Held || in.Offset == c.Held && c.Held > 0 {
		return nil, problemf(http.StatusRequestedRangeNotSatisfiable, "%d bytes have come: want an offset below", c.Held)
	}
	out := &raw{ContentType: "application/octet-stream", Disposition: "attachment"}
	for at := in.Offset; at < c.Held && len(out.Body) < rawSize; at = in.Offset + uint32(len(out.Body)) {
		b, err := s.Store.CapturePiece(ctx, p.tenant, c.Device, c.Seq, at)
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		out.Body = append(out.Body, b...)
	}
	out.Body = out.Body[:min(len(out.Body), rawSize, int(c.Held-in.Offset))]
	return out, nil
}

func (s *server) removeCapture(ctx context.Context, p principal, in *captureID) (*empty, error) {
	c, err := s.findCapture(ctx, p, in.ID, in.Capture)
	if err != nil {
		return nil, err
	}
	return nil, s.Fleet.RemoveCapture(ctx, p.tenant, c.Device, c.Seq, fmt.Sprintf("capture %d", c.Seq), p.actor())
}

func (s *server) similar(ctx context.Context, p principal, in *deviceID) (*body[v1.SimilarFindings], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	results, err := s.Store.Results(ctx, p.tenant, d.ID, 0, 1)
	if err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	out := v1.SimilarFindings{Findings: []v1.SimilarFinding{}}
	if len(results) == 0 {
		return &body[v1.SimilarFindings]{out}, nil
	}
	out.Result = results[0].Seq
	findings := results[0].Result.Findings
	found, err := s.Store.Similar(ctx, p.tenant, d.ID, findings)
	if err != nil {
		return nil, fmt.Errorf("look for similar findings: %w", err)
	}
	for i, f := range findings {
		out.Findings = append(out.Findings, v1.SimilarFinding{
			Code: f.Code, Component: f.Component, Observed: f.Observed, Others: found[i].Others, More: found[i].More,
			Devices: append([]string{}, found[i].Devices...),
		})
	}
	return &body[v1.SimilarFindings]{out}, nil
}

func captureDocument(c *store.Capture) v1.Capture {
	return v1.Capture{
		ID: c.Seq, Device: c.Device, State: string(c.State), Reason: c.Reason, Region: c.Region, Offset: c.Offset, Length: c.Length,
		Source: c.Source, Size: c.Size, Held: c.Held, Digest: c.Digest, Reported: c.Reported, Actor: c.Actor,
		Created: c.Created.UTC(), Updated: c.Updated.UTC(), Expires: c.Expires.UTC(),
		Nonce: c.Nonce, Statement: c.Statement, Quote: c.Quote, Signature: c.Signature,
	}
}
