package api_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/access"
	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	"github.com/probity-attest/probity/verifier/store"
)

// credential is what a request says of who sends it, and the status that it gets.
type credential struct {
	header http.Header
	conn   *tls.ConnectionState
	status int
}

// on makes a request that has the credential.
func (c *credential) on(pattern string) *http.Request {
	method, path, _ := strings.Cut(pattern, " ")
	r := httptest.NewRequest(method, parameter.ReplaceAllString(path, "1"), http.NoBody)
	for name, values := range c.header {
		r.Header[name] = values
	}
	r.TLS = c.conn
	return r
}

// parameter is a part of a pattern that stands for anything.
var parameter = regexp.MustCompile(`\{[^}]*\}`)

// badTokens returns every kind of Authorization header that must not open the API, by name.
func badTokens(t *testing.T, h *harness) map[string]credential {
	add := func(token store.Token) string {
		return apitest.AddToken(t, h.store, token)
	}
	header := func(status int, values ...string) credential {
		return credential{header: http.Header{"Authorization": values}, status: status}
	}
	refused := func(values ...string) credential { return header(http.StatusUnauthorized, values...) }
	enrolment := add(store.Token{Uses: 5})
	_, rest, _ := strings.Cut(h.token, ".")
	id := apitest.TokenID(t, h.token)
	last := h.token[:len(h.token)-1]
	secret := strings.LastIndex(h.token, ".") + 1
	flipped := h.token[:secret] + string(h.token[secret]^1) + h.token[secret+1:]
	return map[string]credential{
		"none":                refused(),
		"empty":               refused(""),
		"basic":               refused("Basic b3A6b3A="),
		"no scheme":           refused(h.token),
		"two headers":         refused("Bearer "+h.token, "Bearer "+h.token),
		"empty token":         refused("Bearer "),
		"not a token":         refused("Bearer admin"),
		"wrong secret":        refused("Bearer " + flipped),
		"empty secret":        refused("Bearer pbo1.acme." + id + "."),
		"shortened secret":    refused("Bearer " + last),
		"longer secret":       refused("Bearer " + h.token + "0"),
		"unknown id":          refused("Bearer " + strings.Replace(h.token, id, strings.Repeat("0", len(id)), 1)),
		"other tenant":        refused("Bearer " + strings.Replace(h.token, ".acme.", ".rival.", 1)),
		"other version":       refused("Bearer pbo2." + rest),
		"too many parts":      refused("Bearer " + h.token + ".x"),
		"injection":           refused("Bearer pbo1.acme.op' OR '1'='1.x"),
		"expired":             refused("Bearer " + add(store.Token{Operator: true, Expires: time.Now().Add(-time.Second)})),
		"revoked":             refused("Bearer " + add(store.Token{Operator: true, Revoked: true})),
		"enrolment":           header(http.StatusForbidden, "Bearer "+enrolment),
		"used up enrolment":   header(http.StatusForbidden, "Bearer "+add(store.Token{})),
		"enrolment disguised": refused("Bearer " + strings.Replace(enrolment, "pbt1.", "pbo1.", 1)),
		"operator disguised":  refused("Bearer " + strings.Replace(h.token, "pbo1.", "pbt1.", 1)),
	}
}

