package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

func TestAccounts(t *testing.T) {
	h := newHarness(t)
	a := h.account(t, `{"name":"bob","role":"vendor","vendors":["Acme*"],"password":"`+goodPassword+`","subject":"Bob@Example.com"}`)
	want := v1.Account{Name: "bob", Role: v1.Vendor, Vendors: []string{"Acme*"}, Password: true, Subject: "bob@example.com", Created: a.Created}
	if diff := cmp.Diff(want, a); diff != "" || a.Created.IsZero() {
		t.Errorf("account -want +got:\n%s", diff)
	}
	h.account(t, `{"name":"alice","role":"admin","password":"`+goodPassword+`"}`)
	list := h.do("GET", "/v1/accounts", "")
	if got := decode[v1.Accounts](t, list, http.StatusOK); len(got.Accounts) != 2 || got.Accounts[0].Name != "alice" || !cmp.Equal(got.Accounts[1], a) {
		t.Errorf("accounts = %+v", got)
	}
	if strings.Contains(list.Body.String(), "argon2") {
		t.Error("the list shows hashes of passwords")
	}
	for body, says := range map[string]string{
		`{"name":"BOB","role":"viewer"}`:                             "another account has this name",
		`{"name":"eve","role":"viewer","subject":"bob@example.com"}`: "subject",
	} {
		wantProblem(t, h.do("POST", "/v1/accounts", body), http.StatusConflict, says)
	}
	for body, says := range map[string]string{
		`{"name":"eve","role":"root"}`:                        "role",
		`{"name":"eve","role":"vendor"}`:                      "vendors",
		`{"name":"operator:1","role":"viewer"}`:               "name: want letters",
		`{"name":"eve","role":"viewer","password":"short"}`:   "password: want at least 12",
		`{"name":"eve","role":"viewer","certificates":["x"]}`: "certificates",
		`{"name":"eve"}`: "role",
	} {
		wantProblem(t, h.do("POST", "/v1/accounts", body), http.StatusUnprocessableEntity, says)
	}
	a = decode[v1.Account](t, h.do("PATCH", "/v1/accounts/bob", `{"role":"auditor","vendors":[],"disabled":true,"password":"","subject":""}`), http.StatusOK)
	if a.Role != v1.Auditor || !a.Disabled || a.Password || a.Subject != "" || a.Vendors != nil {
		t.Errorf("changed account = %+v", a)
	}
	for _, r := range []struct{ method, body string }{{"DELETE", ""}, {"PATCH", `{"disabled":true}`}, {"PATCH", `{"role":"viewer"}`}, {"PATCH", `{"password":""}`}} {
		wantProblem(t, h.do(r.method, "/v1/accounts/alice", r.body), http.StatusConflict, "last admin")
	}
	wantProblem(t, h.do("PATCH", "/v1/accounts/eve", `{"disabled":true}`), http.StatusNotFound, "no account")
	wantProblem(t, h.do("DELETE", "/v1/accounts/eve", ""), http.StatusNotFound, "no account")
	if w := h.do("DELETE", "/v1/accounts/bob", ""); w.Code != http.StatusNoContent {
		t.Errorf("remove = %d %s", w.Code, w.Body)
	}
	events := strings.Join(h.events(t), "\n")
	for _, says := range []string{"made the account bob, role vendor of", "changed the account bob: role auditor, was vendor", "removed the account bob"} {
		if !strings.Contains(events, h.actor+": "+says) {
			t.Errorf("events lack %q:\n%s", says, events)
		}
	}
	if strings.Contains(events, goodPassword) || strings.Contains(events, "argon2") {
		t.Errorf("events have passwords:\n%s", events)
	}
}

// TestAccountsOfAnotherTenant: there are none, and none is made by the way.
func TestAccountsOfAnotherTenant(t *testing.T) {
	h := newHarness(t)
	h.account(t, `{"name":"alice","role":"admin","password":"`+goodPassword+`"}`)
	rival := apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Operator: true})
	if got := decode[v1.Accounts](t, h.as(rival, "GET", "/v1/accounts", ""), http.StatusOK); len(got.Accounts) != 0 {
		t.Errorf("another tenant sees %+v", got)
	}
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/accounts", `{"name":"eve","role":"admin"}`},
		{"PATCH", "/v1/accounts/alice", `{"disabled":true}`},
		{"DELETE", "/v1/accounts/alice", ""},
	} {
		wantProblem(t, h.as(rival, r.method, r.path, r.body), http.StatusConflict, "use tokens")
	}
}

