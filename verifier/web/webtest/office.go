package webtest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// officeOperations are those of the pages about reference values, alerts and administration that only admins use.
var officeOperations = []string{
	"list-baselines", "retire-baseline", "get-deny-list", "remove-denial", "get-manifest-coverage", "approve-manifest",
	"withdraw-manifest",
	"supersede-manifest", "start-dry-run", "get-dry-run", "scope-vendor-key", "revoke-vendor-key",
	"list-policy-versions", "test-policy",
	"get-settings", "acknowledge-alert", "list-alert-rules", "add-alert-rule", "change-alert-rule", "remove-alert-rule",
	"list-alert-channels", "add-alert-channel", "change-alert-channel", "remove-alert-channel", "test-alert-channel",
	"list-deliveries", "retry-delivery", "change-account", "remove-account", "revoke-token",
}

// Manifest names of AddOffice.
const (
	WaitingManifest = "acme-r7-2.6.0"
	ActiveManifest  = "acme-r7-2.5.0"
)

// PolicyDocument is the policy of AddOffice.
const PolicyDocument = `version: 1
name: acme

default:
  stale-after: 15m
  secure-boot: reference
  endorsers: {vendor: 1}

groups:
  - name: core
    match:
      groups: [core, "edge-*"]
    endorsers: {lab: 1}
    flash: required

waivers:
  - finding: flash-unavailable
    component: 'flash region me'
    groups: ["edge-*"]
    owner: alice@acme.example
    reason: the chipset of this board never lets it be read
    expires: 2027-03-31
`

// AddOffice fills the pages about reference values, alerts and administration.
func (a *API) AddOffice() {
	a.Allow(v1.Admin, officeOperations...)
	now := a.start
	later, soon, before := now.AddDate(1, 0, 0), now.AddDate(0, 0, 9), now.AddDate(0, -2, 0)
	a.manifests(now, later, soon)
	a.Answer("GET /v1/baselines", v1.Baselines{Baselines: []v1.Baseline{
		{Name: "cpe-2-lab", Kind: "baseline", Digest: Digest("cpe"), Size: 18211, Created: before},
		{Name: "r9-old", Kind: "baseline", Digest: Digest("r9"), Size: 9211, Created: before, Retired: &now},
	}})
	a.Answer("GET /v1/denylist", v1.DenyList{Entries: []v1.DeniedEntry{
		{
			Digests: []string{"sha256:" + Digest("telemetry")}, Component: "/opt/telemetry/collect.so",
			Advisory: "CVE-2026-12345", Issuer: "Acme Networks", Manifest: "acme-deny-7", Vendor: "Acme", Model: "R7",
		},
		{
			Digests: []string{"sha256:" + Digest("bootkit")}, Component: "sha256 of something", Advisory: "INC-0042",
			Note: "found by the night shift", Issuer: "account:alice",
		},
	}})
	pem := "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
	a.Answer("GET /v1/vendors", v1.VendorKeys{Keys: []v1.VendorKey{
		{
			ID: Digest("acme"), Name: "Acme Networks", Role: "vendor", Public: pem, Vendors: []string{"Acme*"},
			Models: []string{"R*"}, Until: &soon, Added: before,
		},
		{ID: Digest("lab"), Name: "Nordic Test Lab", Role: "lab", Public: pem, Vendors: []string{"*"}, Added: before},
		{
			ID: Digest("stolen"), Name: "Acme Networks (2024)", Role: "vendor", Public: pem, Vendors: []string{"Acme*"},
			Added: before, Revoked: &now, Reason: "the key was stolen",
		},
	}})
	a.policies(before)
	a.Handle("GET /v1/search", func(r *http.Request, _ []byte) (int, any) {
		return http.StatusOK,
			a.search(r.URL.Query().Get("q"))
	})
	a.audit(now)
	a.alerts(now)
	a.accountsAndTokens(now, before)
}

