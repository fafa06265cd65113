package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// SignIn returns the account of a name and password. Whatever is wrong is ErrRefused, after as much work as if nothing
// were; who tried too often, from this address or with this name, gets *Throttled and no answer.
func (a *Access) SignIn(ctx context.Context, name, password, remote string) (store.Account, error) {
	settle, err := a.attempt(name, remote)
	if err != nil {
		return store.Account{}, err
	}
	account, err := a.byPassword(ctx, name, password)
	if err != nil {
		return store.Account{}, err
	}
	settle()
	return account, a.noteSignIn(ctx, &account)
}

// attempt counts an attempt by address and name, and returns what takes it back.
func (a *Access) attempt(name, remote string) (settle func(), err error) {
	now, address, name := a.Now(), neighbourhood(remote), strings.ToLower(name[:min(len(name), maxName)])
	if wait := a.addresses.take(address, now); wait > 0 {
		return nil, &Throttled{wait}
	}
	if wait := a.names.take(name, now); wait > 0 {
		return nil, &Throttled{wait}
	}
	return func() {
		a.addresses.forgive(address, now)
		a.names.forgive(name, now)
	}, nil
}

func (a *Access) byPassword(ctx context.Context, name, password string) (store.Account, error) {
	account, err := a.Store.Account(ctx, a.Tenant, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Account{}, fmt.Errorf("look up account: %w", err)
	}
	stored := account.Password
	if stored == "" { // nobody of this name, or nobody with a password
		stored = a.nobody
	}
	if len(password) > maxPassword {
		password = ""
	}
	same, old, err := a.matches(ctx, stored, password)
	if err != nil {
		return store.Account{}, fmt.Errorf("check password of account %q: %w", account.Name, err)
	}
	if !same || account.Password == "" || account.Disabled {
		return store.Account{}, ErrRefused
	}
	if old {
		a.renew(ctx, account, password)
	}
	return account, nil
}

// renew keeps a password's hash at today's cost. That it fails is no reason to keep anybody out.
func (a *Access) renew(ctx context.Context, account store.Account, password string) {
	err := a.slowly(ctx, func() { account.Password = a.Hash.hash([]byte(password)) })
	if err == nil {
		err = a.Store.SaveAccount(ctx, account, false)
	}
	if err != nil {
		a.Log.Warn("hash of a password was not renewed", "account", account.Name, "error", err)
	}
}

func (a *Access) noteSignIn(ctx context.Context, account *store.Account) error {
	account.LastSignIn = store.Micro(a.Now())
	if err := a.Store.SignedIn(ctx, account.Tenant, account.Name, account.LastSignIn); err != nil {
		return fmt.Errorf("note sign-in: %w", err)
	}
	return nil
}

// Open reports whether the first account may be made with the code.
func (a *Access) Open(ctx context.Context) (bool, error) {
	if a.Setup == "" {
		return false, nil
	}
	has, err := a.Store.HasAccounts(ctx, a.Tenant)
	if err != nil {
		return false, fmt.Errorf("look for accounts: %w", err)
	}
	return !has, nil
}

// SetUp makes the first account, an admin, for who knows the code. The checks, in order: attempts from this address, that
// there is no account, the code in constant time, name and password, and in the store once more that there is no account.
func (a *Access) SetUp(ctx context.Context, code, name, password, remote string) (store.Account, error) {
	address, now := neighbourhood(remote), a.Now()
	if wait := a.addresses.take(address, now); wait > 0 {
		return store.Account{}, &Throttled{wait}
	}
	open, err := a.Open(ctx)
	if err != nil {
		return store.Account{}, err
	}
	if !open {
		return store.Account{}, ErrSetupOver
	}
	if given := codeDigest(code); subtle.ConstantTimeCompare(given[:], a.setup[:]) != 1 {
		return store.Account{}, ErrRefused
	}
	a.addresses.forgive(address, now)
	account, err := a.newAccount(ctx, Spec{Name: name, Role: store.RoleAdmin, Password: password})
	if err != nil {
		return store.Account{}, err
	}
	account.LastSignIn = account.Created
	err = a.Store.AddAccount(ctx, account, true, a.event(account.Name, "set the verifier up and made its own account, an admin"))
	if errors.Is(err, store.ErrConflict) {
		return store.Account{}, ErrSetupOver
	}
	if err != nil {
		return store.Account{}, err
	}
	return a.Store.Account(ctx, a.Tenant, account.Name)
}

// codeLetters are those of a code: none is taken for another (Crockford's base 32).
const codeLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewSetupCode returns a code of 100 random bits for Config.Setup, in groups that people can read and type.
func NewSetupCode() string {
	b := randomBytes(20)
	var s strings.Builder
	for i, c := range b {
		if i > 0 && i%5 == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(codeLetters[c%32])
	}
	return s.String()
}

// codeDigest is the digest of a code as people type it: in whatever case, with and without dashes and spaces.
func codeDigest(code string) [sha256.Size]byte {
	code = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
	return sha256.Sum256([]byte(code))
}

func (a *Access) event(actor, detail string) store.Event {
	return store.Event{At: a.Now().UTC().Truncate(time.Microsecond), Tenant: a.Tenant, Kind: "account", Actor: actor, Detail: detail}
}
