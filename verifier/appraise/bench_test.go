package appraise_test

import (
	"fmt"
	"testing"

	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
)

// BenchmarkSteady appraises an unchanged device, from the message to the encoded record. make bench puts it beside a bare
// signature check.
func BenchmarkSteady(b *testing.B) {
	s := newBench(b).trusting()
	s.attest()
	message := s.report()
	b.ReportAllocs()
	for b.Loop() {
		out, err := s.appraise(message)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := out.Record.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFiles appraises a list of 10,000 files.
func BenchmarkFiles(b *testing.B) {
	const files = 10_000
	d, err := appraisetest.New(fixture(b, "eventlogs", "uki"), nil)
	if err != nil {
		b.Fatal(err)
	}
	s := benchFor(b, d)
	list := []byte{}
	for i := range files {
		list = append(list, listOf(b, ran(fmt.Sprintf("/usr/lib/package-%d/lib%d.so", i%700, i), fmt.Sprint(i)))...)
	}
	d.IMA = list
	if err := d.Measure(list); err != nil {
		b.Fatal(err)
	}
	s.trusting()
	message := s.report()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.appraise(message); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/entry")
}