func (a *API) manifests(now, later, soon time.Time) {
	before := now.AddDate(0, -2, 0)
	signed := func(name, role string, until *time.Time) v1.Endorsement {
		return v1.Endorsement{
			Key: Digest(name), Name: name, Role: role, Issuer: strings.ToLower(name), Submitted: before,
			NotAfter: until, Actor: "account:vendor",
		}
	}
	list := []v1.Manifest{
		{
			Name: ActiveManifest, Digest: Digest(ActiveManifest), Vendor: "Acme", Model: "R7", Version: "2.5.0",
			State: "active", Counts: true, NotAfter: &soon,
			Size: 48211, Submitted: before, From: before, LogProof: "none",
			Endorsements: []v1.Endorsement{signed("Acme Networks", "vendor", &soon), signed("Nordic Test Lab", "lab", &later)},
		},
		{
			Name: WaitingManifest, Digest: Digest(WaitingManifest), Vendor: "Acme", Model: "R7", Version: "2.6.0",
			State: "submitted", NotAfter: &later, Size: 48911,
			Submitted: now, From: now, LogProof: "none", Needed: 2, Approvals: []v1.Approval{{
				Actor: "account:alice", At: now,
				Note: "tested on three devices",
			}},
			Endorsements: []v1.Endorsement{signed("Acme Networks", "vendor", &later)},
		},
		{
			Name: "acme-deny-7", Digest: Digest("acme-deny-7"), Vendor: "Acme", Model: "R7", Advisory: "CVE-2026-12345",
			State: "active", Counts: true, Size: 911,
			Submitted: before, From: before, LogProof: "none", Endorsements: []v1.Endorsement{signed("Acme Networks",
				"vendor", nil)},
		},
		{
			Name: "acme-r7-2.4.1", Digest: Digest("acme-r7-2.4.1"), Vendor: "Acme", Model: "R7", Version: "2.4.1",
			State: "withdrawn", Size: 47211, Submitted: before,
			From: before, Withdrawn: &now, Reason: "built on the wrong machine", LogProof: "none",
			Endorsements: []v1.Endorsement{},
		},
	}
	a.Answer("GET /v1/manifests", v1.Manifests{Manifests: list})
	one := func(r *http.Request) *v1.Manifest {
		for i := range list {
			if name := r.PathValue("name"); list[i].Name == name || list[i].Digest == name {
				return &list[i]
			}
		}
		return nil
	}
	missing := &v1.Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "no such manifest"}
	for route, answer := range map[string]func(*v1.Manifest) any{
		"GET /v1/manifests/{name}": func(m *v1.Manifest) any { return m },
		"GET /v1/manifests/{name}/coverage": func(*v1.Manifest) any {
			return v1.Coverage{Devices: 3411, Relying: 3104, States: map[result.State]int{
				result.Trusted:   3001,
				result.Untrusted: 91, result.Stale: 12,
			}}
		},
		"POST /v1/manifests/{name}/withdraw":  func(m *v1.Manifest) any { return m },
		"POST /v1/manifests/{name}/supersede": func(m *v1.Manifest) any { return m },
		"POST /v1/manifests/{name}/approvals": func(m *v1.Manifest) any {
			return v1.Approvals{Needed: m.Needed, Approvals: m.Approvals}
		},
	} {
		a.Handle(route, func(r *http.Request, _ []byte) (int, any) {
			m := one(r)
			if m == nil {
				return http.StatusNotFound, missing
			}
			return http.StatusOK, answer(m)
		})
	}
	a.Handle("POST /v1/manifests", func(*http.Request, []byte) (int, any) { return http.StatusOK, list[1] })
	a.Handle("POST /v1/dry-runs", func(*http.Request, []byte) (int, any) {
		return http.StatusAccepted,
			v1.Job{ID: "job1"}
	})
	a.dryRun()
}

