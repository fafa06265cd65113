package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Cookie is the name of the cookie that holds a session's token. Its prefix binds it to this host (RFC 6265bis, section
// 4.1.3.2). SameSite is Lax and not Strict, so that a link in a message leads to the page that it names; that a request
// comes from our own pages is checked with every write.
const Cookie = "__Host-probity"

// tokenSize is the random part of a session's token in bytes.
const tokenSize = 32

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

func newSecret() string { return base64.RawURLEncoding.EncodeToString(randomBytes(tokenSize)) }

// Begin begins a session of somebody who was found to be account, and returns the cookie to set. An older session of the
// same browser is the caller's to end.
func (a *Access) Begin(ctx context.Context, account *store.Account) (*http.Cookie, error) {
	token, now := newSecret(), store.Micro(a.Now())
	s := store.Session{
		Digest: sha256.Sum256([]byte(token)), Tenant: account.Tenant, Account: account.Name, Epoch: account.Epoch,
		Created: now, Seen: now, Expires: now.Add(a.Lifetime),
	}
	if err := a.Store.AddSession(ctx, s); err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	return cookie(Cookie, token, a.Lifetime), nil
}

// cookie returns one of our cookies for a time, or with none what removes it.
func cookie(name, value string, lasts time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(lasts / time.Second),
	}
	if lasts <= 0 {
		c.Value, c.MaxAge = "", -1
	}
	return c
}

// Forget returns what removes the cookie of a session that has ended.
func Forget() *http.Cookie { return cookie(Cookie, "", 0) }

// HasCookie reports whether a request says to be of a session.
func HasCookie(r *http.Request) bool { return len(r.CookiesNamed(Cookie)) > 0 }

// digestOf returns the digest of the token in a request's cookie. Two cookies are none: it is not clear who asks.
func digestOf(r *http.Request) (digest [sha256.Size]byte, ok bool) {
	cookies := r.CookiesNamed(Cookie)
	if len(cookies) != 1 || len(cookies[0].Value) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return digest, false
	}
	return sha256.Sum256([]byte(cookies[0].Value)), true
}

// Session returns whose session a request belongs to, and when that ends by itself. The checks, in order, each of which is
// ErrRefused: one cookie of the right form; a session that is stored, has not expired and was used not long ago; its
// account is there, enabled and in the epoch in which the session began.
func (a *Access) Session(r *http.Request) (store.Account, time.Time, error) {
	digest, ok := digestOf(r)
	if !ok {
		return store.Account{}, time.Time{}, ErrRefused
	}
	s, err := a.Store.Session(r.Context(), digest)
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}, time.Time{}, ErrRefused
	}
	if err != nil {
		return store.Account{}, time.Time{}, fmt.Errorf("look up session: %w", err)
	}
	now := a.Now()
	if s.Tenant != a.Tenant || !now.Before(s.Expires) || now.Sub(s.Seen) >= a.Idle {
		return store.Account{}, time.Time{}, ErrRefused
	}
	account, err := a.Store.Account(r.Context(), s.Tenant, s.Account)
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}, time.Time{}, ErrRefused
	}
	if err != nil {
		return store.Account{}, time.Time{}, fmt.Errorf("look up account: %w", err)
	}
	if account.Disabled || account.Epoch != s.Epoch {
		return store.Account{}, time.Time{}, ErrRefused
	}
	if now.Sub(s.Seen) >= min(touchEvery, a.Idle/4) && noticed(r.Context()) {
		if err := a.Store.TouchSession(r.Context(), digest, store.Micro(now)); err != nil {
			return store.Account{}, time.Time{}, fmt.Errorf("note use of session: %w", err)
		}
	}
	return account, s.Expires, nil
}

// End ends the session of a request, if it has one. Its cookie is the caller's to remove.
func (a *Access) End(r *http.Request) error {
	digest, ok := digestOf(r)
	if !ok {
		return nil
	}
	if err := a.Store.RemoveSession(r.Context(), digest); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// Certificate returns the account for which the client certificate of a connection stands. The checks, in order, each of
// which is ErrRefused: the certificate was verified by an authority that the verifier was told of, it is in force now,
// its public key is registered with an account, and that is enabled. The connection proves that the client has the key.
func (a *Access) Certificate(ctx context.Context, conn *tls.ConnectionState) (store.Account, time.Time, error) {
	if conn == nil || len(conn.VerifiedChains) == 0 || len(conn.VerifiedChains[0]) == 0 {
		return store.Account{}, time.Time{}, ErrRefused
	}
	leaf, now := conn.VerifiedChains[0][0], a.Now()
	if now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		return store.Account{}, time.Time{}, ErrRefused
	}
	digest := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	account, err := a.Store.AccountOfCertificate(ctx, a.Tenant, hex.EncodeToString(digest[:]))
	if errors.Is(err, store.ErrNotFound) || err == nil && account.Disabled {
		return store.Account{}, time.Time{}, ErrRefused
	}
	if err != nil {
		return store.Account{}, time.Time{}, fmt.Errorf("look up account: %w", err)
	}
	if now.Sub(account.LastSignIn) >= noteEvery {
		if err := a.noteSignIn(ctx, &account); err != nil {
			return store.Account{}, time.Time{}, err
		}
	}
	return account, leaf.NotAfter, nil
}
