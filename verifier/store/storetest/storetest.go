// Package storetest is the conformance suite of store.Store: what every implementation must do, whatever database it uses.
//
// The package of an implementation calls Run from a test. The suite only uses the interface, real time limits nothing, and
// every test has a place (database) of its own.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Opener opens a store for one test. Called with a new *testing.T it opens an empty place; called again with the same one,
// after the first store was closed, it opens the same place with what was left in it.
type Opener func(t *testing.T) store.Store

// suite is one test with its store.
type suite struct {
	*testing.T
	store.Store
	ctx  context.Context
	open Opener
}

// Run runs the suite: one subtest for each property.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"device round trip", deviceRoundTrip},
		{"device versions", deviceVersions},
		{"device removed and created again", deviceRecreated},
		{"device refused", deviceRefused},
		{"resolve", resolve},
		{"list filters", listFilters},
		{"list pages", listPages},
		{"list pages of all tenants", listAllTenants},
		{"list orders", listOrders},
		{"selection", selection},
		{"clusters", clusters},
		{"trends", trends},
		{"overdue", overdue},
		{"counts", counts},
		{"hostile text", hostileText},
		{"record", record},
		{"record keeps profile", recordProfile},
		{"record or nothing", recordOrNothing},
		{"record refused", recordRefused},
		{"results pages", resultsPages},
		{"remove device", removeDevice},
		{"contents", contents},
		{"references", references},
		{"tokens", tokens},
		{"events", events},
		{"feed", feed},
		{"requests", requests},
		{"many requests", manyRequests},
		{"settings", settings},
		{"policies", policies},
		{"policy set by many", policyRace},
		{"captures", captures},
		{"capture lists", captureLists},
		{"similar findings", similar},
		{"vendor keys", vendorKeys},
		{"manifests", manifests},
		{"denials", denials},
		{"choices", choices},
		{"sightings", sightings},
		{"sighted files", sightedFiles},
		{"pasts", pasts},
		{"searches", searches},
		{"searched files", searchedFiles},
		{"coverage", coverage},
		{"approvals", approvals},
		{"backlog", backlog},
		{"alert rules", alertRules},
		{"alert work", alertWork},
		{"alerts", alerts},
		{"many alerts", manyAlerts},
		{"deliveries", deliveries},
		{"accounts", accounts},
		{"account changes", accountChanges},
		{"sessions", sessions},
		{"audit log", auditLog},
		{"audit log of many", auditRace},
		{"tenants are isolated", isolation},
		{"lost updates", lostUpdates},
		{"concurrent creation", concurrentCreation},
		{"token used by many", tokenRace},
		{"setting set by many", settingRace},
		{"durability", durability},
		{"context ended", contextEnded},
		{"closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, ctx: t.Context(), open: open}
			s.Store = open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			})
			test.run(s)
		})
	}
}

// Reopen closes the store and opens its place again.
func (s *suite) Reopen() {
	s.Helper()
	if err := s.Close(); err != nil {
		s.Fatalf("Close() = %v", err)
	}
	s.Store = s.open(s.T)
}

// epoch is the time at which the suite's stories begin.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// id returns a device id that starts with prefix.
func id(prefix string) string {
	return prefix + hex.EncodeToString(make([]byte, 32))[len(prefix):]
}

// device returns a new device with only what every device has.
func device(tenant, id string) store.Device {
	return store.Device{Tenant: tenant, ID: id, Status: store.Active, Level: result.Pinned, State: result.NeverAttested, Since: epoch}
}

// fullDevice returns a device with every field set.
func fullDevice(tenant, id string) store.Device {
	return store.Device{
		Tenant: tenant, ID: id, Status: store.Active, Level: result.Certified, Label: "core router", Group: "edge",
		Labels: map[string]string{"jurisdiction": "DE", "quote": `"'`}, Vendor: "Acme", Model: "R7", Firmware: "2.4.1",
		Agent: "1.0.0", EKPublic: []byte{0, 1, 255}, EKIssuer: "CN=Maker", AKPublic: []byte{2}, TLSPublic: []byte{3},
		CertSerial: "0a", CertExpires: epoch.Add(24 * time.Hour), EnrolledAt: epoch.Add(-time.Hour), LastSeen: epoch,
		State: result.Warning, StaleAt: epoch.Add(time.Hour), Since: epoch.Add(-time.Minute), Silenced: true,
		Record: []byte{4, 0, 4}, Result: []byte("header.payload.signature"),
	}
}

