package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func publicPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func release(id, version string) *manifest.Manifest {
	sum := sha256.Sum256([]byte(version))
	return &manifest.Manifest{
		ID: id, Vendor: "Acme", Model: "R7", Version: version,
		PCRs: []manifest.PCR{{Index: 0, Values: []manifest.Digests{{{Algorithm: pcr.SHA256, Value: sum[:]}}}}},
	}
}

func signed(t *testing.T, m *manifest.Manifest, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	unsigned, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.Sign(unsigned, key, manifest.Meta{Issuer: "acme.test"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// upload sends a document as it is.
func (h *harness) upload(path string, document []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(document))
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("Content-Type", "application/cose")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (h *harness) addKey(t *testing.T, name, role string, key *ecdsa.PrivateKey) v1.VendorKey {
	t.Helper()
	in := v1.NewVendorKey{Name: name, Role: role, Public: publicPEM(t, key), Scope: v1.KeyScope{Vendors: []string{"acme"}}}
	return decode[v1.VendorKey](t, h.do("POST", "/v1/vendors", jsonOf(t, in)), http.StatusCreated)
}

func TestVendorKeys(t *testing.T) {
	h := newHarness(t)
	k := h.addKey(t, "Acme", "vendor", newKey(t))
	if k.Name != "Acme" || len(k.ID) != 64 || k.Models[0] != "*" || k.Revoked != nil {
		t.Errorf("key = %+v", k)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	scope := v1.KeyScope{Vendors: []string{"Acme*"}, Models: []string{"R7"}, Until: &until}
	k = decode[v1.VendorKey](t, h.do("PUT", "/v1/vendors/"+k.ID[:8]+"/scope", jsonOf(t, scope)), http.StatusOK)
	if k.Vendors[0] != "Acme*" || !k.Until.Equal(until) {
		t.Errorf("key = %+v", k)
	}
	wantProblem(t, h.do("PUT", "/v1/vendors/"+k.ID+"/scope", `{"vendors":[]}`), http.StatusUnprocessableEntity, "vendors")
	wantProblem(t, h.do("PUT", "/v1/vendors/none/scope", jsonOf(t, scope)), http.StatusNotFound, "not found")
	wantProblem(t, h.do("POST", "/v1/vendors/Acme/revoke", `{}`), http.StatusUnprocessableEntity, "reason")
	k = decode[v1.VendorKey](t, h.do("POST", "/v1/vendors/Acme/revoke", `{"reason":"stolen"}`), http.StatusOK)
	if k.Revoked == nil || k.Reason != "stolen" {
		t.Errorf("key = %+v", k)
	}
	wantProblem(t, h.do("POST", "/v1/vendors/Acme/revoke", `{"reason":"again"}`), http.StatusConflict, "already")
	in := v1.NewVendorKey{Name: "x", Role: "king", Public: publicPEM(t, newKey(t)), Scope: scope}
	wantProblem(t, h.do("POST", "/v1/vendors", jsonOf(t, in)), http.StatusUnprocessableEntity, "role")
	in.Role, in.Public = "lab", "no key"
	wantProblem(t, h.do("POST", "/v1/vendors", jsonOf(t, in)), http.StatusConflict, "not a public key")
	if list := decode[v1.VendorKeys](t, h.do("GET", "/v1/vendors", ""), http.StatusOK); len(list.Keys) != 1 || list.Keys[0].ID != k.ID {
		t.Errorf("keys = %+v", list)
	}
	events := strings.Join(h.events(t), "\n")
	for _, want := range []string{"for vendors acme; models *", "vendors Acme*; models R7; until", "stolen"} {
		if !strings.Contains(events, h.actor+": key "+k.ID+" of Acme") || !strings.Contains(events, want) {
			t.Errorf("events lack %q:\n%s", want, events)
		}
	}
}

func TestManifests(t *testing.T) {
	h := newHarness(t)
	key, lab := newKey(t), newKey(t)
	first := signed(t, release("acme/r7/1", "1"), key)
	wantProblem(t, h.upload("/v1/manifests", first), http.StatusConflict, "probity vendor add")
	h.addKey(t, "Acme", "vendor", key)
	h.addKey(t, "Lab", "lab", lab)
	m := decode[v1.Manifest](t, h.upload("/v1/manifests", first, v1.LogProofHeader, base64.StdEncoding.EncodeToString([]byte("proof"))), http.StatusOK)
	if m.Name != "acme/r7/1" || m.State != "active" || !m.Counts || m.LogProof != "unchecked" || m.Endorsements[0].Name != "Acme" {
		t.Errorf("manifest = %+v", m)
	}
	m = decode[v1.Manifest](t, h.upload("/v1/manifests", signed(t, release("acme/r7/1", "1"), lab)), http.StatusOK)
	if len(m.Endorsements) != 2 || m.Endorsements[1].Role != "lab" {
		t.Errorf("manifest with two endorsements = %+v", m)
	}
	newer := release("acme/r7/2", "2")
	newer.Supersedes = []manifest.Supersession{{ID: "acme/r7/1"}}
	decode[v1.Manifest](t, h.upload("/v1/manifests?overlap_seconds=3600", signed(t, newer, key)), http.StatusOK)
	path := "/v1/manifests/" + url.PathEscape("acme/r7/1")
	m = decode[v1.Manifest](t, h.do("GET", path, ""), http.StatusOK)
	if m.State != "superseded" || m.SupersededBy != "acme/r7/2" || m.Until == nil || time.Until(*m.Until) < 50*time.Minute {
		t.Errorf("superseded manifest = %+v, want it valid for an hour", m)
	}
	m = decode[v1.Manifest](t, h.do("POST", path+"/supersede", `{"by":"acme/r7/2"}`), http.StatusOK)
	if m.Counts {
		t.Errorf("superseded without overlap: %+v, want that it no longer counts", m)
	}
	wantProblem(t, h.do("POST", path+"/supersede", `{"by":"acme/r7/1"}`), http.StatusConflict, "itself")
	wantProblem(t, h.do("POST", path+"/withdraw", `{"reason":""}`), http.StatusUnprocessableEntity, "reason")
	m = decode[v1.Manifest](t, h.do("POST", path+"/withdraw", `{"reason":"wrong branch"}`), http.StatusOK)
	if m.State != "withdrawn" || m.Reason != "wrong branch" || m.Withdrawn == nil {
		t.Errorf("withdrawn manifest = %+v", m)
	}
	for query, want := range map[string]int{"": 2, "?state=active": 1, "?state=withdrawn": 1, "?vendor=Acme&model=R7": 2, "?model=X": 0} {
		if got := decode[v1.Manifests](t, h.do("GET", "/v1/manifests"+query, ""), http.StatusOK); len(got.Manifests) != want {
			t.Errorf("GET /v1/manifests%s = %d manifests, want %d", query, len(got.Manifests), want)
		}
	}
	wantProblem(t, h.do("GET", "/v1/manifests/none", ""), http.StatusNotFound, "not found")
	wantProblem(t, h.upload("/v1/manifests", first, v1.LogProofHeader, "!"), http.StatusUnprocessableEntity, "base64")
	wantProblem(t, h.upload("/v1/manifests", first[:40]), http.StatusConflict, "manifest")
	wantProblem(t, h.upload("/v1/manifests", make([]byte, manifest.MaxSize+1)), http.StatusRequestEntityTooLarge, "too large")
}

func TestSettings(t *testing.T) {
	h := newHarness(t)
	key := newKey(t)
	h.addKey(t, "Acme", "vendor", key)
	if s := decode[v1.Settings](t, h.do("GET", "/v1/settings", ""), http.StatusOK); s.RequireLogProof {
		t.Error("a log proof is demanded, though nobody chose that")
	}
	decode[v1.Settings](t, h.do("PATCH", "/v1/settings", `{}`), http.StatusOK)
	if s := decode[v1.Settings](t, h.do("PATCH", "/v1/settings", `{"require_log_proof":true}`), http.StatusOK); !s.RequireLogProof {
		t.Error("the setting was not changed")
	}
	document := signed(t, release("acme/r7/1", "1"), key)
	wantProblem(t, h.upload("/v1/manifests", document), http.StatusConflict, "proof of their inclusion in a transparency log")
	wantProblem(t, h.upload("/v1/manifests", document, v1.LogProofHeader, "eA=="), http.StatusConflict, "cannot be checked")
	if got := decode[v1.Manifests](t, h.do("GET", "/v1/manifests", ""), http.StatusOK); len(got.Manifests) != 0 {
		t.Errorf("%d manifests were accepted", len(got.Manifests))
	}
	if events := h.events(t); !strings.Contains(strings.Join(events, "\n"), "require-log-proof: true") {
		t.Errorf("events = %q", events)
	}
}

func TestDenyList(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("a"), Label: "edge"})
	digest := sha256.Sum256([]byte("implant"))
	evidence := sha256.Sum256([]byte("evidence"))
	at := time.Now().UTC()
	err := h.store.Record(t.Context(), store.Outcome{
		Device: d, Evidence: []byte("evidence"), EAR: "x",
		Result: result.Result{Tenant: d.Tenant, Device: d.ID, Evidence: hex.EncodeToString(evidence[:]), At: at, State: result.Trusted},
		Seen: []store.Seen{{
			Content: evidence, Kind: store.SeenBoot, Digests: []store.SeenDigest{{Digest: digest[:], Place: "PCR 4, boot loader"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hexed := hex.EncodeToString(digest[:])
	in := v1.NewDenial{Digest: hexed, Advisory: "CVE-2026-1", Note: "implant"}
	e := decode[v1.DeniedEntry](t, h.do("POST", "/v1/denylist", jsonOf(t, in)), http.StatusCreated)
	if e.Digests[0] != "sha256:"+hexed || e.Advisory != "CVE-2026-1" {
		t.Errorf("entry = %+v", e)
	}
	wantProblem(t, h.do("POST", "/v1/denylist", jsonOf(t, in)), http.StatusConflict, "already")
	wantProblem(t, h.do("POST", "/v1/denylist", `{"digest":"`+strings.Repeat("z", 64)+`","advisory":"x"}`), http.StatusConflict, "hexadecimal")
	if list := decode[v1.DenyList](t, h.do("GET", "/v1/denylist", ""), http.StatusOK); len(list.Entries) != 1 || list.Entries[0].Note != "implant" {
		t.Errorf("deny-list = %+v", list)
	}
	seen := decode[v1.Sightings](t, h.do("GET", "/v1/sightings?digest="+hexed, ""), http.StatusOK)
	if len(seen.Sightings) != 1 || seen.Sightings[0].Device != d.ID || seen.Sightings[0].Place != "PCR 4, boot loader" || seen.Sightings[0].Until != nil {
		t.Errorf("sightings = %+v", seen)
	}
	wantProblem(t, h.do("GET", "/v1/sightings", ""), http.StatusUnprocessableEntity, "digest")
	if w := h.do("DELETE", "/v1/denylist/"+hexed, ""); w.Code != http.StatusNoContent {
		t.Errorf("remove = %d %s", w.Code, w.Body)
	}
	wantProblem(t, h.do("DELETE", "/v1/denylist/"+hexed, ""), http.StatusNotFound, "not found")
}

func TestLongWork(t *testing.T) {
	h := newHarness(t)
	unsigned, err := manifest.Encode(release("acme/r7/1", "1"))
	if err != nil {
		t.Fatal(err)
	}
	job := decode[v1.Job](t, h.upload("/v1/dry-runs", unsigned), http.StatusAccepted)
	var d v1.DryRun
	for !d.Over {
		d = decode[v1.DryRun](t, h.do("GET", "/v1/dry-runs/"+job.ID, ""), http.StatusOK)
	}
	if d.Name != "acme/r7/1" || d.Devices != 0 || d.Failed != "" || len(d.Notes) != 1 {
		t.Errorf("dry run = %+v", d)
	}
	wantProblem(t, h.upload("/v1/dry-runs", []byte("x")), http.StatusConflict, "manifest")
	wantProblem(t, h.do("GET", "/v1/dry-runs/none", ""), http.StatusNotFound, "not found")

	job = decode[v1.Job](t, h.do("POST", "/v1/outliers", `{"model":"R7"}`), http.StatusAccepted)
	var o v1.Outliers
	for !o.Over {
		o = decode[v1.Outliers](t, h.do("GET", "/v1/outliers/"+job.ID, ""), http.StatusOK)
	}
	if o.Failed != "" || o.Devices != 0 {
		t.Errorf("outliers = %+v", o)
	}
	wantProblem(t, h.do("GET", "/v1/dry-runs/"+job.ID, ""), http.StatusNotFound, "not found")
}

// Manifests, keys and deny-lists of one tenant are nothing to another.
func TestManifestsAreApart(t *testing.T) {
	h := newHarness(t)
	key := newKey(t)
	k := h.addKey(t, "Acme", "vendor", key)
	decode[v1.Manifest](t, h.upload("/v1/manifests", signed(t, release("acme/r7/1", "1"), key)), http.StatusOK)
	digest := strings.Repeat("ab", 32)
	decode[v1.DeniedEntry](t, h.do("POST", "/v1/denylist", `{"digest":"`+digest+`","advisory":"x"}`), http.StatusCreated)
	unsigned, err := manifest.Encode(release("acme/r7/2", "2"))
	if err != nil {
		t.Fatal(err)
	}
	job := decode[v1.Job](t, h.upload("/v1/dry-runs", unsigned), http.StatusAccepted)
	rival := apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Operator: true})
	for _, r := range []struct{ method, path, body string }{
		{"PUT", "/v1/vendors/" + k.ID + "/scope", `{"vendors":["*"]}`},
		{"POST", "/v1/vendors/" + k.ID + "/revoke", `{"reason":"x"}`},
		{"GET", "/v1/manifests/" + url.PathEscape("acme/r7/1"), ""},
		{"POST", "/v1/manifests/" + url.PathEscape("acme/r7/1") + "/withdraw", `{"reason":"x"}`},
		{"POST", "/v1/manifests/" + url.PathEscape("acme/r7/1") + "/supersede", `{"by":"x"}`},
		{"GET", "/v1/dry-runs/" + job.ID, ""},
		{"DELETE", "/v1/denylist/" + digest, ""},
	} {
		wantProblem(t, h.as(rival, r.method, r.path, r.body), http.StatusNotFound, "not found")
	}
	for _, path := range []string{"/v1/vendors", "/v1/manifests", "/v1/denylist", "/v1/sightings?digest=" + digest} {
		if w := h.as(rival, "GET", path, ""); w.Code != http.StatusOK || names(w.Body.String(), "Acme", digest) {
			t.Errorf("GET %s as another tenant = %d %s", path, w.Code, w.Body)
		}
	}
}
