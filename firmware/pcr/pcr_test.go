package pcr

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Extending a zero PCR with the hash of "abc", computed with another program (Python's hashlib).
var extended = map[Algorithm]string{
	SHA1:   "ccd5bd41458de644ac34a2478b58ff819bef5acf",
	SHA256: "589f9ffed4c477966bfb8d41f37895b08c69047df8f911d6f3b57fbe08faee8d",
	SHA384: "93732e3733514a841c982cfa75ea76ab55fe011acb9cd980ef4523913c65be1b0998e04d77f8c174f81a82151619ca40",
	SHA512: "6b9e946755055542adba95a1588a7eaed86323b3bed97d602ee06839d734048e02c63f37892d3adde0d25b5a9d89162e8804ab9ec0ac4a263545c4faecfdf53b",
}

func abc(a Algorithm) []byte {
	h := a.New()
	h.Write([]byte("abc"))
	return h.Sum(nil)
}

func TestAlgorithms(t *testing.T) {
	tests := []struct {
		a       Algorithm
		name    string
		size    int
		hash    crypto.Hash
		trusted bool
	}{
		{SHA1, "sha1", 20, crypto.SHA1, false},
		{SHA256, "sha256", 32, crypto.SHA256, true},
		{SHA384, "sha384", 48, crypto.SHA384, true},
		{SHA512, "sha512", 64, crypto.SHA512, false},
		{SM3, "sm3_256", 32, 0, false},
		{0x010b, "alg-0x010b", 0, 0, false},
		{0, "alg-0x0000", 0, 0, false},
	}
	for _, tt := range tests {
		if tt.a.String() != tt.name || tt.a.Size() != tt.size || tt.a.Hash() != tt.hash || tt.a.Trusted() != tt.trusted {
			t.Errorf("%s: size %d, hash %v, trusted %v, want %+v", tt.a, tt.a.Size(), tt.a.Hash(), tt.a.Trusted(), tt)
		}
		if d, ok := algorithms[tt.a]; ok && d.size != tt.a.Size() {
			t.Errorf("%s: table says %d bytes, Size %d", tt.a, d.size, tt.a.Size())
		}
		if tt.hash != 0 && (tt.a.New().Size() != tt.size || tt.size > MaxDigest) {
			t.Errorf("%s: hash of %d bytes", tt.a, tt.a.New().Size())
		}
		got, err := ParseAlgorithm(tt.name)
		if known := tt.size != 0; known != (err == nil) || known && got != tt.a {
			t.Errorf("ParseAlgorithm(%q) = %s, %v", tt.name, got, err)
		}
	}
}

func TestExtend(t *testing.T) {
	for a, want := range extended {
		b := NewBank(a)
		if err := b.Extend(3, abc(a)); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(b.Value(3)); got != want || b.Present() != Select(3) {
			t.Errorf("%s: PCR 3 = %s, present %s, want %s", a, got, b.Present(), want)
		}
		value := make([]byte, a.Size())
		if allocs := testing.AllocsPerRun(10, func() {
			if err := ExtendInto(a, value, zeros[:a.Size()]); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("ExtendInto(%s) allocates %.0f times", a, allocs)
		}
		// A PCR that starts at another value than zero.
		start := bytes.Repeat([]byte{7}, a.Size())
		if err := b.Set(0, start); err != nil {
			t.Fatal(err)
		}
		if err := b.Extend(0, abc(a)); err != nil {
			t.Fatal(err)
		}
		h := a.New()
		h.Write(start)
		h.Write(abc(a))
		if !bytes.Equal(b.Value(0), h.Sum(nil)) {
			t.Errorf("%s: PCR 0 = %x, want %x", a, b.Value(0), h.Sum(nil))
		}
	}
}

var zeros [MaxDigest]byte

// A failed extend or set leaves the bank as it was.
func TestExtendErrors(t *testing.T) {
	b := NewBank(SHA256)
	for _, i := range []int{-1, Count, 255} {
		if err := b.Extend(i, abc(SHA256)); err == nil {
			t.Errorf("Extend(%d) succeeded", i)
		}
		if err := b.Set(i, abc(SHA256)); err == nil {
			t.Errorf("Set(%d) succeeded", i)
		}
		if b.Value(i) != nil {
			t.Errorf("Value(%d) is not nil", i)
		}
	}
	for _, n := range []int{0, 20, 31, 33, 64} {
		if err := b.Extend(1, make([]byte, n)); !errors.Is(err, ErrSize) {
			t.Errorf("Extend of %d bytes = %v, want ErrSize", n, err)
		}
		if err := b.Set(1, make([]byte, n)); !errors.Is(err, ErrSize) {
			t.Errorf("Set of %d bytes = %v, want ErrSize", n, err)
		}
	}
	if b.Present() != 0 {
		t.Errorf("Present() = %s after errors", b.Present())
	}
	if err := NewBank(SM3).Extend(1, make([]byte, 32)); err == nil {
		t.Error("extended a bank without implementation")
	}
	for _, a := range []Algorithm{0, 0x010b} {
		if err := NewBank(a).Extend(1, nil); err == nil {
			t.Errorf("extended a bank of %s", a)
		}
		if err := ExtendInto(a, nil, nil); !errors.Is(err, ErrSize) {
			t.Errorf("ExtendInto(%s) = %v, want ErrSize", a, err)
		}
	}
	if err := ExtendInto(SHA256, make([]byte, 20), make([]byte, 32)); !errors.Is(err, ErrSize) {
		t.Errorf("ExtendInto of a short value = %v, want ErrSize", err)
	}
}

func TestSelection(t *testing.T) {
	tests := []struct {
		s     Selection
		text  string
		bytes []byte
	}{
		{0, "", []byte{0, 0, 0}},
		{Select(0), "0", []byte{1, 0, 0}},
		{Select(23), "23", []byte{0, 0, 0x80}},
		{Select(0, 1, 2, 3, 4, 5, 6, 7, 9), "0-7,9", []byte{0xff, 2, 0}},
		{Select(9, 7, 8, 1, 1), "1,7-9", []byte{0x82, 3, 0}},
		{Select(22, 23), "22-23", []byte{0, 0, 0xc0}},
		{All, "0-23", []byte{0xff, 0xff, 0xff}},
	}
	for _, tt := range tests {
		if tt.s.String() != tt.text || !bytes.Equal(tt.s.Bytes(), tt.bytes) {
			t.Errorf("%s: %x, want %s: %x", tt.s, tt.s.Bytes(), tt.text, tt.bytes)
		}
		if got := Select(tt.s.Indices()...); got != tt.s || len(tt.s.Indices()) != tt.s.Len() {
			t.Errorf("Select(Indices()) = %s, want %s", got, tt.s)
		}
	}
	if Selection(1<<31).Has(31) || All.Has(-1) || All.Has(Count) || !All.Has(23) || Select(3).Has(2) {
		t.Error("Has is wrong")
	}
	for _, i := range []int{-1, Count} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Select(%d) does not panic", i)
				}
			}()
			Select(i)
		}()
	}
}

