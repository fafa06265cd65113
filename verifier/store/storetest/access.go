package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

func account(tenant, name string) store.Account {
	return store.Account{Tenant: tenant, Name: name, Role: "viewer", Created: epoch, Epoch: 7, Version: 1}
}

func accounts(s *suite) {
	has, err := s.HasAccounts(s.ctx, "t")
	s.must("HasAccounts", err)
	s.same("has accounts", has, false)
	a, b := account("t", "Bob"), account("t", "alice")
	a.Role, a.Password, a.Subject, a.LastSignIn = store.RoleAdmin, "$argon2id$x", "https://idp.example#7", epoch.Add(time.Hour)
	a.Certificates = []string{strings.Repeat("cc", 32), strings.Repeat("aa", 32)}
	b.Role, b.Vendors, b.Disabled = "vendor", []string{"Acme *", "Ümlaut"}, true
	s.must("AddAccount", s.AddAccount(s.ctx, a, true))
	s.want("AddAccount as the first", s.AddAccount(s.ctx, b, true), store.ErrConflict)
	s.must("AddAccount", s.AddAccount(s.ctx, b, false, store.Event{At: epoch, Kind: "account", Actor: "Bob", Detail: "made alice"}))
	s.must("AddAccount of another tenant", s.AddAccount(s.ctx, account("other", "bob"), true))
	list, err := s.Accounts(s.ctx, "t")
	s.must("Accounts", err)
	s.same("accounts", list, []store.Account{a, b})
	for _, name := range []string{"Bob", "bob", "BOB"} {
		got, err := s.Account(s.ctx, "t", name)
		s.must("Account", err)
		s.same("account "+name, got, a)
	}
	got, err := s.AccountOfSubject(s.ctx, "t", a.Subject)
	s.must("AccountOfSubject", err)
	s.same("account of the subject", got, a)
	got, err = s.AccountOfCertificate(s.ctx, "t", a.Certificates[1])
	s.must("AccountOfCertificate", err)
	s.same("account of the certificate", got, a)
	for what, look := range map[string]func() (store.Account, error){
		"unknown name":                 func() (store.Account, error) { return s.Account(s.ctx, "t", "eve") },
		"empty subject":                func() (store.Account, error) { return s.AccountOfSubject(s.ctx, "t", "") },
		"subject of another tenant":    func() (store.Account, error) { return s.AccountOfSubject(s.ctx, "other", a.Subject) },
		"certificate of other tenants": func() (store.Account, error) { return s.AccountOfCertificate(s.ctx, "other", a.Certificates[0]) },
	} {
		_, err := look()
		s.want(what, err, store.ErrNotFound)
	}
	for what, change := range map[string]func(*store.Account){
		"name in another case": func(c *store.Account) { c.Name = "BOB" },
		"subject":              func(c *store.Account) { c.Subject = a.Subject },
		"certificate":          func(c *store.Account) { c.Certificates = a.Certificates[:1] },
	} {
		c := account("t", "carol")
		change(&c)
		s.want("AddAccount with a taken "+what, s.AddAccount(s.ctx, c, false), store.ErrConflict)
	}
	bad := account("t", "dave")
	bad.Certificates = []string{"AA"}
	s.want("AddAccount with no digest", s.AddAccount(s.ctx, bad, false), store.ErrInvalid)
	s.must("SignedIn", s.SignedIn(s.ctx, "t", "alice", epoch.Add(time.Minute)))
	s.want("SignedIn of nobody", s.SignedIn(s.ctx, "other", "alice", epoch), store.ErrNotFound)
	s.Reopen()
	b.LastSignIn = epoch.Add(time.Minute)
	got, err = s.Account(s.ctx, "t", "alice")
	s.must("Account", err)
	s.same("account after reopening", got, b)
	s.same("events", s.details("t", ""), []string{"made alice"})
}