// badSessions returns every kind of Cookie header that must not open the API, by name.
func badSessions(t *testing.T, h *harness) map[string]credential {
	now := time.Now()
	account := func(a store.Account) store.Account { return apitest.AddAccount(t, h.store, a) }
	refused := func(cookies ...string) credential {
		return credential{header: http.Header{"Cookie": {strings.Join(cookies, "; ")}}, status: http.StatusUnauthorized}
	}
	alice := account(store.Account{Name: "alice", Password: "x"})
	good := apitest.AddSession(t, h.store, alice, store.Session{})
	both := refused(good)
	both.header.Set("Authorization", "Bearer "+h.token)
	gone := account(store.Account{Name: "gone"})
	goneCookie := apitest.AddSession(t, h.store, gone, store.Session{})
	moved := account(store.Account{Name: "moved"})
	movedCookie := apitest.AddSession(t, h.store, moved, store.Session{})
	if err := errors.Join(h.store.RemoveAccount(t.Context(), gone.Tenant, gone.Name), h.store.SaveAccount(t.Context(), moved, true)); err != nil {
		t.Fatal(err)
	}
	return map[string]credential{
		"session and token":      both,
		"two sessions":           refused(good, good),
		"empty session":          refused(access.Cookie + "="),
		"short session":          refused(good[:len(good)-1]),
		"unknown session":        refused(access.Cookie + "=" + strings.Repeat("A", 43)),
		"injected session":       refused(access.Cookie + "=' OR 1=1 --"),
		"expired session":        refused(apitest.AddSession(t, h.store, alice, store.Session{Expires: now.Add(-time.Second)})),
		"unused session":         refused(apitest.AddSession(t, h.store, alice, store.Session{Seen: now.Add(-3 * time.Hour)})),
		"disabled account":       refused(apitest.AddSession(t, h.store, account(store.Account{Name: "off", Disabled: true}), store.Session{})),
		"removed account":        refused(goneCookie),
		"ended session":          refused(movedCookie),
		"other tenant's account": refused(apitest.AddSession(t, h.store, account(store.Account{Tenant: "rival", Name: "eve"}), store.Session{})),
	}
}

// badCertificates returns every kind of client certificate that must not open the API, by name.
func badCertificates(t *testing.T, h *harness) map[string]credential {
	known, knownConn := clientCertificate(t, time.Hour)
	off, offConn := clientCertificate(t, time.Hour)
	rival, rivalConn := clientCertificate(t, time.Hour)
	late, lateConn := clientCertificate(t, -time.Minute)
	_, unknownConn := clientCertificate(t, time.Hour)
	apitest.AddAccount(t, h.store, store.Account{Name: "robot", Certificates: []string{known, late}})
	apitest.AddAccount(t, h.store, store.Account{Name: "robot-off", Certificates: []string{off}, Disabled: true})
	apitest.AddAccount(t, h.store, store.Account{Tenant: "rival", Name: "robot", Certificates: []string{rival}})
	unverified := &tls.ConnectionState{PeerCertificates: knownConn.PeerCertificates}
	refused := func(c *tls.ConnectionState) credential { return credential{conn: c, status: http.StatusUnauthorized} }
	return map[string]credential{
		"no certificate":                refused(&tls.ConnectionState{}),
		"unverified certificate":        refused(unverified),
		"unknown certificate":           refused(unknownConn),
		"expired certificate":           refused(lateConn),
		"disabled account's":            refused(offConn),
		"other tenant's certificate":    refused(rivalConn),
		"certificate and bad session":   {http.Header{"Cookie": {access.Cookie + "=x"}}, knownConn, http.StatusUnauthorized},
		"certificate and revoked token": {http.Header{"Authorization": {"Bearer " + apitest.AddToken(t, h.store, store.Token{Operator: true, Revoked: true})}}, knownConn, http.StatusUnauthorized},
	}
}

// clientCertificate makes a certificate that ends after a while, and returns the digest of its public key and a
// connection on which it was verified.
func clientCertificate(t *testing.T, lasts time.Duration) (string, *tls.ConnectionState) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	chain := []*x509.Certificate{cert}
	return hex.EncodeToString(digest[:]), &tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}
}

