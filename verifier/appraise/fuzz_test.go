package appraise

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// evidenceSeed returns the evidence of a device that boots a captured log, and its AK.
func evidenceSeed(f *testing.F, rsa bool) (proto.Evidence, []byte) {
	f.Helper()
	log, err := os.ReadFile("../../testdata/eventlogs/uki.bin")
	if err != nil {
		f.Fatal(err)
	}
	d, err := appraisetest.New(log, nil)
	if err != nil {
		f.Fatal(err)
	}
	if rsa {
		if err := d.UseRSA(); err != nil {
			f.Fatal(err)
		}
	}
	message, _, err := d.Report(&proto.Challenge{Nonce: make([]byte, proto.NonceSize), PCRs: 0xffff})
	if err != nil {
		f.Fatal(err)
	}
	var ev proto.Evidence
	if err := proto.Decode(message, &ev); err != nil {
		f.Fatal(err)
	}
	return ev, d.AK
}

// FuzzQuote: what parses as a quote says all that was checked; an error comes with nothing.
func FuzzQuote(f *testing.F) {
	ev, _ := evidenceSeed(f, false)
	f.Add(ev.Quote)
	f.Add(ev.Quote[:len(ev.Quote)-1])
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := parseQuote(raw)
		if err != nil {
			if q.digest != nil || q.signer != nil || q.selection != 0 {
				t.Errorf("parseQuote(%x) = %+v beside an error", raw, q)
			}
			return
		}
		if !bytes.HasPrefix(raw, []byte{0xff, 'T', 'C', 'G', 0x80, 0x18}) || q.selection > pcr.All {
			t.Errorf("parseQuote(%x) = %+v", raw, q)
		}
		if size := 6 + 2 + len(q.signer) + 2 + len(q.extraData) + 17 + 8 + 4 + 2 + 1 + 3 + 2 + len(q.digest); size != len(raw) {
			t.Errorf("parseQuote(%x) accounts for %d of %d bytes", raw, size, len(raw))
		}
	})
}

// FuzzKeyAndSignature: no key and no signature panics, and none but the genuine one verifies.
func FuzzKeyAndSignature(f *testing.F) {
	for _, rsa := range []bool{false, true} {
		ev, ak := evidenceSeed(f, rsa)
		f.Add(ak, ev.Quote, ev.Signature)
		f.Add(ak[:len(ak)-1], ev.Quote, ev.Signature)
		f.Add(ak, ev.Quote[1:], ev.Signature)
	}
	genuine, ak := evidenceSeed(f, false)
	known, err := parseTPMKey(ak)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, public, message, signature []byte) {
		key, err := parseTPMKey(public)
		if (err == nil) != (key.qualified != nil) || (err == nil) == (key.ecc == nil && key.rsa == nil) {
			t.Fatalf("parseTPMKey(%x) = %+v, %v", public, key, err)
		}
		if err == nil {
			_ = key.verify(message, signature)
		}
		if known.verify(message, signature) == nil && !bytes.Equal(message, genuine.Quote) {
			t.Errorf("a signature over %x was made up", message)
		}
	})
}

// FuzzFlashContent: whatever a device sends as its flash memory, what passes without a warning has every region of the
// reference with the reference's place and digest, and leaves nothing more out.
func FuzzFlashContent(f *testing.F) {
	digest := bytes.Repeat([]byte{7}, 32)
	good := proto.Flash{Regions: []proto.FlashRegion{
		{Name: "bios", Source: "mtd:bios", Offset: 16, Length: 4096, Digest: digest, Excluded: []proto.FlashRange{{Offset: 8, Length: 8}}, Chip: "ef4018"},
		{Name: "me", Source: "spi:0.0", Length: 1, Digest: digest, Bad: []proto.FlashRange{{Length: 1}}},
	}}
	bad := proto.Flash{Regions: []proto.FlashRegion{
		good.Regions[0], {Name: "me", Source: "spi:0.0", Unavailable: &proto.Unavailable{Cause: proto.CauseIO}},
	}}
	for _, m := range []proto.Flash{good, bad} {
		seed, err := proto.Encode(&m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
		f.Add(seed[:len(seed)-1])
	}
	b := reference.Baseline{Vendor: "Acme", Model: "R7", Flash: []reference.Region{
		{Name: "bios", Source: "mtd", Offset: 16, Length: 4096, Digest: digest, Excluded: references(good.Regions[0].Excluded), Chip: "ef4018"},
		{Name: "me", Source: "spi", Length: 1, Digest: digest, Bad: references(good.Regions[1].Bad)},
	}}
	policy := DefaultPolicy()
	ap := &appraisal{in: Input{Policy: &policy}, model: reference.Compile([]reference.Baseline{b}).For("Acme", "R7").At(time.Time{})}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v := ap.judgeFlash(raw)
		if len(v.regions) > result.MaxRegions {
			t.Errorf("%d regions to show, at most %d allowed", len(v.regions), result.MaxRegions)
		}
		if v.cost() > 0 {
			return
		}
		var m proto.Flash
		if err := proto.Decode(raw, &m); err != nil || len(m.Regions) != len(b.Flash) {
			t.Fatalf("%x passes with %d regions, %v", raw, len(m.Regions), err)
		}
		for i, want := range b.Flash {
			r := &m.Regions[i]
			same := r.Name == want.Name && reference.SourceKind(r.Source) == want.Source && r.Offset == want.Offset &&
				r.Length == want.Length && bytes.Equal(r.Digest, want.Digest) && (want.Chip == "" || r.Chip == want.Chip)
			if !same || len(outside(r.Excluded, want.Excluded)) > 0 || len(outside(r.Bad, want.Bad)) > 0 {
				t.Errorf("%+v passes for %+v", *r, want)
			}
		}
	})
}
