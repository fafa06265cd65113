package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func TestCaptures(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("edge"), Label: "edge"})
	content := bytes.Repeat([]byte{1, 2, 3, 4, 5}, 1<<20) // 5 MiB: more than one answer has
	h.fleet.Holds(content, "")
	made := decode[v1.Capture](t, h.do("POST", "/v1/devices/edge/captures", `{"region":"bios","offset":16,"length":32}`), http.StatusAccepted)
	if made.ID == 0 || made.State != "asked" || made.Region != "bios" || made.Offset != 16 || made.Length != 32 || made.Actor != h.actor {
		t.Errorf("capture = %+v", made)
	}
	one := fmt.Sprintf("/v1/devices/edge/captures/%d", made.ID)
	got := decode[v1.Capture](t, h.do("GET", one, ""), http.StatusOK)
	if got.State != "done" || got.Held != uint32(len(content)) || got.Device != d.ID || got.Reported != "differs" {
		t.Errorf("capture = %+v", got)
	}
	list := decode[v1.Captures](t, h.do("GET", "/v1/devices/edge/captures", ""), http.StatusOK)
	if len(list.Captures) != 1 || list.Captures[0].ID != made.ID {
		t.Errorf("captures = %+v", list)
	}
	var all []byte
	for len(all) < len(content) {
		w := h.do("GET", fmt.Sprintf("%s/raw?offset=%d", one, len(all)), "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/octet-stream" ||
			w.Body.Len() == 0 || w.Body.Len() > 4<<20 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Fatalf("raw at %d = %d with %d bytes, headers %v", len(all), w.Code, w.Body.Len(), w.Header())
		}
		all = append(all, w.Body.Bytes()...)
	}
	if !bytes.Equal(all, content) {
		t.Errorf("got %d bytes, other ones than the device's %d", len(all), len(content))
	}
	if w := h.do("GET", one+"/raw?offset=77", ""); !bytes.HasPrefix(content[77:], w.Body.Bytes()) || w.Body.Len() != 4<<20 {
		t.Errorf("raw at 77 = %d bytes, other ones", w.Body.Len())
	}
	wantProblem(t, h.do("GET", fmt.Sprintf("%s/raw?offset=%d", one, len(content)), ""), http.StatusRequestedRangeNotSatisfiable, "have come")

	if w := h.do("DELETE", one, ""); w.Code != http.StatusNoContent {
		t.Errorf("DELETE = %d, %s", w.Code, w.Body)
	}
	wantProblem(t, h.do("DELETE", one, ""), http.StatusNotFound, "")
	wantProblem(t, h.do("GET", one+"/raw", ""), http.StatusNotFound, "")
	if e := h.events(t); len(e) != 2 || !strings.HasPrefix(e[0], h.actor) || !strings.HasPrefix(e[1], h.actor) {
		t.Errorf("events = %q, want two of the operator", e)
	}
}

func TestCaptureMistakes(t *testing.T) {
	h := newHarness(t)
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("edge"), Label: "edge"})
	apitest.AddDevice(t, h.store, store.Device{Tenant: "rival", ID: apitest.ID("theirs"), Label: "theirs"})
	for body, status := range map[string]int{
		`{}`:                                  http.StatusUnprocessableEntity,
		`{"region":""}`:                       http.StatusUnprocessableEntity,
		`{"region":"bios","length":67108865}`: http.StatusUnprocessableEntity,
		`{"region":"bios","length":-1}`:       http.StatusUnprocessableEntity,
		`{"region":"bios","Offset":1}`:        http.StatusUnprocessableEntity,
		`{"region":"` + strings.Repeat("x", 300) + `"}`: http.StatusUnprocessableEntity,
	} {
		wantProblem(t, h.do("POST", "/v1/devices/edge/captures", body), status, "")
	}
	for _, path := range []string{
		"/v1/devices/theirs/captures", "/v1/devices/theirs/captures/1", "/v1/devices/theirs/similar", "/v1/devices/edge/captures/1",
		"/v1/devices/edge/captures/1/raw",
	} {
		wantProblem(t, h.do("GET", path, ""), http.StatusNotFound, "")
	}
	wantProblem(t, h.do("GET", "/v1/devices/edge/captures/0", ""), http.StatusUnprocessableEntity, "")
	wantProblem(t, h.do("GET", "/v1/devices/edge/captures/x", ""), http.StatusUnprocessableEntity, "")
	h.fleet.Fail = errors.New("secret of the verifier")
	if p := wantProblem(t, h.do("POST", "/v1/devices/edge/captures", `{"region":"bios"}`), http.StatusInternalServerError, "internal"); strings.Contains(p.Error(), "secret") {
		t.Errorf("the answer tells of an internal error: %v", p)
	}
}

func TestSimilar(t *testing.T) {
	h := newHarness(t).signed(t)
	finding := result.Finding{Code: "flash-changed", Severity: result.Critical, Component: "flash region bios", Observed: "ab"}
	for _, name := range []string{"a", "b", "c"} {
		apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID(name), Label: name})
		r := result.Result{State: result.Untrusted, Findings: []result.Finding{finding}}
		if name == "c" {
			r.Findings[0].Observed = "cd"
		}
		if err := h.fleet.Record(context.Background(), apitest.Tenant, apitest.ID(name), r); err != nil {
			t.Fatal(err)
		}
	}
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("new"), Label: "new"})
	for name, want := range map[string]int{"a": 1, "b": 1, "c": 0} {
		got := decode[v1.SimilarFindings](t, h.do("GET", "/v1/devices/"+name+"/similar", ""), http.StatusOK)
		if len(got.Findings) != 1 || got.Findings[0].Others != want || got.Findings[0].Code != finding.Code || got.Result == 0 ||
			len(got.Findings[0].Devices) != want {
			t.Errorf("similar of %s = %+v, want %d others", name, got, want)
		}
	}
	if got := decode[v1.SimilarFindings](t, h.do("GET", "/v1/devices/new/similar", ""), http.StatusOK); len(got.Findings) != 0 || got.Result != 0 {
		t.Errorf("similar of a new device = %+v", got)
	}
}
