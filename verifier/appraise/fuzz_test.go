package appraise

import (
	"bytes"
	"os"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
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