func (a *API) dryRun() {
	asked := 0
	a.Handle("GET /v1/dry-runs/{id}", func(*http.Request, []byte) (int, any) {
		if asked++; asked == 1 {
			return http.StatusOK, v1.DryRun{JobProgress: v1.JobProgress{Done: 512, Total: 3411}}
		}
		return http.StatusOK, v1.DryRun{
			JobProgress: v1.JobProgress{
				Over: true, Done: 3411,
				Total: 3411,
			}, Name: WaitingManifest, Vendor: "Acme", Model: "R7", Version: "2.6.0",
			Supersedes: []string{ActiveManifest}, Notes: []string{"the manifest's minimum security version is 7"},
			Devices: 3399, Unjudged: 12,
			Now:     map[result.State]int{result.Trusted: 3301, result.Untrusted: 98},
			Overlap: map[result.State]int{result.Trusted: 3301, result.Untrusted: 98},
			After:   map[result.State]int{result.Trusted: 3298, result.Untrusted: 101},
			Changes: []v1.DryRunDevice{
				{
					ID: Digest("site 1"), Label: "site-001", Now: result.Trusted, Overlap: result.Trusted, After: result.Untrusted,
					Came: []result.Finding{{
						Code: "rollback", Severity: result.Critical, Submod: result.Boot, Component: "PCR 0, firmware 2.4.1",
						Meaning: "is old firmware that must not run any more: its security version number is below the minimum in force",
					}},
				},
				{ID: Digest("site 2"), Label: "site-002", Problem: "its boot log is not kept any more"},
			},
			Left: 1,
		}
	})
}

func (a *API) policies(at time.Time) {
	p := v1.Policy{
		Version: 7, Name: "acme", Digest: Digest(PolicyDocument), InForce: true, Author: "account:alice", Created: &at,
		Document: PolicyDocument,
		Notices:  []string{"waiver of flash-unavailable by alice@acme.example ends in 12 days"},
	}
	a.Answer("GET /v1/policy", p)
	listed := p
	listed.Document, listed.Notices = "", nil
	old := listed
	old.Version, old.InForce = 6, false
	a.Answer("GET /v1/policy/versions", v1.Policies{Policies: []v1.Policy{listed, old}})
	a.Answer("GET /v1/settings", v1.Settings{ManifestApprovals: 2})
	a.Answer("PATCH /v1/settings", v1.Settings{ManifestApprovals: 2})
	a.Answer("PUT /v1/policy", p)
	a.Handle("POST /v1/policy/test", func(_ *http.Request, body []byte) (int, any) {
		if strings.Contains(string(body), "stail-after") {
			return http.StatusUnprocessableEntity, &v1.Problem{
				Title: "Unprocessable Entity", Status: http.StatusUnprocessableEntity, Detail: "the policy document is not correct",
				Errors: []v1.ProblemDetail{{Location: "line 5", Message: `stail-after: unknown key; did you mean "stale-after"?`}},
			}
		}
		return http.StatusOK, v1.PolicyTest{Name: "acme", BasedOn: 7, Devices: []v1.PolicyChange{
			{
				ID: Digest("site 1"), Label: "site-001", GroupBefore: "core", GroupAfter: "core", Before: result.Trusted,
				After: result.Untrusted, Reasons: []string{"flash-unavailable: flash region me"},
			},
			{
				ID: Digest("site 2"), Label: "site-002", GroupBefore: "default", GroupAfter: "default", Before: result.Trusted,
				After: result.Trusted,
			},
		}}
	})
}

func (a *API) search(q string) v1.Search {
	s := v1.Search{Query: q, Kind: "text", Hits: []v1.Hit{}}
	if len(q) == 64 {
		s.Kind = "digest"
	}
	if strings.Contains(q, "nothing") {
		return s
	}
	before := a.start.AddDate(0, 0, -3)
	s.Devices, s.Now = 3, 2
	s.Hits = append(s.Hits, v1.Hit{
		Kind: "denylist", Object: "INC-0042", Place: "denied by account:alice",
		Digest: Digest("bootkit"),
	},
		v1.Hit{
			Kind: "manifest", Object: ActiveManifest, Name: "2.5.0", Place: `PCR 4, \EFI\BOOT\BOOTX64.EFI`,
			Digest: Digest("shim 15.8"),
		})
	for i := range min(3, len(a.devices)) {
		h := v1.Hit{
			Kind: "device", Object: a.devices[i].ID, Name: a.devices[i].Label,
			Place: `PCR 4, \EFI\BOOT\BOOTX64.EFI`, Digest: Digest("bootkit"), First: &before,
		}
		if i == 2 {
			h.Until = &a.start
		}
		s.Hits = append(s.Hits, h)
	}
	return s
}

