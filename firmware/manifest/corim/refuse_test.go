package corim

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// The beginning of a CoRIM, and of a CoMID up to the values of its only measurement.
const (
	start = "d901f5 a2 00 6161 01 81 d901fa " // 501({0: "a", 1: [506(
	comid = "a2 01 a1 00 6162 04 a1 00 81 82 a1 00 a1 01 6156 81 a1 01 "
)

// withValues returns a CoRIM whose only measurement has these values.
func withValues(t *testing.T, values string) []byte {
	t.Helper()
	inner := annotated(t, comid+values)
	w := &writer{b: annotated(t, start)}
	w.bytes(inner)
	return w.b
}

// TestReadRefuses has one line for each way in which a document may be wrong.
func TestReadRefuses(t *testing.T) {
	good := withValues(t, "a1 0b 6178")
	if _, err := ReadDeterministic(good); err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("81", MaxDepth+1)
	for _, tt := range []struct {
		name          string
		b             []byte
		offset        int
		want          string
		deterministic bool // only refused by ReadDeterministic
	}{
		{"empty", nil, 0, "cut off", false},
		{"trailing byte", append(bytes.Clone(good), 0), len(good), "after the end", false},
		{"another tag", annotated(t, "d901f4 a0"), 0, "want tag 501", false},
		{"no tag", annotated(t, "a0"), 0, "want a tag", false},
		{"no map", annotated(t, "d901f5 80"), 3, "want a map", false},
		{"missing fields", annotated(t, "d901f5 a1 00 6161"), 3, "field 1 is missing", false},
		{"duplicate key", annotated(t, "d901f5 a2 00 6161 00 6161"), 7, "duplicate key", false},
		{"duplicate key apart", annotated(t, "d901f5 a3 00 6161 01 80 00 6161"), 9, "duplicate key", false},
		{"indefinite map", annotated(t, "d901f5 bf ff"), 3, "indefinite", false},
		{"indefinite array", annotated(t, "d901f5 a2 00 6161 01 9f ff"), 8, "indefinite", false},
		{"indefinite text", annotated(t, "d901f5 a2 00 7f 6161 ff 01 80"), 5, "indefinite", false},
		{"indefinite bytes", annotated(t, "d901f5 a2 00 6161 01 81 d901fa 5f ff"), 12, "indefinite", false},
		{"indefinite in a tag", withValues(t, "bf 0b 6178 ff"), 34, "indefinite", false},
		{"reserved head", annotated(t, "d901f5 1c"), 3, "reserved", false},
		{"argument cut", annotated(t, "d901f5 19 01"), 3, "cut off", false},
		{"text cut", annotated(t, "d901f5 a2 00 65 6161"), 5, "cut off", false},
		{"huge array announced", annotated(t, "d901f5 a2 00 6161 01 9b 00*7 ff"), 8, "cut off", false},
		{"array over the limit", annotated(t, "d901f5 a2 00 6161 01 9a ffffffff"), 8, "at most", false},
		{"map over the limit", annotated(t, "d901f5 b9 ffff 00"), 3, "at most", false},
		{"invalid UTF-8", annotated(t, "d901f5 a2 00 61ff 01 80"), 5, "UTF-8", false},
		{"nested too deeply", annotated(t, "d901f5 "+deep+"00"), 27, "nested", false},
		{"simple value in two bytes", annotated(t, "d901f5 f818"), 3, "simple value", false},
		{"no tags", annotated(t, "d901f5 a2 00 6161 01 80"), 8, "want 1 to", false},
		{"tag without bytes", annotated(t, "d901f5 a2 00 6161 01 81 d901fa a0"), 12, "want bytes", false},
		{"UUID of 15 bytes", annotated(t, "d901f5 a2 00 4f 00*15 01 80"), 5, "UUID", false},
		{"profile as text", annotated(t, "d901f5 a3 00 6161 01 81 d901fc 41a0 03 6161"), 15, "want a tag", false},
		{"validity upside down", annotated(t, "d901f5 a3 00 6161 01 81 d901fc 41a0 04 a2 00 c1 02 01 c1 01"), 15, "before its end", false},
		{"validity without end", annotated(t, "d901f5 a3 00 6161 01 81 d901fc 41a0 04 a1 00 c1 02"), 15, "field 1 is missing", false},
		{"fractional time", annotated(t, "d901f5 a3 00 6161 01 81 d901fc 41a0 04 a1 01 c1 f93c00"), 18, "want a number", false},
		{"time in the year 10000", annotated(t, "d901f5 a3 00 6161 01 81 d901fc 41a0 04 a1 01 c1 1b00ffffffffffffff"), 18, "no time", false},
		{"no values", withValues(t, "a0"), 33, "empty", false},
		{"two digests of one algorithm", withValues(t, "a1 02 82 82 01 41aa 82 01 41bb"), 41, "second digest", false},
		{"no digests", withValues(t, "a1 02 80"), 35, "want 1 to", false},
		{"digest of three parts", withValues(t, "a1 02 81 83 01 41aa 00"), 37, "array of 2", false},
		{"negative security version", withValues(t, "a1 01 d90228 20"), 39, "want a number", false},
		{"security version by another tag", withValues(t, "a1 01 d90230 01"), 36, "want tag 552", false},
		{"keys out of order", annotated(t, "d901f5 a2 01 80 00 6161"), 6, "not in order", true},
		{"long number", withValues(t, "a1 01 d90228 1801"), 39, "shortest form", true},
		{"long length", withValues(t, "a1 0b 780178"), 36, "shortest form", true},
		{"float", withValues(t, "a1 04 f93c00"), 36, "floating-point", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := Read
			if tt.deterministic {
				read = ReadDeterministic
			} else if _, err := ReadDeterministic(tt.b); err == nil {
				t.Error("ReadDeterministic takes it")
			}
			c, err := read(tt.b)
			var e *MalformedError
			if c != nil || !errors.As(err, &e) || e.Offset != tt.offset || !strings.Contains(e.Detail, tt.want) {
				t.Errorf("reading it = %v, %v, want %q at byte %d", c, err, tt.want, tt.offset)
			}
		})
	}
}

