// Package access is who may sign in to a verifier: accounts with their roles, and the sessions of people at browsers.
//
// An account is a name with a role and with ways to prove that one is it: a password, kept as an argon2id hash; a subject
// at an OpenID provider; or client certificates, known by the digest of their public key. A session is 256 random bits in
// a cookie, of which the store has the SHA-256. The account is read again with every request, so that what an admin
// changes counts at once; a change of role or password, or disabling, ends the sessions.
//
// Whoever fails to sign in does not learn why, neither by words nor, as far as hashing goes, by time, and may not try
// often: see limits.go. What a role may do is not known here; package api has the table.
//
// Limits: accounts are of one tenant. Attempts to sign in are counted in memory and forgotten when the process ends.
package access

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Errors on which callers branch.
var (
	// ErrRefused is of everybody who cannot show to be an account's, whatever is wrong.
	ErrRefused = errors.New("not an account's")
	// ErrSetupOver is of who sets up a verifier that has accounts, or was started without a code.
	ErrSetupOver = errors.New("this verifier is set up: sign in, or ask an admin for an account")
)

// Throttled is of who tried too often.
type Throttled struct{ After time.Duration } // until when it is worth trying again

// Error implements error.
func (t *Throttled) Error() string {
	return fmt.Sprintf("too many attempts: try again in %s", t.After.Round(time.Second))
}

// Invalid is of what an account cannot be. Its words are for who asked.
type Invalid struct {
	Field string // such as "password"
	Words string
}

// Error implements error.
func (i *Invalid) Error() string { return i.Field + ": " + i.Words }

func invalid(field, format string, a ...any) error {
	return &Invalid{field, fmt.Sprintf(format, a...)}
}

// Store is what accounts and sessions are kept in. A store.Store is one.
type Store interface {
	store.Accounts
	store.Sessions
}

// Config is what access stands on. Only Store and Tenant are required.
type Config struct {
	Store  Store
	Tenant string
	// Setup is the code with which the first account may be made, see NewSetupCode; empty: it is made by other means.
	Setup string
	// Lifetime is how long a session lasts at most, Idle how long when it is not used. 0: 12 hours and 2 hours.
	Lifetime, Idle time.Duration
	// Hash is the cost of a password's hash. Zero: see limits.go.
	Hash Cost
	// URL is where browsers reach the verifier, such as https://verifier.example:8443. Required with Providers.
	URL       string
	Providers []Provider
	Log       *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
}

// Access lets people in. It is safe for concurrent use.
type Access struct {
	Config
	setup     [sha256.Size]byte // digest of the code
	nobody    string            // hash of a password that nobody has
	hashing   chan struct{}     // one token for each hash that is computed
	addresses *throttle
	names     *throttle
	providers map[string]*provider
}

// New returns access by c.
func New(c Config) (*Access, error) {
	if c.Store == nil || c.Tenant == "" {
		return nil, errors.New("access: want a store and a tenant")
	}
	c.Lifetime, c.Idle = cmp.Or(c.Lifetime, defaultLifetime), cmp.Or(c.Idle, defaultIdle)
	c.Hash = cmp.Or(c.Hash, defaultCost)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &Access{
		Config: c, setup: codeDigest(c.Setup), hashing: make(chan struct{}, runtime.NumCPU()),
		addresses: newThrottle(addressBurst, addressEvery), names: newThrottle(nameBurst, nameEvery),
	}
	if err := c.Hash.check(); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	a.nobody = c.Hash.hash([]byte(newSecret()))
	var err error
	if a.providers, err = newProviders(&c); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	return a, nil
}
