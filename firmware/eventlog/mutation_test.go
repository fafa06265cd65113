package eventlog

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Every bit of every captured log is flipped (of those that are the like of another, with an agent inside, every 13th).
// Against the values that the TPM quoted, the log must then be refused, or all that Verify vouches for (PCR, order and
// digest of each extending event) is unchanged, and a change of data shows in DataMatches.
func TestBitFlips(t *testing.T) {
	flips, accepted := 0, 0
	stride := 1
	if testing.Short() {
		stride = 29
	}
	for name, raw := range captured(t) {
		quoted := readPCRs(t, filepath.Join(testdata, name+".pcrs"))[pcr.SHA256]
		original, err := mustParse(t, raw).Verify(quoted)
		if err != nil {
			t.Fatal(err)
		}
		bits := bound(original)
		mutant := bytes.Clone(raw)
		step := stride
		if strings.HasPrefix(name, "q35-") || strings.HasPrefix(name, "virt-") {
			step *= 13
		}
		for i := 0; i < 8*len(raw); i += step {
			mutant[i/8] ^= 1 << (i % 8)
			flips++
			if v := verifyBytes(mutant, quoted); v != nil {
				accepted++
				checkUnbound(t, name, i, original, v, bits)
			}
			mutant[i/8] ^= 1 << (i % 8)
		}
	}
	if flips < 350_000/stride {
		t.Errorf("only %d flips", flips)
	}
	t.Logf("%d flips, %d accepted and harmless", flips, accepted)
}

// A large seeded sample of heavier damage: bytes overwritten, records removed, repeated, swapped.
func TestMutations(t *testing.T) {
	raw, quoted := genuine(t, "grub-secure-boot")
	original, err := mustParse(t, raw).Verify(quoted)
	if err != nil {
		t.Fatal(err)
	}
	bits := bound(original)
	r := rand.New(rand.NewPCG(1, 2))
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	for i := range n {
		mutant := mutate(r, raw, original.log)
		if v := verifyBytes(mutant, quoted); v != nil {
			checkUnbound(t, "mutation", i, original, v, bits)
		}
	}
}

// mutate damages a log. Half of the time it works on whole records.
func mutate(r *rand.Rand, raw []byte, l *Log) []byte {
	at := func(i int) int {
		if i == len(l.Events) {
			return len(raw)
		}
		return l.Events[i].Offset
	}
	i := r.IntN(len(l.Events))
	one := raw[at(i):at(i+1)]
	switch r.IntN(6) {
	case 0: // remove
		return join(raw[:at(i)], raw[at(i+1):])
	case 1: // repeat elsewhere
		k := at(r.IntN(len(l.Events) + 1))
		return join(raw[:k], one, raw[k:])
	case 2: // swap with the next
		if i+2 <= len(l.Events) {
			return join(raw[:at(i)], raw[at(i+1):at(i+2)], one, raw[at(i+2):])
		}
	case 3: // cut the end
		return raw[:r.IntN(len(raw))]
	}
	mutant := bytes.Clone(raw)
	for range 1 + r.IntN(4) {
		mutant[r.IntN(len(mutant))] = byte(r.Uint32())
	}
	return mutant
}

func verifyBytes(b []byte, quoted *pcr.Bank) *Verified {
	l, err := Parse(b)
	if err != nil {
		return nil
	}
	v, err := l.Verify(quoted)
	if err != nil {
		return nil
	}
	return v
}

// bound tells of each event whether its data hashes to its digest.
func bound(v *Verified) []bool {
	var out []bool
	events := v.Events()
	for i := range events {
		out = append(out, events[i].DataMatches(pcr.SHA256))
	}
	return out
}

// checkUnbound checks that an accepted mutant differs only in what is not bound.
func checkUnbound(t *testing.T, name string, mutation int, original, mutant *Verified, bits []bool) {
	t.Helper()
	want, got := original.Events(), mutant.Events()
	perPCR := func(events []Event) map[uint32][]int {
		out := map[uint32][]int{}
		for i := range events {
			out[events[i].PCR] = append(out[events[i].PCR], i)
		}
		return out
	}
	wantPCRs, gotPCRs := perPCR(want), perPCR(got)
	if len(want) != len(got) || len(wantPCRs) != len(gotPCRs) {
		t.Fatalf("%s, mutation %d: %d events of %d PCRs accepted, want %d of %d", name, mutation, len(got), len(gotPCRs), len(want), len(wantPCRs))
	}
	for p, list := range wantPCRs {
		if len(list) != len(gotPCRs[p]) {
			t.Fatalf("%s, mutation %d: PCR %d has %d events, want %d", name, mutation, p, len(gotPCRs[p]), len(list))
		}
		for k, i := range list {
			w, g := &want[i], &got[gotPCRs[p][k]]
			if !bytes.Equal(w.Digest(pcr.SHA256), g.Digest(pcr.SHA256)) {
				t.Fatalf("%s, mutation %d: PCR %d, event %d has another digest", name, mutation, p, w.Number)
			}
			if bits[i] && !bytes.Equal(w.Data, g.Data) && g.DataMatches(pcr.SHA256) {
				if w.Type == EFIVariableBoot || w.Type == IPL { // parts of the data are not hashed
					continue
				}
				t.Fatalf("%s, mutation %d: event %d has other data that passes for what was measured", name, mutation, w.Number)
			}
		}
	}
	ws, _ := original.SecureBoot()
	if gs, _ := mutant.SecureBoot(); gs != ws && gs != SecureBootUnknown {
		t.Fatalf("%s, mutation %d: Secure Boot turned from %s to %s", name, mutation, ws, gs)
	}
}
