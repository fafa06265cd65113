package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// audited returns actions, objects, outcomes and counts of the audit log, oldest first.
func (h *harness) audited(t *testing.T) []string {
	t.Helper()
	found, err := h.store.Audit(context.Background(), store.AuditFilter{Tenant: apitest.Tenant, Ascending: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range found {
		line := e.Action + " " + e.Object + " " + e.Outcome
		if e.Times > 0 {
			line += " x" + string(rune('0'+e.Times))
		}
		out = append(out, line)
	}
	return out
}

func TestAuditLog(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), State: result.NeverAttested})
	end := api.Counting(h.Handler)
	viewer := apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "viewer"})
	path := "/v1/devices/" + d.ID
	for range 4 {
		h.do("GET", path, "")
	}
	h.do("GET", path+"0", "") // there is none: nothing was seen
	h.do("GET", "/v1/devices", "")
	h.do("GET", "/v1/counts", "")
	h.do("GET", "/v1/sightings?digest="+strings.Repeat("ab", 32), "")
	h.do("PATCH", path, `{"label":"edge"}`)
	h.do("PATCH", path, `{"label":"edge"}`)
	h.do("PATCH", path, `{"label":".."}`)
	for range 3 {
		h.as(viewer, "DELETE", path, "")
	}
	h.as(viewer, "GET", path, "")
	want := []string{
		"get-device " + path + " ok",
		"list-sightings /v1/sightings?digest=" + strings.Repeat("ab", 32) + " ok",
		"change-device " + path + " ok",
		"change-device " + path + " ok",
		"change-device " + path + " failed",
		"remove-device " + path + " refused",
		"get-device " + path + " ok",
	}
	if diff := cmp.Diff(want, h.audited(t)); diff != "" {
		t.Errorf("audit log -want +got:\n%s", diff)
	}
	end()
	counted := h.audited(t)[len(want):]
	if len(counted) != 2 || !strings.HasSuffix(strings.Join(counted, ";"), "x2") && !strings.Contains(strings.Join(counted, ";"), "x2;") ||
		!strings.Contains(strings.Join(counted, ";"), "get-device "+path+" ok x3") {
		t.Errorf("entries of what was counted = %q, want 3 reads and 2 refusals", counted)
	}
	h.do("GET", path, "")
	if got := h.audited(t); len(got) != len(want)+3 {
		t.Errorf("a read after the window leaves %q, want an entry of its own", got[len(want)+2:])
	}
}

func TestAuditOverHTTP(t *testing.T) {
	h := newHarness(t)
	auditor := apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "auditor"})
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a")})
	for _, body := range []string{`{"label":"one"}`, `{"label":"two"}`, `{"group":"north"}`} {
		decode[v1.Device](t, h.do("PATCH", "/v1/devices/"+d.ID, body), http.StatusOK)
	}
	page := decode[v1.Audit](t, h.as(auditor, "GET", "/v1/audit?limit=2&action=change-device", ""), http.StatusOK)
	if len(page.Entries) != 2 || page.Next != 2 || page.Entries[0].Seq != 3 || page.Entries[0].Actor != h.actor || page.Entries[0].Status != 200 {
		t.Errorf("page = %+v", page)
	}
	page = decode[v1.Audit](t, h.as(auditor, "GET", "/v1/audit?limit=2&action=change-device&before=2&object="+d.ID, ""), http.StatusOK)
	if len(page.Entries) != 1 || page.Next != 0 {
		t.Errorf("second page = %+v", page)
	}
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	if page = decode[v1.Audit](t, h.as(auditor, "GET", "/v1/audit?actor="+h.actor+"&from="+later, ""), http.StatusOK); len(page.Entries) != 0 {
		t.Errorf("entries of the future = %+v", page)
	}
	wantProblem(t, h.as(auditor, "GET", "/v1/audit?from=yesterday", ""), http.StatusUnprocessableEntity, "from")
	w := h.as(auditor, "GET", "/v1/audit/export", "")
	s, err := audit.Verify(strings.NewReader(w.Body.String()))
	if w.Code != http.StatusOK || err != nil || !s.Whole() || s.Entries < 6 || w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("export = %d, %+v, %v; want a whole log", w.Code, s, err)
	}
	if _, err := audit.Verify(strings.NewReader(strings.Replace(w.Body.String(), h.actor, "operator:0123456789abcdef", 1))); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("a changed export verifies: %v", err)
	}
	w = h.as(auditor, "GET", "/v1/audit/export?action=change-device", "")
	if s, err := audit.Verify(strings.NewReader(w.Body.String())); err != nil || s.Entries != 3 || !strings.Contains(w.Header().Get("Content-Disposition"), "audit-") {
		t.Errorf("export of an action = %+v, %v", s, err)
	}
	rival := apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Operator: true})
	if w := h.as(rival, "GET", "/v1/audit/export", ""); strings.Contains(w.Body.String(), d.ID) {
		t.Errorf("another tenant exports %s", w.Body)
	}
}

