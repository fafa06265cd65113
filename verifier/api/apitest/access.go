package apitest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/access"
	"github.com/probity-attest/probity/verifier/store"
)

// AddAccount stores an account. What is not set gets a value: tenant Tenant, role admin.
func AddAccount(tb testing.TB, s store.Store, a store.Account) store.Account {
	tb.Helper()
	if a.Tenant == "" {
		a.Tenant = Tenant
	}
	if a.Role == "" {
		a.Role = store.RoleAdmin
	}
	if a.Created.IsZero() {
		a.Created = time.Now()
	}
	if err := s.AddAccount(context.Background(), a, false); err != nil {
		tb.Fatal(err)
	}
	a, err := s.Account(context.Background(), a.Tenant, a.Name)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// AddSession stores a session of an account and returns the header Cookie that belongs to it. Created, Seen and Expires
// are those of session; without them it began now and lasts an hour.
func AddSession(tb testing.TB, s store.Store, a store.Account, session store.Session) string {
	tb.Helper()
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(b)
	now := time.Now()
	for at, otherwise := range map[*time.Time]time.Time{
		&session.Created: now, &session.Seen: now, &session.Expires: now.Add(time.Hour),
	} {
		if at.IsZero() {
			*at = otherwise
		}
	}
	session.Digest, session.Tenant, session.Account, session.Epoch = sha256.Sum256([]byte(token)), a.Tenant, a.Name, a.Epoch
	if err := s.AddSession(context.Background(), session); err != nil {
		tb.Fatal(err)
	}
	return access.Cookie + "=" + token
}
