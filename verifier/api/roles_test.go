package api_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

var allRoles = []v1.Role{v1.Viewer, v1.Operator, v1.Vendor, v1.Auditor, v1.Admin}

// TestEveryOperationHasARule: a route without a row would be closed to everybody, a row without a route misleads.
func TestEveryOperationHasARule(t *testing.T) {
	h := newHarness(t)
	routes := map[string]string{}
	for _, pattern := range api.Patterns(h.Handler) {
		id := api.Operation(h.Handler, pattern)
		if id == "" || routes[id] != "" {
			t.Errorf("route %s: operation %q, which %q has too; want an id of its own", pattern, id, routes[id])
		}
		routes[id] = pattern
	}
	for id, pattern := range routes {
		if api.IsOpen(pattern) {
			delete(routes, id)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(routes)), api.Ruled()); diff != "" {
		t.Errorf("operations and rows of the table differ (-operations +rows):\n%s", diff)
	}
}

// TestWhatRolesNeverMay: whatever is added to the table, these hold.
func TestWhatRolesNeverMay(t *testing.T) {
	h := newHarness(t)
	own := []string{"end-session", "change-password"}
	vendors := []string{ // all that a vendor may, each of which minds its scope
		"get-me", "end-session", "change-password", "list-manifests", "get-manifest", "submit-manifest", "withdraw-manifest",
		"supersede-manifest", "start-dry-run", "get-dry-run", "get-openapi", "get-stream",
	}
	for _, pattern := range api.Patterns(h.Handler) {
		id := api.Operation(h.Handler, pattern)
		if api.IsOpen(pattern) {
			continue
		}
		write := !strings.HasPrefix(pattern, "GET ")
		for role, may := range map[v1.Role]bool{
			v1.Admin:   true,
			v1.Viewer:  !write || slices.Contains(own, id),
			v1.Auditor: !write || slices.Contains(own, id),
			v1.Vendor:  slices.Contains(vendors, id),
			"":         false,
			"root":     false,
		} {
			if got := api.May(role, id); got && !may || !got && role == v1.Admin {
				t.Errorf("role %q and %s (%s): may = %t, want %t", role, id, pattern, got, may)
			}
		}
		for _, word := range []string{"account", "audit"} {
			if strings.Contains(id, word) && (api.May(v1.Viewer, id) || api.May(v1.Operator, id)) {
				t.Errorf("%s is open to viewers or operators", id)
			}
		}
	}
}

// principals returns each way to be of a role.
func principals(t *testing.T, h *harness, role v1.Role) map[string]credential {
	t.Helper()
	var vendors []string
	if role == v1.Vendor {
		vendors = []string{"Acme"}
	}
	digest, conn := clientCertificate(t, time.Hour)
	account := apitest.AddAccount(t, h.store, store.Account{
		Name: "some-" + string(role), Role: string(role), Vendors: vendors, Certificates: []string{digest},
	})
	token := apitest.AddToken(t, h.store, store.Token{Operator: true, Role: string(role), Vendors: vendors})
	cookie := apitest.AddSession(t, h.store, account, store.Session{})
	return map[string]credential{
		"token":       {header: http.Header{"Authorization": {"Bearer " + token}}},
		"account":     {header: http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"same-origin"}}},
		"certificate": {conn: conn},
	}
}

// TestEveryRouteByEveryRole walks every route with every role in every way to be of it: who may not is refused, by the
// same words, and leaves nothing but an entry in the audit log; who may gets past the check.
func TestEveryRouteByEveryRole(t *testing.T) {
	for _, role := range allRoles {
		t.Run(string(role), func(t *testing.T) {
			h := newHarness(t)
			for kind, c := range principals(t, h, role) {
				for _, pattern := range api.Patterns(h.Handler) {
					if id := api.Operation(h.Handler, pattern); !api.IsOpen(pattern) && id != "end-session" {
						checkRole(t, h, role, kind, pattern, &c)
					}
				}
			}
		})
	}
}

