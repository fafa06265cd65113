package appraise_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// Offsets into a TPMS_ATTEST as appraisetest makes it: magic, type, signer (2+34), extraData (2+32), clock info (17),
// firmware version (8), count of selections.
const (
	attestType      = 4
	attestSigner    = 8
	attestExtra     = 44
	attestSafe      = 76 + 16
	attestCount     = 76 + 17 + 8
	attestBank      = attestCount + 4
	attestSelection = attestBank + 3
)

// TestForgedQuotes signs, with the device's own key, what a TPM would never sign: every field counts.
func TestForgedQuotes(t *testing.T) {
	tests := []struct {
		name  string
		code  string
		forge func(q []byte) []byte
	}{
		{"wrong magic (CVE-2024-29038)", proto.CodeSignature, func(q []byte) []byte { q[0] = 0xfe; return q }},
		{"type certify", proto.CodeSignature, func(q []byte) []byte { q[attestType+1] = 0x17; return q }},
		{"another signer's name", proto.CodeSignature, func(q []byte) []byte { q[attestSigner] ^= 1; return q }},
		{"other qualifying data", proto.CodeSignature, func(q []byte) []byte { q[attestExtra] ^= 1; return q }},
		{"safe flag of 2", proto.CodeSignature, func(q []byte) []byte { q[attestSafe] = 2; return q }},
		{"trailing byte", proto.CodeSignature, func(q []byte) []byte { return append(q, 0) }},
		{"cut", proto.CodeSignature, func(q []byte) []byte { return q[:len(q)-1] }},
		{"no banks", proto.CodeSignature, func(q []byte) []byte { q[attestCount+3] = 0; return q }},
		{"two banks", proto.CodeSignature, func(q []byte) []byte {
			selection := q[attestBank : attestBank+6]
			out := append(bytes.Clone(q[:attestBank]), selection...)
			out[attestCount+3] = 2
			return append(out, q[attestBank:]...)
		}},
		{"empty selection", proto.CodeSelection, func(q []byte) []byte { copy(q[attestSelection:], []byte{0, 0, 0}); return q }},
		{"one PCR less (CVE-2024-29039)", proto.CodeSelection, func(q []byte) []byte { q[attestSelection] &^= 1 << 4; return q }},
		{"one PCR more", proto.CodeSelection, func(q []byte) []byte { q[attestSelection+2] |= 1; return q }},
		{"SHA-1 bank", proto.CodeSelection, func(q []byte) []byte { binary.BigEndian.PutUint16(q[attestBank:], 4); return q }},
		{"bank that was not claimed", proto.CodeSelection, func(q []byte) []byte { binary.BigEndian.PutUint16(q[attestBank:], 0xc); return q }},
		{"another PCR digest", proto.CodePCRValues, func(q []byte) []byte { q[len(q)-1] ^= 1; return q }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t).trusting()
			b.wantState(b.attest(), result.Trusted)
			b.device.Forge = tt.forge
			_, err := b.appraise(b.report())
			wantRejection(t, err, tt.code)
		})
	}
}

