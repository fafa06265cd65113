package tpm_test

import (
	"bytes"
	"crypto"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

func TestBanksAndPCRs(t *testing.T) {
	banks := []pcr.Algorithm{pcr.SHA256, pcr.SHA384}
	s := tpmtest.Start(t, tpmtest.Options{Banks: banks})
	d := s.TPM(t)
	got, err := d.Banks()
	if err != nil || !cmp.Equal(got, banks) {
		t.Errorf("Banks = %v, %v, want %v", got, err, banks)
	}
	for _, a := range banks {
		b, err := d.ReadPCRs(a, pcr.All)
		if err != nil || !b.Equal(pcr.Reset(a)) {
			t.Errorf("ReadPCRs(%s) after a reset = %v, %v", a, b, err)
		}
	}
	if b, err := d.ReadPCRs(pcr.SHA256, 0); err != nil || b.Present() != 0 {
		t.Errorf("ReadPCRs of nothing = %v, %v", b, err)
	}
	if _, err := d.ReadPCRs(pcr.SHA1, pcr.All); !errors.Is(err, tpm.ErrNoBank) {
		t.Errorf("ReadPCRs of an inactive bank: %v, want ErrNoBank", err)
	}
	if _, _, err := d.Quote(pcr.SHA1, pcr.All, nil); !errors.Is(err, tpm.ErrNoBank) {
		t.Errorf("Quote of an inactive bank: %v, want ErrNoBank", err)
	}
	for _, sel := range []pcr.Selection{0, 1 << 24} {
		if _, _, err := d.Quote(pcr.SHA256, sel, nil); err == nil {
			t.Errorf("Quote of selection %#x passed", uint32(sel))
		}
	}
	if _, err := d.ReadPCRs(pcr.SHA256, 1<<24); err == nil {
		t.Error("ReadPCRs of PCR 24 passed")
	}
	if _, _, err := d.Quote(pcr.SHA256, pcr.All, make([]byte, 200)); err == nil {
		t.Error("Quote with 200 bytes of qualifying data passed")
	}
}

func TestQuote(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	ak, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	nonce := bytes.Repeat([]byte{9}, 32)
	for _, a := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384} {
		sel := pcr.Select(0, 1, 2, 3, 4, 5, 6, 7, 10, 23)
		attested, sig, bank, err := d.QuoteAndRead(a, sel, nonce)
		if err != nil {
			t.Fatalf("QuoteAndRead(%s): %v", a, err)
		}
		verifyQuote(t, public(t, ak.Public), attested, sig)
		att, err := tpm2.Unmarshal[tpm2.TPMSAttest](attested)
		if err != nil {
			t.Fatal(err)
		}
		info, err := att.Attested.Quote()
		if err != nil {
			t.Fatal(err)
		}
		composite, err := bank.Composite(sel, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(info.PCRDigest.Buffer, composite) || !bytes.Equal(att.ExtraData.Buffer, nonce) || bank.Present() != sel {
			t.Errorf("%s: quote is not of the values that were read", a)
		}
	}
}

// TestMovingPCRs extends PCR 10 while it is read, as IMA does.
func TestMovingPCRs(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	h := &hook{TPM: tr}
	d := newTPM(t, h)
	moves := 5
	h.set(nil, func(c tpm2.TPMCC, rsp []byte) []byte {
		if c == tpm2.TPMCCPCRRead && moves > 0 {
			moves--
			if err := tpmtest.Measure(tr, 10, []byte{byte(moves)}); err != nil {
				t.Error(err)
			}
		}
		return rsp
	})
	sel := pcr.All &^ pcr.Select(16, 23)
	got, err := d.ReadPCRs(pcr.SHA256, sel)
	if err != nil || moves != 0 {
		t.Fatalf("ReadPCRs: %v, %d moves left", err, moves)
	}
	h.set(nil, nil)
	want, err := d.ReadPCRs(pcr.SHA256, sel)
	if err != nil || !got.Equal(want) {
		t.Errorf("values of different moments were mixed: %v, %v", got.Strings(), err)
	}
	moves = 7
	h.set(nil, func(c tpm2.TPMCC, rsp []byte) []byte {
		if c == tpm2.TPMCCQuote && moves > 0 {
			moves--
			if err := tpmtest.Measure(tr, 10, []byte{byte(moves)}); err != nil {
				t.Error(err)
			}
		}
		return rsp
	})
	if _, _, _, err := d.QuoteAndRead(pcr.SHA256, sel, nil); err != nil || moves != 0 {
		t.Errorf("QuoteAndRead while PCR 10 moves: %v, %d moves left", err, moves)
	}
	moves = 1 << 30
	if _, _, _, err := d.QuoteAndRead(pcr.SHA256, sel, nil); !errors.Is(err, tpm.ErrUnstable) {
		t.Errorf("QuoteAndRead while PCR 10 never rests: %v, want ErrUnstable", err)
	}
}

func BenchmarkQuote(b *testing.B) {
	s := tpmtest.Start(b, tpmtest.Options{})
	d := s.TPM(b)
	nonce := make([]byte, 32)
	for b.Loop() {
		if _, _, err := d.Quote(pcr.SHA256, pcr.Selection(0xffff), nonce); err != nil {
			b.Fatal(err)
		}
	}
}
