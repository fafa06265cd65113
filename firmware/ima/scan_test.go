package ima

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// golden is one ima-ng entry, byte by byte (ima_measurements_show).
var golden = strings.Join([]string{
	"\x0a\x00\x00\x00",                 // PCR 10
	strings.Repeat("\x11", DigestSize), // template digest
	"\x06\x00\x00\x00", "ima-ng",       // template name
	"\x37\x00\x00\x00",                     // length of template data: 55
	"\x28\x00\x00\x00",                     // length of d-ng: 40
	"sha256:\x00", strings.Repeat("D", 32), // file digest
	"\x07\x00\x00\x00", "/bin/x\x00", // n-ng
}, "")

func TestScanGolden(t *testing.T) {
	s := NewScanner([]byte(golden + golden))
	for i := 1; i <= 2; i++ {
		if !s.Scan() || s.Offset() != i*len(golden) {
			t.Fatalf("Scan %d: offset %d, error %v", i, s.Offset(), s.Err())
		}
		e := s.Entry()
		f, ok := e.File()
		if !ok || e.PCR != 10 || e.Template != "ima-ng" || e.TemplateDigest[0] != 0x11 || e.Violation() || e.Consistent() ||
			f.Path != "/bin/x" || f.Algorithm != "sha256" || string(f.Digest) != strings.Repeat("D", 32) {
			t.Fatalf("entry %+v, file %+v", e, f)
		}
	}
	if s.Scan() || s.Err() != nil || s.Entry().Data != nil {
		t.Errorf("after the end: %+v, %v", s.Entry(), s.Err())
	}
}

func TestScanRejects(t *testing.T) {
	at := func(offset int, change string) []byte {
		b := []byte(golden)
		copy(b[offset:], change)
		return b
	}
	for _, tc := range []struct {
		name, want string
		list       []byte
	}{
		{"big-endian", "ima_canonical_fmt", at(0, "\x00\x00\x00\x0a")},
		{"no PCR", "PCR: want 0 to 23, got 24", at(0, "\x18")},
		{"empty template name", "template name", at(24, "\x00")},
		{"long template name", "template name", at(24, "\x00\x01")},
		{"SHA-256 template digests", "SHA-1 template digests", at(24, "\xff\xff\xff\xff")},
		{"unprintable template name", "not printable", at(28, "ima\x1bng")},
		{"space in template name", "not printable", at(28, "ima ng")},
		{"too much data", "at most", at(34, "\xff\xff\xff\xff")},
		{"long name of template ima", "at most 255", append([]byte(golden[:24]+"\x03\x00\x00\x00ima"), bytes.Repeat([]byte{1}, 50)...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := append([]byte(golden), tc.list...)
			_, err := Count(list)
			var parse *ParseError
			if !errors.As(err, &parse) || parse.Entry != 1 || parse.Offset != len(golden) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Count: %v, want entry 1: ...%s...", err, tc.want)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error("a malformed entry looks truncated")
			}
			if _, err := Skip(list, 1); err != nil {
				t.Errorf("Skip(1): %v", err)
			}
			if _, err := Skip(list, 2); !errors.As(err, &parse) {
				t.Errorf("Skip(2): %v", err)
			}
		})
	}
}

// Every cut through an entry is told from damage, so that readers of a growing list can wait.
func TestScanTruncated(t *testing.T) {
	old := golden[:24] + "\x03\x00\x00\x00ima" + strings.Repeat("D", 20) + "\x02\x00\x00\x00/x"
	for _, entry := range []string{golden, old} {
		for n := 1; n < len(entry); n++ {
			list := []byte(golden + entry[:n])
			s := NewScanner(list)
			for s.Scan() {
			}
			if !errors.Is(s.Err(), io.ErrUnexpectedEOF) || s.Offset() != len(golden) {
				t.Errorf("cut after %d bytes: offset %d, %v", n, s.Offset(), s.Err())
			}
		}
		if n, err := Count([]byte(golden + entry)); n != 2 || err != nil {
			t.Errorf("Count = %d, %v", n, err)
		}
	}
}