// edit changes a message that is already signed.
func edit(t *testing.T, message []byte, change func(*proto.Evidence)) []byte {
	t.Helper()
	var ev proto.Evidence
	if err := proto.Decode(message, &ev); err != nil {
		t.Fatal(err)
	}
	change(&ev)
	out, err := proto.Encode(&ev)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEditedEvidence(t *testing.T) {
	other, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), fixture(t, "ima", "grub-secure-boot"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		code   string
		change func(b *bench, ev *proto.Evidence)
	}{
		{"claims of another report", proto.CodeSignature, func(b *bench, ev *proto.Evidence) { ev.Claims[len(ev.Claims)-1] ^= 1 }},
		{"a PCR value", proto.CodePCRValues, func(_ *bench, ev *proto.Evidence) {
			ev.PCRs[4] = bytes.Repeat([]byte{7}, 32)
		}},
		{"a PCR left out", proto.CodePCRValues, func(_ *bench, ev *proto.Evidence) { delete(ev.PCRs, 4) }},
		{"a PCR that was not asked for", proto.CodePCRValues, func(_ *bench, ev *proto.Evidence) { ev.PCRs[16] = make([]byte, 32) }},
		{"unknown PCR base", proto.CodeOutOfSync, func(_ *bench, ev *proto.Evidence) { ev.PCRBase = make([]byte, 8) }},
		{"no quote", proto.CodeSignature, func(_ *bench, ev *proto.Evidence) { ev.Quote, ev.PCRs, ev.IMA = nil, nil, nil }},
		{"RSA signature for an ECC key", proto.CodeSignature, func(_ *bench, ev *proto.Evidence) {
			ev.Signature = append([]byte{0, 0x14, 0, 0x0b, 1, 0}, make([]byte, 256)...)
		}},
		{"signature of zeros", proto.CodeSignature, func(_ *bench, ev *proto.Evidence) { clear(ev.Signature[6:]) }},
		{"oversized r", proto.CodeSignature, func(_ *bench, ev *proto.Evidence) {
			ev.Signature = append([]byte{0, 0x18, 0, 0x0b, 0, 40}, make([]byte, 74)...)
		}},
		{"another device's quote (relay)", proto.CodeSignature, func(b *bench, ev *proto.Evidence) {
			c := &proto.Challenge{Nonce: ev.Nonce, PCRs: uint32(b.policy.PCRs), Banks: []uint16{0xb}, Lifetime: 1}
			relayed, _, err := other.Report(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := proto.Decode(relayed, ev); err != nil {
				t.Fatal(err)
			}
		}},
		{"IMA entries that were never appraised skipped", proto.CodeOutOfSync, func(_ *bench, ev *proto.Evidence) { ev.IMA.From = 3 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t).trusting()
			message := edit(t, b.report(), func(ev *proto.Evidence) { tt.change(b, ev) })
			_, err := b.appraise(message)
			wantRejection(t, err, tt.code)
		})
	}
}

func TestPCRTwice(t *testing.T) {
	b := newBench(t).trusting()
	message := b.report()
	// The map of PCR values (key 5) gets one pair more: PCR 0 once again.
	at := bytes.Index(message, append([]byte{0x05, 0xb0, 0x00, 0x58, 0x20}, b.device.Bank.Value(0)...))
	if at < 0 {
		t.Fatal("no PCR map of 16 pairs in the message")
	}
	twice := bytes.Clone(message[:at+1])
	twice = append(twice, 0xb1, 0x00, 0x58, 0x20)
	twice = append(twice, bytes.Repeat([]byte{9}, 32)...)
	twice = append(twice, message[at+2:]...)
	_, err := b.appraise(twice)
	wantRejection(t, err, proto.CodeMalformed)
}

func TestNonces(t *testing.T) {
	b := newBench(t).trusting()
	first := b.report()
	if _, err := b.appraise(first); err != nil {
		t.Fatal(err)
	}
	b.attest() // a newer one is accepted
	_, err := b.appraise(first)
	wantRejection(t, err, proto.CodeNonceReplayed)

	message := b.report()
	in, err := b.input(message)
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.input(b.report())
	if err != nil {
		t.Fatal(err)
	}
	in.Nonce = other.Nonce // fresh and ours, but not the one in the evidence
	_, err = appraise.Appraise(in)
	wantRejection(t, err, proto.CodeNonceForeign)
}

func TestCountersAndClock(t *testing.T) {
	newBoot := func(b *bench) { b.device.BootID[0]++ }
	tests := []struct {
		name   string
		change func(b *bench)
		code   string // empty: trusted
	}{
		{"nothing", func(*bench) {}, ""},
		{"reboot", func(b *bench) { newBoot(b); b.device.Resets++; b.device.Restarts = 0 }, ""},
		{"resume", func(b *bench) { b.device.Restarts++ }, ""},
		{"unclean reboot moves the clock back", func(b *bench) {
			newBoot(b)
			b.device.Resets++
			b.device.Clock -= 5000
			b.device.Unsafe = true
		}, ""},
		{"TPM reset under a running kernel, PCRs replayed", func(b *bench) { b.device.Resets++ }, "tpm-reset"},
		{"reset count back (cloned or rolled back state)", func(b *bench) { newBoot(b); b.device.Resets-- }, "reset-count"},
		{"restart count back", func(b *bench) { b.device.Restarts-- }, "reset-count"},
		{"clock back without a reset", func(b *bench) { b.device.Clock -= 50_000 }, "clock-back"},
		{"new kernel without a reset (kexec)", newBoot, "kernel-replaced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t).trusting()
			b.wantState(b.attest(), result.Trusted)
			b.wantState(b.attest(), result.Trusted)
			tt.change(b)
			r := b.attest()
			if tt.code == "" {
				b.wantState(r, result.Trusted)
				return
			}
			wantFinding(t, r, tt.code)
			if r.State == result.Trusted {
				t.Error("state = trusted, want worse")
			}
		})
	}
	t.Run("a TPM reset is not forgotten until the machine boots", func(t *testing.T) {
		b := newBench(t).trusting()
		b.attest()
		b.device.Resets++
		b.attest()
		b.wantState(b.attest(), result.Untrusted)
		newBoot(b)
		b.device.Resets++
		b.wantState(b.attest(), result.Trusted)
	})
}