func (a *API) audit(now time.Time) {
	entry := func(seq int64, actor string, role v1.Role, action, object, outcome string, status int) v1.AuditEntry {
		return v1.AuditEntry{
			Seq: seq, At: now.Add(-time.Duration(100-seq) * time.Minute), Actor: actor, Role: role, Action: action,
			Object: object, Outcome: outcome,
			Status: status, Remote: "192.0.2.7", Request: "r1", Chain: Digest(action),
		}
	}
	seen := entry(97, "account:carol", v1.Auditor, "get-evidence",
		"/v1/devices/"+Digest("site 1")+"/evidence/"+Digest("e"), "ok", 200)
	seen.Times = 14
	a.Answer("GET /v1/audit", v1.Audit{Next: 96, Entries: []v1.AuditEntry{
		entry(99, "account:alice", v1.Admin, "set-policy", "/v1/policy", "ok", 200),
		entry(98, "account:bob", v1.Viewer, "remove-device", "/v1/devices/"+Digest("site 1"), "refused", 403), seen,
	}})
	a.Answer("GET /v1/audit/export", []byte("{\"seq\":99}\n"))
}

func (a *API) alerts(now time.Time) {
	sample := []v1.Candidate{{ID: Digest("site 1"), Label: "site-001"}, {ID: Digest("site 2"), Label: "site-002"}}
	over := now.Add(-time.Hour)
	alerts := []v1.Alert{
		{
			ID: "a3", Rule: "critical findings", RuleID: "r1", Title: "3,104 devices: PCR 4 boot loader was replaced, Acme R7",
			Code: "boot-event-changed", Severity: result.Critical, Component: `PCR 4 \EFI\debian\grubx64.efi`,
			Meaning: "the boot loader is not one that the vendor published", Expected: Digest("good loader"), Observed: Digest("bootkit"),
			Nearest: "Acme R7 2.4.1", Action: "isolate the devices and keep their evidence", Cluster: BadCluster, State: "firing",
			Devices: 3104, Peak: 3104, Sample: sample, Models: []v1.ValueCount{{Value: "Acme/R7", Devices: 3104}},
			Groups: []v1.ValueCount{{Value: "north", Devices: 3000}, {Value: "south", Devices: 104}}, Since: over, Updated: now, Told: &now,
		},
		{
			ID: "a2", Rule: "silent core", RuleID: "r2", Code: "silent", Title: "2 devices: stopped attesting; group core", Severity: result.Warn,
			Component: "device", Meaning: "stopped attesting, so nothing is known of what it runs now",
			Action: "check that the device and its agent run and can reach the verifier",
			State:  "acknowledged", Devices: 2, Peak: 9, Sample: sample, Since: over, Updated: now, Actor: "account:bob",
		},
		{
			ID: "a1", Rule: "critical findings", RuleID: "r1", Title: "1 device: the enclosure is open", Code: "tamper-open",
			Severity: result.Critical, State: "resolved", Peak: 1, Sample: sample[:1], Since: over, Updated: now, Resolved: &now,
		},
	}
	a.Answer("GET /v1/alerts", v1.Alerts{Next: "a1", Alerts: alerts})
	a.Handle("GET /v1/alerts/{id}", func(r *http.Request, _ []byte) (int, any) {
		for i := range alerts {
			if alerts[i].ID == r.PathValue("id") {
				return http.StatusOK, alerts[i]
			}
		}
		return http.StatusNotFound, &v1.Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "no such alert"}
	})
	a.Answer("GET /v1/alert-rules", v1.AlertRules{Rules: []v1.AlertRule{
		{
			ID: "r1", Name: "critical findings", Severity: result.Critical, Channels: []string{"c1", "c2"}, Wait: 30,
			Repeat: 14400, Created: now,
		},
		{
			ID: "r2", Name: "silent core", States: []result.State{result.Stale}, Groups: []string{"core"},
			Labels: map[string]string{"jurisdiction": "eu"}, Channels: []string{"c2"}, Disabled: true, Created: now,
		},
	}})
	a.Answer("GET /v1/alert-channels", v1.AlertChannels{Channels: []v1.AlertChannel{
		{
			ID: "c1", Name: "night shift", Kind: "webhook", Target: "https://hooks.example.com/probity", HasSecret: true,
			Created: now, Last: &now,
		},
		{
			ID: "c2", Name: "siem", Kind: "syslog", Target: "tls://siem.example.com:6514", Created: now,
			Failing: "dial tcp 192.0.2.9:6514: connection refused",
		},
	}})
	deliveries := []v1.Delivery{
		{
			ID: 3, Alert: "a3", Subject: "firing: " + alerts[0].Title, Channel: "siem", State: "dead", Attempts: 12,
			Error: "dial tcp 192.0.2.9:6514: connection refused", Created: over,
		},
		{
			ID: 2, Alert: "a3", Subject: "firing: " + alerts[0].Title, Channel: "night shift", State: "sent", Attempts: 1, Created: over,
			Sent: &now,
		},
		{
			ID: 4, Alert: "a2", Subject: "repeat: " + alerts[1].Title, Channel: "shift leads", Recipient: "Lea Winter <lea.winter@example.com>",
			State: "waiting", Attempts: 2, Error: `send failed: sending SMTP RCPT TO command: 452 "4.2.2 mailbox is full"`, Created: over, Next: &now,
		},
		{ID: 1, Alert: "a2", Channel: "siem", State: "waiting", Attempts: 2, Created: over, Next: &now},
	}
	a.Handle("GET /v1/deliveries", func(r *http.Request, _ []byte) (int, any) {
		of := r.URL.Query().Get("alert")
		return http.StatusOK, v1.Deliveries{Deliveries: slices.DeleteFunc(slices.Clone(deliveries), func(d v1.Delivery) bool {
			return of != "" && d.Alert != of
		})}
	})
	for _, route := range []string{
		"POST /v1/alerts/{id}/acknowledge", "POST /v1/deliveries/{id}/retry", "POST /v1/alert-rules",
		"PUT /v1/alert-rules/{id}",
		"DELETE /v1/alert-rules/{id}", "POST /v1/alert-channels", "PUT /v1/alert-channels/{id}",
		"DELETE /v1/alert-channels/{id}",
		"POST /v1/denylist", "DELETE /v1/denylist/{digest}", "DELETE /v1/baselines/{name}",
		"POST /v1/vendors/{id}/revoke", "PUT /v1/vendors/{id}/scope", "DELETE /v1/tokens/{id}", "POST /v1/accounts",
		"PATCH /v1/accounts/{name}", "DELETE /v1/accounts/{name}",
	} {
		a.Handle(route, func(*http.Request, []byte) (int, any) { return http.StatusNoContent, nil })
	}
	a.Handle("POST /v1/alert-channels/{id}/test", func(r *http.Request, _ []byte) (int, any) {
		if r.PathValue("id") == "c2" {
			return http.StatusOK, v1.Delivery{Channel: "siem", State: "dead", Error: "connection refused"}
		}
		return http.StatusOK, v1.Delivery{Channel: "night shift", State: "sent"}
	})
	a.Answer("POST /v1/vendors", v1.VendorKey{Name: "Acme Networks"})
}

func (a *API) accountsAndTokens(now, before time.Time) {
	a.Answer("GET /v1/accounts", v1.Accounts{Accounts: []v1.Account{
		{Name: "admin", Role: v1.Admin, Password: true, Created: before, LastSignIn: &now},
		{Name: "bob", Role: v1.Viewer, Subject: "https://id.example.com#42", Created: before, Disabled: true},
		{
			Name: "vendor", Role: v1.Vendor, Vendors: []string{"Acme"}, Password: true,
			Certificates: []string{Digest("cert")}, Created: before,
		},
	}})
	a.Answer("GET /v1/tokens", v1.Tokens{Tokens: []v1.Token{
		{ID: "k3x9", Operator: true, Role: v1.Viewer, Name: "grafana", Created: before, Expires: now.AddDate(0, 1, 0)},
		{
			ID: "p7q2", Uses: 96, Created: now, Expires: now.Add(20 * time.Hour),
			Devices: []string{Digest("site 1"), Digest("site 2")},
		},
		{ID: "w1aa", Uses: 0, Created: before, Expires: now.Add(-20 * time.Hour)},
	}})
}
