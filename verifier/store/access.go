package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/audit"
)

// ErrLastAdmin is returned for what would leave a tenant's accounts without one that may manage the others.
var ErrLastAdmin = errors.New("the last admin must stay")

// RoleAdmin is the role of the accounts of which one must stay.
const RoleAdmin = "admin"

// Account is a person or a machine that may sign in. Tenant and Name are its key; a name that differs from another only
// in case is taken.
type Account struct {
	Tenant, Name string
	Role         string   // see api/v1.Role
	Vendors      []string // of the role vendor: patterns of the vendors that it may speak for
	Password     string   // PHC string of its hash; empty: it cannot sign in with one
	Subject      string   // at an OpenID provider: ISSUER#SUBJECT or a verified e-mail address; empty: none
	Certificates []string // hexadecimal SHA-256 of the SubjectPublicKeyInfo of client certificates that stand for it
	Disabled     bool
	Created      time.Time
	LastSignIn   time.Time // zero: never
	Epoch        int64     // of its sessions: those that were begun in another have ended
	Version      int64     // raised by every save; a save with an old one is ErrConflict
}

// Check reports what keeps a from being stored.
func (a *Account) Check() error {
	if a.Tenant == "" || a.Name == "" || a.Role == "" {
		return fmt.Errorf("%w account: want tenant, name and role, got %q, %q and %q", ErrInvalid, a.Tenant, a.Name, a.Role)
	}
	for _, c := range a.Certificates {
		if b, err := hex.DecodeString(c); err != nil || len(b) != 32 || hex.EncodeToString(b) != c {
			return fmt.Errorf("%w account: certificate %.80q: want 64 lower-case hexadecimal digits", ErrInvalid, c)
		}
	}
	for _, s := range append([]string{a.Tenant, a.Name, a.Role, a.Password, a.Subject}, a.Vendors...) {
		if err := checkText("account", s); err != nil {
			return err
		}
	}
	return nil
}

// Accounts keeps who may sign in.
type Accounts interface {
	// Account returns one by name, in whatever case.
	Account(ctx context.Context, tenant, name string) (Account, error)
	// AccountOfSubject returns the one of a subject at an OpenID provider.
	AccountOfSubject(ctx context.Context, tenant, subject string) (Account, error)
	// AccountOfCertificate returns the one that a client certificate stands for.
	AccountOfCertificate(ctx context.Context, tenant, digest string) (Account, error)
	// Accounts returns all of a tenant in ascending name.
	Accounts(ctx context.Context, tenant string) ([]Account, error)
	// HasAccounts reports whether a tenant has any.
	HasAccounts(ctx context.Context, tenant string) (bool, error)
	// AddAccount adds one; a name, subject or certificate that another has is ErrConflict. With first, so is that there
	// is any other in the tenant.
	AddAccount(ctx context.Context, a Account, first bool, events ...Event) error
	// SaveAccount replaces one of the same name, LastSignIn excepted, and with newEpoch ends its sessions. ErrConflict as
	// with AddAccount and where Version is not the one stored; ErrLastAdmin where no enabled admin would be left.
	SaveAccount(ctx context.Context, a Account, newEpoch bool, events ...Event) error
	// RemoveAccount deletes one with its sessions, or is ErrLastAdmin.
	RemoveAccount(ctx context.Context, tenant, name string, events ...Event) error
	// SignedIn notes when somebody last signed in to an account.
	SignedIn(ctx context.Context, tenant, name string, at time.Time) error
}

// Session is a signed-in person's. Digest is its key.
type Session struct {
	Digest  [32]byte // SHA-256 of the token that the browser holds
	Tenant  string
	Account string
	Epoch   int64 // of the account when the session began
	Created time.Time
	Seen    time.Time // when it was last used, within a few minutes
	Expires time.Time
}

// Sessions keeps who is signed in.
type Sessions interface {
	// Session returns one, expired or not.
	Session(ctx context.Context, digest [32]byte) (Session, error)
	// AddSession adds one and removes those that have expired when it begins.
	AddSession(ctx context.Context, s Session) error
	// TouchSession sets Seen of one; one that is gone is no error.
	TouchSession(ctx context.Context, digest [32]byte, seen time.Time) error
	// RemoveSession removes one; one that is gone is no error.
	RemoveSession(ctx context.Context, digest [32]byte) error
}

// AuditFilter selects entries of a tenant's audit log. Zero fields select all.
type AuditFilter struct {
	Tenant    string
	Actor     string
	Action    string
	Object    string    // beginning of the object
	From      time.Time // the first that may be
	To        time.Time // those before
	Before    int64     // entries older than this, newest first; 0: from the newest
	After     int64     // with Ascending: entries newer than this
	Ascending bool
	Limit     int // as in PageSize
}

// AuditLog keeps who did or saw what. It is never changed.
type AuditLog interface {
	// AddAudit appends entries to a tenant's log, in order. Seq, Before and Chain are given by the store; a time before
	// that of the newest entry becomes that.
	AddAudit(ctx context.Context, tenant string, entries ...audit.Entry) error
	// Audit returns entries as f says.
	Audit(ctx context.Context, f AuditFilter) ([]audit.Entry, error)
}

// CheckAudit reports what keeps an entry from being stored.
func CheckAudit(tenant string, e *audit.Entry) error {
	if tenant == "" || e.Action == "" || e.Outcome == "" || e.At.IsZero() {
		return fmt.Errorf("%w audit entry: want tenant, action, outcome and time, got %q, %q, %q and %v",
			ErrInvalid, tenant, e.Action, e.Outcome, e.At)
	}
	for _, s := range []string{tenant, e.Actor, e.Role, e.Action, e.Object, e.Outcome, e.Remote, e.Request, e.Detail} {
		if err := checkText("audit entry", s); err != nil {
			return err
		}
	}
	return nil
}