func TestBank(t *testing.T) {
	b := NewBank(SHA256)
	v := abc(SHA256)
	if err := b.Set(5, v); err != nil {
		t.Fatal(err)
	}
	v[0] ^= 1 // the bank owns a copy
	if !bytes.Equal(b.Value(5), abc(SHA256)) || b.Value(4) != nil || b.Algorithm() != SHA256 {
		t.Errorf("bank = %v", b.Strings())
	}
	c := b.Clone()
	if !b.Equal(c) || !c.Equal(b) {
		t.Error("a clone differs")
	}
	if err := c.Extend(5, abc(SHA256)); err != nil {
		t.Fatal(err)
	}
	if b.Equal(c) || !bytes.Equal(b.Value(5), abc(SHA256)) {
		t.Error("a clone shares values")
	}
	if NewBank(SHA256).Equal(NewBank(SM3)) {
		t.Error("banks of two algorithms are equal")
	}
	zero := NewBank(SHA256)
	if err := zero.Set(5, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if zero.Equal(NewBank(SHA256)) {
		t.Error("a PCR of zero equals an unknown one")
	}
	if diff := cmp.Diff(map[string]string{"5": hex.EncodeToString(abc(SHA256))}, b.Strings()); diff != "" {
		t.Error(diff)
	}
}

func TestReset(t *testing.T) {
	for a := range extended {
		b := Reset(a)
		if b.Present() != All {
			t.Errorf("%s: present %s", a, b.Present())
		}
		for i := range Count {
			want := byte(0)
			if i >= 17 && i <= 22 {
				want = 0xff
			}
			if !bytes.Equal(b.Value(i), bytes.Repeat([]byte{want}, a.Size())) {
				t.Errorf("%s: PCR %d = %x", a, i, b.Value(i))
			}
		}
	}
}

func TestComposite(t *testing.T) {
	b := NewBank(SHA256)
	one, two := abc(SHA256), bytes.Repeat([]byte{2}, 32)
	for i, v := range map[int][]byte{7: one, 2: two} {
		if err := b.Set(i, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		want := h.New()
		want.Write(two) // ascending order
		want.Write(one)
		got, err := b.Composite(Select(7, 2), h)
		if err != nil || !bytes.Equal(got, want.Sum(nil)) {
			t.Errorf("Composite = %x, %v, want %x", got, err, want.Sum(nil))
		}
	}
	for _, s := range []Selection{Select(3), Select(2, 3), All} {
		if got, err := b.Composite(s, crypto.SHA256); err == nil {
			t.Errorf("Composite(%s) = %x without values", s, got)
		}
	}
}

// A real TPM's quote signs the composite of the values that it reported.
func TestCompositeOfQuote(t *testing.T) {
	raw, err := os.ReadFile("../../../shared/lab/artefacts/uki/quote.json")
	if err != nil {
		t.Skipf("SKIPPED: no captured quotes beside the repository: %v", err)
	}
	var q struct {
		Quote string
		PCRs  map[string]string `json:"pcrs_sha256"`
	}
	if err := json.Unmarshal(raw, &q); err != nil {
		t.Fatal(err)
	}
	attest, err := base64.StdEncoding.DecodeString(q.Quote)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBank(SHA256)
	for k, v := range q.PCRs {
		i, err := strconv.Atoi(k)
		if err != nil {
			t.Fatal(err)
		}
		value, err := hex.DecodeString(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Set(i, value); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Composite(All, crypto.SHA256)
	if err != nil || !bytes.HasSuffix(attest, got) {
		t.Errorf("Composite = %x, %v, want the end of %x", got, err, attest)
	}
}

func BenchmarkExtendInto(b *testing.B) {
	value, digest := make([]byte, 32), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if err := ExtendInto(SHA256, value, digest); err != nil {
			b.Fatal(err)
		}
	}
}
