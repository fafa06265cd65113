package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Details is what the API needs of the part of the fleet that explains stored evidence. It is a part of Fleet: errors are
// as there. seq is the number of a result, 0: the newest; one that there is not is store.ErrNotFound.
type Details interface {
	// Boot explains how a device booted.
	Boot(ctx context.Context, tenant, device string, seq int64) (v1.Boot, error)
	// Files explains what a device runs, page by page.
	Files(ctx context.Context, tenant, device string, seq int64, standing v1.Standing, after string, limit int) (v1.Files, error)
	// Flash returns a map of a device's flash memory.
	Flash(ctx context.Context, tenant, device string, seq int64) (v1.Flash, error)
	// Freshness tells what proves that a result is about the device as it was then.
	Freshness(ctx context.Context, tenant, device string, seq int64) (v1.Freshness, error)
	// Timeline tells what happened to a device, newest first.
	Timeline(ctx context.Context, tenant, device string, before int64, limit int) (v1.Timeline, error)
	// Compare tells how two results differ, of one device or two.
	Compare(ctx context.Context, tenant, left string, at int64, right string, with int64) (v1.Diff, error)
	// BootLog returns the boot log of a result, IMAList the entries that were appraised since the boot.
	BootLog(ctx context.Context, tenant, device string, seq int64) ([]byte, error)
	IMAList(ctx context.Context, tenant, device string, seq int64) ([]byte, error)
}

type resultOf struct {
	ID     string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Result int64  `query:"result" minimum:"1" doc:"seq of the result to explain; absent: the newest"`
}

type filesOf struct {
	ID       string      `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Result   int64       `query:"result" minimum:"1" doc:"seq of the result to explain; absent: the newest"`
	Standing v1.Standing `query:"standing" enum:"matched,unknown,denied,uncovered,explained" doc:"absent: any"`
	After    string      `query:"after" maxLength:"9" pattern:"^[0-9]*$" doc:"next of the page before"`
	Limit    int         `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

type evidenceOf struct {
	ID     string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Digest string `path:"digest" minLength:"64" maxLength:"64" pattern:"^[0-9a-f]*$" doc:"hexadecimal SHA-256, as results name it"`
}

type diffOf struct {
	ID     string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	At     int64  `query:"at" minimum:"1" doc:"seq of its result; absent: the newest"`
	With   string `query:"with" maxLength:"512" doc:"another device, named likewise; absent: the same"`
	WithAt int64  `query:"with_at" minimum:"1" doc:"seq of the other result; absent: the newest"`
}

func (s *server) registerDetail(doc huma.API) {
	for _, o := range []struct {
		id, path, summary string
		handle            func(op huma.Operation)
	}{
		{"get-boot", "boot", "Explain how a device booted, PCR by PCR, each event against its reference", func(op huma.Operation) {
			register(s, doc, op, s.boot)
		}},
		{"get-files", "files", "Explain what a device runs: the IMA list, grouped by file, what weighs first", func(op huma.Operation) {
			register(s, doc, op, s.files)
		}},
		{"get-flash", "flash", "Show a map of a device's flash memory", func(op huma.Operation) { register(s, doc, op, s.flash) }},
		{"get-timeline", "timeline", "Show a device's results, reboots, changes of firmware and events, newest first", func(op huma.Operation) {
			register(s, doc, op, s.timeline)
		}},
		{"get-freshness", "freshness", "Show what proves that a result is about the device as it was then", func(op huma.Operation) {
			register(s, doc, op, s.freshness)
		}},
		{"compare-devices", "diff", "Show how a device differs from another one, or from itself at another time", func(op huma.Operation) {
			register(s, doc, op, s.diff)
		}},
		{"get-evidence", "evidence/{digest}", "Get an evidence message as the device sent it (proto/probity.cddl)", func(op huma.Operation) {
			op.Responses = bytesAnswer("the message, CBOR")
			register(s, doc, op, s.evidence)
		}},
		{"get-boot-log", "boot-log", "Get the boot log of a result as the device sent it", func(op huma.Operation) {
			op.Responses = bytesAnswer("the log, in the TCG's binary format")
			register(s, doc, op, s.bootLog)
		}},
		{"get-ima-list", "ima-list", "Get the IMA list as far as it was appraised", func(op huma.Operation) {
			op.Responses = bytesAnswer("the list, in the kernel's binary format")
			register(s, doc, op, s.imaList)
		}},
	} {
		o.handle(huma.Operation{
			OperationID: o.id, Method: http.MethodGet, Path: "/v1/devices/{id}/" + o.path, Summary: o.summary,
		})
	}
}

// bytesAnswer describes an answer of bytes.
func bytesAnswer(what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: what,
		Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}}
}

