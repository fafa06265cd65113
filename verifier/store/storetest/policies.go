package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

func policy(tenant string, version int64) store.Policy {
	return store.Policy{
		Tenant: tenant, Version: version, Name: "fleet", Document: fmt.Appendf(nil, "version: %d", version), Digest: "ab",
		Author: "operator:1", Created: epoch.Add(time.Duration(version) * time.Minute),
	}
}

func policies(s *suite) {
	_, err := s.Policy(s.ctx, "t", 0)
	s.want("Policy of a tenant without one", err, store.ErrNotFound)
	s.want("AddPolicy of version 2 first", s.AddPolicy(s.ctx, policy("t", 2)), store.ErrConflict)
	var want []store.Policy
	for version := int64(1); version <= 3; version++ {
		s.must("AddPolicy", s.AddPolicy(s.ctx, policy("t", version), store.Event{Detail: fmt.Sprint("version ", version)}))
		p := policy("t", version)
		p.Document = nil
		want = append([]store.Policy{p}, want...)
	}
	s.must("AddPolicy of another tenant", s.AddPolicy(s.ctx, policy("other", 1)))
	s.want("AddPolicy of a version that exists", s.AddPolicy(s.ctx, policy("t", 3), store.Event{Detail: "no"}), store.ErrConflict)
	s.want("AddPolicy of a version too far", s.AddPolicy(s.ctx, policy("t", 5), store.Event{Detail: "no"}), store.ErrConflict)
	for version, want := range map[int64]int64{0: 3, 1: 1, 2: 2} {
		got, err := s.Policy(s.ctx, "t", version)
		s.must("Policy", err)
		s.same(fmt.Sprintf("version %d", version), got, policy("t", want))
	}
	_, err = s.Policy(s.ctx, "other", 2)
	s.want("Policy of another tenant's version", err, store.ErrNotFound)
	got, err := s.Policies(s.ctx, "t", 0, 0)
	s.must("Policies", err)
	s.same("versions", got, want)
	got, err = s.Policies(s.ctx, "t", 3, 1)
	s.must("Policies", err)
	s.same("versions before 3, one", got, want[1:2])
	s.same("events", s.details("t", ""), []string{"version 3", "version 2", "version 1"})
	for what, change := range map[string]func(*store.Policy){
		"tenant": func(p *store.Policy) { p.Tenant = "" }, "name": func(p *store.Policy) { p.Name = "" },
		"digest": func(p *store.Policy) { p.Digest = "" }, "document": func(p *store.Policy) { p.Document = nil },
		"version": func(p *store.Policy) { p.Version = 0 }, "text": func(p *store.Policy) { p.Author = "\x00" },
	} {
		p := policy("t", 4)
		change(&p)
		s.want("AddPolicy without good "+what, s.AddPolicy(s.ctx, p), store.ErrInvalid)
	}
}

// policyRace lets many set the same version: one of them does, the others are told.
func policyRace(s *suite) {
	var wg sync.WaitGroup
	var won, lost atomic.Int32
	for range 16 {
		wg.Go(func() {
			switch err := s.AddPolicy(s.ctx, policy("t", 1)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, store.ErrConflict):
				lost.Add(1)
			default:
				s.Errorf("AddPolicy() = %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		s.Errorf("%d writers set version 1 and %d were refused, want 1 and 15", won.Load(), lost.Load())
	}
}
