package pecoff_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Offsets in programs that imagetest builds.
const (
	optional = 0x40 + 24
	checksum = optional + 64
	security = optional + 112 + 8*4
	table    = optional + 240
)

func program(certificates string) []byte {
	return imagetest.ProgramOf(0xaa64, 10, []byte(certificates),
		imagetest.ProgramSection{Name: ".text", Data: []byte("code of the program")},
		imagetest.ProgramSection{Name: ".data", Data: bytes.Repeat([]byte("data"), 200)})
}

func mustParse(tb testing.TB, b []byte) *pecoff.File {
	tb.Helper()
	f, err := pecoff.Parse(b)
	if err != nil {
		tb.Fatalf("Parse = %v", err)
	}
	return f
}

func authenticode(tb testing.TB, b []byte) []byte {
	tb.Helper()
	d, err := mustParse(tb, b).Authenticode(pcr.SHA256)
	if err != nil {
		tb.Fatalf("Authenticode = %v", err)
	}
	return d
}

func TestParse(t *testing.T) {
	f := mustParse(t, program("certificate"))
	if f.Machine != 0xaa64 || f.Subsystem != 10 || f.Certificates != 11 {
		t.Errorf("machine %#x, subsystem %d, %d bytes of certificates", f.Machine, f.Subsystem, f.Certificates)
	}
	if got := pecoff.Describe(f.Machine, f.Subsystem); got != "arm64 application" {
		t.Errorf("Describe = %q", got)
	}
	var names []string
	for _, s := range f.Sections {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{".text", ".data"}, names); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	s := f.Section(".text")
	if got := string(s.Content()); got != "code of the program" || len(s.Data()) != 512 {
		t.Errorf("content %q, %d bytes in the file", got, len(s.Data()))
	}
	s.Memory = 600 // more than the file has
	if got := s.Content(); len(got) != 600 || !bytes.Equal(got[:512], s.Data()) || !bytes.Equal(got[512:], make([]byte, 88)) {
		t.Errorf("content of 600 bytes has %d", len(got))
	}
	if f.Section(".none") != nil {
		t.Error("a section that is not there")
	}
}

// The digest is over exactly the bytes that are not the checksum, the certificates and their directory entry.
func TestAuthenticode(t *testing.T) {
	b := program("certificate!")
	var covered []byte
	covered = append(covered, b[:checksum]...)
	covered = append(covered, b[checksum+4:security]...)
	covered = append(covered, b[security+8:len(b)-12]...)
	want := sha256.Sum256(covered)
	if got := authenticode(t, b); !bytes.Equal(got, want[:]) {
		t.Fatalf("Authenticode = %x, want %x", got, want)
	}
	if unsigned := authenticode(t, program("")); !bytes.Equal(unsigned, want[:]) {
		t.Errorf("without certificates %x, want the same %x", unsigned, want)
	}
	left := map[int]bool{}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		f, err := pecoff.Parse(c)
		if err != nil {
			continue
		}
		if d, err := f.Authenticode(pcr.SHA256); err == nil && bytes.Equal(d, want[:]) {
			left[i] = true
		}
	}
	for i := range b {
		may := i >= checksum && i < checksum+4 || i >= len(b)-12
		if left[i] != may {
			t.Errorf("byte %#x left out: %t, want %t", i, left[i], may)
		}
	}
	if d, err := mustParse(t, b).Authenticode(pcr.SHA384); err != nil || len(d) != 48 {
		t.Errorf("SHA-384: %d bytes, %v", len(d), err)
	}
	if d, err := mustParse(t, b).Authenticode(pcr.SM3); err == nil {
		t.Errorf("SM3: %x, want an error", d)
	}
}

// Sections count in the order of their place in the file, and bytes behind them count, too.
func TestAuthenticodeOrder(t *testing.T) {
	b := append(program(""), "appended"...)
	headers := int(binary.LittleEndian.Uint32(b[optional+60:]))
	first, second := bytes.Clone(b[table:table+40]), bytes.Clone(b[table+40:table+80])
	copy(b[table:], second)
	copy(b[table+40:], first)
	h := sha256.New()
	h.Write(b[:checksum])
	h.Write(b[checksum+4 : security])
	h.Write(b[security+8 : headers])
	h.Write(b[headers:])
	if got := authenticode(t, b); !bytes.Equal(got, h.Sum(nil)) {
		t.Errorf("Authenticode = %x, want %x", got, h.Sum(nil))
	}
}

func TestParseCut(t *testing.T) {
	b := program("certificate")
	for n := range len(b) {
		f, err := pecoff.Parse(b[:n])
		var e *pecoff.FormatError
		if f != nil || !errors.Is(err, pecoff.ErrNotPE) && !errors.As(err, &e) {
			t.Fatalf("cut to %d of %d bytes: %v, want a FormatError", n, len(b), err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	put := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   string
	}{
		{"PE header outside", put(0x3c, 1<<31), pecoff.ErrNotPE.Error()},
		{"no optional header", func(b []byte) { b[0x40+20], b[0x40+21] = 8, 0 }, "not a program"},
		{"optional header beyond the end", func(b []byte) { b[0x40+21] = 0xff }, "cut off"},
		{"unknown type", func(b []byte) { b[optional] = 7 }, "want 0x10b or 0x20b"},
		{"headers beyond the end", put(optional+60, 1<<30), "cut off"},
		{"headers too short", put(optional+60, 0x80), "before the fields"},
		{"too many sections", func(b []byte) { b[0x40+6] = 97 }, "at most 96"},
		{"certificates beyond the end", put(security+4, 1<<31), "cut off"},
		{"directory beyond the header", func(b []byte) { b[0x40+20] = 120 }, "do not fit"},
		{"section beyond the end", put(table+16, 1<<30), "cut off"},
		{"section at the end of the address space", put(table+20, 1<<32-1), "cut off"},
		{"section of too much memory", put(table+8, 1<<31), "at most"},
	} {
		b := program("")
		c.change(b)
		f, err := pecoff.Parse(b)
		if f != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
	b := program("certificate")
	binary.LittleEndian.PutUint32(b[security:], 0x200)
	binary.LittleEndian.PutUint32(b[security+4:], uint32(len(b)-0x200))
	if d, err := mustParse(t, b).Authenticode(pcr.SHA256); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("certificates over the sections: %x, %v", d, err)
	}
}

func FuzzParse(f *testing.F) {
	seeds := [][]byte{program(""), program("certificate"), imagetest.Program(0x14c, 11, nil), bigUKI()}
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)/2])
	}
	if len(seeds) < 4 {
		f.Fatalf("only %d seeds", len(seeds))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := pecoff.Parse(b)
		if err != nil {
			var e *pecoff.FormatError
			if p != nil || !errors.Is(err, pecoff.ErrNotPE) && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b)) {
				t.Fatalf("Parse = %v, %v", p, err)
			}
			return
		}
		for i := range p.Sections {
			if s := &p.Sections[i]; len(s.Data()) != s.Size || s.Offset+s.Size > len(b) {
				t.Fatalf("section %q of %d bytes at %d of %d", s.Name, s.Size, s.Offset, len(b))
			}
		}
		if d, err := p.Authenticode(pcr.SHA256); err == nil && len(d) != 32 {
			t.Fatalf("digest of %d bytes", len(d))
		}
		for i := range p.Sections {
			p.Sections[i].Memory = min(p.Sections[i].Memory, 1<<16)
		}
		m, err := p.StubMeasurements()
		if err != nil && (m != nil || !errors.Is(err, pecoff.ErrNoStub)) {
			t.Fatalf("StubMeasurements = %v, %v", m, err)
		}
	})
}
