package eventlog

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// seeds returns the captured logs, damaged copies of them, and the corpus of real logs where it is there.
func seeds(f *testing.F) [][]byte {
	var out [][]byte
	r := rand.New(rand.NewPCG(3, 4))
	for _, raw := range captured(f) {
		l := mustParse(f, raw)
		out = append(out, raw)
		for range 4 {
			out = append(out, mutate(r, raw, l))
		}
	}
	paths, err := filepath.Glob(filepath.Join(corpus, "*.bin"))
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			out = append(out, b)
		}
	}
	out = append(out, buildLog(append([]record{locality(3), secureBootRecord(1)}, separators()...)...),
		build12(append([]record{secureBootRecord(1)}, separators()...)...))
	if len(out) < 50 {
		f.Fatalf("only %d seeds", len(out))
	}
	return out
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := Parse(raw)
		if err != nil {
			var e *ParseError
			if l != nil || !errors.As(err, &e) {
				t.Fatalf("Parse = %v, %v, want nil and a ParseError", l, err)
			}
			if e.Offset < 0 || e.Offset > len(raw) {
				t.Fatalf("error at byte %d of %d", e.Offset, len(raw))
			}
			return
		}
		checkLog(t, raw, l)
		checkReplays(t, l)
		if len(l.Events) <= 256 { // the view is slow by nature
			checkPrintable(t, l)
		}
	})
}

// checkLog checks that events lie in the input one after another and that parsing again gives the same.
func checkLog(t *testing.T, raw []byte, l *Log) {
	if len(l.Events) > MaxEvents || len(l.Banks) == 0 || len(l.Banks) > MaxAlgorithms || l.Padding < 0 || l.Padding >= len(raw) {
		t.Fatalf("%d events, %d banks, padding %d", len(l.Events), len(l.Banks), l.Padding)
	}
	end := 0
	for i := range l.Events {
		e := &l.Events[i]
		if e.Offset < end || e.Offset+len(e.Data) > len(raw)-l.Padding || e.Extends() && e.PCR >= pcr.Count {
			t.Fatalf("event %d at %d after %d, PCR %d, %d bytes", e.Number, e.Offset, end, e.PCR, len(e.Data))
		}
		end = e.Offset + 32 + len(e.Data)
		if l.Format == FormatTCG2 {
			end = e.Offset + 16 + len(e.digests) + len(e.Data)
		}
		for _, a := range l.Banks {
			if d := e.Digest(a); d != nil && a.Size() != 0 && len(d) != a.Size() {
				t.Fatalf("%s digest of %d bytes", a, len(d))
			}
		}
	}
	again, err := Parse(raw)
	if err != nil || len(again.Events) != len(l.Events) || again.Format != l.Format || cmp.Diff(again.Banks, l.Banks) != "" {
		t.Fatalf("parsing again gives %d events, %v", len(again.Events), err)
	}
	if l.Padding == 0 {
		return
	}
	bare, err := Parse(raw[:len(raw)-l.Padding])
	if err != nil || len(bare.Events) != len(l.Events) || bare.Padding != 0 {
		t.Fatalf("without padding: %v, %v", bare, err)
	}
}

// checkReplays checks that a log verifies against its own replay unless it breaks a rule.
func checkReplays(t *testing.T, l *Log) {
	for _, a := range l.Banks {
		bank, err := l.Replay(a)
		var e *RuleError
		if err != nil {
			if !errors.As(err, &e) {
				t.Fatalf("Replay(%s) = %v, want a RuleError", a, err)
			}
			continue
		}
		v, err := l.Verify(bank)
		if err != nil {
			if v != nil || !errors.As(err, &e) {
				t.Fatalf("Verify = %v, %v, want a RuleError", v, err)
			}
			continue
		}
		if !a.Trusted() || len(v.Events()) < firmwarePCRs || v.Unlogged() != 0 {
			t.Fatalf("verified %d events of bank %s", len(v.Events()), a)
		}
		v.SecureBoot()
	}
}

// FuzzDescribe decodes hostile data as every type of event and in every PCR that has a meaning.
func FuzzDescribe(f *testing.F) {
	n := 0
	for _, raw := range captured(f) {
		for _, e := range mustParse(f, raw).Events {
			f.Add(uint32(e.Type), uint8(e.PCR), e.Data)
			n++
		}
	}
	if n < 100 {
		f.Fatalf("only %d seeds", n)
	}
	f.Fuzz(func(t *testing.T, kind uint32, index uint8, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		l := &Log{Format: FormatTCG2, Banks: []pcr.Algorithm{pcr.SHA256}}
		l.Events = []Event{{PCR: uint32(index), Type: EventType(kind), Data: data, log: l}}
		checkPrintable(t, l)
	})
}
