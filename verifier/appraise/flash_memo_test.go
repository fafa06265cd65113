package appraise_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
)

// TestFlashMemo: a verdict that is remembered is that which would be computed, for every device, document and policy.
func TestFlashMemo(t *testing.T) {
	b := withFlash(t)
	base := b.baseline("r7")
	lax := base
	lax.Name, lax.Flash = "lax", slices.Clone(base.Flash)
	lax.Flash[2].ReportOnly = true
	strict := appraise.DefaultPolicy()
	strict.Flash = appraise.Required
	normal := appraise.DefaultPolicy()
	good, bad := flash(), flash()
	bad.Regions[3].Digest = flashDigest("implant")
	shared := &appraise.Memo{}
	for range 2 {
		for i, set := range []*reference.Set{compileForTest(base), compileForTest(lax), compileForTest(base, lax), nil} {
			for k, p := range []*appraise.Policy{normal.Seal(), strict.Seal()} {
				for n, f := range []*proto.Flash{good, bad} {
					b.set, b.policy, b.device.Flash = set, p, f
					b.record = appraise.Record{}
					in, err := b.input(b.report())
					if err != nil {
						t.Fatal(err)
					}
					var outs [2]appraise.Outcome
					for m, memo := range []*appraise.Memo{shared, nil} {
						in.Memo = memo
						if outs[m], err = appraise.Appraise(in); err != nil {
							t.Fatal(err)
						}
					}
					if diff := cmp.Diff(outs[1].Result, outs[0].Result); diff != "" {
						t.Errorf("references %d, policy %d, flash %d: with memo (+) and without (-): %s", i, k, n, diff)
					}
					if diff := cmp.Diff(outs[1].Record, outs[0].Record); diff != "" {
						t.Errorf("references %d, policy %d, flash %d: record: %s", i, k, n, diff)
					}
				}
			}
		}
	}
}

// TestClaimedValues: a baseline lacks what could not be read, and says so; it cannot only report what is not there.
func TestClaimedValues(t *testing.T) {
	b := newBench(t)
	b.device.Flash = flash()
	b.device.Flash.Regions[0].Source = "nowhere"
	b.device.Flash.Regions[1].Source = ":x"
	b.device.Tamper = []proto.TamperLine{{Name: "lid", State: proto.TamperClosed}, {Name: "door", State: proto.TamperClosed}}
	base := reference.Baseline{Name: "r7"}
	left := b.claimed(&base)
	if len(left) != 2 || !strings.Contains(left[0], "env: it does not say") || !strings.Contains(left[1], "modem: permission: not root") {
		t.Errorf("left out: %q, want env and modem with their reasons", left)
	}
	var got []string
	for _, r := range base.Flash {
		got = append(got, r.Name+" "+r.Source)
	}
	if diff := cmp.Diff([]string{"boot0 nowhere", "u-boot mtd"}, got); diff != "" {
		t.Errorf("regions: %s", diff)
	}
	if diff := cmp.Diff([]string{"door", "lid"}, base.Tamper); diff != "" {
		t.Errorf("tamper lines: %s", diff)
	}
	encoded, err := proto.Encode(flash())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modem", "nothing"} {
		_, err := appraise.ClaimedValues(&reference.Baseline{}, &proto.Claims{}, encoded, nil, []string{name})
		if err == nil || !strings.Contains(err.Error(), "the device read boot0, env, u-boot") {
			t.Errorf("report only %q: %v, want an error that names the regions", name, err)
		}
	}
	if _, err := appraise.ClaimedValues(&reference.Baseline{}, &proto.Claims{}, nil, nil, []string{"x"}); err == nil {
		t.Error("a region is only reported of a device without flash")
	}
	for name, contents := range map[string][2][]byte{"flash": {{0xff}, nil}, "platform": {nil, {0xff}}} {
		if _, err := appraise.ClaimedValues(&reference.Baseline{}, &proto.Claims{}, contents[0], contents[1], nil); err == nil {
			t.Errorf("malformed %s gives reference values", name)
		}
	}
	pending := &proto.Claims{Flash: &proto.FlashStatus{Regions: proto.Item{Unavailable: &proto.Unavailable{Cause: proto.CausePending, Reason: "wait"}}}}
	left, err = appraise.ClaimedValues(&reference.Baseline{}, pending, nil, nil, nil)
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "pending: wait") {
		t.Errorf("left out: %q, %v, want flash memory with its reason", left, err)
	}
}
