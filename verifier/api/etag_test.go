package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// with sends a request with headers, given as names and values.
func (h *harness) with(method, target, body string, header ...string) *httptest.ResponseRecorder {
	return h.within(context.Background(), method, target, body, header...)
}

// within sends a request whose client leaves when ctx ends.
func (h *harness) within(ctx context.Context, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+h.token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestETag(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("one"), Label: "one"})
	for _, path := range []string{"/v1/devices", "/v1/devices/" + d.ID, "/v1/policy", "/v1/keys", "/v1/events", "/v1/openapi.json"} {
		first := h.do("GET", path, "")
		tag := first.Header().Get("ETag")
		if first.Code != http.StatusOK || len(tag) < 20 || strings.HasPrefix(tag, "W/") {
			t.Fatalf("GET %s: status %d, ETag %q", path, first.Code, tag)
		}
		if got := h.do("GET", path, "").Header().Get("ETag"); got != tag {
			t.Errorf("GET %s again: ETag %q, want %q", path, got, tag)
		}
		for _, seen := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			w := h.with("GET", path, "", "If-None-Match", seen)
			if w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != tag || w.Header().Get("Content-Type") != "" {
				t.Errorf("GET %s with If-None-Match %s: status %d, %d bytes, ETag %q", path, seen, w.Code, w.Body.Len(), w.Header().Get("ETag"))
			}
		}
		for _, seen := range []string{`"x"`, strings.Trim(tag, `"`), `""`, "", ","} {
			if w := h.with("GET", path, "", "If-None-Match", seen); w.Code != http.StatusOK || w.Body.String() != first.Body.String() {
				t.Errorf("GET %s with If-None-Match %q: status %d, want the document", path, seen, w.Code)
			}
		}
	}
	before := h.do("GET", "/v1/devices", "").Header().Get("ETag")
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("two")})
	if w := h.with("GET", "/v1/devices", "", "If-None-Match", before); w.Code != http.StatusOK || w.Header().Get("ETag") == before {
		t.Errorf("list with one device more: status %d, ETag %q, was %q", w.Code, w.Header().Get("ETag"), before)
	}
	// Answers that are no documents, or none that holds, have no tag.
	for _, path := range []string{"/healthz", "/metrics", "/v1/devices/nobody", "/v1/nothing"} {
		if tag := h.do("GET", path, "").Header().Get("ETag"); tag != "" {
			t.Errorf("GET %s: ETag %q, want none", path, tag)
		}
	}
}

// Two people read a device, both change it: the second is told instead of undoing what the first did. Evidence that
// comes meanwhile is not in their way.
func TestIfMatchOnDevices(t *testing.T) {
	h := newHarness(t).signed(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("one"), Label: "one", State: result.Trusted})
	path := "/v1/devices/" + d.ID
	read := h.do("GET", path, "").Header().Get("ETag")
	if err := h.fleet.Record(context.Background(), apitest.Tenant, d.ID, result.Result{State: result.Warning, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	first := h.with("PATCH", path, `{"label":"first"}`, "If-Match", read)
	if got := decode[v1.Device](t, first, http.StatusOK); got.Label != "first" {
		t.Errorf("label = %q", got.Label)
	}
	wantProblem(t, h.with("PATCH", path, `{"label":"second"}`, "If-Match", read), http.StatusPreconditionFailed, "changed since it was read")
	if got := decode[v1.Device](t, h.do("GET", path, ""), http.StatusOK); got.Label != "first" {
		t.Errorf("label = %q, want that of the first", got.Label)
	}
	// The answer to a change has the tag for the next one.
	next := first.Header().Get("ETag")
	decode[v1.Device](t, h.with("PATCH", path, `{"group":"north"}`, "If-Match", `"x", `+next), http.StatusOK)
	decode[v1.Device](t, h.with("PATCH", path, `{"group":"south"}`, "If-Match", "*"), http.StatusOK)
	decode[v1.Device](t, h.with("PATCH", path, `{"group":"east"}`), http.StatusOK)
	weak := "W/" + h.do("GET", path, "").Header().Get("ETag")
	for _, bad := range []string{"", `"x"`, "x", weak, `"."`} {
		wantProblem(t, h.with("PATCH", path, `{"group":"west"}`, "If-Match", bad), http.StatusPreconditionFailed, "")
	}
}

func TestIfMatchOnPolicy(t *testing.T) {
	h := newHarness(t)
	read := h.do("GET", "/v1/policy", "").Header().Get("ETag")
	body := `{"document":"version: 1\nname: house\n","based_on":0}`
	if w := h.with("PUT", "/v1/policy", body, "If-Match", read); w.Code != http.StatusOK {
		t.Fatalf("PUT policy = %d %s", w.Code, w.Body)
	}
	wantProblem(t, h.with("PUT", "/v1/policy", body, "If-Match", read), http.StatusPreconditionFailed, "changed since")
}

// A condition that nobody looks at must not be taken for one that holds.
func TestIfMatchWhereThereAreNoVersions(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("one")})
	for _, r := range []struct{ method, path string }{
		{"DELETE", "/v1/devices/" + d.ID}, {"POST", "/v1/devices/" + d.ID + "/attest"}, {"POST", "/v1/tokens"},
	} {
		wantProblem(t, h.with(r.method, r.path, "", "If-Match", "*"), http.StatusPreconditionFailed, "leave If-Match out")
	}
	if w := h.do("GET", "/v1/devices/"+d.ID, ""); w.Code != http.StatusOK {
		t.Errorf("the device is gone: %d", w.Code)
	}
}
