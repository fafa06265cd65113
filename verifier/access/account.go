package access

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Spec is a new account.
type Spec struct {
	Name         string
	Role         string // see api/v1.Role
	Vendors      []string
	Password     string // empty: it cannot sign in with one
	Subject      string
	Certificates []string
}

// Change is what changes of an account. Nil fields stay.
type Change struct {
	Role         *string
	Vendors      *[]string
	Password     *string // empty: it cannot sign in with one any more
	Subject      *string
	Certificates *[]string
	Disabled     *bool
}

// reserved are names under which events and the audit log have others.
var reserved = []string{"verifier", "device", "operator", "system", "anonymous", "nobody", "new"}

// CheckName says what is wrong with an account's name: 1 to 64 of A-Z, a-z, 0-9 and . _ - + @, beginning with a letter or
// digit. So it needs no escaping anywhere, is never the name of a token, which has a colon, nor a device's id.
func CheckName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	switch {
	case name == "" || len(name) > maxName:
		return invalid("name", "want 1 to %d characters", maxName)
	case !plain(rune(name[0])) || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) && !strings.ContainsRune("._-+@", r) }):
		return invalid("name", "want letters, digits and . _ - + @ only, a letter or digit first")
	case slices.Contains(reserved, strings.ToLower(name)):
		return invalid("name", "%q is not a person's: choose another", name)
	}
	if b, err := hex.DecodeString(name); err == nil && len(b) == 32 {
		return invalid("name", "it reads as the id of a device: choose another")
	}
	return nil
}

// CheckRole says what is wrong with a role and its vendors: patterns in which * stands for any characters and ? for one.
// A vendor needs some, as it would see nothing; nobody else may have any, as they would not be heeded.
func CheckRole(role string, vendors []string) error {
	switch v1.Role(role) {
	case v1.Viewer, v1.Operator, v1.Vendor, v1.Auditor, v1.Admin:
	default:
		return invalid("role", "want viewer, operator, vendor, auditor or admin")
	}
	if v1.Role(role) == v1.Vendor && len(vendors) == 0 {
		return invalid("vendors", "name the vendors that it may speak for")
	}
	if v1.Role(role) != v1.Vendor && len(vendors) > 0 {
		return invalid("vendors", "only the role vendor has a scope")
	}
	if len(vendors) > maxVendors {
		return invalid("vendors", "want at most %d", maxVendors)
	}
	for _, p := range vendors {
		if strings.TrimSpace(p) == "" || len(p) > maxVendor || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid("vendors", "want 1 to %d bytes each, without control characters", maxVendor)
		}
	}
	return nil
}

// subject returns a subject as it is compared: ISSUER#SUBJECT as it is, an e-mail address in lower case.
func subject(s string) (string, error) {
	if s = strings.TrimSpace(s); s == "" {
		return "", nil
	}
	if len(s) > maxSubject {
		return "", invalid("subject", "want at most %d bytes", maxSubject)
	}
	if issuer, sub, is := strings.Cut(s, "#"); is {
		u, err := url.Parse(issuer)
		if err != nil || u.Scheme != "https" || u.Host == "" || sub == "" {
			return "", invalid("subject", "want https://ISSUER#SUBJECT as the OpenID provider has them")
		}
		return s, nil
	}
	address, err := mail.ParseAddress(s)
	if err != nil || address.Address != s {
		return "", invalid("subject", "want an e-mail address, or ISSUER#SUBJECT")
	}
	return strings.ToLower(s), nil
}

