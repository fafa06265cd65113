package ima

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// build makes a list of boot_aggregate and n files, of which those in violations are violations.
func build(tb testing.TB, n int, violations ...int) []byte {
	tb.Helper()
	var b Builder
	boot := sha256.Sum256(nil)
	err := b.SetBootAggregate(pcr.SHA256, boot[:])
	bad := map[int]bool{}
	for _, v := range violations {
		bad[v] = true
	}
	for i := range n {
		d := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		err = errors.Join(err, b.Append(Measurement{
			Path: fmt.Sprintf("/usr/lib/x86_64-linux-gnu/libmodule-%d.so.%d", i, i%7), Algorithm: pcr.SHA256, Digest: d[:], Violation: bad[i],
		}))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// quote returns PCR 10 as a kernel of this mode would have it after the list.
func quote(tb testing.TB, list []byte, a pcr.Algorithm, m Mode) []byte {
	tb.Helper()
	bank, err := Replay(list, a, m)
	if err != nil {
		tb.Fatal(err)
	}
	if v := bank.Value(PCR); v != nil {
		return v
	}
	return make([]byte, a.Size())
}

// The quote is of an earlier or the same moment as the list (ATTACKS row 56): every prefix is found, and only it.
func TestAdvanceFindsEveryPrefix(t *testing.T) {
	list := build(t, 40, 3, 17, 18)
	for _, tc := range []struct {
		alg  pcr.Algorithm
		mode Mode
	}{
		{pcr.SHA1, 0},
		{pcr.SHA256, Recomputed},
		{pcr.SHA256, Padded},
		{pcr.SHA256, PaddedShort},
		{pcr.SHA384, Recomputed},
		{pcr.SHA384, Padded},
		{pcr.SHA512, Recomputed},
		{pcr.SHA512, PaddedShort},
	} {
		for n := range 42 {
			end, err := Skip(list, n)
			if err != nil {
				t.Fatal(err)
			}
			quoted := quote(t, list[:end], tc.alg, tc.mode)
			var visited []byte
			next, matched, err := State{}.Advance(list, tc.alg, quoted, func(e Entry) { visited = appendEntry(visited, e) })
			if err != nil || matched != n || next.Entries != uint64(n) {
				t.Fatalf("%s %s: Advance to entry %d = %d, %v", tc.alg, tc.mode, n, matched, err)
			}
			if !bytes.Equal(visited, list[:end]) {
				t.Fatalf("%s %s: visited other entries than the first %d", tc.alg, tc.mode, n)
			}
			if n > 5 && tc.alg != pcr.SHA1 && next.Mode != tc.mode {
				t.Fatalf("%s: mode after %d entries = %d, want %d", tc.alg, n, next.Mode, tc.mode)
			}
			// The rest follows from there, also after the state was stored.
			again, matched, err := stored(t, next).Advance(list[end:], tc.alg, quote(t, list, tc.alg, tc.mode), nil)
			if err != nil || matched != 41-n || again.Entries != 41 {
				t.Fatalf("%s %s: Advance from entry %d = %d, %v", tc.alg, tc.mode, n, matched, err)
			}
		}
	}
}

func stored(t *testing.T, s State) (out State) {
	t.Helper()
	b, err := cbor.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 80 {
		t.Errorf("a stored state has %d bytes", len(b))
	}
	if err := cbor.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, out); diff != "" {
		t.Errorf("state changed in store (-want +got):\n%s", diff)
	}
	return out
}

func TestAdvanceFailures(t *testing.T) {
	list := build(t, 5)
	full := quote(t, list, pcr.SHA256, Recomputed)
	foreign := bytes.Clone(list)
	second, _ := Skip(list, 1)
	binary.LittleEndian.PutUint32(foreign[second:], 11)
	var none *NoPrefixError
	var parse *ParseError
	for _, tc := range []struct {
		name   string
		state  State
		list   []byte
		alg    pcr.Algorithm
		quoted []byte
		want   any
	}{
		{"other value", State{}, list, pcr.SHA256, sha256.New().Sum(nil), &none},
		{"entry missing", State{}, list[second:], pcr.SHA256, full, &none},
		{"empty segment", State{}, nil, pcr.SHA256, full, &none},
		{"truncated", State{}, list[:len(list)-1], pcr.SHA256, full, &parse},
		{"foreign PCR", State{}, foreign, pcr.SHA256, full, ErrForeignPCR},
		{"size of the quoted value", State{}, list, pcr.SHA256, full[:20], pcr.ErrSize},
		{"size of the state", State{Entries: 1, Value: full[:20]}, list, pcr.SHA256, full, pcr.ErrSize},
		{"state without value", State{Entries: 1}, list, pcr.SHA256, full, pcr.ErrSize},
		{"no SM3", State{}, list, pcr.SM3, full, "no implementation"},
		{"unknown mode", State{Mode: 8}, list, pcr.SHA256, full, "unknown mode"},
		{"mode is fixed", State{Mode: Padded}, list, pcr.SHA256, full, &none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			next, matched, err := tc.state.Advance(tc.list, tc.alg, tc.quoted, func(Entry) { t.Error("visited without a match") })
			switch want := tc.want.(type) {
			case error:
				if !errors.Is(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
			case string:
				if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
					t.Errorf("error %v, want %q", err, want)
				}
			default:
				if !errors.As(err, tc.want) {
					t.Errorf("error %v, want a %T", err, tc.want)
				}
			}
			if diff := cmp.Diff(tc.state, next); diff != "" || matched != 0 {
				t.Errorf("state moved on an error: %d matched (-want +got):\n%s", matched, diff)
			}
		})
	}
	if !errors.Is(parse, io.ErrUnexpectedEOF) {
		t.Errorf("a truncated list gives %v, want io.ErrUnexpectedEOF", parse)
	}
	if none.Entries != 5+1 || len(none.Replayed) != 32 {
		t.Errorf("NoPrefixError = %+v", none)
	}
}

// A list without a match ends in the value that all its entries lead to.
func TestNoPrefixTellsTheReplayedValue(t *testing.T) {
	list := build(t, 9, 4)
	for _, mode := range []Mode{Recomputed, Padded, PaddedShort} {
		_, _, err := State{Mode: mode}.Advance(list, pcr.SHA384, bytes.Repeat([]byte{1}, 48), nil)
		var none *NoPrefixError
		if !errors.As(err, &none) || !bytes.Equal(none.Replayed, quote(t, list, pcr.SHA384, mode)) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestAdvanceDoesNotAllocatePerEntry(t *testing.T) {
	small, large := build(t, 10), build(t, 1000)
	allocs := func(list []byte) float64 {
		quoted := quote(t, list, pcr.SHA256, Recomputed)
		return testing.AllocsPerRun(20, func() {
			if _, _, err := (State{}).Advance(list, pcr.SHA256, quoted, func(Entry) {}); err != nil {
				t.Error(err)
			}
		})
	}
	if a, b := allocs(small), allocs(large); a != b || a > 4 {
		t.Errorf("%v allocations for 11 entries, %v for 1,001", a, b)
	}
}
