package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

func contents(s *suite) {
	small, large := []byte("boot log"), bytes.Repeat([]byte("ima"), 1<<20)
	digests := [][32]byte{sha256.Sum256(small), sha256.Sum256(large), sha256.Sum256(nil)}
	_, err := s.Content(s.ctx, digests[0])
	s.want("Content", err, store.ErrNotFound)

	s.must("PutContent", s.PutContent(s.ctx, digests[0], small))
	s.must("PutContent again", s.PutContent(s.ctx, digests[0], small))
	s.must("PutContent of 3 MiB", s.PutContent(s.ctx, digests[1], large))
	s.must("PutContent of nothing", s.PutContent(s.ctx, digests[2], nil))
	s.want("PutContent under another digest", s.PutContent(s.ctx, [32]byte{1}, small), store.ErrInvalid)
	for i, want := range [][]byte{small, large, nil} {
		got, err := s.Content(s.ctx, digests[i])
		if err != nil || !bytes.Equal(got, want) {
			s.Errorf("Content(%x) = %d bytes, %v, want %d", digests[i], len(got), err, len(want))
		}
	}
}

func reference(tenant, name string) store.Reference {
	return store.Reference{Tenant: tenant, Name: name, Kind: "baseline", Document: []byte{0xd2, 0}, Created: epoch}
}

func references(s *suite) {
	b, a := reference("t", "b"), reference("t", "a")
	s.must("AddReference", s.AddReference(s.ctx, b, store.Event{Detail: "added b"}))
	s.must("AddReference", s.AddReference(s.ctx, a))
	s.want("AddReference of a name that exists", s.AddReference(s.ctx, b, store.Event{Detail: "twice"}), store.ErrConflict)
	s.want("AddReference without name", s.AddReference(s.ctx, reference("t", "")), store.ErrInvalid)
	got, err := s.References(s.ctx, "t")
	s.must("References", err)
	s.same("references", got, []store.Reference{a, b})

	at := epoch.Add(time.Hour)
	s.must("RetireReference", s.RetireReference(s.ctx, "t", "a", at, store.Event{Detail: "retired a"}))
	s.want("RetireReference again", s.RetireReference(s.ctx, "t", "a", at.Add(time.Hour), store.Event{Detail: "no"}), store.ErrConflict)
	s.want("RetireReference of nothing", s.RetireReference(s.ctx, "t", "c", at, store.Event{Detail: "no"}), store.ErrNotFound)
	s.want("RetireReference of another tenant", s.RetireReference(s.ctx, "other", "b", at), store.ErrNotFound)
	s.want("RetireReference at no time", s.RetireReference(s.ctx, "t", "b", time.Time{}), store.ErrInvalid)
	a.Retired = at
	got, err = s.References(s.ctx, "t")
	s.must("References", err)
	s.same("references", got, []store.Reference{a, b})
	s.want("AddReference of a retired name", s.AddReference(s.ctx, a), store.ErrConflict)
	s.same("events", s.details("t", ""), []string{"retired a", "added b"})
}

func token(tenant, id string, uses int) store.Token {
	sum := sha256.Sum256([]byte(id))
	return store.Token{ID: id, Tenant: tenant, Hash: sum[:], Uses: uses, Created: epoch, Expires: epoch.Add(time.Hour)}
}

func tokens(s *suite) {
	_, err := s.Token(s.ctx, "one")
	s.want("Token", err, store.ErrNotFound)
	one, two := token("t", "one", 2), token("t", "two", 0)
	two.Created, two.Operator, two.Expires, two.Devices = epoch.Add(time.Minute), true, time.Time{}, []string{id("aa")}
	two.Role, two.Vendors, two.Name = "vendor", []string{"Acme", "Acme *"}, "build machine"
	s.must("AddToken", s.AddToken(s.ctx, one))
	s.must("AddToken", s.AddToken(s.ctx, two))
	s.want("AddToken of an id that exists", s.AddToken(s.ctx, one), store.ErrConflict)
	short := token("t", "short", 1)
	short.Hash = []byte("secret")
	s.want("AddToken without a digest", s.AddToken(s.ctx, short), store.ErrInvalid)
	list, err := s.Tokens(s.ctx, "t")
	s.must("Tokens", err)
	s.same("tokens", list, []store.Token{two, one})

	use := func(id, device string, now time.Time, want error) {
		s.Helper()
		if err := s.UseToken(s.ctx, id, device, now); want == nil {
			s.must("UseToken", err)
		} else {
			s.want(fmt.Sprintf("UseToken(%s, %s, %v)", id, device, now), err, want)
		}
	}
	use("none", "d1", epoch, store.ErrNotFound)
	use("two", "d1", epoch, store.ErrNotFound) // an operator's
	use("one", "d2", epoch, nil)
	use("one", "d2", epoch, nil) // once per device
	use("one", "d1", epoch.Add(time.Hour-time.Microsecond), nil)
	use("one", "d3", epoch, store.ErrUsed)
	use("one", "d1", epoch, nil)
	use("one", "d1", epoch.Add(time.Hour), store.ErrExpired)
	one.Uses, one.Devices = 0, []string{"d1", "d2"}
	got, err := s.Token(s.ctx, "one")
	s.must("Token", err)
	s.same("token", got, one)

	s.must("AddToken", s.AddToken(s.ctx, token("t", "three", 5)))
	s.must("RevokeToken", s.RevokeToken(s.ctx, "three"))
	s.must("RevokeToken again", s.RevokeToken(s.ctx, "three"))
	s.want("RevokeToken of nothing", s.RevokeToken(s.ctx, "none"), store.ErrNotFound)
	use("three", "d1", epoch, store.ErrExpired)
	got, err = s.Token(s.ctx, "three")
	if err != nil || !got.Revoked || got.Uses != 5 {
		s.Errorf("revoked token = %+v, %v", got, err)
	}
	lasting := token("t", "lasting", 1)
	lasting.Expires = time.Time{}
	s.must("AddToken", s.AddToken(s.ctx, lasting))
	use("lasting", "d1", epoch.AddDate(50, 0, 0), nil)
}

