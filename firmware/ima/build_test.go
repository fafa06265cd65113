package ima

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
)

func TestBuilderMakesGoodLists(t *testing.T) {
	list := build(t, 20, 4)
	s := NewScanner(list)
	for i := 0; s.Scan(); i++ {
		e := s.Entry()
		if _, ok := e.File(); !ok || e.Consistent() == e.Violation() || e.Violation() != (i == 5) || e.IsBootAggregate() != (i == 0) {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

// A virtual device takes a real list and makes it fit its own boot.
func TestBuilderReplacesBootAggregate(t *testing.T) {
	bank := pcr.NewBank(pcr.SHA256)
	for i := range 10 {
		if err := bank.Set(i, bytes.Repeat([]byte{byte(i + 1)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range captured(t) {
		list := read(t, name+".bin")
		var b Builder
		if err := b.AppendList(list); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), list) {
			t.Fatal("AppendList changed the list")
		}
		if err := b.SetBootAggregate(pcr.SHA256, BootAggregate(bank, pcr.SHA256)); err != nil {
			t.Fatal(err)
		}
		got := b.Bytes()
		s := NewScanner(got)
		s.Scan()
		if fits, err := CheckBootAggregate(s.Entry(), bank); !fits || err != nil || !s.Entry().Consistent() {
			t.Errorf("%s: CheckBootAggregate = %v, %v", name, fits, err)
		}
		first, _ := Skip(list, 1)
		if !bytes.Equal(got[s.Offset():], list[first:]) {
			t.Errorf("%s: other entries changed", name)
		}
		if was, _ := Skip(list, 1); was != s.Offset() {
			t.Errorf("%s: the template changed: %d bytes, were %d", name, s.Offset(), was)
		}
	}
}

func TestBuilderRejects(t *testing.T) {
	var b Builder
	d := make([]byte, 32)
	for name, err := range map[string]error{
		"NUL":             b.Append(Measurement{Path: "/a\x00b", Algorithm: pcr.SHA256, Digest: d}),
		"digest size":     b.Append(Measurement{Path: "/a", Algorithm: pcr.SHA1, Digest: d}),
		"algorithm":       b.Append(Measurement{Path: "/a", Digest: d}),
		"aggregate size":  b.SetBootAggregate(pcr.SHA256, d[:20]),
		"long path":       b.Append(Measurement{Path: strings.Repeat("a", maxData), Algorithm: pcr.SHA256, Digest: d}),
		"list of garbage": b.AppendList([]byte("garbage")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n, err := Count(b.Bytes()); n != 0 || err != nil {
		t.Errorf("after errors the list has %d entries, %v", n, err)
	}
	if err := b.Append(Measurement{Path: "/signed", Algorithm: pcr.SHA256, Digest: d, Signature: []byte("s")}); err != nil {
		t.Fatal(err)
	}
	s := NewScanner(b.Bytes())
	if s.Scan(); s.Entry().Template != "ima-sig" {
		t.Errorf("template %q, want ima-sig", s.Entry().Template)
	}
}

func TestCheckBootAggregate(t *testing.T) {
	bank := pcr.Reset(pcr.SHA256)
	zero7, zero9 := sha256.Sum256(make([]byte, 8*32)), sha256.Sum256(make([]byte, 10*32))
	check := func(digest []byte, bank *pcr.Bank) (bool, error) {
		var b Builder
		if err := b.SetBootAggregate(pcr.SHA256, digest); err != nil {
			t.Fatal(err)
		}
		s := NewScanner(b.Bytes())
		s.Scan()
		return CheckBootAggregate(s.Entry(), bank)
	}
	for _, digest := range [][]byte{zero7[:], zero9[:]} {
		if fits, err := check(digest, bank); !fits || err != nil {
			t.Errorf("CheckBootAggregate = %v, %v", fits, err)
		}
	}
	if !bytes.Equal(BootAggregate(bank, pcr.SHA256), zero9[:]) {
		t.Error("BootAggregate of a SHA-256 bank is not over PCRs 0-9")
	}
	if err := bank.Extend(9, zero9[:]); err != nil {
		t.Fatal(err)
	}
	if fits, err := check(zero9[:], bank); fits || err != nil {
		t.Errorf("after a change of PCR 9: %v, %v", fits, err)
	}
	if _, err := check(zero9[:], pcr.NewBank(pcr.SHA256)); !errors.Is(err, ErrUndecided) {
		t.Errorf("without PCR values: %v", err)
	}
	file := Entry{Template: "ima-ng", TemplateDigest: make([]byte, 20), Data: appendField(appendField(nil, digestD), "/x\x00")}
	if _, err := CheckBootAggregate(file, bank); !errors.Is(err, ErrUndecided) {
		t.Errorf("of a file: %v", err)
	}
	sha1Bank := pcr.Reset(pcr.SHA1)
	short := BootAggregate(sha1Bank, pcr.SHA1)
	if err := sha1Bank.Extend(8, short); err != nil || !bytes.Equal(BootAggregate(sha1Bank, pcr.SHA1), short) {
		t.Error("BootAggregate of a SHA-1 bank depends on PCR 8")
	}
	if BootAggregate(bank, pcr.SM3) != nil {
		t.Error("BootAggregate in SM3 is not nil")
	}
}