func TestReadRefusesSize(t *testing.T) {
	var e *MalformedError
	if _, err := Read(make([]byte, MaxSize+1)); !errors.As(err, &e) || !strings.Contains(e.Detail, "limit") {
		t.Errorf("Read of %d bytes: %v", MaxSize+1, err)
	}
}

// Every prefix of a document is refused, at a place within it.
func TestReadRefusesPrefixes(t *testing.T) {
	for name, b := range vectors(t) {
		for n := range b {
			var e *MalformedError
			if _, err := Read(b[:n]); !errors.As(err, &e) || e.Offset > n {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
		}
	}
}

// What is small in a document but not in memory is limited.
func TestBudgets(t *testing.T) {
	w := &writer{}
	w.head(majorArray, MaxElements)
	for range MaxElements {
		w.b = append(w.b, 0xa1, 0x18, 24, 0x60) // {24: ""}
	}
	list := w.b
	w = &writer{b: annotated(t, "a5 00 6161 01 6161 02 a2 181f 6161 1821 01 06 a1 11")}
	w.b = append(w.b, list...)
	w.b = append(w.b, annotated(t, "0c 00")...)
	swid := w.b
	w = &writer{b: annotated(t, "d901f5 a2 00 6161 01 88")}
	for range 8 {
		w.tag(TagCoSWID)
		w.bytes(swid)
	}
	if _, err := Read(w.b); err == nil || !strings.Contains(err.Error(), "more than 1000000 files") {
		t.Errorf("%d files: %v", 8*MaxElements, err)
	}
	r := &reader{spent: &budget{parts: MaxParts}}
	r.part(7)
	if r.err == nil || r.err.Offset != 7 {
		t.Errorf("one part more than allowed: %v", r.err)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, listing, want string }{
		{"array of three", "d2 83 40 a0 40", "array of 4"},
		{"empty protected header", "d2 84 40 a0 40 40", "cut off"},
		{"no algorithm", "d2 84 41a0 a0 40 40", "field 1 is missing"},
		{"detached payload", "d2 84 46 a2 01 26 03 6161 a0 f6 40", "detached"},
		{"huge protected header", "d2 84 591002 a2 01 26 03 590ffb 00*4091 a0 40 40", "at most 4096"},
		{"text as algorithm", "d2 84 47 a2 01 6161 03 6161 a0 40 40", "want a number"},
		{"empty list of critical parameters", "d2 84 48 a3 01 26 02 80 03 6161 a0 40 40", "want 1 to"},
		{"claims without issuer", "d2 84 48 a3 01 26 03 6161 0f a0 a0 40 40", "field 1 is missing"},
		{"unsigned map within", "d2 84 46 a2 01 26 03 6161 a0 43 d901f5 40", "cut off"},
	} {
		if _, err := Read(annotated(t, tt.listing)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
