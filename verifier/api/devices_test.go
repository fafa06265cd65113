package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ids(page v1.Devices) []string {
	out := []string{}
	for _, d := range page.Devices {
		out = append(out, d.ID)
	}
	return out
}

// stopping is a store whose lists stop at each device.
type stopping struct{ store.Store }

func (s stopping) List(ctx context.Context, f store.Filter, upTo int) (store.List, error) {
	f.Limit = 1
	list, err := s.Store.List(ctx, f, upTo)
	if err != nil || len(list.Devices) == 0 {
		return list, err
	}
	d := list.Devices[0]
	list.Stopped, list.More, list.Total, list.After, list.AfterKey = true, true, 0, d.ID, store.SortKey(f.Sort, &d, f.Now)
	if strings.HasPrefix(d.Label, "skipped") {
		list.Devices = nil
	}
	return list, nil
}

// TestListStopped checks that a list which the store stops goes on from there, in each order.
func TestListStopped(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Store = stopping{c.Store} })
	for _, label := range []string{"a", "skipped 1", "skipped 2", "z"} {
		apitest.AddDevice(t, h.store, store.Device{ID: strings.Repeat(fmt.Sprintf("%02x", label[len(label)-1]), 32), Label: label})
	}
	for _, order := range []string{"id", "label", "state", "last_seen", "since"} {
		var labels []string
		pages, after := 0, ""
		for {
			page := decode[v1.Devices](t, h.do("GET", "/v1/devices?limit=10&sort="+order+"&order=asc&after="+url.QueryEscape(after), ""), http.StatusOK)
			for _, d := range page.Devices {
				labels = append(labels, d.Label)
			}
			if page.Next == "" {
				break
			}
			if !page.Partial || !page.TotalMore {
				t.Errorf("by %s: page %+v is not partial", order, page)
			}
			pages, after = pages+1, page.Next
		}
		slices.Sort(labels)
		if pages != 4 || !slices.Equal(labels, []string{"a", "z"}) {
			t.Errorf("by %s: %d partial pages with %q, want 4 with a and z", order, pages, labels)
		}
	}
}

func TestListDevices(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	stale := apitest.AddDevice(t, h.store, store.Device{
		ID: apitest.ID("a"), Group: "north", State: result.Trusted, LastSeen: now.Add(-2 * time.Hour), StaleAt: now.Add(-time.Hour),
	})
	fresh := apitest.AddDevice(t, h.store, store.Device{
		ID: apitest.ID("b"), Label: "edge-7", Model: "R7", State: result.Trusted, LastSeen: now, StaleAt: now.Add(time.Hour),
	})
	pending := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("c"), Status: store.Pending, Model: "R8"})
	all := []string{stale.ID, fresh.ID, pending.ID}
	slices.Sort(all)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", all},
		{"state=trusted", []string{fresh.ID}},
		{"state=stale", []string{stale.ID}},
		{"state=never-attested", []string{pending.ID}},
		{"status=pending", []string{pending.ID}},
		{"model=R7", []string{fresh.ID}},
		{"group=north", []string{stale.ID}},
		{"q=EDGE", []string{fresh.ID}},
		{"q=nothing", []string{}},
	} {
		page := decode[v1.Devices](t, h.do("GET", "/v1/devices?"+c.query, ""), http.StatusOK)
		if diff := cmp.Diff(c.want, ids(page)); diff != "" || page.Next != "" {
			t.Errorf("GET /v1/devices?%s: next %q, -want +got:\n%s", c.query, page.Next, diff)
		}
	}
	one := decode[v1.Device](t, h.do("GET", "/v1/devices/"+stale.ID, ""), http.StatusOK)
	if one.State != result.Stale || one.Verdict != result.Trusted {
		t.Errorf("state, verdict = %s, %s, want stale, trusted", one.State, one.Verdict)
	}
	never := decode[v1.Device](t, h.do("GET", "/v1/devices/"+pending.ID, ""), http.StatusOK)
	if never.LastSeen != nil || never.StaleAt != nil {
		t.Errorf("a device that was never seen has times: %+v", never)
	}
}

