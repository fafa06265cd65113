package manifest

import (
	"bytes"
	"crypto/sha1"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// Every content comes back as it was, in the order that SortFiles gives the files.
func TestRoundTrip(t *testing.T) {
	minimal := &Manifest{ID: "a", Vendor: "V", Model: "M", Version: "1"}
	endless := sample()
	endless.NotBefore, endless.NotAfter = time.Time{}, time.Time{}
	withdrawal := &Manifest{ID: "b", Advisory: "A-1", Withdraws: []Withdrawal{{ID: "a", Reason: "wrong"}}}
	forAll := sampleDenyList()
	forAll.Vendor = ""
	split := large(filesPerTag + 1)
	single := &Manifest{ID: "a", Vendor: "V", Model: "M", Version: "1", Files: []File{{Path: "/init", Digest: sum("i")}}}
	for name, m := range map[string]*Manifest{
		"sample": sample(), "minimal": minimal, "without end": endless, "deny-list": sampleDenyList(),
		"withdrawal": withdrawal, "deny-list for all": forAll, "files in two tags": split, "one file": single,
	} {
		t.Run(name, func(t *testing.T) {
			b := mustEncode(t, m)
			got, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			want := *m
			want.Files = SortFiles(slices.Clone(m.Files))
			if !reflect.DeepEqual(&want, got) { // cmp takes seconds for 50,000 files
				t.Errorf("Decode(Encode(m)): %s", cmp.Diff(&want, got))
			}
			if err := cbor.Wellformed(b); err != nil {
				t.Errorf("with a decoder's default limits: %v", err)
			}
			if again := mustEncode(t, got); !bytes.Equal(again, b) {
				t.Error("the second encoding is another one")
			}
		})
	}
}

// The class ids are what README.md derives them from.
func TestClassIDs(t *testing.T) {
	namespace := []byte("\x6b\xa7\xb8\x11\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8") // URLs (RFC 9562, section 6.6)
	for name, class := range map[string]corim.ClassID{
		"device": classDevice, "pcr": classPCR, "event": classEvent, "flash": classFlash, "files": classFiles,
		"manifest": classManifest, "content": classContent,
	} {
		h := sha1.Sum(append(slices.Clone(namespace), Profile+"#"+name...))
		want := h[:16]
		want[6], want[8] = want[6]&0x0f|0x50, want[8]&0x3f|0x80
		if !bytes.Equal(class.Bytes, want) || class.Tag != corim.TagUUID {
			t.Errorf("class id of %s = %s, want %x", name, class, want)
		}
	}
}

// Sorting doesn't touch the manifest that is encoded, and the order that files come in doesn't matter.
func TestEncodeSortsFiles(t *testing.T) {
	m := sample()
	slices.Reverse(m.Files)
	m.Files = append(m.Files, m.Files[0])
	given := slices.Clone(m.Files)
	b := mustEncode(t, m)
	if !reflect.DeepEqual(m.Files, given) {
		t.Error("Encode changed the order of the manifest's files")
	}
	if !bytes.Equal(b, mustEncode(t, sample())) {
		t.Error("the order of files changes the encoding")
	}
}

// A document full of the largest counts is encoded and decoded, in reasonable memory.
func TestLargest(t *testing.T) {
	m := sampleDenyList()
	m.Denied = make([]Denial, MaxDenied)
	for i := range m.Denied {
		m.Denied[i] = Denial{Digests: both("x"), Note: "n"}
	}
	if _, err := Decode(mustEncode(t, m)); err != nil {
		t.Errorf("%d denied entries: %v", MaxDenied, err)
	}
	m = sample()
	m.PCRs = []PCR{{Index: 0, Events: make([]Event, MaxEvents)}}
	for i := range m.PCRs[0].Events {
		m.PCRs[0].Events[i] = Event{Slot: "s" + string(rune('a'+i%26)), Digests: Digests{sum(string(rune(i + 1)))}}
	}
	if _, err := Decode(mustEncode(t, m)); err != nil {
		t.Errorf("%d boot events: %v", MaxEvents, err)
	}
}
