package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

// auditExport is the route of the export, which takes as long as it takes.
const auditExport = "GET /v1/audit/export"

func init() { lasting[auditExport] = true }

// exportAudit says which entries are asked for.
type exportAudit struct {
	Actor  string    `query:"actor" maxLength:"128" doc:"who did or saw it"`
	Action string    `query:"action" maxLength:"64" doc:"id of the operation"`
	Object string    `query:"object" maxLength:"1024" doc:"path that was asked for, or its beginning; without a leading slash, a device as it was named"`
	From   time.Time `query:"from" doc:"not before"`
	To     time.Time `query:"to" doc:"before"`
}

// listAudit is the same with a page. The router does not see what is embedded.
type listAudit struct {
	Actor  string    `query:"actor" maxLength:"128" doc:"who did or saw it"`
	Action string    `query:"action" maxLength:"64" doc:"id of the operation"`
	Object string    `query:"object" maxLength:"1024" doc:"path that was asked for, or its beginning; without a leading slash, a device as it was named"`
	From   time.Time `query:"from" doc:"not before"`
	To     time.Time `query:"to" doc:"before"`
	Before int64     `query:"before" minimum:"1" doc:"next of the page before"`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

func (s *server) registerAudit(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit",
		Summary: "List who did or saw what, newest first",
	}, s.audit)
	register(s, doc, huma.Operation{
		OperationID: "export-audit", Method: http.MethodGet, Path: "/v1/audit/export",
		Summary: "Export who did or saw what, oldest first, as one AuditEntry a line",
		Description: "Without actor, action and object the chain of the entries can be verified without gaps: probity audit verify. " +
			"An export that ends early ends without the last chunk, so that clients notice.",
		Responses: map[string]*huma.Response{"200": {
			Description: "entries", Content: map[string]*huma.MediaType{
				"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, s.exportAudit)
}

func (f *exportAudit) of(p principal) store.AuditFilter {
	object := f.Object
	if object != "" && !strings.HasPrefix(object, "/") {
		object = "/v1/devices/" + object
	}
	return store.AuditFilter{Tenant: p.tenant, Actor: f.Actor, Action: f.Action, Object: object, From: f.From, To: f.To}
}

func (s *server) audit(ctx context.Context, p principal, in *listAudit) (*body[v1.Audit], error) {
	asked := exportAudit{in.Actor, in.Action, in.Object, in.From, in.To}
	f := asked.of(p)
	f.Before, f.Limit = in.Before, in.Limit+1
	found, err := s.Store.Audit(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list audit log: %w", err)
	}
	out := v1.Audit{Entries: []v1.AuditEntry{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Seq
	}
	for i := range found {
		out.Entries = append(out.Entries, auditDocument(&found[i]))
	}
	return &body[v1.Audit]{out}, nil
}

func (s *server) exportAudit(ctx context.Context, p principal, in *exportAudit) (*huma.StreamResponse, error) {
	f := in.of(p)
	f.Ascending, f.Limit = true, auditPage
	// The first page is read before anything is said: what fails at once is a problem document.
	entries, err := s.Store.Audit(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("export audit log: %w", err)
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		out.SetHeader("Content-Type", "application/x-ndjson")
		out.SetHeader("Content-Disposition", `attachment; filename="audit-`+s.Now().UTC().Format("20060102T150405Z")+`.jsonl"`)
		for err == nil {
			if err = writeEntries(out, entries); err != nil || len(entries) < auditPage {
				break
			}
			f.After = entries[len(entries)-1].Seq
			entries, err = s.Store.Audit(ctx, f)
		}
		if err != nil {
			s.Log.Warn("export of the audit log ended early", "request", requestOf(ctx).id, "error", err)
			panic(http.ErrAbortHandler) // an end like others would look like the end of the log
		}
	}}, nil
}

// writeEntries writes a page, for which a client has streamWrite.
func writeEntries(out huma.Context, entries []audit.Entry) error {
	var page bytes.Buffer
	for i := range entries {
		if err := v1.Encode(&page, auditDocument(&entries[i])); err != nil {
			return err
		}
	}
	w := out.BodyWriter()
	if rw, ok := w.(http.ResponseWriter); ok {
		_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(streamWrite)) // tests have none
	}
	_, err := page.WriteTo(w)
	return err
}

func auditDocument(e *audit.Entry) v1.AuditEntry {
	text := func(d audit.Digest) string {
		b, _ := d.MarshalText() // never fails
		return string(b)
	}
	return v1.AuditEntry{
		Seq: e.Seq, At: e.At.UTC(), Actor: e.Actor, Role: v1.Role(e.Role), Action: e.Action, Object: e.Object, Outcome: e.Outcome,
		Status: e.Status, Remote: e.Remote, Request: e.Request, Detail: e.Detail, Times: e.Times, Before: text(e.Before),
		Chain: text(e.Chain),
	}
}