func TestKeysThatAreNoAK(t *testing.T) {
	b := newBench(t).trusting()
	message := b.report()
	for name, change := range map[string]func([]byte){
		"curve P-384":       func(k []byte) { k[17] = 4 },
		"scheme ECDAA":      func(k []byte) { k[13] = 0x1a },
		"type RSA":          func(k []byte) { k[1] = 1 },
		"type keyed hash":   func(k []byte) { k[1] = 8 },
		"SHA-384 names":     func(k []byte) { k[3] = 0xc },
		"point off curve":   func(k []byte) { k[40] ^= 1 },
		"symmetric key set": func(k []byte) { k[11] = 6 },
	} {
		t.Run(name, func(t *testing.T) {
			in, err := b.input(message)
			if err != nil {
				t.Fatal(err)
			}
			in.Identity.AK = bytes.Clone(in.Identity.AK)
			change(in.Identity.AK)
			_, err = appraise.Appraise(in)
			wantRejection(t, err, proto.CodeNotEnrolled)
			for n := range in.Identity.AK {
				in.Identity.AK = b.device.AK[:n]
				if _, err := appraise.Appraise(in); err == nil {
					t.Errorf("accepted with an AK of %d bytes", n)
				}
			}
		})
	}
}

// TestContentOfAnotherSize: a false size must not keep the verifier asking for content that it has.
func TestContentOfAnotherSize(t *testing.T) {
	for name, forge := range map[string]func(*proto.Claims){
		"boot log": func(c *proto.Claims) { c.BootLog.Content.Size++ },
		"platform": func(c *proto.Claims) { c.Platform.Content.Size-- },
	} {
		b := newBench(t).trusting()
		b.device.ForgeClaims = forge
		_, err := b.appraise(b.report())
		t.Log(name)
		wantRejection(t, err, proto.CodeMalformed)
	}
	b := newBench(t).trusting()
	_, err := b.appraise(edit(t, b.report(), func(ev *proto.Evidence) { ev.IMA.Part.Size++ }))
	wantRejection(t, err, proto.CodeMalformed)
}

// TestRSA: the AK of a TPM without P-256, and signatures of the wrong kind in both directions.
func TestRSA(t *testing.T) {
	b := newBench(t).trusting()
	ecc := b.report()
	if err := b.device.UseRSA(); err != nil {
		t.Fatal(err)
	}
	b.wantState(b.attest(), result.Trusted)
	message := b.report()
	for at := range 8 { // scheme, hash, size and the first bytes
		wrong := edit(t, message, func(ev *proto.Evidence) { ev.Signature[at] ^= 1 })
		if _, err := b.appraise(wrong); err == nil {
			t.Errorf("accepted with byte %d of the signature changed", at)
		}
	}
	var signed proto.Evidence
	if err := proto.Decode(ecc, &signed); err != nil {
		t.Fatal(err)
	}
	_, err := b.appraise(edit(t, message, func(ev *proto.Evidence) { ev.Signature = signed.Signature }))
	wantRejection(t, err, proto.CodeSignature)
	in, err := b.input(message)
	if err != nil {
		t.Fatal(err)
	}
	for n := range in.Identity.AK {
		in.Identity.AK = b.device.AK[:n]
		_, err := appraise.Appraise(in)
		wantRejection(t, err, proto.CodeNotEnrolled)
	}
}

// mutations is how many random changes TestMutations tries beside every single bit.
const mutations = 1_000_000

// TestMutations changes a device's evidence, boot log and IMA list in every single bit and in a million random ways.
// The device is untrusted; nothing may ever come out better.
func TestMutations(t *testing.T) {
	n := mutations
	if testing.Short() {
		n /= 100
	}
	b := newBench(t).trusting()
	bad := remeasure(t, b.device.BootLog, eventlogtest.BootLoader, nil)
	d, err := appraisetest.New(bad, b.device.IMA)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, d)
	c.set, c.memo = b.set, nil
	message := c.report()
	out, err := c.appraise(message)
	if err != nil {
		t.Fatal(err)
	}
	c.wantState(out.Result, result.Untrusted)

	m := &mutator{bench: c, message: message, good: b.device.BootLog}
	for bit := range len(message) * 8 {
		m.try(t, func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b })
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range n / workers {
				m.try(t, func(b []byte) []byte { return mutate(r, b) })
			}
		})
	}
	wg.Wait()
	m.logs(t)
}

