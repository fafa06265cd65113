package verifier

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// newAccess returns an access with a store and a CA of its own, whose clock stands at now.
func newAccess(t *testing.T, now time.Time) access {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := authority.Open(authority.Config{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return access{s, a}
}

// token makes a token and returns its text.
func (a access) token(t *testing.T, kind enroll.TokenKind, tenant string, change func(*store.Token)) string {
	t.Helper()
	text, token, err := enroll.NewToken(kind, tenant)
	if err != nil {
		t.Fatal(err)
	}
	token.Uses, token.Created, token.Expires = 1, time.Now(), time.Now().Add(time.Hour)
	if kind == enroll.OperatorToken {
		token.Role = "viewer"
	}
	if change != nil {
		change(&token)
	}
	if err := a.store.AddToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestAccessByToken (ATTACKS row 21): only a genuine enrolment token opens the enrolment topics, and only its tenant's.
func TestAccessByToken(t *testing.T) {
	a := newAccess(t, time.Now())
	good := a.token(t, enroll.DeviceToken, "acme", nil)
	other := a.token(t, enroll.DeviceToken, "acme", nil)
	secret := func(text string) string { return text[strings.LastIndex(text, "."):] }
	unknown, _, err := enroll.NewToken(enroll.DeviceToken, "acme")
	if err != nil {
		t.Fatal(err)
	}
	operator := a.token(t, enroll.OperatorToken, "acme", nil)
	for name, tt := range map[string]struct {
		token string
		opens bool
	}{
		"genuine":                     {good, true},
		"used up: enrolment says so":  {a.token(t, enroll.DeviceToken, "acme", func(t *store.Token) { t.Uses = 0 }), true},
		"expired: enrolment says so":  {a.token(t, enroll.DeviceToken, "acme", func(t *store.Token) { t.Expires = time.Now().Add(-time.Hour) }), true},
		"revoked: enrolment says so":  {a.token(t, enroll.DeviceToken, "acme", func(t *store.Token) { t.Revoked = true }), true},
		"another token's secret":      {strings.TrimSuffix(good, secret(good)) + secret(other), false},
		"no secret":                   {strings.TrimSuffix(good, secret(good)), false},
		"another tenant":              {strings.Replace(good, ".acme.", ".umbrella.", 1), false},
		"unknown":                     {unknown, false},
		"an operator's":               {operator, false},
		"an operator's, renamed":      {strings.Replace(operator, "pbo1", "pbt1", 1), false},
		"renamed to be an operator's": {strings.Replace(good, "pbt1", "pbo1", 1), false},
		"empty":                       {"", false},
		"with a space behind":         {good + " ", false},
		"megabytes":                   {strings.Repeat("pbt1.", 1<<20), false},
		"SQL":                         {"pbt1.acme.' OR 1=1 --.x", false},
	} {
		tenant, err := a.Token(t.Context(), tt.token, "")
		if opens := err == nil; opens != tt.opens || opens != (tenant == "acme") || !opens && tenant != "" {
			t.Errorf("%s: tenant %q, %v; want that it opens: %t", name, tenant, err, tt.opens)
		}
		if err != nil && tt.token != "" && len(tt.token) > 60 && strings.Contains(err.Error(), secret(tt.token)) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

// certificate has the CA issue a certificate for a device.
func (a access) certificate(t *testing.T, tenant, device string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, _, err := a.authority.IssueDevice(tenant, device, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAccessByCertificate(t *testing.T) {
	now := time.Now()
	a, foreign, past := newAccess(t, now), newAccess(t, now), newAccess(t, now.Add(-365*24*time.Hour))
	id := func(digit string) string { return strings.Repeat(digit, 64) }
	save := func(a access, tenant, device string, s store.Status) {
		t.Helper()
		d := store.Device{Tenant: tenant, ID: device, Status: s, State: result.NeverAttested, Level: result.Pinned}
		if _, err := a.store.SaveDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	save(a, "acme", id("a"), store.Active)
	save(a, "acme", id("b"), store.Pending)
	save(a, "acme", id("c"), store.Approved)
	save(past, "acme", id("a"), store.Active)
	expired := past.certificate(t, "acme", id("a"))
	if !expired.NotAfter.Before(now) {
		t.Fatal("the certificate has not expired")
	}
	for name, tt := range map[string]struct {
		access access
		cert   *x509.Certificate
		want   error // nil and enters false: any
		enters bool
	}{
		"enrolled":               {a, a.certificate(t, "acme", id("a")), nil, true},
		"enrolled, expired":      {past, expired, nil, true},
		"pending":                {a, a.certificate(t, "acme", id("b")), nil, false},
		"approved, not enrolled": {a, a.certificate(t, "acme", id("c")), nil, false},
		"removed or never there": {a, a.certificate(t, "acme", id("d")), store.ErrNotFound, false},
		"of another tenant":      {a, a.certificate(t, "umbrella", id("a")), store.ErrNotFound, false},
		"of another verifier":    {a, foreign.certificate(t, "acme", id("a")), authority.ErrNotDevice, false},
		"the CA's own":           {a, a.authority.Certificate(), authority.ErrNotDevice, false},
		"none":                   {a, nil, authority.ErrNotDevice, false},
	} {
		tenant, device, err := tt.access.Device(t.Context(), tt.cert)
		switch {
		case tt.enters && (err != nil || tenant != "acme" || device != id("a")):
			t.Errorf("%s: Device = %q, %.8q, %v", name, tenant, device, err)
		case !tt.enters && (err == nil || tenant != "" || device != ""):
			t.Errorf("%s: enters as %q, %.8q, %v", name, tenant, device, err)
		case tt.want != nil && !errors.Is(err, tt.want):
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
