package corim

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime/debug"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// seeds returns generated documents, and the corpus where it is there.
func seeds(f *testing.F) [][]byte {
	c := &CoRIM{ID: ID{Text: "a"}, Profile: "tag:a,2026:b", Extensions: []Field{{Key: -1, Value: []byte{0}}}}
	n := uint64(3)
	v := Values{
		Version: &Version{Text: "1"}, SVN: &SVN{Number: 1, Minimum: true}, Digests: []Digest{{Algorithm: SHA256, Value: []byte{1}}},
		Name: "n", Registers: []Register{{Number: 1, Digests: []Digest{{Name: "x"}}}},
	}
	class := &Class{ID: &ClassID{Tag: TagBytes, Bytes: []byte{1}}, Vendor: "v", Model: "m", Layer: &n, Index: &n}
	triple := Triple{Environment: Environment{Class: class}, Measurements: []Measurement{{Key: &Key{Text: "k"}, Values: v}}}
	c.Tags = []Tag{
		{Number: TagCoMID, CoMID: &CoMID{ID: ID{Text: "b"}, Version: 1, Triples: Triples{
			Reference: []Triple{triple}, Endorsed: []Triple{triple}, Others: []Field{TriplesField(-1, []Triple{triple})},
			CoSWIDs: []CoSWIDTriple{{Environment: triple.Environment, IDs: []ID{{Text: "c"}}}},
		}}},
		{Number: TagCoSWID, CoSWID: &CoSWID{
			ID: ID{Text: "c"}, SoftwareName: "s", SoftwareVersion: "1", Entities: []Entity{{Name: "e", Roles: []int64{1, 2}}},
			Files: []File{{Path: "/a/b/c", Digest: v.Digests[0]}, {Path: "/a/b/d", Digest: v.Digests[0]}, {Path: "/e", Digest: v.Digests[0]}},
		}},
	}
	whole := Encode(c)
	out := [][]byte{whole, whole[:len(whole)/2], bytes.Replace(whole, []byte{0xa1}, []byte{0xbf}, 1)}
	for _, b := range corpusFiles(f) {
		out = append(out, b)
	}
	if _, err := ReadDeterministic(whole); err != nil {
		f.Fatalf("the generated seed is refused: %v", err)
	}
	return out
}

func FuzzRead(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	strict, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 64,
	}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ReadCoMID(b); (m == nil) == (err == nil) {
			t.Fatalf("ReadCoMID = %v, %v", m, err)
		}
		c, err := Read(b)
		if err != nil {
			var e *MalformedError
			if c != nil || !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
				t.Fatalf("Read = %v, %v of %d bytes, want nil and an offset within", c, err, len(b))
			}
			return
		}
		// Another decoder agrees that it is well-formed and without duplicate keys.
		var v any
		if err := strict.Unmarshal(b, &v); err != nil && !otherReason(err) {
			t.Fatalf("read, but another decoder says %v", err)
		}
		if err := Diagnose(io.Discard, b); err != nil {
			t.Fatalf("read, but not printed: %v", err)
		}
		if d, err := ReadDeterministic(b); err == nil && c.Signed == nil {
			roundTrip(t, d)
		}
	})
}

// otherReason reports errors of the other decoder about Go types, which aren't about CBOR.
func otherReason(err error) bool {
	var key *cbor.InvalidMapKeyTypeError
	var kind *cbor.UnmarshalTypeError
	return errors.As(err, &key) || errors.As(err, &kind) || err.Error() == "cbor: invalid UTF-8 string"
}

// roundTrip checks that what was read comes back the same when it is written and read again.
func roundTrip(t *testing.T, c *CoRIM) {
	t.Helper()
	once := Encode(c)
	again, err := ReadDeterministic(once)
	if err != nil {
		t.Fatalf("what Encode writes is refused: %v\n%x", err, once)
	}
	if twice := Encode(again); !bytes.Equal(once, twice) {
		t.Fatalf("written twice:\n%x\n%x", once, twice)
	}
	if !reflect.DeepEqual(c.ID, again.ID) || len(c.Tags) != len(again.Tags) {
		t.Fatalf("read %+v, then %+v", c, again)
	}
}