type mutator struct {
	bench   *bench
	message []byte
	good    []byte // the log that would be trusted if it were believed
}

func (m *mutator) try(t *testing.T, change func([]byte) []byte) {
	changed := change(bytes.Clone(m.message))
	if bytes.Equal(changed, m.message) {
		return
	}
	out, err := m.bench.appraise(changed)
	if err == nil && out.Result.State != result.Untrusted {
		t.Errorf("changed evidence %x is %s", changed, out.Result.State)
	}
}

// mutate changes one to four places, cuts, or repeats a part.
func mutate(r *rand.Rand, b []byte) []byte {
	switch r.IntN(8) {
	case 0:
		return b[:r.IntN(len(b))]
	case 1:
		at := r.IntN(len(b))
		return append(b[:at:at], b[r.IntN(at+1):]...)
	}
	for range 1 + r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	return b
}

// logs changes every bit of the boot log and the IMA list that the evidence names, as a device could which hides what it
// measured: the content is served under its own digest, signed by the AK.
func (m *mutator) logs(t *testing.T) {
	d := m.bench.device
	bootLog, list := d.BootLog, d.IMA
	defer func() { d.BootLog, d.IMA = bootLog, list }()
	step := 1
	if testing.Short() {
		step = 97
	}
	flip := func(b []byte, bit int) []byte {
		out := bytes.Clone(b)
		out[bit/8] ^= 1 << (bit % 8)
		return out
	}
	// Signing costs more than the check, so bits of the long log are taken by a stride that is coprime to 8.
	for bit := 0; bit < len(bootLog)*8; bit += 13 * step {
		d.BootLog = flip(bootLog, bit)
		m.wantUntrusted(t, fmt.Sprintf("boot log with bit %d changed", bit))
	}
	d.BootLog = m.good
	m.wantUntrusted(t, "the healthy boot log shown instead")
	d.BootLog = bootLog
	for bit := 0; bit < len(list)*8; bit += 3 * step {
		d.IMA = flip(list, bit)
		m.wantUntrusted(t, fmt.Sprintf("IMA list with bit %d changed", bit))
	}
}

func (m *mutator) wantUntrusted(t *testing.T, what string) {
	t.Helper()
	m.bench.contents = map[proto.Digest][]byte{}
	message, contents, err := m.bench.device.Report(m.bench.challenge())
	if err != nil { // the device itself cannot make a report of such a list
		return
	}
	m.bench.contents = contents
	if out, err := m.bench.appraise(message); err == nil && out.Result.State != result.Untrusted {
		t.Errorf("%s: %s", what, out.Result.State)
	}
}

// TestHostileLogsAreBounded: logs of the protocol's limit cost bounded time and memory and never trust.
func TestHostileLogsAreBounded(t *testing.T) {
	b := newBench(t).trusting()
	header := b.device.BootLog[:bytes.Index(b.device.BootLog, []byte("Spec ID Event03"))+37]
	empty := append(bytes.Clone(header), bytes.Repeat([]byte{0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, (proto.MaxBootLog-100)/16)...)
	var before, after runtime.MemStats
	for name, log := range map[string][]byte{
		"empty events": empty, "zeros": make([]byte, proto.MaxBootLog), "header only": header,
	} {
		b.device.BootLog = log
		runtime.ReadMemStats(&before)
		start := time.Now()
		r := b.attest()
		runtime.ReadMemStats(&after)
		if r.State == result.Trusted {
			t.Errorf("%s: trusted", name)
		}
		if grew := after.TotalAlloc - before.TotalAlloc; grew > 64<<20 {
			t.Errorf("%s: %d bytes allocated", name, grew)
		}
		t.Logf("%s: %s, %d bytes allocated", name, time.Since(start), after.TotalAlloc-before.TotalAlloc)
	}
}

func TestBankOfTheReference(t *testing.T) {
	b := newBench(t)
	base := b.baseline("sha384-only")
	base.Bank = uint16(pcr.SHA384) // of another bank: says nothing about SHA-256 values
	for i := range base.PCRs {
		base.PCRs[i].Value = make([]byte, 48)
		base.PCRs[i].Events = nil
	}
	b.set = compileForTest(base)
	b.wantState(b.attest(), result.Unsupported)
}