func certificates(list []string) ([]string, error) {
	if len(list) > maxCertificates {
		return nil, invalid("certificates", "want at most %d", maxCertificates)
	}
	var out []string
	for _, c := range list {
		c = strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(c), ":", ""), "sha256"))
		if b, err := hex.DecodeString(c); err != nil || len(b) != 32 {
			return nil, invalid("certificates", "want the SHA-256 of a certificate's SubjectPublicKeyInfo, 64 hexadecimal digits each")
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// newAccount returns what s says as it is stored. Its epoch is the time: should an account of this name have been removed,
// no session of that is one of this.
func (a *Access) newAccount(ctx context.Context, s Spec) (store.Account, error) {
	if err := errors.Join(CheckName(s.Name), CheckRole(s.Role, s.Vendors)); err != nil {
		return store.Account{}, err
	}
	now := store.Micro(a.Now())
	out := store.Account{Tenant: a.Tenant, Name: s.Name, Role: s.Role, Vendors: s.Vendors, Created: now, Epoch: now.UnixMicro()}
	var err error
	if out.Subject, err = subject(s.Subject); err != nil {
		return store.Account{}, err
	}
	if out.Certificates, err = certificates(s.Certificates); err != nil {
		return store.Account{}, err
	}
	if s.Password != "" {
		out.Password, err = a.hashOf(ctx, s.Name, s.Password)
	}
	return out, err
}

// Add adds an account. What it cannot be is *Invalid; a name, subject or certificate that is taken store.ErrConflict.
func (a *Access) Add(ctx context.Context, s Spec, actor string) (store.Account, error) {
	account, err := a.newAccount(ctx, s)
	if err != nil {
		return store.Account{}, err
	}
	event := a.event(actor, fmt.Sprintf("made the account %s, role %s", account.Name, scopeText(account.Role, account.Vendors)))
	if err := a.Store.AddAccount(ctx, account, false, event); err != nil {
		return store.Account{}, err
	}
	return a.Store.Account(ctx, a.Tenant, account.Name)
}

func scopeText(role string, vendors []string) string {
	if len(vendors) == 0 {
		return role
	}
	return fmt.Sprintf("%s of %q", role, vendors)
}

// Change changes an account. What lessens or moves its rights, and a new password, ends its sessions. Errors as of Add,
// and store.ErrNotFound and store.ErrLastAdmin.
func (a *Access) Change(ctx context.Context, name string, c Change, actor string) (store.Account, error) {
	account, err := a.Store.Account(ctx, a.Tenant, name)
	if err != nil {
		return store.Account{}, err
	}
	did, ends, err := a.apply(ctx, &account, c)
	if err != nil || len(did) == 0 {
		return account, err
	}
	event := a.event(actor, fmt.Sprintf("changed the account %s: %s", account.Name, strings.Join(did, ", ")))
	if err := a.Store.SaveAccount(ctx, account, ends, event); err != nil {
		return store.Account{}, err
	}
	return a.Store.Account(ctx, a.Tenant, account.Name)
}

// apply changes an account and returns in words what, and whether its sessions end by it.
func (a *Access) apply(ctx context.Context, account *store.Account, c Change) (did []string, ends bool, err error) {
	role, vendors := account.Role, account.Vendors
	if c.Role != nil {
		role = *c.Role
		if c.Vendors == nil && v1.Role(role) != v1.Vendor {
			vendors = nil
		}
	}
	if c.Vendors != nil {
		vendors = *c.Vendors
	}
	if role != account.Role || !slices.Equal(vendors, account.Vendors) {
		if err := CheckRole(role, vendors); err != nil {
			return nil, false, err
		}
		did, ends = append(did, "role "+scopeText(role, vendors)+", was "+scopeText(account.Role, account.Vendors)), true
		account.Role, account.Vendors = role, vendors
	}
	if c.Password != nil && (*c.Password != "" || account.Password != "") {
		account.Password, did, ends = "", append(did, "password"), true
		if *c.Password != "" {
			if account.Password, err = a.hashOf(ctx, account.Name, *c.Password); err != nil {
				return nil, false, err
			}
		}
	}
	if c.Disabled != nil && *c.Disabled != account.Disabled {
		account.Disabled, ends = *c.Disabled, true
		did = append(did, map[bool]string{true: "disabled", false: "enabled"}[*c.Disabled])
	}
	if c.Subject != nil {
		s, err := subject(*c.Subject)
		if err != nil {
			return nil, false, err
		}
		if s != account.Subject {
			did, ends = append(did, fmt.Sprintf("subject %q, was %q", s, account.Subject)), true
			account.Subject = s
		}
	}
	if c.Certificates != nil {
		list, err := certificates(*c.Certificates)
		if err != nil {
			return nil, false, err
		}
		if !slices.Equal(list, account.Certificates) {
			did = append(did, fmt.Sprintf("%d certificates, had %d", len(list), len(account.Certificates)))
			account.Certificates = list
		}
	}
	return did, ends, nil
}

// Remove removes an account with its sessions. Errors: store.ErrNotFound, store.ErrLastAdmin.
func (a *Access) Remove(ctx context.Context, name, actor string) error {
	account, err := a.Store.Account(ctx, a.Tenant, name)
	if err != nil {
		return err
	}
	return a.Store.RemoveAccount(ctx, a.Tenant, account.Name, a.event(actor, "removed the account "+account.Name))
}

// ChangePassword changes the password of the account itself, which must know the old one: otherwise ErrRefused, counted as
// an attempt to sign in. It ends all its sessions, that of who asks included.
func (a *Access) ChangePassword(ctx context.Context, name, old, to, remote string) (store.Account, error) {
	settle, err := a.attempt(name, remote)
	if err != nil {
		return store.Account{}, err
	}
	if _, err := a.byPassword(ctx, name, old); err != nil {
		return store.Account{}, err
	}
	settle()
	if old == to {
		return store.Account{}, invalid("new", "it is the old one: choose another")
	}
	return a.Change(ctx, name, Change{Password: &to}, name)
}
