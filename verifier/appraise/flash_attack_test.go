package appraise_test

import (
	"bytes"
	"testing"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// TestClaimMutations changes every bit of the evidence, the flash and the inventory of a device whose flash is bad and
// of one whose enclosure is open, with and without a TPM. Evidence that was changed on its way is never better than it
// was; a device that garbles what it signs is never trusted by that.
func TestClaimMutations(t *testing.T) {
	bad := map[string]func(*appraisetest.Device){
		"flash":  func(d *appraisetest.Device) { region(d, "u-boot").Digest = flashDigest("implant") },
		"tamper": func(d *appraisetest.Device) { d.Tamper[0].State = proto.TamperOpen },
	}
	for name, spoil := range bad {
		for _, software := range []bool{false, true} {
			b := newBench(t)
			if software {
				b = softBench(t)
			} else {
				b.device.Flash, b.device.Platform.Devices = flash(), devices()
				b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
			}
			b.trusting()
			spoil(b.device)
			message := b.report()
			out, err := b.appraise(message)
			if err != nil {
				t.Fatal(err)
			}
			b.wantState(out.Result, result.Untrusted)
			b.memo = nil
			for bit := range len(message) * 8 {
				changed := bytes.Clone(message)
				changed[bit/8] ^= 1 << (bit % 8)
				if out, err := b.appraise(changed); err == nil && out.Result.State != result.Untrusted {
					t.Errorf("%s, software %t: evidence with bit %d changed is %s", name, software, bit, out.Result.State)
				}
			}
			b.garble(t, name)
		}
	}
}

// garble has the device sign flash contents and descriptions that differ from its own in one bit.
func (b *bench) garble(t *testing.T, name string) {
	t.Helper()
	encoded, err := proto.Encode(b.device.Flash)
	if err != nil {
		t.Fatal(err)
	}
	platform, err := proto.Encode(&b.device.Platform)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, bit int) {
		t.Helper()
		out, err := b.appraise(b.report())
		if err == nil && out.Result.State == result.Trusted {
			t.Errorf("%s: %s with bit %d changed: trusted", name, what, bit)
		}
	}
	flip := func(content []byte, bit int) []byte {
		out := bytes.Clone(content)
		out[bit/8] ^= 1 << (bit % 8)
		return out
	}
	for bit := 0; bit < len(encoded)*8; bit += 5 {
		b.device.RawFlash = flip(encoded, bit)
		try("flash", bit)
	}
	b.device.RawFlash = nil
	for bit := 0; bit < len(platform)*8; bit += 5 {
		changed := flip(platform, bit)
		b.device.ForgeClaims = func(c *proto.Claims) {
			b.contents[proto.Sum(changed)] = changed
			c.Platform.Content = &proto.Content{Digest: proto.Sum(changed), Size: uint32(len(changed))}
		}
		try("platform", bit)
	}
	b.device.ForgeClaims = nil
}

// TestClaimsOfAnotherDevice: flash and tamper lines of a healthy device cannot be spliced into another's report.
func TestClaimsOfAnotherDevice(t *testing.T) {
	b := withFlash(t)
	healthy := b.report()
	var good proto.Evidence
	if err := proto.Decode(healthy, &good); err != nil {
		t.Fatal(err)
	}
	region(b.device, "u-boot").Digest = flashDigest("implant")
	_, err := b.appraise(edit(t, b.report(), func(ev *proto.Evidence) { ev.Claims = good.Claims }))
	wantRejection(t, err, proto.CodeSignature)
}

// BenchmarkSteadyFlash is BenchmarkSteady of a device that reads flash, tells of hardware and has a tamper line.
func BenchmarkSteadyFlash(b *testing.B) {
	s := newBench(b)
	s.device.Flash, s.device.Platform.Devices = flash(), devices()
	s.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
	s.trusting().attest()
	message := s.report()
	reads := 0
	b.ReportAllocs()
	for b.Loop() {
		in, err := s.input(message)
		if err != nil {
			b.Fatal(err)
		}
		content := in.Content
		in.Content = func(d proto.Digest) ([]byte, bool) { reads++; return content(d) }
		out, err := appraise.Appraise(in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := out.Record.Encode(); err != nil {
			b.Fatal(err)
		}
	}
	if reads > 3 {
		b.Errorf("content was read %d times, want it remembered", reads)
	}
}