func accountChanges(s *suite) {
	a := account("t", "root")
	a.Role, a.Password = store.RoleAdmin, "x"
	s.must("AddAccount", s.AddAccount(s.ctx, a, false))
	a.Password, a.Certificates, a.Subject = "y", []string{strings.Repeat("ab", 32)}, "root@example.com"
	s.must("SaveAccount", s.SaveAccount(s.ctx, a, true))
	s.want("SaveAccount of an old version", s.SaveAccount(s.ctx, a, false), store.ErrConflict)
	a.Version, a.Epoch = 2, a.Epoch+1
	got, err := s.Account(s.ctx, "t", "root")
	s.must("Account", err)
	s.same("saved account", got, a)
	s.want("SaveAccount of nobody", s.SaveAccount(s.ctx, account("t", "eve"), false), store.ErrNotFound)

	for what, change := range map[string]func(*store.Account){
		"disabled":               func(c *store.Account) { c.Disabled = true },
		"no admin any more":      func(c *store.Account) { c.Role = "operator" },
		"without way to sign in": func(c *store.Account) { c.Password, c.Subject, c.Certificates = "", "", nil },
	} {
		c := a
		change(&c)
		s.want("SaveAccount of the last admin "+what, s.SaveAccount(s.ctx, c, false), store.ErrLastAdmin)
	}
	idle := account("t", "idle") // an admin who cannot sign in is none
	idle.Role = store.RoleAdmin
	s.must("AddAccount", s.AddAccount(s.ctx, idle, false))
	s.want("RemoveAccount of the last admin", s.RemoveAccount(s.ctx, "t", "root"), store.ErrLastAdmin)
	s.want("RemoveAccount of another tenant", s.RemoveAccount(s.ctx, "other", "root"), store.ErrNotFound)
	other := account("t", "second")
	other.Role, other.Subject = store.RoleAdmin, "second@example.com"
	s.must("AddAccount", s.AddAccount(s.ctx, other, false))
	c := account("t", "third")
	c.Subject = a.Subject
	s.want("AddAccount with a taken subject", s.AddAccount(s.ctx, c, false), store.ErrConflict)
	s.must("RemoveAccount", s.RemoveAccount(s.ctx, "t", "root", store.Event{At: epoch, Kind: "account", Detail: "removed root"}))
	s.must("AddAccount with what is free again", s.AddAccount(s.ctx, c, false))
	_, err = s.AccountOfCertificate(s.ctx, "t", a.Certificates[0])
	s.want("AccountOfCertificate of a removed one", err, store.ErrNotFound)
}

func sessions(s *suite) {
	one := store.Session{
		Digest: [32]byte{1}, Tenant: "t", Account: "alice", Epoch: 3, Created: epoch, Seen: epoch, Expires: epoch.Add(time.Hour),
	}
	two := one
	two.Digest, two.Expires = [32]byte{2}, epoch.Add(3*time.Hour)
	_, err := s.Session(s.ctx, one.Digest)
	s.want("Session", err, store.ErrNotFound)
	s.must("AddSession", s.AddSession(s.ctx, one))
	s.must("AddSession", s.AddSession(s.ctx, two))
	s.want("AddSession again", s.AddSession(s.ctx, two), store.ErrConflict)
	s.must("TouchSession", s.TouchSession(s.ctx, two.Digest, epoch.Add(time.Minute)))
	s.must("TouchSession of none", s.TouchSession(s.ctx, [32]byte{9}, epoch))
	two.Seen = epoch.Add(time.Minute)
	s.Reopen()
	got, err := s.Session(s.ctx, two.Digest)
	s.must("Session", err)
	s.same("session", got, two)
	late := one
	late.Digest, late.Created, late.Expires = [32]byte{3}, epoch.Add(time.Hour), epoch.Add(5*time.Hour)
	s.must("AddSession", s.AddSession(s.ctx, late))
	_, err = s.Session(s.ctx, one.Digest)
	s.want("Session of an expired one after another began", err, store.ErrNotFound)
	s.must("RemoveSession", s.RemoveSession(s.ctx, two.Digest))
	s.must("RemoveSession again", s.RemoveSession(s.ctx, two.Digest))
	_, err = s.Session(s.ctx, two.Digest)
	s.want("Session of a removed one", err, store.ErrNotFound)
	a := account("t", "alice")
	s.must("AddAccount", s.AddAccount(s.ctx, a, false))
	s.must("RemoveAccount", s.RemoveAccount(s.ctx, "t", "alice"))
	_, err = s.Session(s.ctx, late.Digest)
	s.want("Session of a removed account", err, store.ErrNotFound)
}

func entry(n int, actor, action, object string) audit.Entry {
	return audit.Entry{
		At: epoch.Add(time.Duration(n) * time.Minute), Actor: actor, Role: "viewer", Action: action, Object: object, Outcome: audit.OK,
		Status: 200, Remote: "192.0.2.1:4711", Request: fmt.Sprintf("request-%d", n), Detail: "é", Times: n % 2,
	}
}

