package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// log returns a chained log of n entries.
func log(n int) []Entry {
	var out []Entry
	var before Digest
	for i := range n {
		e := Entry{
			Seq: int64(i + 1), At: time.Date(2026, 3, 1, 12, i, 0, 5000, time.UTC), Actor: "alice", Role: "operator", Action: "search",
			Object: "/v1/search?q=\u202e", Outcome: OK, Status: 200, Remote: "192.0.2.1:4711", Request: "ab", Detail: "<é>", Times: i, Before: before,
		}
		e.Chain = e.Link()
		before = e.Chain
		out = append(out, e)
	}
	return out
}

func export(t *testing.T, entries []Entry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return &b
}

// TestLink holds the form of the chain: a log that was exported once must verify for ever.
func TestLink(t *testing.T) {
	e := Entry{
		Seq: 2, At: time.UnixMicro(1_772_366_400_000_001).UTC(), Actor: "alice", Role: "admin", Action: "set-policy", Object: "/v1/policy",
		Outcome: Failed, Status: 409, Remote: "[2001:db8::1]:443", Request: "0011223344556677", Detail: "é", Times: 3, Before: Digest{1, 2, 3},
	}
	text, err := e.Link().MarshalText()
	const want = "d868b9da460fe604c8401eab3fc59cbc6826df71e1affd4f474e6ff7d95aee5d"
	if err != nil || string(text) != want {
		t.Errorf("Link() = %s, %v, want %s", text, err, want)
	}
	// A text must not flow into the next.
	a, b := e, e
	a.Actor, a.Role = "ab", "c"
	b.Actor, b.Role = "a", "bc"
	if a.Link() == b.Link() {
		t.Error("entries that differ have the same chain")
	}
}

func TestVerify(t *testing.T) {
	all := log(5)
	for name, tt := range map[string]struct {
		entries []Entry
		gaps    int
		whole   bool
	}{
		"all":       {all, 0, true},
		"the end":   {all[2:], 0, false},
		"some":      {[]Entry{all[0], all[2], all[3]}, 1, false},
		"one":       {all[3:4], 0, false},
		"beginning": {all[:2], 0, true},
	} {
		s, err := Verify(export(t, tt.entries))
		last := tt.entries[len(tt.entries)-1]
		if err != nil || s.Entries != len(tt.entries) || s.Gaps != tt.gaps || s.Whole() != tt.whole || s.First.Seq != tt.entries[0].Seq ||
			s.Last != (Mark{last.Seq, last.At, last.Chain}) {
			t.Errorf("%s: Verify() = %+v, %v; want %d entries, %d gaps, whole %t", name, s, err, len(tt.entries), tt.gaps, tt.whole)
		}
	}
	if s, err := Verify(strings.NewReader("")); err != nil || s != (Summary{}) || s.Whole() {
		t.Errorf("Verify of nothing = %+v, %v, want nothing", s, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	good := log(4)
	for name, tt := range map[string]struct {
		change func(e []Entry) []Entry
		says   string
	}{
		"changed actor":   {func(e []Entry) []Entry { e[2].Actor = "bob"; return e }, "entry 3 was changed"},
		"changed time":    {func(e []Entry) []Entry { e[1].At = e[1].At.Add(time.Microsecond); return e }, "entry 2 was changed"},
		"changed status":  {func(e []Entry) []Entry { e[0].Status = 201; return e }, "entry 1 was changed"},
		"changed times":   {func(e []Entry) []Entry { e[3].Times++; return e }, "entry 4 was changed"},
		"changed before":  {func(e []Entry) []Entry { e[3].Before[0]++; return e }, "entry 4 was changed"},
		"replaced":        {func(e []Entry) []Entry { e[1].Actor = "bob"; e[1].Chain = e[1].Link(); return e }, "entry 3 does not follow on entry 2"},
		"swapped":         {func(e []Entry) []Entry { e[1], e[2] = e[2], e[1]; return e }, "entry 2 after entry 3"},
		"twice":           {func(e []Entry) []Entry { return append(e[:1:1], e...) }, "entry 1 after entry 1"},
		"renumbered":      {func(e []Entry) []Entry { e[2].Seq = 1; return e[2:] }, "entry 1 was changed"},
		"first with past": {func(e []Entry) []Entry { e[0].Before[0] = 1; e[0].Chain = e[0].Link(); return e }, "names one before it"},
		"back in time": {func(e []Entry) []Entry {
			e[3].At = e[0].At
			e[3].Chain = e[3].Link()
			return e
		}, "entry 4 is older"},
		"zero": {func(e []Entry) []Entry { e[0].Seq = 0; e[0].Chain = e[0].Link(); return e }, "entry 0"},
	} {
		s, err := Verify(export(t, tt.change(append([]Entry(nil), good...))))
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), tt.says) || s != (Summary{}) {
			t.Errorf("%s: Verify() = %+v, %v; want %q", name, s, err, tt.says)
		}
	}
	line := strings.TrimSpace(export(t, good[:1]).String())
	for name, text := range map[string]string{
		"no JSON":        "x",
		"empty line":     line + "\n\n",
		"unknown member": strings.Replace(line, `"seq"`, `"extra":1,"seq"`, 1),
		"two on a line":  line + line,
		"member twice":   strings.Replace(line, `"seq"`, `"actor":"bob","seq"`, 1),
		"in other case":  strings.Replace(line, `"actor":"alice"`, `"actor":"bob","Actor":"alice"`, 1),
		"other letters":  strings.Replace(line, `"status"`, `"\u017ftatus"`, 1),
		"array":          "[" + line + "]",
		"null":           "null",
		"finer time":     strings.Replace(line, ".000005Z", ".0000059Z", 1),
		"cut off":        line[:len(line)-5],
		"short chain":    strings.Replace(line, `"chain":"`, `"chain":"00`, 1),
		"long line":      `{"actor":"` + strings.Repeat("a", maxLine) + `"}`,
	} {
		if s, err := Verify(strings.NewReader(text)); !errors.Is(err, ErrBroken) || s != (Summary{}) {
			t.Errorf("%s: Verify() = %+v, %v; want ErrBroken", name, s, err)
		}
	}
}

// FuzzVerify: whatever is read, there is an answer, and what verifies is a log.
func FuzzVerify(f *testing.F) {
	var b bytes.Buffer
	for _, e := range log(3) {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"seq":1}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Verify(bytes.NewReader(in))
		if err != nil && s != (Summary{}) {
			t.Errorf("Verify() = %+v with the error %v", s, err)
		}
		if err == nil && (s.Entries == 0) != (s.Last == Mark{}) {
			t.Errorf("Verify() = %+v", s)
		}
	})
}
