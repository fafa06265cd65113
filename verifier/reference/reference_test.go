package reference_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

func digest(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func sample(name string) reference.Baseline {
	on := true
	return reference.Baseline{
		Name: name, Tenant: "acme", Vendor: "Acme", Model: "R7", Device: "d", Bank: uint16(pcr.SHA256), Secure: &on,
		Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		PCRs: []reference.Register{
			{Index: 0, Value: digest(1), Events: []reference.Event{{Slot: "firmware", Digest: digest(2), Note: "volume"}}},
			{Index: 1, Value: digest(3), ReportOnly: true},
		},
		Files: []reference.File{{Path: []byte("/init"), Digest: digest(4)}, {Path: []byte("/init"), Digest: digest(5)}, {Path: []byte("/bin/sh"), Digest: digest(6)}},
	}
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSignOpen(t *testing.T) {
	k := key(t)
	document, err := reference.Sign(sample("a"), k)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reference.Open(document, &k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample("a"), got); diff != "" {
		t.Errorf("the document carries another baseline: %s", diff)
	}
	if _, err := reference.Open(document, &key(t).PublicKey); !errors.Is(err, reference.ErrSignature) {
		t.Errorf("opened with another key: %v, want %v", err, reference.ErrSignature)
	}
	for bit := range len(document) * 8 {
		changed := bytes.Clone(document)
		changed[bit/8] ^= 1 << (bit % 8)
		if b, err := reference.Open(changed, &k.PublicKey); err == nil && cmp.Diff(got, b) != "" {
			t.Fatalf("bit %d changed: opened as another baseline", bit)
		}
	}
	for n := range document {
		if _, err := reference.Open(document[:n], &k.PublicKey); err == nil {
			t.Fatalf("opened when cut to %d bytes", n)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for want, change := range map[string]func(*reference.Baseline){
		"no name":         func(b *reference.Baseline) { b.Name = "" },
		"no trust":        func(b *reference.Baseline) { b.Bank = uint16(pcr.SHA1) },
		"no PCRs":         func(b *reference.Baseline) { b.PCRs = nil },
		"twice":           func(b *reference.Baseline) { b.PCRs[1].Index = 0 },
		"does not exist":  func(b *reference.Baseline) { b.PCRs[1].Index = 24 },
		"want 32":         func(b *reference.Baseline) { b.PCRs[0].Value = digest(1)[1:] },
		"digest of 1 byt": func(b *reference.Baseline) { b.PCRs[0].Events[0].Digest = []byte{1} },
	} {
		b := sample("a")
		change(&b)
		if _, err := reference.Sign(b, key(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Sign = %v, want an error about %q", err, want)
		}
	}
}

func TestSet(t *testing.T) {
	older, newer, other := sample("r7-1"), sample("r7-2"), sample("r9-1")
	other.Model = "R9"
	other.PCRs[0].Events[0].Digest = digest(9)
	s := reference.Compile([]reference.Baseline{newer, older, other})
	m := s.For(" acme", "r7 ")
	var names []string
	for _, c := range m.Alternatives() {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"r7-1", "r7-2"}, names); diff != "" {
		t.Errorf("alternatives: %s", diff)
	}
	if s.For("Acme", "R8") != nil || s.For("", "") != nil {
		t.Error("a model that nothing is known of has references")
	}
	if m.ID() == reference.Compile([]reference.Baseline{older}).For("acme", "r7").ID() {
		t.Error("the id does not change with the documents")
	}
	if diff := cmp.Diff([]string{"r9-1"}, s.Knows(digest(9))); diff != "" {
		t.Errorf("Knows: %s", diff)
	}
	c := m.Alternatives()[0]
	if c.Register(0) == nil || c.Register(2) != nil || c.PCRs() != pcr.Select(0, 1) {
		t.Errorf("registers of PCRs %s, want 0-1", c.PCRs())
	}
	for _, tt := range []struct {
		path   string
		digest byte
		want   reference.Match
		other  string
	}{
		{"/init", 4, reference.Same, ""},
		{"/init", 5, reference.Same, ""},
		{"/init", 6, reference.Changed, strings.Repeat("04", 32)},
		{"/opt/sh", 6, reference.Moved, "/bin/sh"},
		{"/opt/x", 7, reference.Unknown, ""},
	} {
		if got, other := c.File(tt.path, digest(tt.digest)); got != tt.want || other != tt.other {
			t.Errorf("File(%s, %d) = %v, %q, want %v, %q", tt.path, tt.digest, got, other, tt.want, tt.other)
		}
	}
	var none *reference.Set
	if none.For("a", "b") != nil || none.Knows(digest(1)) != nil || none.For("a", "b").ID() != "" {
		t.Error("no set knows something")
	}
}

func FuzzOpen(f *testing.F) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	document, err := reference.Sign(sample("a"), k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add(document[:len(document)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := reference.Open(b, &k.PublicKey); err != nil && got.PCRs != nil {
			t.Error("a baseline beside an error")
		}
	})
}