// Every route with every bad credential (ATTACKS row 18). The routes come from the router itself, so that one that is
// added later is tested too. All refusals are the same to the byte but for the request's id (ATTACKS row 17).
func TestEveryRouteRefusesEveryBadCredential(t *testing.T) {
	h := newHarness(t)
	patterns := api.Patterns(h.Handler)
	if len(patterns) < 50 {
		t.Fatalf("only %d routes: %q", len(patterns), patterns)
	}
	bad := badTokens(t, h)
	maps.Copy(bad, badSessions(t, h))
	maps.Copy(bad, badCertificates(t, h))
	before := h.events(t)
	answers := map[string]bool{}
	for name, c := range bad {
		for _, pattern := range patterns {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, c.on(pattern))
			if api.IsOpen(pattern) {
				if w.Code == http.StatusUnauthorized || w.Code >= http.StatusInternalServerError {
					t.Errorf("open route %s with credential %q: status %d; body %s", pattern, name, w.Code, w.Body)
				}
				continue
			}
			if w.Code != c.status {
				t.Errorf("%s with credential %q: status %d, want %d; body %s", pattern, name, w.Code, c.status, w.Body)
			}
			if c.status == http.StatusUnauthorized {
				body, _, _ := strings.Cut(w.Body.String(), `"instance"`)
				answers[body] = true
				if w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s with credential %q: no WWW-Authenticate", pattern, name)
				}
			}
		}
	}
	if len(answers) != 1 {
		t.Errorf("answers to bad credentials differ: %v", answers)
	}
	if diff := cmp.Diff(before, h.events(t)); diff != "" {
		t.Errorf("refused requests left events (-before +after):\n%s", diff)
	}
}

func TestOpenRoutes(t *testing.T) {
	h := newHarness(t)
	var got []string
	for _, p := range api.Patterns(h.Handler) {
		if api.IsOpen(p) {
			got = append(got, p)
		}
	}
	slices.Sort(got)
	want := []string{
		"GET /auth/oidc/{provider}/return", "GET /auth/oidc/{provider}/start", "GET /healthz", "GET /v1/keys", "GET /v1/sign-in",
		"POST /v1/session", "POST /v1/setup",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("open routes (-want +got):\n%s", diff)
	}
}

// Good credentials of one tenant must not show or change anything of another's.
func TestTenantsAreApart(t *testing.T) {
	h := newHarness(t)
	theirs := apitest.AddDevice(t, h.store, store.Device{Tenant: "rival", ID: apitest.ID("theirs"), Label: "theirs"})
	token := apitest.TokenID(t, apitest.AddToken(t, h.store, store.Token{Tenant: "rival", Uses: 1}))
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/devices/" + theirs.ID, ""},
		{"GET", "/v1/devices/theirs/results", ""},
		{"PATCH", "/v1/devices/theirs", `{"label":"ours"}`},
		{"DELETE", "/v1/devices/" + theirs.ID, ""},
		{"POST", "/v1/devices/" + theirs.ID + "/attest", ""},
		{"DELETE", "/v1/tokens/" + token, ""},
		{"POST", "/v1/baselines", `{"device":"theirs"}`},
		{"DELETE", "/v1/baselines/theirs", ""},
	} {
		if w := h.do(r.method, r.path, r.body); w.Code != http.StatusNotFound {
			t.Errorf("%s %s = %d, want 404; body %s", r.method, r.path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/v1/devices", "/v1/tokens", "/v1/events", "/v1/baselines"} {
		if w := h.do("GET", path, ""); w.Code != http.StatusOK || names(w.Body.String(), "theirs", token) {
			t.Errorf("GET %s = %d %s, want nothing of another tenant", path, w.Code, w.Body)
		}
	}
}

func names(s string, any ...string) bool {
	return slices.ContainsFunc(any, func(name string) bool { return strings.Contains(s, name) })
}

// brokenStore fails where it is asked for tokens.
type brokenStore struct{ store.Store }

func (brokenStore) Token(context.Context, string) (store.Token, error) {
	return store.Token{}, errors.New("database disk image is malformed: /secret/path")
}

func TestStoreFailureIsNotAnAnswerToACredential(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.Store = brokenStore{c.Store} })
	wantProblem(t, h.do("GET", "/v1/devices", ""), http.StatusInternalServerError, "internal error")
}
