package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

const accountColumns = `a.row, a.tenant, a.name, a.version, a.epoch, a.role, a.vendors, a.password, a.subject, a.disabled, a.created, a.last_sign_in`

func accountFields(row *int64, a *store.Account) []any {
	return []any{
		row, &a.Tenant, &a.Name, &a.Version, &a.Epoch, &a.Role,
		list{&a.Vendors},
		&a.Password, &a.Subject, &a.Disabled,
		clock{&a.Created},
		clock{&a.LastSignIn},
	}
}

// folded is a name as it is compared with others.
func folded(name string) string { return strings.ToLower(name) }

// Account returns one by name, in whatever case.
func (s *Store) Account(ctx context.Context, tenant, name string) (store.Account, error) {
	return s.account(ctx, `accounts a WHERE a.tenant = ? AND a.folded = ?`, tenant, folded(name))
}

// AccountOfSubject returns the one of a subject at an OpenID provider. Nobody has the empty one.
func (s *Store) AccountOfSubject(ctx context.Context, tenant, subject string) (store.Account, error) {
	return s.account(ctx, `accounts a WHERE a.tenant = ? AND a.subject = ? AND a.subject <> ''`, tenant, subject)
}

// AccountOfCertificate returns the one that a client certificate stands for.
func (s *Store) AccountOfCertificate(ctx context.Context, tenant, digest string) (store.Account, error) {
	return s.account(ctx, `account_certificates c JOIN accounts a ON a.row = c.account WHERE c.tenant = ? AND c.digest = ?`, tenant, digest)
}

// account reads one; from, which is all that follows FROM, is fixed text.
func (s *Store) account(ctx context.Context, from string, args ...any) (store.Account, error) {
	var row int64
	var a store.Account
	if err := s.readRow(ctx, "read account", `SELECT `+accountColumns+` FROM `+from, args, accountFields(&row, &a)...); err != nil {
		return store.Account{}, err
	}
	err := s.accountCertificates(ctx, row, &a)
	return a, err
}

func (s *Store) accountCertificates(ctx context.Context, row int64, a *store.Account) error {
	return s.readRows(ctx, "read account", `SELECT digest FROM account_certificates WHERE account = ? ORDER BY place`, []any{row},
		appendTo(&a.Certificates, scanOne))
}

