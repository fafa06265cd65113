package tpm_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// seeds returns an EK certificate and a quote of a real swtpm.
func seeds(f *testing.F) (cert, quote []byte) {
	f.Helper()
	s := tpmtest.Start(f, tpmtest.Options{})
	ca, err := tpmtest.NewCA("Seeds")
	if err != nil {
		f.Fatal(err)
	}
	if err := tpmtest.Manufacture(s.Transport(f), ca, tpmtest.P256); err != nil {
		f.Fatal(err)
	}
	d := s.TPM(f)
	quote, _, err = d.Quote(pcr.SHA256, pcr.All, make([]byte, 32))
	if err != nil || len(quote) == 0 || len(d.Endorsement().Certificates) == 0 {
		f.Fatalf("no seeds: %v: a fuzz test without seeds finds nothing", err)
	}
	return d.Endorsement().Certificates[0], quote
}

func FuzzCutDER(f *testing.F) {
	cert, _ := seeds(f)
	f.Add(cert)
	f.Add(append(bytes.Clone(cert), 0xff, 0xff))
	f.Add([]byte{0x30, 0x81, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		der, rest, err := tpm.CutDER(b)
		if err != nil {
			if der != nil || !bytes.Equal(rest, b) {
				t.Fatalf("cutDER(%x) = %x, %x with error %v", b, der, rest, err)
			}
			return
		}
		if len(der) < 2 || !bytes.Equal(append(bytes.Clone(der), rest...), b) {
			t.Fatalf("cutDER(%x) = %x, %x", b, der, rest)
		}
	})
}

func FuzzQuoteInfo(f *testing.F) {
	_, quote := seeds(f)
	f.Add(quote)
	f.Add(quote[:len(quote)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		quoted, digest, err := tpm.QuoteInfo(b)
		if err != nil {
			if quoted != nil || digest != nil {
				t.Fatal("values with an error")
			}
			return
		}
		signer, attested, err := tpm.SplitAttest(b)
		if err != nil {
			t.Fatalf("splitAttest refuses what quoteInfo took: %v", err)
		}
		if len(signer) > len(b) || len(attested) != len(quoted)+2+len(digest) {
			t.Fatalf("%d bytes attested, %d of selection, %d of digest", len(attested), len(quoted), len(digest))
		}
		if n := binary.BigEndian.Uint32(quoted); uint64(n)*3 > uint64(len(quoted)) {
			t.Fatalf("%d selections in %d bytes", n, len(quoted))
		}
	})
}