func checkRole(t *testing.T, h *harness, role v1.Role, kind, pattern string, c *credential) {
	t.Helper()
	id := api.Operation(h.Handler, pattern)
	may := api.May(role, id)
	before := h.events(t)
	r := c.on(pattern)
	if api.IsLasting(pattern) {
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		r = r.WithContext(ctx)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	told := strings.Contains(w.Body.String(), "may not do this: ask an admin")
	if told == may || w.Code == http.StatusUnauthorized || told && w.Code != http.StatusForbidden {
		t.Errorf("%s by a %s with role %s = %d %s, want that it may: %t", pattern, kind, role, w.Code, w.Body, may)
	}
	if may {
		return
	}
	if diff := cmp.Diff(before, h.events(t)); diff != "" {
		t.Errorf("%s by a %s with role %s was refused and left (-before +after):\n%s", pattern, kind, role, diff)
	}
	found, err := h.store.Audit(t.Context(), store.AuditFilter{Tenant: apitest.Tenant, Action: id, Limit: 1})
	if err != nil || len(found) != 1 || found[0].Outcome != audit.Refused || found[0].Role != string(role) || found[0].Status != http.StatusForbidden {
		t.Errorf("%s by a %s with role %s: newest audit entry %+v, %v; want its refusal", pattern, kind, role, found, err)
	}
}

// TestWritesFromOtherPages: a browser adds cookies and certificates to whatever another site makes it send.
func TestWritesFromOtherPages(t *testing.T) {
	h := newHarness(t)
	all := principals(t, h, v1.Admin)
	for _, tt := range []struct {
		kind   string
		header http.Header
		passes bool
	}{
		{"account", http.Header{}, false},
		{"account", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"account", http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		{"account", http.Header{"Origin": {"https://evil.example"}}, false},
		{"account", http.Header{"Origin": {"null"}}, false},
		{"account", http.Header{"Origin": {"https://example.com"}}, true}, // httptest's host
		{"account", http.Header{"Sec-Fetch-Site": {"same-origin"}}, true},
		{"certificate", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"certificate", http.Header{"Origin": {"https://evil.example"}}, false},
		{"certificate", http.Header{}, true}, // no browser
		{"token", http.Header{"Sec-Fetch-Site": {"cross-site"}}, true},
	} {
		for _, pattern := range api.Patterns(h.Handler) {
			id := api.Operation(h.Handler, pattern)
			if strings.HasPrefix(pattern, "GET ") || api.IsOpen(pattern) || id == "end-session" {
				continue
			}
			c := credential{header: maps.Clone(tt.header), conn: all[tt.kind].conn}
			for _, name := range []string{"Authorization", "Cookie"} {
				if v := all[tt.kind].header[name]; v != nil {
					c.header[name] = v
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, c.on(pattern))
			if refused := strings.Contains(w.Body.String(), "verifier's own pages"); refused == tt.passes || w.Code == http.StatusUnauthorized {
				t.Errorf("%s by a %s with %v = %d %s, want that it passes: %t", pattern, tt.kind, tt.header, w.Code, w.Body, tt.passes)
			}
		}
	}
	for _, target := range []string{"/v1/session", "/v1/setup"} {
		r := httptest.NewRequest("POST", target, strings.NewReader(`{"name":"alice","password":"a long password","code":"x"}`))
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden && w.Code != http.StatusUnprocessableEntity {
			t.Errorf("POST %s from another page = %d %s, want 403", target, w.Code, w.Body)
		}
	}
}

// TestMe: what clients are told of themselves is what the table says.
func TestMe(t *testing.T) {
	h := newHarness(t)
	for _, role := range allRoles {
		for kind, c := range principals(t, h, role) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, c.on("GET /v1/me"))
			me := decode[v1.Me](t, w, http.StatusOK)
			if me.Kind != kind || me.Role != role || me.Tenant != apitest.Tenant || me.Name == "" || me.Expires == nil {
				t.Errorf("GET /v1/me by a %s with role %s = %+v", kind, role, me)
			}
			for _, id := range api.Ruled() {
				if slices.Contains(me.Can, id) != api.May(role, id) {
					t.Errorf("role %s: can has %s: %t", role, id, !api.May(role, id))
				}
			}
		}
	}
}