// Accounts returns all of a tenant in ascending name.
func (s *Store) Accounts(ctx context.Context, tenant string) ([]store.Account, error) {
	var out []store.Account
	var keys []int64
	err := s.readRows(ctx, "read accounts", `SELECT `+accountColumns+` FROM accounts a WHERE a.tenant = ? ORDER BY a.name`,
		[]any{tenant}, func(rows *sql.Rows) error {
			var row int64
			var a store.Account
			err := rows.Scan(accountFields(&row, &a)...)
			out, keys = append(out, a), append(keys, row)
			return err
		})
	if err != nil {
		return nil, err
	}
	for i := range out {
		if err := s.accountCertificates(ctx, keys[i], &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// HasAccounts reports whether a tenant has any.
func (s *Store) HasAccounts(ctx context.Context, tenant string) (has bool, err error) {
	err = s.readRow(ctx, "read accounts", `SELECT EXISTS (SELECT 1 FROM accounts WHERE tenant = ?)`, []any{tenant}, &has)
	return has, err
}

// AddAccount adds one; with first, only if its tenant has no other.
func (s *Store) AddAccount(ctx context.Context, a store.Account, first bool, events ...store.Event) error {
	if err := a.Check(); err != nil {
		return err
	}
	vendors, err := listText(a.Vendors)
	if err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add account", a.Tenant, events, func(t *tx) error {
		if first {
			var has bool
			err := t.row(`SELECT EXISTS (SELECT 1 FROM accounts WHERE tenant = ?)`, []any{a.Tenant}, &has)
			if err == nil && has {
				err = fmt.Errorf("there is an account already: %w", store.ErrConflict)
			}
			if err != nil {
				return err
			}
		}
		err := t.exec1(`INSERT INTO accounts (tenant, name, folded, version, epoch, role, vendors, password, subject, disabled, created,
			last_sign_in) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`, a.Tenant, a.Name, folded(a.Name), a.Epoch, a.Role, vendors,
			a.Password, a.Subject, a.Disabled, micros(a.Created), micros(a.LastSignIn))
		if constraint(err) {
			return fmt.Errorf("the account's name or subject is taken: %w", store.ErrConflict)
		}
		if err != nil {
			return err
		}
		return t.setCertificates(&a)
	})
}

// setCertificates replaces the certificates of an account that is stored.
func (t *tx) setCertificates(a *store.Account) error {
	if _, err := t.exec(`DELETE FROM account_certificates WHERE account = (SELECT row FROM accounts WHERE tenant = ? AND name = ?)`,
		a.Tenant, a.Name); err != nil {
		return err
	}
	for place, digest := range a.Certificates {
		err := t.exec1(`INSERT INTO account_certificates (tenant, digest, account, place)
			SELECT ?1, ?2, row, ?3 FROM accounts WHERE tenant = ?1 AND name = ?4`, a.Tenant, digest, place, a.Name)
		if constraint(err) {
			return fmt.Errorf("the certificate %s is an account's already: %w", digest, store.ErrConflict)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reigns is the condition that an account can sign in as an admin.
const reigns = `a.role = 'admin' AND a.disabled = 0 AND
	(a.password <> '' OR a.subject <> '' OR EXISTS (SELECT 1 FROM account_certificates c WHERE c.account = a.row))`

// admins counts those of a tenant who can sign in.
func (t *tx) admins(tenant string) (n int, err error) {
	err = t.row(`SELECT count(*) FROM accounts a WHERE a.tenant = ? AND `+reigns, []any{tenant}, &n)
	return n, err
}

// keepAdmin runs a change and fails where it takes the last admin away.
func (t *tx) keepAdmin(tenant string, change func() error) error {
	before, err := t.admins(tenant)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := t.admins(tenant)
	if err == nil && before > 0 && after == 0 {
		err = store.ErrLastAdmin
	}
	return err
}

// SaveAccount replaces one of the same name, LastSignIn excepted.
func (s *Store) SaveAccount(ctx context.Context, a store.Account, newEpoch bool, events ...store.Event) error {
	if err := a.Check(); err != nil {
		return err
	}
	vendors, err := listText(a.Vendors)
	if err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "save account", a.Tenant, events, func(t *tx) error {
		var version int64
		err := t.rowOr(store.ErrNotFound, `SELECT version FROM accounts WHERE tenant = ? AND name = ?`, []any{a.Tenant, a.Name}, &version)
		if err != nil {
			return err
		}
		if version != a.Version {
			return store.ErrConflict
		}
		return t.keepAdmin(a.Tenant, func() error {
			err := t.exec1(`UPDATE accounts SET version = version + 1, epoch = epoch + ?, role = ?, vendors = ?, password = ?, subject = ?,
				disabled = ?, created = ? WHERE tenant = ? AND name = ?`, newEpoch, a.Role, vendors, a.Password, a.Subject, a.Disabled,
				micros(a.Created), a.Tenant, a.Name)
			if constraint(err) {
				return fmt.Errorf("another account has this subject: %w", store.ErrConflict)
			}
			if err != nil {
				return err
			}
			return t.setCertificates(&a)
		})
	})
}

// RemoveAccount deletes one with its sessions.
func (s *Store) RemoveAccount(ctx context.Context, tenant, name string, events ...store.Event) error {
	return s.writeWithEvents(ctx, "remove account", tenant, events, func(t *tx) error {
		err := t.keepAdmin(tenant, func() error {
			return t.execOr(store.ErrNotFound, `DELETE FROM accounts WHERE tenant = ? AND name = ?`, tenant, name)
		})
		if err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM sessions WHERE tenant = ? AND account = ?`, tenant, name)
		return err
	})
}

// SignedIn notes when somebody last signed in to an account.
func (s *Store) SignedIn(ctx context.Context, tenant, name string, at time.Time) error {
	return s.write(ctx, "note sign-in", func(t *tx) error {
		return t.execOr(store.ErrNotFound, `UPDATE accounts SET last_sign_in = ? WHERE tenant = ? AND name = ?`, micros(at), tenant, name)
	})
}
