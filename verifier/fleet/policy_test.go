package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func (f *faulty) Policy(ctx context.Context, tenant string, version int64) (store.Policy, error) {
	return through(f, "Policy", func() (store.Policy, error) { return f.Store.Policy(ctx, tenant, version) })
}

const policyHead = "version: 1\nname: acme\n"

// setPolicy puts a document in force.
func (r *rig) setPolicy(body string) Policy {
	r.Helper()
	newest, err := r.Policy(r.Context(), tenant, 0)
	if err != nil {
		r.Fatal(err)
	}
	p, err := r.SetPolicy(r.Context(), tenant, []byte(policyHead+body), newest.Version, "alice")
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// in puts the device into a group.
func (d *device) in(group string) {
	d.r.Helper()
	s := d.stored()
	s.Group = group
	if _, err := d.r.store.Store.SaveDevice(d.r.Context(), s); err != nil {
		d.r.Fatal(err)
	}
}

// stranger lets the device run a file that no reference knows.
func (d *device) stranger() {
	d.r.Helper()
	var b ima.Builder
	if err := b.Append(ima.Measurement{Path: "/usr/bin/stranger", Algorithm: pcr.SHA256, Digest: make([]byte, 32)}); err != nil {
		d.r.Fatal(err)
	}
	if err := d.Measure(b.Bytes()); err != nil {
		d.r.Fatal(err)
	}
	d.IMA = append(slices.Clone(d.IMA), b.Bytes()...)
}

// TestPolicyPrecedence: the built-in policy holds until a document is set, then the document, the newest version;
// another replica follows within 10 s, and a restart keeps it.
func TestPolicyPrecedence(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	plain := appraise.DefaultPolicy()
	if got := d.wantPublished(result.Trusted).Policy; got != plain.ID() {
		t.Errorf("policy without a document = %s, want %s", got, plain.ID())
	}
	if p, err := r.Policy(t.Context(), tenant, 0); err != nil || p.Version != 0 || !p.InForce || !strings.Contains(string(p.Document), "stale-after: 15m0s") {
		t.Errorf("Policy() = %+v, %v, want the built-in one as version 0", p, err)
	}
	other, err := New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	if in, err := other.policies.of(t.Context(), &store.Device{Tenant: tenant}); err != nil || in.Rules != nil {
		t.Fatalf("another replica has %+v, %v, want the built-in policy", in, err)
	}

	r.setPolicy("")
	d.attest(result.Trusted)
	first := d.wantPublished(result.Trusted).Policy
	if !strings.HasPrefix(first, "acme@1/default/") {
		t.Errorf("policy = %s, want version 1 of acme", first)
	}
	r.setPolicy("groups: [{name: edge, match: {groups: [edge]}}]")
	d.in("edge")
	d.attest(result.Trusted)
	if got := d.wantPublished(result.Trusted).Policy; !strings.HasPrefix(got, "acme@2/edge/") {
		t.Errorf("policy = %s, want group edge of version 2", got)
	}
	s := d.stored()
	r.clock.advance(referenceAge)
	for name, f := range map[string]*Fleet{"this replica": r.Fleet, "another": other} {
		if in, err := f.policies.of(t.Context(), &s); err != nil || !strings.HasPrefix(in.ID, "acme@2/edge/") {
			t.Errorf("%s has %s, %v, want version 2", name, in.ID, err)
		}
	}
	r.restart()
	d.attest(result.Trusted)
	if got := d.wantPublished(result.Trusted).Policy; !strings.HasPrefix(got, "acme@2/edge/") {
		t.Errorf("policy after a restart = %s, want version 2", got)
	}
	if p, err := r.Policy(t.Context(), tenant, 1); err != nil || p.InForce || p.Author != "alice" || string(p.Document) != policyHead {
		t.Errorf("Policy(1) = %+v, %v, want the first version, not in force", p, err)
	}
	if got := r.events("", "policy-set"); len(got) != 2 || !strings.HasPrefix(got[0], "acme, version 2, sha256:") {
		t.Errorf("events = %q, want one of each version", got)
	}
}

// TestPolicyIsPerDevice: challenges, the rhythm of reports and silence follow the policy of the device's group.
func TestPolicyIsPerDevice(t *testing.T) {
	r := newRig(t)
	slow, quick := r.trusted(), r.healthy()
	quick.attest(result.Trusted)
	quick.in("quick")
	r.setPolicy(`
groups:
  - name: quick
    match: {groups: [quick]}
    stale-after: 60s
    banks: [sha384, sha256]
`)
	if got := quick.challenged().Banks; !slices.Equal(got, []uint16{0x0c, 0x0b, 0x04}) {
		t.Errorf("banks offered = %x, want sha384 first", got)
	}
	if got := slow.challenged().Banks; !slices.Equal(got, []uint16{0x0b, 0x0c, 0x04}) {
		t.Errorf("banks offered to another group = %x, want sha256 first", got)
	}
	if got := quick.attest(result.Trusted).Next; got < 16 || got > 24 {
		t.Errorf("next report after %d s, want 20 s and some spread", got)
	}
	if got := slow.attest(result.Trusted).Next; got < 240 || got > 360 {
		t.Errorf("next report of another group after %d s, want 300 s and some spread", got)
	}
	r.clock.advance(time.Minute)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := quick.wantPublished(result.Stale)
	if !strings.HasPrefix(got.Policy, "acme@1/quick/") || !strings.Contains(got.Findings[0].Expected, "20s") {
		t.Errorf("stale result names policy %s, %q", got.Policy, got.Findings[0].Expected)
	}
	slow.wantPublished(result.Trusted)
	if got := r.policies.shortest(); got != time.Minute {
		t.Errorf("silence is looked for every part of %s, want of 1m", got)
	}
}

// TestWaiver: a waived finding does not count, the result says who answers for it, and when the waiver expires it
// counts.
func TestWaiver(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	d.stranger()
	d.attest(result.Warning)
	r.setPolicy(`
waivers:
  - {finding: file-unknown, component: "file /usr/bin/*", groups: ["*"], owner: bob, reason: rollout, expires: "2026-03-01T13:00:00Z"}
`)
	d.attest(result.Trusted)
	f := d.wantPublished(result.Trusted).Findings
	if len(f) != 1 || f[0].Waiver == nil || f[0].Severity != result.Info {
		t.Fatalf("findings = %+v, want one that is waived", f)
	}
	want := result.Waiver{Owner: "bob", Reason: "rollout", Expires: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), Was: result.Warn}
	if *f[0].Waiver != want {
		t.Errorf("waiver = %+v, want %+v", *f[0].Waiver, want)
	}
	if got := d.results()[0].Result.Findings; len(got) != 1 || got[0].Waiver == nil || got[0].Waiver.Owner != "bob" {
		t.Errorf("stored findings = %+v, want the waiver in them", got)
	}
	r.clock.advance(time.Hour)
	d.attest(result.Warning)
	f = d.wantPublished(result.Warning).Findings
	if len(f) != 2 || f[0].Waiver != nil || f[1].Code != appraise.CodeWaiverExpired {
		t.Errorf("findings = %+v, want that of the file and one about the expired waiver", f)
	}
}