func TestTokensWithRoles(t *testing.T) {
	h := newHarness(t)
	made := decode[v1.CreatedToken](t, h.do("POST", "/v1/tokens", `{"kind":"api","role":"vendor","vendors":["Acme"],"name":"CI of Acme"}`), http.StatusCreated)
	if !made.Operator || made.Role != v1.Vendor || !cmp.Equal(made.Vendors, []string{"Acme"}) || made.Name != "CI of Acme" || !strings.HasPrefix(made.Secret, "pbo1.") {
		t.Errorf("token = %+v", made)
	}
	if me := decode[v1.Me](t, h.as(made.Secret, "GET", "/v1/me", ""), http.StatusOK); me.Role != v1.Vendor || me.Kind != "token" || me.Name != "operator:"+made.ID {
		t.Errorf("me = %+v", me)
	}
	for body, says := range map[string]string{
		`{"kind":"api"}`:                                         "needs a role",
		`{"kind":"api","role":"vendor"}`:                         "vendors",
		`{"kind":"api","role":"viewer","vendors":["x"]}`:         "only the role vendor",
		`{"kind":"api","role":"viewer","uses":5}`:                "uses",
		`{"kind":"api","role":"viewer","name":"\u202e"}`:         "does not print",
		`{"role":"admin"}`:                                       "no role",
		`{"kind":"enrolment","name":"x"}`:                        "no role, vendors and name",
		`{"kind":"session","role":"admin"}`:                      "kind",
		`{"kind":"api","role":"admin","ttl_seconds":3153600000}`: "ttl_seconds",
	} {
		wantProblem(t, h.do("POST", "/v1/tokens", body), http.StatusUnprocessableEntity, says)
	}
	operator := apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "operator"})
	wantProblem(t, h.as(operator, "POST", "/v1/tokens", `{"kind":"api","role":"admin"}`), http.StatusForbidden, "only an admin")
	wantProblem(t, h.as(operator, "DELETE", "/v1/tokens/"+made.ID, ""), http.StatusForbidden, "only an admin")
	enrolment := decode[v1.CreatedToken](t, h.as(operator, "POST", "/v1/tokens", `{"uses":3}`), http.StatusCreated)
	if w := h.as(operator, "DELETE", "/v1/tokens/"+enrolment.ID, ""); w.Code != http.StatusNoContent || enrolment.Uses != 3 {
		t.Errorf("an operator's enrolment token = %+v, revoked with %d", enrolment, w.Code)
	}
	if w := h.do("DELETE", "/v1/tokens/"+made.ID, ""); w.Code != http.StatusNoContent {
		t.Errorf("revoke = %d %s", w.Code, w.Body)
	}
	wantProblem(t, h.as(made.Secret, "GET", "/v1/me", ""), http.StatusUnauthorized, "sign in")
}

// TestVendorsScope: a vendor sees and changes its own manifests only, and no devices.
func TestVendorsScope(t *testing.T) {
	h := newHarness(t)
	key, rivalKey := newKey(t), newKey(t)
	h.addKey(t, "Acme", "vendor", key)
	in := v1.NewVendorKey{Name: "Rival", Role: "vendor", Public: publicPEM(t, rivalKey), Scope: v1.KeyScope{Vendors: []string{"rival"}}}
	decode[v1.VendorKey](t, h.do("POST", "/v1/vendors", jsonOf(t, in)), http.StatusCreated)
	theirs := release("rival/x/1", "1")
	theirs.Vendor = "Rival"
	rival := decode[v1.Manifest](t, h.upload("/v1/manifests", signed(t, theirs, rivalKey)), http.StatusOK)
	admin := h.token
	h.token = apitest.AddToken(t, h.store, store.Token{Operator: true, Role: "vendor", Vendors: []string{"ac?e"}})
	own := decode[v1.Manifest](t, h.upload("/v1/manifests", signed(t, release("acme/r7/1", "1"), key)), http.StatusOK)
	if got := decode[v1.Manifests](t, h.do("GET", "/v1/manifests", ""), http.StatusOK); len(got.Manifests) != 1 || got.Manifests[0].Digest != own.Digest {
		t.Errorf("manifests = %+v, want its own", got)
	}
	decode[v1.Manifest](t, h.do("GET", "/v1/manifests/"+own.Digest[:12], ""), http.StatusOK)
	for _, name := range []string{rival.Digest, rival.Digest[:8], url.PathEscape("rival/x/1"), url.PathEscape("Rival:rival/x/1"), "none"} {
		wantProblem(t, h.do("GET", "/v1/manifests/"+name, ""), http.StatusNotFound, "no manifest of your vendors")
		wantProblem(t, h.do("POST", "/v1/manifests/"+name+"/withdraw", `{"reason":"x"}`), http.StatusNotFound, "no manifest of your vendors")
		wantProblem(t, h.do("POST", "/v1/manifests/"+name+"/supersede", `{"by":"`+own.Digest+`"}`), http.StatusNotFound, "no manifest of your vendors")
	}
	wantProblem(t, h.do("POST", "/v1/manifests/"+own.Digest+"/supersede", `{"by":"`+rival.Digest+`"}`), http.StatusNotFound, "no manifest of your vendors")
	wantProblem(t, h.upload("/v1/manifests", signed(t, theirs, rivalKey)), http.StatusForbidden, `of the vendor "Rival"`)
	unsigned, err := manifest.Encode(theirs)
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, h.upload("/v1/dry-runs", unsigned), http.StatusForbidden, `of the vendor "Rival"`)
	wantProblem(t, h.upload("/v1/dry-runs", []byte("x")), http.StatusUnprocessableEntity, "no manifest that can be read")
	mine, err := manifest.Encode(release("acme/r7/2", "2"))
	if err != nil {
		t.Fatal(err)
	}
	decode[v1.Job](t, h.upload("/v1/dry-runs", mine), http.StatusAccepted)
	if got := decode[v1.Manifest](t, h.do("POST", "/v1/manifests/"+own.Digest+"/withdraw", `{"reason":"wrong"}`), http.StatusOK); got.State != "withdrawn" {
		t.Errorf("its own manifest after withdrawal = %+v", got)
	}
	h.token = admin
	if got := decode[v1.Manifests](t, h.do("GET", "/v1/manifests", ""), http.StatusOK); len(got.Manifests) != 2 {
		t.Errorf("an admin sees %d manifests, want 2", len(got.Manifests))
	}
}
