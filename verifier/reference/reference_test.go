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
		Flash: []reference.Region{
			{
				Name: "bios", Source: "mtd", Offset: 4096, Length: 1 << 20, Digest: digest(7), Chip: "ef4018",
				Excluded: []reference.Range{{Length: 16, Reason: "MAC address"}, {Offset: 4096, Length: 4096}},
				Bad:      []reference.Range{{Offset: 1 << 19, Length: 1 << 17}},
			},
			{Name: "log", Source: "file", Length: 10, Digest: digest(8), ReportOnly: true},
		},
		Inventory: []reference.Device{{Bus: "i2c", Address: "3-0050", Name: "24c02"}, {Bus: "pci", Address: "0000:00:1f.2", Name: "8086:2922"}},
		Tamper:    []string{"door", "lid"},
	}
}

// software returns a baseline of a device without a TPM.
func software(name string) reference.Baseline {
	b := sample(name)
	b.Bank, b.PCRs, b.Files, b.Secure = 0, nil, nil, nil
	return b
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

// TestKinds: what documents of devices with old TPMs and without any may hold.
func TestKinds(t *testing.T) {
	k := key(t)
	weak := sample("weak")
	weak.Bank = uint16(pcr.SHA1)
	for i := range weak.PCRs {
		weak.PCRs[i].Value, weak.PCRs[i].Events = make([]byte, 20), nil
	}
	lines := software("lines")
	lines.Flash, lines.Inventory = nil, nil
	for _, b := range []reference.Baseline{weak, software("soft"), lines} {
		document, err := reference.Sign(b, k)
		if err != nil {
			t.Errorf("%s: %v", b.Name, err)
			continue
		}
		got, err := reference.Open(document, &k.PublicKey)
		if err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		if diff := cmp.Diff(b, got); diff != "" {
			t.Errorf("%s carries another baseline: %s", b.Name, diff)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	soft := func(b *reference.Baseline) { *b = software("a") }
	tests := []struct {
		want   string
		change func(*reference.Baseline)
	}{
		{"no name", func(b *reference.Baseline) { b.Name = "" }},
		{"no trust", func(b *reference.Baseline) { b.Bank = uint16(pcr.SHA512) }},
		{"no PCRs", func(b *reference.Baseline) { b.PCRs = nil }},
		{"twice", func(b *reference.Baseline) { b.PCRs[1].Index = 0 }},
		{"does not exist", func(b *reference.Baseline) { b.PCRs[1].Index = 24 }},
		{"want 32", func(b *reference.Baseline) { b.PCRs[0].Value = digest(1)[1:] }},
		{"want 20", func(b *reference.Baseline) { b.Bank = uint16(pcr.SHA1) }},
		{"digest of 1 byt", func(b *reference.Baseline) { b.PCRs[0].Events[0].Digest = []byte{1} }},

		{"without a TPM", func(b *reference.Baseline) { b.Bank = 0 }},
		{"without a TPM", func(b *reference.Baseline) { soft(b); b.Files = sample("a").Files }},
		{"without a TPM", func(b *reference.Baseline) { soft(b); b.Secure = sample("a").Secure }},
		{"nor tamper lines", func(b *reference.Baseline) { soft(b); b.Flash, b.Inventory, b.Tamper = nil, nil, nil }},

		{"129 flash regions", func(b *reference.Baseline) { b.Flash = make([]reference.Region, 129) }},
		{"ascending order of name", func(b *reference.Baseline) { b.Flash[1].Name = "bios" }},
		{"want 1 to 256 bytes", func(b *reference.Baseline) { b.Flash[0].Name = "" }},
		{"want 1 to 256 bytes", func(b *reference.Baseline) { b.Flash[0].Chip = strings.Repeat("x", 257) }},
		{"kind alone", func(b *reference.Baseline) { b.Flash[0].Source = "mtd:bios" }},
		{"kind alone", func(b *reference.Baseline) { b.Flash[0].Source = "" }},
		{"0 bytes at 4096", func(b *reference.Baseline) { b.Flash[0].Length = 0 }},
		{"bytes at", func(b *reference.Baseline) { b.Flash[0].Offset = 1<<64 - 1 }},
		{"digest of 31 bytes", func(b *reference.Baseline) { b.Flash[0].Digest = digest(7)[1:] }},
		{"not in the region", func(b *reference.Baseline) { b.Flash[0].Excluded[1].Length = 1 << 20 }},
		{"not in the region", func(b *reference.Baseline) { b.Flash[0].Excluded[1].Offset = 1<<64 - 1 }},
		{"not in the region", func(b *reference.Baseline) { b.Flash[0].Excluded[0].Length = 0 }},
		{"touches", func(b *reference.Baseline) { b.Flash[0].Excluded[1].Offset = 16 }},
		{"reason of 257", func(b *reference.Baseline) { b.Flash[0].Excluded[0].Reason = strings.Repeat("x", 257) }},
		{"65 ranges", func(b *reference.Baseline) { b.Flash[0].Excluded = make([]reference.Range, 65) }},
		{"bad blocks: range 0", func(b *reference.Baseline) { b.Flash[0].Bad[0].Length = 1 << 20 }},

		{"257 pieces", func(b *reference.Baseline) { b.Inventory = make([]reference.Device, 257) }},
		{"a bus and an address", func(b *reference.Baseline) { b.Inventory[0].Address = "" }},
		{"at most 256 bytes", func(b *reference.Baseline) { b.Inventory[0].Name = strings.Repeat("x", 257) }},
		{"order of bus", func(b *reference.Baseline) { b.Inventory[1] = b.Inventory[0] }},
		{"9 tamper lines", func(b *reference.Baseline) { b.Tamper = make([]string, 9) }},
		{"want 1 to 256", func(b *reference.Baseline) { b.Tamper[0] = "" }},
		{"ascending order", func(b *reference.Baseline) { b.Tamper[0] = "lid" }},
	}
	for _, tt := range tests {
		b := sample("a")
		tt.change(&b)
		if _, err := reference.Sign(b, key(t)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Sign = %v, want an error about %q", err, tt.want)
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
	v := m.At(time.Now())
	for _, c := range v.Alternatives() {
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
	c := v.Alternatives()[0]
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

// TestParts: what a document says of flash, hardware and tamper lines, and which model has any of it.
func TestParts(t *testing.T) {
	plain := sample("r8-1")
	plain.Model, plain.Flash, plain.Inventory, plain.Tamper = "R8", nil, nil, nil
	mixed := plain
	mixed.Name, mixed.Model = "r7-0", "R7"
	s := reference.Compile([]reference.Baseline{sample("r7-1"), plain, mixed})
	m := s.For("Acme", "R7").At(time.Now())
	if !m.HasFlash() || !m.HasInventory() || !m.HasTamper() {
		t.Error("the model has no flash, inventory or tamper lines, want all of one of its documents")
	}
	for _, none := range []*reference.View{s.For("Acme", "R8").At(time.Now()), nil} {
		if none.HasFlash() || none.HasInventory() || none.HasTamper() {
			t.Error("a model whose documents do not speak of it has flash, inventory or tamper lines")
		}
	}
	if c := m.Alternatives()[0]; c.HasFlash() || c.HasInventory() || c.HasTamper() || c.Region("bios") != nil {
		t.Errorf("%s speaks of flash, inventory or tamper lines", c.Name)
	}
	c := m.Alternatives()[1]
	if r := c.Region("bios"); r == nil || !bytes.Equal(r.Digest, digest(7)) || c.Region("boot") != nil || len(c.Regions()) != 2 {
		t.Errorf("Region(bios) = %+v of %d regions", r, len(c.Regions()))
	}
	if name, ok := c.Device("pci", "0000:00:1f.2"); !ok || name != "8086:2922" {
		t.Errorf("Device(pci 0000:00:1f.2) = %q, %t", name, ok)
	}
	if _, ok := c.Device("i2c", "0000:00:1f.2"); ok || len(c.Inventory()) != 2 {
		t.Error("an address of one bus is known on another")
	}
	if diff := cmp.Diff([]string{"door", "lid"}, c.Tamper()); diff != "" {
		t.Errorf("Tamper: %s", diff)
	}
	if diff := cmp.Diff([]string{"r7-1"}, s.Knows(digest(7))); diff != "" {
		t.Errorf("Knows: %s", diff)
	}
	changed := sample("r7-1")
	changed.Flash[0].Excluded[0].Length++
	if m.ID() == reference.Compile([]reference.Baseline{changed, mixed}).For("acme", "r7").ID() {
		t.Error("the model's id does not change with an excluded range")
	}
	for source, want := range map[string]string{"mtd:bios": "mtd", "block:/dev/mmcblk0boot0": "block", "spi": "spi", "": ""} {
		if got := reference.SourceKind(source); got != want {
			t.Errorf("SourceKind(%q) = %q, want %q", source, got, want)
		}
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
	soft, err := reference.Sign(software("b"), k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add(soft)
	f.Add(document[:len(document)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := reference.Open(b, &k.PublicKey); err != nil && (got.PCRs != nil || got.Flash != nil || got.Name != "") {
			t.Error("a baseline beside an error")
		}
	})
}