func TestSkip(t *testing.T) {
	list := []byte(golden + golden)
	for n := range 3 {
		if got, err := Skip(list, n); got != n*len(golden) || err != nil {
			t.Errorf("Skip(%d) = %d, %v", n, got, err)
		}
	}
	if _, err := Skip(list, 3); err == nil {
		t.Error("Skip(3) of 2 entries works")
	}
}

// TestImports keeps the package at the bottom of the tree: whoever parses a list needs PCR arithmetic and nothing else.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("skipped: go list: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		own := strings.HasSuffix(p, "probity/firmware/ima") || strings.HasSuffix(p, "probity/firmware/pcr")
		if strings.Contains(strings.Split(p, "/")[0], ".") && !own {
			t.Errorf("imports %s: want the standard library and firmware/pcr only", p)
		}
	}
}

// FuzzScan asserts that scanning stays inside the list, agrees with itself, and that entries encode to what was read.
func FuzzScan(f *testing.F) {
	for _, name := range captured(f) {
		list := read(f, name+".bin")
		f.Add(list)
		f.Add(list[:len(list)-7])
	}
	f.Add([]byte(golden))
	f.Fuzz(func(t *testing.T, list []byte) {
		s := NewScanner(list)
		var again []byte
		n := 0
		for s.Scan() {
			e := s.Entry()
			again = appendEntry(again, e)
			n++
			if file, ok := e.File(); ok && (len(file.Digest) > maxDigest || strings.IndexByte(file.Path, 0) >= 0) {
				t.Fatalf("file %+v", file)
			}
			_ = e.view(n)
		}
		if !bytes.Equal(again, list[:s.Offset()]) {
			t.Fatalf("entries encode to\n%x, were\n%x", again, list[:s.Offset()])
		}
		count, err := Count(list)
		if (err == nil) != (s.Err() == nil) || (err == nil && (count != n || s.Offset() != len(list))) || (err != nil && count != 0) {
			t.Fatalf("Count = %d, %v; scanned %d to offset %d, %v", count, err, n, s.Offset(), s.Err())
		}
		if s.Entry().Data != nil || s.Entry().Template != "" {
			t.Fatal("an entry is left after the end")
		}
	})
}

// FuzzReadList asserts that a list of either format is nil on error and otherwise a list that reads back the same.
func FuzzReadList(f *testing.F) {
	for _, name := range captured(f) {
		f.Add(read(f, name+".ascii"))
		f.Add(read(f, name+".bin"))
	}
	f.Add([]byte("10 0000000000000000000000000000000000000000 ima 0000000000000000000000000000000000000000 /x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ReadList(b)
		if err != nil {
			if l != nil {
				t.Fatal("a list beside an error")
			}
			return
		}
		if len(l.Binary()) > 3*len(b)+64*l.Len() {
			t.Fatalf("%d bytes of text became %d", len(b), len(l.Binary()))
		}
		again, err := ReadList(l.Binary())
		if err != nil || !bytes.Equal(again.Binary(), l.Binary()) || again.Len() != l.Len() {
			t.Fatalf("reading again: %v", err)
		}
		if v := l.View(); len(v.List) != l.Len() || v.Entries != l.Len() {
			t.Fatalf("view of %d entries has %d", l.Len(), len(v.List))
		}
	})
}

// FuzzAdvance asserts that a match is a replay: whatever is accepted has the quoted value by another way of computing it.
func FuzzAdvance(f *testing.F) {
	for _, name := range captured(f) {
		for alg, bank := range readPCRs(f, name+".pcrs") {
			f.Add(read(f, name+".bin"), uint16(alg), bank.Value(PCR))
		}
	}
	f.Fuzz(func(t *testing.T, list []byte, alg uint16, quoted []byte) {
		checkAdvance(t, list, alg, quoted)
	})
}

func le32(n int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