// outcome returns the n-th outcome of d, with every field of the result set.
func outcome(d store.Device, n int) store.Outcome {
	evidence := fmt.Appendf(nil, "evidence %d of %s", n, d.ID)
	sum := sha256.Sum256(evidence)
	at := epoch.Add(time.Duration(n) * time.Minute)
	ear := fmt.Sprintf("ear.%d.%s", n, d.ID)
	r := result.Result{
		Tenant: d.Tenant, Device: d.ID, Evidence: hex.EncodeToString(sum[:]), IssuedAt: at.Add(-time.Second), At: at,
		StaleAt: at.Add(time.Hour), State: result.Untrusted, Level: result.Certified,
		Submods: map[result.Submod]result.Vector{result.Boot: {Executables: 33, Hardware: -1}, result.Identity: {InstanceIdentity: 2}},
		Findings: []result.Finding{{
			Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot, Component: "PCR 4", Expected: "aa",
			Observed: "bb", Nearest: "cc", Meaning: "unknown", Action: "look", FirstSeen: at.Add(-time.Hour),
			Waiver: &result.Waiver{Owner: "alice", Reason: "hotfix", Expires: at.Add(time.Hour), Was: result.Critical},
		}},
		Policy: "default", References: []string{"r7-2.4.1"}, BootID: "00", Resets: 7, Restarts: 1, BootLog: "dd", IMAEntries: 1 << 40,
		Bank: "sha256", PCRs: map[string]string{"0": "ee"}, Vendor: "Acme", Model: "R7",
		Strength: result.Strengths{Identity: result.Hardware, Boot: result.Hardware, Runtime: result.None, Flash: result.SelfAsserted, Platform: result.None},
		Regions: []result.Region{{
			Name: "bios", Source: "mtd:bios", Offset: 1, Length: 1 << 40, Digest: "ff", Status: result.RegionUnavailable, Reason: "broken",
			Excluded: []result.Span{{Offset: 2, Length: 3}}, Left: 3,
		}},
		FlashAge: 60,
	}
	d.State, d.StaleAt, d.LastSeen, d.Since, d.Result, d.Record = r.State, r.StaleAt, at, at, []byte(ear), []byte{byte(n)}
	return store.Outcome{Device: d, Evidence: evidence, Result: r, EAR: ear}
}

// save stores d and returns it with its new version.
func (s *suite) save(d store.Device, events ...store.Event) store.Device {
	s.Helper()
	version, err := s.SaveDevice(s.ctx, d, events...)
	if err != nil {
		s.Fatalf("SaveDevice(%s/%s) = %v", d.Tenant, d.ID, err)
	}
	if version <= d.Version {
		s.Fatalf("SaveDevice(%s/%s) = version %d, not above %d", d.Tenant, d.ID, version, d.Version)
	}
	d.Version = version
	return d
}

// must reports an unexpected error.
func (s *suite) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s = %v", what, err)
	}
}

// want reports any error but the expected one.
func (s *suite) want(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s = %v, want %v", what, err, want)
	}
}

// same compares two values; nil and empty are the same, because databases do not tell them apart.
func (s *suite) same(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// stored reads a device.
func (s *suite) stored(tenant, id string) store.Device {
	s.Helper()
	d, err := s.Device(s.ctx, tenant, id)
	s.must("Device("+id+")", err)
	return d
}

// results reads the newest page of results.
func (s *suite) results(tenant, id string) []store.StoredResult {
	s.Helper()
	r, err := s.Results(s.ctx, tenant, id, 0, 0)
	s.must("Results("+id+")", err)
	return r
}

// details reads the details of the newest events, newest first.
func (s *suite) details(tenant, id string) []string {
	s.Helper()
	list, err := s.Events(s.ctx, tenant, id, 0, 0)
	s.must("Events("+id+")", err)
	var out []string
	for _, e := range list {
		out = append(out, e.Detail)
	}
	return out
}

func ids(list []store.Device) (out []string) {
	for _, d := range list {
		out = append(out, d.ID)
	}
	return out
}
