package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// reported stores a device with results of evidence that can be read: a device without TPM, which is enough to see that
// answers are of it.
func (h *harness) reported(t *testing.T, name string, results ...result.Result) store.Device {
	t.Helper()
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID(name), Label: name, Vendor: "Acme", Model: "R7"})
	for n, r := range results {
		claims, err := proto.Encode(&proto.Claims{
			Agent: "1.0", BootID: make([]byte, proto.BootIDSize),
			BootLog:  proto.Item{Unavailable: &proto.Unavailable{Cause: proto.CauseNotFound, Reason: "no securityfs"}},
			IMA:      proto.IMAStatus{Unavailable: &proto.Unavailable{Cause: proto.CauseNotFound, Reason: "no IMA"}},
			Platform: proto.Item{Unavailable: &proto.Unavailable{Cause: proto.CauseNotFound, Reason: "no DMI"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		message, err := proto.Encode(&proto.Evidence{Nonce: make([]byte, 32), Claims: claims, Signature: []byte{byte(n + 1)}})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(message)
		r.Tenant, r.Device, r.Evidence = d.Tenant, d.ID, hex.EncodeToString(sum[:])
		if r.At.IsZero() {
			r.At = time.Now().UTC().Truncate(time.Second).Add(time.Duration(n-10) * time.Minute)
		}
		r.IssuedAt, r.StaleAt = r.At.Add(-time.Second), r.At.Add(time.Hour)
		d.State, d.StaleAt, d.LastSeen = r.State, r.StaleAt, r.At
		if err := h.store.Record(t.Context(), store.Outcome{Device: d, Evidence: message, Result: r, EAR: "x"}); err != nil {
			t.Fatal(err)
		}
		if d, err = h.store.Device(t.Context(), d.Tenant, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestExplanations: every explanation is of the device and the result that were asked for, and says where there is none.
func TestExplanations(t *testing.T) {
	h := newHarness(t)
	d := h.reported(t, "router", result.Result{State: result.Warning, Level: result.Software}, result.Result{State: result.Warning, Level: result.Software})
	h.reported(t, "silent")
	results := decode[v1.Results](t, h.do(http.MethodGet, "/v1/devices/router/results", ""), http.StatusOK).Results
	newest, older := results[0].Seq, results[1].Seq

	if b := decode[v1.Boot](t, h.do(http.MethodGet, "/v1/devices/router/boot", ""), http.StatusOK); b.Result != newest || b.NoLog == "" || len(b.PCRs) != 0 {
		t.Errorf("boot = %+v", b)
	}
	if f := decode[v1.Files](t, h.do(http.MethodGet, "/v1/devices/router/files?standing=unknown&limit=1", ""), http.StatusOK); f.NoList == "" || f.Result != newest {
		t.Errorf("files = %+v", f)
	}
	if f := decode[v1.Flash](t, h.do(http.MethodGet, "/v1/devices/router/flash", ""), http.StatusOK); f.None == "" || f.Result != newest {
		t.Errorf("flash = %+v", f)
	}
	f := decode[v1.Freshness](t, h.do(http.MethodGet, fmt.Sprintf("/v1/devices/router/freshness?result=%d", older), ""), http.StatusOK)
	if f.Result != older || f.Evidence != results[1].Evidence || len(f.Text) < 2 {
		t.Errorf("freshness = %+v", f)
	}
	line := decode[v1.Timeline](t, h.do(http.MethodGet, "/v1/devices/router/timeline", ""), http.StatusOK)
	if len(line.Points) != 1 || line.Points[0].Count != 2 || line.Points[0].Result != older {
		t.Errorf("timeline = %+v, want one point for two results", line)
	}
	diff := decode[v1.Diff](t, h.do(http.MethodGet, fmt.Sprintf("/v1/devices/router/diff?at=%d", older), ""), http.StatusOK)
	if diff.Left.Result != older || diff.Right.Result != newest || diff.Left.Label != "router" || len(diff.Parts) != 0 {
		t.Errorf("diff = %+v", diff)
	}
	w := h.do(http.MethodGet, "/v1/devices/router/evidence/"+results[0].Evidence, "")
	sum := sha256.Sum256(w.Body.Bytes())
	if w.Code != http.StatusOK || hex.EncodeToString(sum[:]) != results[0].Evidence || w.Header().Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("evidence = %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}

	for target, says := range map[string]string{
		"silent/boot":                            "has not attested yet",
		"silent/files":                           "has not attested yet",
		"router/flash?result=999":                "no result 999",
		"router/boot-log":                        "no boot log",
		"router/ima-list":                        "no IMA list",
		"silent/freshness":                       "has not attested yet",
		"router/diff?with=silent":                "has not attested yet",
		"router/evidence/" + apitest.ID("other"): "no evidence with this digest",
		"nobody/timeline":                        "no device",
	} {
		wantProblem(t, h.do(http.MethodGet, "/v1/devices/"+target, ""), http.StatusNotFound, says)
	}
	wantProblem(t, h.do(http.MethodGet, "/v1/devices/router/diff", ""), http.StatusUnprocessableEntity, "name another device")
	wantProblem(t, h.do(http.MethodGet, "/v1/devices/router/diff?with=router", ""), http.StatusConflict, "one and the same")
	for _, target := range []string{"files?after=-1", "files?standing=good", "boot?result=0", "evidence/abc"} {
		if w := h.do(http.MethodGet, "/v1/devices/router/"+target, ""); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s = %d, want %d: %s", target, w.Code, http.StatusUnprocessableEntity, w.Body)
		}
	}
	other := apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Operator: true})
	for _, target := range []string{"boot", "files", "flash", "timeline", "freshness", "evidence/" + results[0].Evidence, "boot-log", "ima-list", "diff?at=1"} {
		wantProblem(t, h.as(other, http.MethodGet, "/v1/devices/"+d.ID+"/"+target, ""), http.StatusNotFound, "no device")
	}
}

// TestSearchAPI: what is searched for, and what is not a search.
func TestSearchAPI(t *testing.T) {
	h := newHarness(t)
	d := apitest.AddDevice(t, h.store, store.Device{ID: apitest.ID("router"), Label: "router", Model: "R7", Vendor: "Acme"})
	evidence, digest := []byte("evidence"), sha256.Sum256([]byte("grub"))
	sum := sha256.Sum256(evidence)
	at := time.Now().UTC().Truncate(time.Second)
	d.State, d.StaleAt = result.Trusted, at.Add(time.Hour)
	if err := h.store.Record(t.Context(), store.Outcome{
		Device: d, Evidence: evidence, EAR: "x",
		Result: result.Result{Tenant: d.Tenant, Device: d.ID, Evidence: hex.EncodeToString(sum[:]), At: at, StaleAt: d.StaleAt, State: result.Trusted},
		Seen: []store.Seen{{Content: sum, Kind: store.SeenBoot, Digests: []store.SeenDigest{{
			Digest: digest[:], Place: `PCR 4, <script>alert(1)</script>`,
		}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s := decode[v1.Search](t, h.do(http.MethodGet, "/v1/search?q="+hex.EncodeToString(digest[:]), ""), http.StatusOK)
	if s.Kind != "digest" || s.Devices != 1 || s.Now != 1 || len(s.Hits) != 1 || s.Hits[0].Object != d.ID || s.Hits[0].Name != "router" ||
		s.Hits[0].First == nil || !s.Hits[0].First.Equal(at) || s.Hits[0].Until != nil {
		t.Errorf("search = %+v", s)
	}
	w := h.do(http.MethodGet, "/v1/search?q="+url.QueryEscape("<script>"), "")
	if s := decode[v1.Search](t, w, http.StatusOK); len(s.Hits) != 1 || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("search for markup = %s, want the hit, escaped", w.Body)
	}
	for _, target := range []string{"", "?q=", "?q=ab", "?q=" + strings.Repeat("x", 257), "?q=grub&limit=0", "?q=grub&after=x"} {
		if w := h.do(http.MethodGet, "/v1/search"+target, ""); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("search%s = %d, want %d: %s", target, w.Code, http.StatusUnprocessableEntity, w.Body)
		}
	}
	other := apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Operator: true})
	if s := decode[v1.Search](t, h.as(other, http.MethodGet, "/v1/search?q=script", ""), http.StatusOK); len(s.Hits) != 0 || s.Devices != 0 {
		t.Errorf("another tenant finds %+v", s)
	}
	wantProblem(t, h.do(http.MethodGet, "/v1/manifests/none/coverage", ""), http.StatusNotFound, "not found")
}

// TestApprovalsAPI: the setting, what waits, and that a token is nobody's consent.
func TestApprovalsAPI(t *testing.T) {
	h := newHarness(t)
	if s := decode[v1.Settings](t, h.do(http.MethodPatch, "/v1/settings", `{"manifest_approvals":2}`), http.StatusOK); s.ManifestApprovals != 2 {
		t.Errorf("settings = %+v", s)
	}
	if w := h.do(http.MethodPatch, "/v1/settings", `{"manifest_approvals":6}`); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("six approvals = %d: %s", w.Code, w.Body)
	}
	m := store.Manifest{
		Tenant: apitest.Tenant, Digest: apitest.ID("manifest"), Name: "acme/r7/1", Vendor: "Acme", Model: "R7", Version: "1",
		Submitted: time.Now().UTC().Truncate(time.Second), From: time.Now().UTC().Truncate(time.Second), Needs: 2,
		Endorsements: []store.Endorsement{{Key: "k", Issuer: "acme", Submitted: time.Now(), Judged: time.Now(), Actor: "bob"}},
	}
	if err := h.store.AddManifest(t.Context(), m, []byte("document"), nil); err != nil {
		t.Fatal(err)
	}
	path := "/v1/manifests/" + url.PathEscape(m.Name)
	if err := h.store.Approve(t.Context(), apitest.Tenant, m.Digest, store.Approval{Actor: "carol", At: m.From, Note: "fine"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	got := decode[v1.Approvals](t, h.do(http.MethodGet, path+"/approvals", ""), http.StatusOK)
	if got.Needed != 2 || !got.Waits || len(got.Approvals) != 1 || got.Approvals[0].Actor != "carol" || got.Approvals[0].Note != "fine" {
		t.Errorf("approvals = %+v", got)
	}
	if one := decode[v1.Manifest](t, h.do(http.MethodGet, path, ""), http.StatusOK); one.Counts || one.Needed != 2 || len(one.Approvals) != 1 {
		t.Errorf("manifest = %+v, want it to wait", one)
	}
	for _, body := range []string{`{}`, `{"refuse":true}`} {
		wantProblem(t, h.do(http.MethodPost, path+"/approvals", body), http.StatusForbidden, "a token is no person")
	}
	if c := decode[v1.Coverage](t, h.do(http.MethodGet, path+"/coverage", ""), http.StatusOK); c.Devices != 0 || c.Relying != 0 {
		t.Errorf("coverage = %+v", c)
	}

	// A person's refusal is taken, and a person who only looks may not decide.
	wantProblem(t, h.asAccount(t, "ann", v1.Viewer, http.MethodPost, path+"/approvals", `{}`), http.StatusForbidden, "viewer")
	w := h.asAccount(t, "dave", v1.Operator, http.MethodPost, path+"/approvals", `{"refuse":true,"note":"not ours"}`)
	if refused := decode[v1.Manifest](t, w, http.StatusOK); refused.State != "withdrawn" || refused.Reason != "refused: not ours" {
		t.Errorf("refused manifest = %+v", refused)
	}
	if got := decode[v1.Approvals](t, h.do(http.MethodGet, path+"/approvals", ""), http.StatusOK); got.Waits {
		t.Errorf("approvals of a refused manifest = %+v", got)
	}
	wantProblem(t, h.asAccount(t, "erin", v1.Operator, http.MethodPost, path+"/approvals", `{}`), http.StatusConflict, "was withdrawn")
}

// asAccount makes an account, signs in, and sends a request as a browser does.
func (h *harness) asAccount(t *testing.T, name string, role v1.Role, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	const password = "correct horse battery staple"
	made := h.do(http.MethodPost, "/v1/accounts", fmt.Sprintf(`{"name":%q,"role":%q,"password":%q}`, name, role, password))
	if made.Code != http.StatusCreated {
		t.Fatalf("account = %d: %s", made.Code, made.Body)
	}
	send := func(method, target, body string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	in := send(http.MethodPost, "/v1/session", fmt.Sprintf(`{"name":%q,"password":%q}`, name, password))
	if in.Code >= http.StatusBadRequest {
		t.Fatalf("sign-in = %d: %s", in.Code, in.Body)
	}
	return send(method, target, body, in.Result().Cookies()...)
}
