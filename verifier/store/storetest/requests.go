package storetest

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

func feed(s *suite) {
	last := func(tenant string, want int64) {
		s.Helper()
		if got, err := s.LastEvent(s.ctx, tenant); err != nil || got != want {
			s.Errorf("LastEvent(%s) = %d, %v, want %d", tenant, got, err, want)
		}
	}
	last("t", 0)
	for n := range 9 {
		e := store.Event{At: epoch, Tenant: "t", Kind: "operator", Actor: "alice", Detail: fmt.Sprint(n)}
		if n%3 == 0 {
			e.Tenant = "other"
		}
		if n%2 == 0 {
			e.Device = id("aa")
		}
		s.must("AddEvent", s.AddEvent(s.ctx, e))
	}
	for _, limit := range []int{1, 2, 100} {
		var got []string
		after := int64(0)
		for {
			page, err := s.EventsAfter(s.ctx, "t", after, limit)
			s.must("EventsAfter", err)
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				got = append(got, e.Detail)
				if e.Tenant != "t" || e.Seq <= after {
					s.Errorf("EventsAfter(t, %d) has event %d of tenant %s", after, e.Seq, e.Tenant)
				}
				after = e.Seq
			}
		}
		s.same(fmt.Sprintf("events in pages of %d", limit), got, []string{"1", "2", "4", "5", "7", "8"})
		last("t", after)
	}
	newest, err := s.Events(s.ctx, "t", "", 0, 1)
	s.must("Events", err)
	before, err := s.EventsAfter(s.ctx, "t", newest[0].Seq-1, 10)
	s.must("EventsAfter", err)
	s.same("newest event", before, newest)
	last("nobody", 0)
}

func request(tenant, principal, key string) store.Request {
	return store.Request{
		Tenant: tenant, Principal: principal, Key: sha256.Sum256([]byte(key)), Digest: sha256.Sum256([]byte("body of " + key)),
		Began: epoch, Expires: epoch.Add(time.Hour),
	}
}

func requests(s *suite) {
	begin := func(r store.Request, earlier store.Request, begun bool) {
		s.Helper()
		got, ok, err := s.BeginRequest(s.ctx, r)
		s.must("BeginRequest", err)
		if ok != begun {
			s.Errorf("BeginRequest begun = %v, want %v", ok, begun)
		}
		s.same("earlier request", got, earlier)
	}
	one := request("t", "account:alice", "1")
	begin(one, store.Request{}, true)
	again := one
	again.Digest, again.Began = sha256.Sum256([]byte("another body")), epoch.Add(time.Minute)
	begin(again, one, false)

	// Another tenant's and another principal's are others.
	begin(request("other", "account:alice", "1"), store.Request{}, true)
	begin(request("t", "account:bob", "1"), store.Request{}, true)
	begin(request("t", "account:alice", "2"), store.Request{}, true)

	s.must("FinishRequest", s.FinishRequest(s.ctx, "t", one.Principal, one.Key, []byte("sealed")))
	done := one
	done.Done, done.Answer = true, []byte("sealed")
	begin(again, done, false)
	s.want("FinishRequest again", s.FinishRequest(s.ctx, "t", one.Principal, one.Key, nil), store.ErrNotFound)
	s.want("FinishRequest of nothing", s.FinishRequest(s.ctx, "t", "account:eve", one.Key, nil), store.ErrNotFound)
	// What is done stays: it had an effect.
	s.must("ForgetRequest", s.ForgetRequest(s.ctx, "t", one.Principal, one.Key))
	begin(again, done, false)

	two := request("t", "account:alice", "2")
	s.must("ForgetRequest", s.ForgetRequest(s.ctx, "t", two.Principal, two.Key))
	begin(two, store.Request{}, true)
	s.must("FinishRequest without an answer", s.FinishRequest(s.ctx, "t", two.Principal, two.Key, nil))
	two.Done = true
	begin(two, two, false)

	// Time forgets, whether it is done or not.
	late := one
	late.Began, late.Expires = one.Expires, one.Expires.Add(time.Hour)
	begin(late, store.Request{}, true)
	begin(late, late, false)
}

func manyRequests(s *suite) {
	var wg sync.WaitGroup
	for part := range 50 {
		wg.Go(func() {
			for n := part; n < store.MaxRequests; n += 50 {
				if _, begun, err := s.BeginRequest(s.ctx, request("t", "account:alice", fmt.Sprint(n))); err != nil || !begun {
					s.Errorf("BeginRequest of the %dth = %v, %v", n, begun, err)
				}
			}
		})
	}
	wg.Wait()
	_, _, err := s.BeginRequest(s.ctx, request("t", "account:alice", "more"))
	s.want("BeginRequest of one too many", err, store.ErrTooMany)
	_, begun, err := s.BeginRequest(s.ctx, request("t", "account:bob", "more"))
	if err != nil || !begun {
		s.Errorf("BeginRequest of another principal = %v, %v", begun, err)
	}
	// What expired makes room.
	later := request("t", "account:alice", "more")
	later.Began = later.Expires
	if _, begun, err = s.BeginRequest(s.ctx, later); err != nil || !begun {
		s.Errorf("BeginRequest after the others expired = %v, %v", begun, err)
	}
}