func TestPages(t *testing.T) {
	h := newHarness(t)
	var want []string
	for i := range 7 {
		want = append(want, apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID(fmt.Sprint(i))}).ID)
	}
	slices.Sort(want)
	var got []string
	after := ""
	for range want {
		page := decode[v1.Devices](t, h.do("GET", "/v1/devices?limit=3&after="+after, ""), http.StatusOK)
		got = append(got, ids(page)...)
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages -want +got:\n%s", diff)
	}
	for i := range 7 {
		e := store.Event{At: time.Now(), Tenant: apitest.Tenant, Kind: "k", Detail: fmt.Sprint(i)}
		if err := h.store.AddEvent(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	var details []string
	path := "/v1/events?limit=2"
	for range 4 {
		page := decode[v1.Events](t, h.do("GET", path, ""), http.StatusOK)
		for _, e := range page.Events {
			details = append(details, e.Detail)
		}
		path = fmt.Sprintf("/v1/events?limit=2&before=%d", page.Next)
	}
	if got := strings.Join(details, ""); got != "6543210" {
		t.Errorf("events in pages = %q, want 6543210", got)
	}
}

func TestResolve(t *testing.T) {
	h := newHarness(t)
	a := apitest.AddDevice(t, h.store, store.Device{ID: "aaaa1" + apitest.ID("x")[5:], Label: "edge/7 ü"})
	b := apitest.AddDevice(t, h.store, store.Device{ID: "aaaa2" + apitest.ID("y")[5:]})
	for name, want := range map[string]string{a.ID: a.ID, "aaaa1": a.ID, "aaaa2": b.ID, "edge%2F7%20%C3%BC": a.ID} {
		if d := decode[v1.Device](t, h.do("GET", "/v1/devices/"+name, ""), http.StatusOK); d.ID != want {
			t.Errorf("GET /v1/devices/%s = %s, want %s", name, d.ID, want)
		}
	}
	p := wantProblem(t, h.do("GET", "/v1/devices/aaaa", ""), http.StatusConflict, "several devices match")
	want := []v1.Candidate{{ID: a.ID, Label: a.Label}, {ID: b.ID}}
	if diff := cmp.Diff(want, p.Candidates); diff != "" {
		t.Errorf("candidates -want +got:\n%s", diff)
	}
	for _, name := range []string{"aaa", "ffff", "nobody", apitest.ID("unknown"), "%00", "..%2F..", "'%20OR%201=1"} {
		if w := h.do("GET", "/v1/devices/"+name, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET /v1/devices/%s = %d, want 404; body %s", name, w.Code, w.Body)
		}
	}
}

func TestPatch(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Group: "old", Labels: map[string]string{"site": "Lagos", "rack": "4"}})
	apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("b"), Label: "taken"})
	got := decode[v1.Device](t, h.do("PATCH", "/v1/devices/"+d.ID,
		`{"label":"edge-7 ü","group":"","labels":{"site":"","jurisdiction":"NG"}}`), http.StatusOK)
	if got.Label != "edge-7 ü" || got.Group != "" || !cmp.Equal(got.Labels, map[string]string{"rack": "4", "jurisdiction": "NG"}) {
		t.Errorf("patched device = %+v", got)
	}
	if again := decode[v1.Device](t, h.do("GET", "/v1/devices/edge-7%20%C3%BC", ""), http.StatusOK); !cmp.Equal(again, got) {
		t.Errorf("device read again: %s", cmp.Diff(got, again))
	}
	events := h.events(t)
	if len(events) != 1 || !strings.HasPrefix(events[0], h.actor+": changed the device: ") ||
		!strings.Contains(events[0], `label "edge-7 ü", was ""`) {
		t.Errorf("events = %q, want one that names operator and change", events)
	}
	decode[v1.Device](t, h.do("PATCH", "/v1/devices/"+d.ID, `{"label":"edge-7 ü"}`), http.StatusOK)
	if again := h.events(t); len(again) != 1 {
		t.Errorf("a patch that changes nothing left an event: %q", again)
	}
	for body, says := range map[string]string{
		`{"label":"taken"}`:                            "another device has it",
		`{"label":"cafe"}`:                             "reads as the start of an id",
		`{"label":".."}`:                               "a path",
		`{"label":"a\u202eb"}`:                         "U+202E does not print",
		`{"label":"\u001b[31mred"}`:                    "U+001B does not print",
		`{"group":"a\nb"}`:                             "U+000A does not print",
		`{"labels":{"a":"\u0085"}}`:                    "U+0085 does not print",
		`{"labels":{"":"x"}}`:                          "needs a name",
		`{"label":"` + strings.Repeat("ü", 120) + `"}`: "at most 128 bytes",
	} {
		w := h.do("PATCH", "/v1/devices/"+d.ID, body)
		if w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusConflict {
			t.Errorf("PATCH %s = %d, want 422 or 409", body, w.Code)
			continue
		}
		wantProblem(t, w, w.Code, says)
	}
}

