package appraise_test

import (
	"testing"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// TestMeasuredAgent: what a device says of itself is worth more while the TPM vouches that the known agent, and no
// other program of its name, says it.
func TestMeasuredAgent(t *testing.T) {
	start := func(t *testing.T) *bench {
		b := newBench(t)
		b.device.Flash = flash()
		b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
		b.measure(ran("/usr/bin/probity-agent", "agent 1.0"))
		return b.trusting()
	}
	want := func(b *bench, strength result.Strength) {
		b.t.Helper()
		r := b.attest()
		if r.Strength.Flash != strength || r.Strength.Platform != strength {
			b.t.Errorf("strength of flash %s, of tamper lines %s, want %s; findings %v", r.Strength.Flash, r.Strength.Platform, strength, codesOf(r))
		}
	}
	b := start(t)
	want(b, result.MeasuredAgent)
	want(b, result.MeasuredAgent) // the entry is not sent again
	tests := map[string]func(b *bench){
		"swapped":           func(b *bench) { b.measure(ran("/usr/bin/probity-agent", "implant")) },
		"another beside it": func(b *bench) { b.measure(ran("/tmp/probity-agent", "implant")) },
		"changed while it was measured": func(b *bench) {
			b.measure(ima.Measurement{Path: "/usr/bin/probity-agent", Algorithm: pcr.SHA256, Digest: make([]byte, 32), Violation: true})
		},
		"no list": func(b *bench) { b.device.IMA = nil },
		"list is altered": func(b *bench) {
			b.device.IMA = listOf(b.t, ran("/usr/bin/probity-agent", "agent 1.0"))
			b.device.BootID[0]++
			b.device.Resets++
		},
		"IMA is ignored": func(b *bench) { b.with(func(p *appraise.Policy) { p.IMA = appraise.Ignored }) },
		"references do not have it": func(b *bench) {
			base := b.baseline("without")
			base.Files = base.Files[:len(base.Files)-1]
			b.set = compileForTest(base)
		},
		"rebooted without it": func(b *bench) {
			fresh := newBench(b.t)
			b.device.IMA, b.device.Bank = fresh.device.IMA, fresh.device.Bank
			b.device.BootID[0]++
			b.device.Resets++
		},
		"PCR 10 is zero": func(b *bench) {
			if err := b.device.Bank.Set(ima.PCR, make([]byte, 32)); err != nil {
				b.t.Fatal(err)
			}
			b.device.BootID[0]++
			b.device.Resets++
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			b.attest()
			change(b)
			want(b, result.SelfAsserted)
			want(b, result.SelfAsserted)
		})
	}
	t.Run("names that only resemble it", func(t *testing.T) {
		b := newBench(t)
		b.device.Flash = flash()
		b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
		b.measure(ran("/usr/bin/not-probity-agent", "x"), ran("/usr/bin/probity-agent.old", "y"))
		b.trusting()
		want(b, result.SelfAsserted)
		b.measure(ran("probity-agent", "from an initramfs"))
		b.trusting()
		want(b, result.MeasuredAgent)
	})
	t.Run("SHA-1 vouches for nothing", func(t *testing.T) {
		b := fourBanks(t, pcr.SHA1)
		b.device.IMA = []byte{}
		b.with(func(p *appraise.Policy) { p.Banks = []pcr.Algorithm{pcr.SHA1} })
		b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
		b.device.Flash = flash()
		b.measure(ran("/usr/bin/probity-agent", "agent 1.0"))
		b.trusting()
		want(b, result.SelfAsserted)
	})
}