// TestAuditDocument: an export is what package audit reads, to the name.
func TestAuditDocument(t *testing.T) {
	e := audit.Entry{
		Seq: 1, At: time.UnixMicro(1_772_366_400_000_001).UTC(), Actor: "a", Role: "admin", Action: "b", Object: "/c", Outcome: "ok",
		Status: 200, Remote: "d", Request: "e", Detail: "f", Times: 2, Before: audit.Digest{1}, Chain: audit.Digest{2},
	}
	var want, got map[string]any
	for v, into := range map[any]*map[string]any{e: &want, api.Document(e): &got} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 14 {
		t.Errorf("document of %d members -want +got:\n%s", len(got), diff)
	}
}

// fullLog is a store whose audit log takes nothing more.
type fullLog struct {
	store.Store
	full *bool
}

func (s fullLog) AddAudit(ctx context.Context, tenant string, e ...audit.Entry) error {
	if *s.full {
		return errors.New("disk is full")
	}
	return s.Store.AddAudit(ctx, tenant, e...)
}

// TestWhatIsNotWrittenDownIsNotShown: without its entry in the audit log there is no answer and no session.
func TestWhatIsNotWrittenDownIsNotShown(t *testing.T) {
	full := false
	h := newHarness(t, func(c *api.Config) { c.Store = fullLog{c.Store, &full} })
	h.account(t, `{"name":"alice","role":"viewer","password":"`+goodPassword+`"}`)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "secret label"})
	full = true
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/devices/" + d.ID, ""},
		{"PATCH", "/v1/devices/" + d.ID, `{"group":"north"}`},
		{"GET", "/v1/audit/export", ""},
		{"POST", "/v1/session", `{"name":"alice","password":"` + goodPassword + `"}`},
		{"POST", "/v1/session", `{"name":"alice","password":"wrong"}`},
	} {
		w := h.do(r.method, r.path, r.body)
		wantProblem(t, w, http.StatusInternalServerError, "internal error")
		if strings.Contains(w.Body.String(), "secret label") || len(w.Result().Cookies()) != 0 || w.Header().Get("Etag") != "" {
			t.Errorf("%s %s: answer %s %v, want nothing of what was asked for", r.method, r.path, w.Body, w.Header())
		}
	}
	full = false
	if w := h.do("GET", "/v1/devices/"+d.ID, ""); w.Code != http.StatusOK {
		t.Errorf("afterwards = %d", w.Code)
	}
}

// TestHostilePathsInTheAuditLog: what a client sends is kept as text, within bounds.
func TestHostilePathsInTheAuditLog(t *testing.T) {
	h := newHarness(t)
	for _, target := range []string{
		"/v1/devices/%00%ff%1b%5b31m%e2%80%ae", "/v1/devices/" + strings.Repeat("%41", 100), "/v1/sightings?digest=%00&digest=%ff",
		"/v1/sightings?digest=" + strings.Repeat("é", 3000),
	} {
		method := "DELETE"
		if strings.Contains(target, "sightings") {
			method = "GET"
		}
		r := httptest.NewRequest(method, target, nil)
		r.Header.Set("Authorization", "Bearer "+apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "vendor", Vendors: []string{"x"}}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s = %d %s, want 403", target, w.Code, w.Body)
		}
	}
	found, err := h.store.Audit(t.Context(), store.AuditFilter{Tenant: apitest.Tenant})
	if err != nil || len(found) != 4 {
		t.Fatalf("%d entries, %v; want 4", len(found), err)
	}
	for _, e := range found {
		if len(e.Object) > 1100 {
			t.Errorf("object of %d bytes", len(e.Object))
		}
	}
}

// shortLog is a store whose audit log cannot be read beyond its first page.
type shortLog struct{ store.Store }

func (s shortLog) Audit(ctx context.Context, f store.AuditFilter) ([]audit.Entry, error) {
	if f.After > 0 {
		return nil, errors.New("disk image is malformed")
	}
	return s.Store.Audit(ctx, f)
}

// TestExportThatEndsEarly: nobody takes half a log for the whole.
func TestExportThatEndsEarly(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Store = shortLog{c.Store} })
	e := audit.Entry{At: time.Now(), Actor: "alice", Action: "search", Outcome: audit.OK, Status: 200}
	entries := make([]audit.Entry, 700)
	for i := range entries {
		entries[i] = e
	}
	if err := h.store.AddAudit(t.Context(), apitest.Tenant, entries...); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/audit/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.token)
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if lines := strings.Count(string(b), "\n"); !errors.Is(err, io.ErrUnexpectedEOF) || lines < 1 || lines > 500 {
		t.Errorf("export of a log that cannot be read = %d, %d lines, %v; want that it ends unexpectedly", res.StatusCode, lines, err)
	}
}