func events(s *suite) {
	var all, one []string
	for n := range 10 {
		e := store.Event{At: epoch.Add(time.Duration(n)), Tenant: "t", Kind: "operator", Actor: "alice", Detail: fmt.Sprint(n)}
		if n%2 == 0 {
			e.Device = id("aa")
			one = append(one, e.Detail)
		}
		all = append(all, e.Detail)
		s.must("AddEvent", s.AddEvent(s.ctx, e))
	}
	slices.Reverse(all)
	slices.Reverse(one)
	for device, want := range map[string][]string{"": all, id("aa"): one, id("bb"): nil} {
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for before := int64(0); ; {
				page, err := s.Events(s.ctx, "t", device, before, limit)
				s.must("Events", err)
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					got = append(got, e.Detail)
				}
				before = page[len(page)-1].Seq
			}
			s.same(fmt.Sprintf("events of %q in pages of %d", device, limit), got, want)
		}
	}
	page, err := s.Events(s.ctx, "t", "", 0, 1)
	s.must("Events", err)
	want := store.Event{Seq: page[0].Seq, At: epoch, Tenant: "t", Kind: "operator", Actor: "alice", Detail: "9"}
	s.same("event", page[0], want)
	s.want("AddEvent with NUL", s.AddEvent(s.ctx, store.Event{Tenant: "t", Detail: "\x00"}), store.ErrInvalid)
}

func settings(s *suite) {
	_, err := s.Setting(s.ctx, "key", nil)
	s.want("Setting without initial value", err, store.ErrNotFound)
	for _, initial := range [][]byte{{0, 1, 255}, {2}, nil} {
		got, err := s.Setting(s.ctx, "key", initial)
		s.must("Setting", err)
		s.same("setting", got, []byte{0, 1, 255})
	}
	got, err := s.Setting(s.ctx, "other", []byte{3})
	s.must("Setting", err)
	s.same("other setting", got, []byte{3})
}

// isolation gives two tenants things with the same names and checks that neither sees or changes the other's.
func isolation(s *suite) {
	for _, tenant := range []string{"a", "b"} {
		d := fullDevice(tenant, id("aa"))
		d.Label = "label of " + tenant
		d = s.save(d, store.Event{Device: d.ID, Detail: "event of " + tenant})
		s.must("Record", s.Record(s.ctx, outcome(d, int(tenant[0]))))
		s.must("AddReference", s.AddReference(s.ctx, reference(tenant, "same")))
		s.must("AddToken", s.AddToken(s.ctx, token(tenant, "token of "+tenant, 1)))
	}
	_, err := s.Resolve(s.ctx, "a", "label of b")
	s.want("Resolve of the other's label", err, store.ErrNotFound)
	_, err = s.Evidence(s.ctx, "a", id("aa"), outcome(device("b", id("aa")), 'b').Result.Evidence)
	s.want("Evidence of the other", err, store.ErrNotFound)
	list, err := s.Tokens(s.ctx, "a")
	if err != nil || len(list) != 1 || list[0].Tenant != "a" {
		s.Errorf("Tokens(a) = %+v, %v", list, err)
	}
	s.must("RetireReference", s.RetireReference(s.ctx, "a", "same", epoch))
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "a", id("aa")))

	if d := s.stored("b", id("aa")); d.Label != "label of b" {
		s.Errorf("device of b has %q", d.Label)
	}
	if r := s.results("b", id("aa")); len(r) != 1 || r[0].Result.Tenant != "b" {
		s.Errorf("results of b = %+v", r)
	}
	s.same("events of b", s.details("b", id("aa")), []string{"event of b"})
	refs, err := s.References(s.ctx, "b")
	if err != nil || len(refs) != 1 || !refs[0].Retired.IsZero() {
		s.Errorf("References(b) = %+v, %v", refs, err)
	}
	devices, err := s.Devices(s.ctx, store.Filter{Tenant: "a"})
	if err != nil || len(devices) != 0 {
		s.Errorf("Devices(a) = %v, %v, want none", ids(devices), err)
	}
}