// noResult says which result there is not.
func noResult(err error, seq int64) error {
	switch {
	case !errors.Is(err, store.ErrNotFound):
		return err
	case seq == 0:
		return missing{problemf(http.StatusNotFound, "this device has not attested yet")}
	}
	return missing{problemf(http.StatusNotFound, "this device has no result %d", seq)}
}

// explained runs what explains a result of a device.
func explained[T any](
	ctx context.Context, s *server, p principal, in *resultOf, explain func(ctx context.Context, tenant, device string, seq int64) (T, error),
) (*body[T], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out, err := explain(ctx, p.tenant, d.ID, in.Result)
	if err != nil {
		return nil, noResult(err, in.Result)
	}
	return &body[T]{out}, nil
}

func (s *server) boot(ctx context.Context, p principal, in *resultOf) (*body[v1.Boot], error) {
	return explained(ctx, s, p, in, s.Fleet.Boot)
}

func (s *server) files(ctx context.Context, p principal, in *filesOf) (*body[v1.Files], error) {
	return explained(ctx, s, p, &resultOf{in.ID, in.Result}, func(ctx context.Context, tenant, device string, seq int64) (v1.Files, error) {
		return s.Fleet.Files(ctx, tenant, device, seq, in.Standing, in.After, in.Limit)
	})
}

func (s *server) flash(ctx context.Context, p principal, in *resultOf) (*body[v1.Flash], error) {
	return explained(ctx, s, p, in, s.Fleet.Flash)
}

func (s *server) freshness(ctx context.Context, p principal, in *resultOf) (*body[v1.Freshness], error) {
	return explained(ctx, s, p, in, s.Fleet.Freshness)
}

func (s *server) timeline(ctx context.Context, p principal, in *devicePage) (*body[v1.Timeline], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out, err := s.Fleet.Timeline(ctx, p.tenant, d.ID, in.Before, in.Limit)
	if err != nil {
		return nil, err
	}
	return &body[v1.Timeline]{out}, nil
}

func (s *server) diff(ctx context.Context, p principal, in *diffOf) (*body[v1.Diff], error) {
	if in.With == "" && in.At == in.WithAt {
		return nil, problemf(http.StatusUnprocessableEntity, "name another device (with), or another result (at, with_at)")
	}
	left, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	right := left
	if in.With != "" {
		if right, err = s.resolve(ctx, p, in.With); err != nil {
			return nil, err
		}
	}
	out, err := s.Fleet.Compare(ctx, p.tenant, left.ID, in.At, right.ID, in.WithAt)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing{problemf(http.StatusNotFound, "one of the devices has no such result, or has not attested yet")}
	}
	if err != nil {
		return nil, err
	}
	return &body[v1.Diff]{out}, nil
}

// download is an answer of bytes that a browser stores and does not show.
func download(content []byte, name string) *raw {
	return &raw{
		ContentType: "application/octet-stream", Disposition: fmt.Sprintf("attachment; filename=%q", name), Body: content,
	}
}

func (s *server) evidence(ctx context.Context, p principal, in *evidenceOf) (*raw, error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	message, err := s.Store.Evidence(ctx, p.tenant, d.ID, in.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing{problemf(http.StatusNotFound, "this device has no evidence with this digest")}
	}
	if err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	return download(message, "evidence-"+in.Digest[:16]+".cbor"), nil
}

func (s *server) bootLog(ctx context.Context, p principal, in *resultOf) (*raw, error) {
	out, err := explained(ctx, s, p, in, s.Fleet.BootLog)
	if err != nil {
		return nil, noContent(err, "boot log")
	}
	return download(out.Body, "boot-log.bin"), nil
}

func (s *server) imaList(ctx context.Context, p principal, in *resultOf) (*raw, error) {
	out, err := explained(ctx, s, p, in, s.Fleet.IMAList)
	if err != nil {
		return nil, noContent(err, "IMA list")
	}
	return download(out.Body, "ima-list.bin"), nil
}

// noContent says that a result, or what it is about, is not there.
func noContent(err error, what string) error {
	var m missing
	if !errors.As(err, &m) {
		return err
	}
	m.Detail += ", or there is no " + what + " with it"
	return m
}
