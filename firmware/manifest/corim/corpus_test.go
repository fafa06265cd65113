package corim

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The vectors are read, and what they say was looked up in their diagnostic notation by hand.
func TestVectors(t *testing.T) {
	all := vectors(t)
	seen := 0
	for name, b := range all {
		switch {
		case strings.HasPrefix(name, "comid-"):
			c, err := ReadCoMID(b)
			if err != nil {
				t.Errorf("ReadCoMID(%s): %v", name, err)
				continue
			}
			w := &writer{}
			if w.comid(c); !bytes.Equal(w.b, b) {
				t.Errorf("%s: written again it is\n%x, want\n%x", name, w.b, b)
			}
		default:
			c, err := Read(b)
			if err != nil {
				t.Errorf("Read(%s): %v", name, err)
				continue
			}
			if (c.Profile != "") != (name == "corim-firmware-cd.cbor") || len(c.Tags) != 1 || c.Tags[0].CoMID == nil || (c.Signed != nil) != strings.HasPrefix(name, "signed") {
				t.Errorf("%s: profile %q, %d tags, signed %v", name, c.Profile, len(c.Tags), c.Signed != nil)
			}
		}
		seen++
	}
	if seen < 10 {
		t.Errorf("only %d vectors", seen)
	}
}

func TestVectorRoadRunner(t *testing.T) {
	b := vectors(t)["corim-1.cbor"]
	c, err := ReadDeterministic(b)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := hex.DecodeString("44aa336af4cb14a879432e53dd6571c7fa9bccafb75f488259262d6ea3a4d91b")
	if err != nil {
		t.Fatal(err)
	}
	got := c.Tags[0].CoMID
	layer := uint64(1)
	class := &Class{Vendor: "ACME Inc.", Model: "ACME RoadRunner", Layer: &layer, ID: got.Triples.Reference[0].Environment.Class.ID}
	want := &CoMID{
		ID:       ID{UUID: got.ID.UUID},
		Entities: []Entity{{Name: "ACME Inc.", Roles: []int64{0}, Others: got.Entities[0].Others}},
		Triples: Triples{Reference: []Triple{{Environment: Environment{Class: class}, Measurements: []Measurement{{Values: Values{
			Version: &Version{Text: "1.0.0", Scheme: []byte{0x19, 0x40, 0}},
			Digests: []Digest{{Algorithm: SHA256, Value: digest}},
		}}}}}},
	}
	zero := got.Triples.Reference[0]
	want.Triples.Reference[0].Offset, want.Triples.Reference[0].Measurements[0].Offset = zero.Offset, zero.Measurements[0].Offset
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CoMID: %s", diff)
	}
	if s := got.ID.String(); s != "3f06af63-a93c-11e4-9797-00505690773f" {
		t.Errorf("CoMID id %s", s)
	}
	if s := class.ID.String(); s != "67b28b6c-34cc-40a1-9117-ab5b05911e37" {
		t.Errorf("class id %s", s)
	}
	if again := Encode(c); !bytes.Equal(again, b) {
		t.Errorf("Encode = %x, want %x", again, b)
	}
}

func TestVectorSigned(t *testing.T) {
	c, err := Read(vectors(t)["signed-good-corim.cbor"])
	if err != nil {
		t.Fatal(err)
	}
	s := c.Signed
	if s.Algorithm != -7 || s.ContentType != ContentType || string(s.KeyID) != "1" || s.Claims != nil || len(s.Signature) != 64 {
		t.Errorf("envelope: %+v", s)
	}
	if len(s.Others) != 1 || s.Others[0].Key != 8 {
		t.Errorf("other parameters: %v, want corim-meta (8) alone", s.Others)
	}
	if _, err := ReadDeterministic(vectors(t)["signed-good-corim.cbor"]); err == nil {
		t.Error("keys out of order are taken for the deterministic encoding")
	}
	if m := c.Tags[0].CoMID; m.Language != "en-GB" || len(m.Triples.Reference[0].Measurements) != 3 {
		t.Errorf("language %q, %d measurements", m.Language, len(m.Triples.Reference[0].Measurements))
	}
}

// What only some vectors have.
func TestVectorParts(t *testing.T) {
	all := vectors(t)
	firmware, err := Read(all["corim-firmware-cd.cbor"])
	if err != nil {
		t.Fatal(err)
	}
	if svn := firmware.Tags[0].CoMID.Triples.Reference[0].Measurements[0].Values.SVN; svn == nil || *svn != (SVN{Number: 1}) {
		t.Errorf("security version number %+v, want exactly 1", svn)
	}
	if n := len(firmware.Tags[0].CoMID.Triples.Endorsed); n != 1 || firmware.Profile != "oid:6086480186f84d010f06" {
		t.Errorf("%d endorsed triples, want 1; profile %q", n, firmware.Profile)
	}
	registers, err := ReadCoMID(all["comid-integrity-registers.cbor"])
	if err != nil {
		t.Fatal(err)
	}
	r := registers.Triples.Reference[0].Measurements[0].Values.Registers
	if len(r) != 2 || r[0].Name != "" || r[0].Number != 0 || r[1].Name != "my-ir" || r[1].Digests[1].Name != "my-alg-id" {
		t.Errorf("integrity registers %+v", r)
	}
	keys, err := ReadCoMID(all["comid-3.cbor"])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range keys.Triples.Reference[0].Measurements {
		if m.Key == nil {
			names = append(names, "none")
			continue
		}
		names = append(names, m.Key.String())
	}
	want := []string{"700", "my_element", "oid:5502c001", "67b28b6c-34cc-40a1-9117-ab5b05911e38", "none"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("measured elements: %s", diff)
	}
}

// A validity and claims, which no vector has.
func TestReadPeriods(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c := &CoRIM{ID: ID{UUID: make([]byte, 16)}, Profile: "oid:2b06", NotBefore: at, NotAfter: at.Add(time.Hour)}
	c.Tags = []Tag{{Number: TagCoTL, Raw: []byte{0xa0}}}
	c.Extensions = []Field{{Name: "bb", Value: []byte{1}}, {Key: -1, Value: []byte{2}}, {Name: "c", Value: []byte{3}}, {Key: 2, Value: []byte{0x80}}}
	c.Entities = []Entity{{Name: "Acme", Roles: []int64{1}}}
	b := Encode(c)
	got, err := ReadDeterministic(b)
	if err != nil {
		t.Fatal(err)
	}
	if got.Profile != c.Profile || !got.NotBefore.Equal(c.NotBefore) || !got.NotAfter.Equal(c.NotAfter) || len(got.Extensions) != 4 {
		t.Errorf("ReadDeterministic = %+v, want %+v", got, c)
	}
	if !bytes.Equal(Encode(got), b) {
		t.Error("written again it is another CoRIM")
	}
}