// racingStore lets another writer in before the first saves.
type racingStore struct {
	store.Store
	races *int
}

func (s racingStore) SaveDevice(ctx context.Context, d store.Device, events ...store.Event) (int64, error) {
	if *s.races > 0 {
		*s.races--
		other, err := s.Device(ctx, d.Tenant, d.ID)
		if err != nil {
			return 0, err
		}
		other.Model = "R9"
		if _, err := s.Store.SaveDevice(ctx, other); err != nil {
			return 0, err
		}
	}
	return s.Store.SaveDevice(ctx, d, events...)
}

func TestPatchBesideTheFleet(t *testing.T) {
	races := 3
	h := newHarness(t, func(c *api.Config) { c.Store = racingStore{c.Store, &races} })
	races = 0
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a")})
	races = 3
	got := decode[v1.Device](t, h.do("PATCH", "/v1/devices/"+d.ID, `{"label":"edge"}`), http.StatusOK)
	if got.Label != "edge" || got.Model != "R9" || races != 0 {
		t.Errorf("device = %+v after %d races left, want both writers' changes", got, races)
	}
	races = 1000
	wantProblem(t, h.do("PATCH", "/v1/devices/"+d.ID, `{"label":"other"}`), http.StatusConflict, "changed meanwhile")
}

func TestDeviceCommands(t *testing.T) {
	h := newHarness(t).signed(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Status: store.Pending})
	if got := decode[v1.Device](t, h.do("POST", "/v1/devices/"+d.ID[:8]+"/approve", ""), http.StatusOK); got.Status != "approved" {
		t.Errorf("status = %q, want approved", got.Status)
	}
	unseen := apitest.ID("unseen")
	if got := decode[v1.Device](t, h.do("POST", "/v1/devices/"+unseen+"/approve", ""), http.StatusOK); got.ID != unseen {
		t.Errorf("approved id = %q, want %q", got.ID, unseen)
	}
	wantProblem(t, h.do("POST", "/v1/devices/"+apitest.ID("no")[:8]+"/approve", ""), http.StatusNotFound, "no device")
	wantProblem(t, h.do("POST", "/v1/devices/"+d.ID+"/attest", ""), http.StatusConflict, "not connected")
	h.fleet.Answer(func(string) *result.Result { return &result.Result{State: result.Trusted} })
	if w := h.do("POST", "/v1/devices/"+d.ID+"/attest", ""); w.Code != http.StatusAccepted || w.Body.Len() != 0 {
		t.Errorf("attest = %d %s, want 202 and no body", w.Code, w.Body)
	}
	results := decode[v1.Results](t, h.do("GET", "/v1/devices/"+d.ID+"/results", ""), http.StatusOK)
	if len(results.Results) != 1 || results.Results[0].State != result.Trusted ||
		strings.Count(results.Results[0].EAR, ".") != 2 {
		t.Errorf("results = %+v, want one, signed", results)
	}
	if w := h.do("DELETE", "/v1/devices/"+d.ID, ""); w.Code != http.StatusNoContent {
		t.Errorf("remove = %d %s, want 204", w.Code, w.Body)
	}
	wantProblem(t, h.do("GET", "/v1/devices/"+d.ID, ""), http.StatusNotFound, "no device")
	left := decode[v1.Events](t, h.do("GET", "/v1/devices/"+d.ID+"/events", ""), http.StatusOK)
	if len(left.Events) != 4 || left.Events[0].Detail != "removed" || left.Events[0].Actor != h.actor {
		t.Errorf("events of the removed device = %+v, want approval, two requests and removal", left.Events)
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a")})
	h.fleet.Fail = errors.New("dial tcp 10.0.0.7:5432: password authentication failed for user root")
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/devices/" + d.ID + "/approve", ""},
		{"POST", "/v1/devices/" + d.ID + "/attest", ""},
		{"DELETE", "/v1/devices/" + d.ID, ""},
		{"POST", "/v1/baselines", `{"device":"` + d.ID + `"}`},
		{"DELETE", "/v1/baselines/x", ""},
	} {
		w := h.do(r.method, r.path, r.body)
		p := wantProblem(t, w, http.StatusInternalServerError, "internal error")
		if strings.Contains(w.Body.String(), "10.0.0.7") || p.Instance != "urn:probity:request:"+w.Header().Get("X-Request-Id") {
			t.Errorf("%s %s: answer %s, want no detail but the request id", r.method, r.path, w.Body)
		}
	}
}