// TestRuleAndSeverity: expressions and severities of the document make the state.
func TestRuleAndSeverity(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	r.setPolicy(`
default:
  rules:
    - {name: old-agent, when: 'device.group != "edge" && result.ima_entries > 10u', severity: warning, message: must be in a group}
`)
	d.attest(result.Warning)
	got := d.wantPublished(result.Warning)
	if f := got.Findings[0]; f.Code != appraise.CodeRule || f.Component != "rule old-agent" || got.Submods[result.Identity].Configuration != 32 {
		t.Errorf("finding = %+v, vector %+v, want that of the rule and a warning in it", f, got.Submods[result.Identity])
	}
	first := got.Findings[0].FirstSeen
	d.attest(result.Warning)
	if f := d.wantPublished(result.Warning).Findings[0]; !f.FirstSeen.Equal(first) {
		t.Errorf("first seen = %s, want %s as before", f.FirstSeen, first)
	}
	d.in("edge")
	d.attest(result.Trusted)
	d.stranger()
	r.setPolicy("default: {severities: {file-unknown: critical}}")
	d.attest(result.Untrusted)
	if v := d.wantPublished(result.Untrusted).Submods[result.Runtime]; v.Executables < 96 {
		t.Errorf("vector = %+v, want contraindicated as the state", v)
	}
	r.setPolicy("default: {severities: {file-unknown: info}}")
	d.attest(result.Trusted)
	if v := d.wantPublished(result.Trusted).Submods[result.Runtime]; v.Executables != 2 {
		t.Errorf("vector = %+v, want affirming as the state", v)
	}
}

// TestSetPolicyRefusals: what is wrong is refused and the version in force stays.
func TestSetPolicyRefusals(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	var wrong *policy.Error
	if _, err := r.SetPolicy(t.Context(), tenant, []byte(policyHead+"default: {imma: required}"), 0, "alice"); !errors.As(err, &wrong) {
		t.Errorf("SetPolicy of a wrong document = %v, want a policy.Error", err)
	}
	if _, err := r.SetPolicy(t.Context(), tenant, []byte(policyHead), 1, "alice"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("SetPolicy after a version that is not there = %v, want a conflict", err)
	}
	r.setPolicy("")
	if _, err := r.SetPolicy(t.Context(), tenant, []byte(policyHead+"default: {}"), 0, "bob"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("SetPolicy after another was set = %v, want a conflict", err)
	}
	if _, err := r.Policy(t.Context(), tenant, 9); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Policy(9) = %v, want not found", err)
	}
	if got := r.events("", "policy-set"); len(got) != 1 {
		t.Errorf("events = %q, want one: what was refused changed nothing", got)
	}
	if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 1 {
		t.Errorf("%d challenges because of the policy, want one", len(got))
	}
}

// TestPolicyThatCannotBeRead: without the policy nothing is appraised or asked; afterwards everything goes on.
func TestPolicyThatCannotBeRead(t *testing.T) {
	for name, breaks := range map[string]func(r *rig) (mend func()){
		"store fails": func(r *rig) func() {
			r.store.before = func(op string) error {
				if op == "Policy" {
					return errFault
				}
				return nil
			}
			return func() { r.store.before = nil }
		},
		"document of another time": func(r *rig) func() {
			next := func(version int64, text string) {
				err := r.store.AddPolicy(r.Context(), store.Policy{
					Tenant: tenant, Version: version, Name: "x", Document: []byte(text), Digest: text, Created: r.clock.Now(),
				})
				if err != nil {
					r.Fatal(err)
				}
			}
			next(1, "version: 9")
			return func() { next(2, policyHead) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d := r.trusted()
			message := d.report(d.challenged())
			mend := breaks(r)
			r.clock.advance(referenceAge)
			if got := d.submit(message); got != nil {
				t.Errorf("receipt = %+v without a policy, want none", got)
			}
			d.sayReady()
			if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 0 {
				t.Error("the device was challenged without a policy")
			}
			if len(d.results()) != 2 {
				t.Errorf("%d results, want the 2 from before", len(d.results()))
			}
			mend()
			r.clock.advance(referenceAge)
			if got := d.submit(message); got == nil || got.Status != proto.Appraised {
				t.Errorf("receipt = %+v when the policy can be read again", got)
			}
		})
	}
}