func auditLog(s *suite) {
	var before audit.Digest
	for n := 1; n <= 6; n++ {
		e := entry(n, []string{"alice", "bob"}[n%2], []string{"get-device", "search"}[n/4], fmt.Sprintf("/v1/devices/%d", n))
		if n == 4 {
			e.At = epoch // a clock that went back
		}
		s.must("AddAudit", s.AddAudit(s.ctx, "t", e))
	}
	s.must("AddAudit of two", s.AddAudit(s.ctx, "other", entry(1, "eve", "search", ""), entry(2, "eve", "search", "")))
	s.want("AddAudit of nothing", s.AddAudit(s.ctx, "t", audit.Entry{At: epoch}), store.ErrInvalid)
	s.Reopen()
	all, err := s.Audit(s.ctx, store.AuditFilter{Tenant: "t", Ascending: true})
	s.must("Audit", err)
	for i, e := range all {
		if e.Seq != int64(i+1) || e.Before != before || e.Chain != e.Link() {
			s.Errorf("entry %d of the log: seq %d, chained to its predecessor %t, to itself %t", i+1, e.Seq, e.Before == before, e.Chain == e.Link())
		}
		before = e.Chain
	}
	want := entry(3, "bob", "get-device", "/v1/devices/3")
	want.Seq, want.Before, want.Chain = 3, all[1].Chain, all[2].Chain
	s.same("entry 3", all[2], want)
	s.same("time of an entry after the clock went back", all[3].At, all[2].At)
	for what, tt := range map[string]struct {
		f    store.AuditFilter
		want []int64
	}{
		"all":             {store.AuditFilter{}, []int64{6, 5, 4, 3, 2, 1}},
		"page":            {store.AuditFilter{Before: 5, Limit: 2}, []int64{4, 3}},
		"actor":           {store.AuditFilter{Actor: "bob"}, []int64{5, 3, 1}},
		"action":          {store.AuditFilter{Action: "search"}, []int64{6, 5, 4}},
		"actor, action":   {store.AuditFilter{Actor: "bob", Action: "search"}, []int64{5}},
		"object":          {store.AuditFilter{Object: "/v1/devices/3"}, []int64{3}},
		"objects":         {store.AuditFilter{Object: "/v1/dev"}, []int64{6, 5, 4, 3, 2, 1}},
		"nothing":         {store.AuditFilter{Object: "%"}, nil},
		"from":            {store.AuditFilter{From: epoch.Add(5 * time.Minute)}, []int64{6, 5}},
		"to":              {store.AuditFilter{To: epoch.Add(2 * time.Minute)}, []int64{1}},
		"to its own time": {store.AuditFilter{To: epoch.Add(3 * time.Minute)}, []int64{2, 1}},
		"from later":      {store.AuditFilter{From: epoch.Add(time.Hour)}, nil},
		"to later":        {store.AuditFilter{To: epoch.Add(time.Hour), Limit: 1}, []int64{6}},
		"ascending":       {store.AuditFilter{Ascending: true, After: 2, Limit: 2}, []int64{3, 4}},
		"tenant":          {store.AuditFilter{Tenant: "other"}, []int64{2, 1}},
	} {
		if tt.f.Tenant == "" {
			tt.f.Tenant = "t"
		}
		found, err := s.Audit(s.ctx, tt.f)
		s.must("Audit", err)
		var got []int64
		for _, e := range found {
			got = append(got, e.Seq)
		}
		s.same("entries by "+what, got, tt.want)
	}
}

// auditRace: many append at once, and the chain is whole.
func auditRace(s *suite) {
	const writers, each = 8, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				if err := s.AddAudit(s.ctx, "t", entry(n, fmt.Sprint(w), "search", "")); err != nil {
					s.Errorf("AddAudit() = %v", err)
				}
			}
		})
	}
	all.Wait()
	log, err := s.Audit(s.ctx, store.AuditFilter{Tenant: "t", Ascending: true, Limit: 1000})
	s.must("Audit", err)
	if len(log) != writers*each {
		s.Fatalf("%d entries, want %d", len(log), writers*each)
	}
	var before audit.Digest
	for i, e := range log {
		if e.Seq != int64(i+1) || e.Before != before || e.Chain != e.Link() {
			s.Fatalf("entry %d breaks the chain: %+v", i+1, e)
		}
		before = e.Chain
	}
}
