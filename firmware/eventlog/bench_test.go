package eventlog

import (
	"crypto"
	"testing"

	"github.com/google/go-attestation/attest"

	"github.com/probity-attest/probity/firmware/pcr"
)

// BenchmarkVerify measures parsing, replay of the SHA-256 bank and the rules, on the log of BenchmarkGoAttestation.
func BenchmarkVerify(b *testing.B) {
	raw := shielded(b)
	quoted := mustReplay(b, mustParse(b, raw), pcr.SHA256)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		l, err := Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Verify(quoted); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	raw := shielded(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDescribe measures what the tooling view adds.
func BenchmarkDescribe(b *testing.B) {
	l := mustParse(b, shielded(b))
	b.ReportAllocs()
	for b.Loop() {
		for i := range l.Events {
			l.Events[i].Describe()
		}
	}
}

func BenchmarkSlot(b *testing.B) {
	l := mustParse(b, shielded(b))
	b.ReportAllocs()
	for b.Loop() {
		for i := range l.Events {
			l.Events[i].Slot()
		}
	}
}

func attestPCRs(quoted *pcr.Bank) []attest.PCR {
	var out []attest.PCR
	for _, i := range quoted.Present().Indices() {
		out = append(out, attest.PCR{Index: i, Digest: quoted.Value(i), DigestAlg: crypto.SHA256})
	}
	return out
}

// BenchmarkGoAttestation measures the same work by the library that most projects use.
func BenchmarkGoAttestation(b *testing.B) {
	raw := shielded(b)
	pcrs := attestPCRs(mustReplay(b, mustParse(b, raw), pcr.SHA256))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		l, err := attest.ParseEventLog(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Verify(pcrs); err != nil {
			b.Fatal(err)
		}
	}
}
