package appraise_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// TestMemoOfManyDevices: a memo that is shared by devices of different models and states gives each its own verdict.
func TestMemoOfManyDevices(t *testing.T) {
	shared := &appraise.Memo{}
	good := newBench(t).trusting()
	bad := remeasure(t, good.device.BootLog, eventlogtest.BootLoader, nil)
	for range 3 {
		for _, tt := range []struct {
			log  []byte
			want result.State
		}{{good.device.BootLog, result.Trusted}, {bad, result.Untrusted}} {
			d, err := appraisetest.New(tt.log, nil)
			if err != nil {
				t.Fatal(err)
			}
			b := benchFor(t, d)
			p := appraise.DefaultPolicy()
			p.IMA = appraise.Ignored
			b.memo, b.set, b.policy = shared, good.set, p.Seal()
			b.wantState(b.attest(), tt.want)
			b.wantState(b.attest(), tt.want)
		}
	}
}

// TestMemoKeepsNoFaults: what does not parse is refused each time, and long claims are not kept.
func TestMemoKeepsNoFaults(t *testing.T) {
	b := newBench(t).trusting()
	message := b.report()
	broken := edit(t, message, func(ev *proto.Evidence) { ev.Claims[0] = 0xff })
	for range 2 {
		_, err := appraise.Open(broken, b.memo)
		wantRejection(t, err, proto.CodeMalformed)
	}
	first, err := appraise.Open(message, b.memo)
	if err != nil {
		t.Fatal(err)
	}
	second, err := appraise.Open(message, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("with and without memo: %s", diff)
	}
}
