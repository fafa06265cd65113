package guest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frames are all shapes of a frame.
var frames = map[string]*Frame{
	"nothing":       {},
	"ack":           {Ack: 7},
	"ask again":     {Ack: 7, Resend: true},
	"message":       {Number: 1, Data: []byte("{}\n")},
	"part":          {Number: 4294967295, More: true, Data: []byte{0, 255}, Ack: 4294967295},
	"largest":       {Number: 1234567890, Data: bytes.Repeat([]byte{0xfb}, MaxFrameData), Ack: 1234567890, Resend: true},
	"like a prefix": {Number: 2, Data: []byte(prefix)},
}

func line(t testing.TB, f *Frame) []byte {
	t.Helper()
	b, err := f.Append(nil)
	if err != nil {
		t.Fatalf("Append(%+v): %v", f, err)
	}
	return b
}

func TestFrameOnTheWire(t *testing.T) {
	// Prefix, CRC-32 (IEEE) of the object, the object.
	const want = "@probity fd358679 {\"n\":1,\"d\":\"e30K\",\"a\":7}\n"
	got := line(t, &Frame{Number: 1, Data: []byte("{}\n"), Ack: 7})
	if string(got) != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for name, f := range frames {
		b := line(t, f)
		if len(b) > MaxLine {
			t.Errorf("%s: line of %d bytes, the longest is %d", name, len(b), MaxLine)
		}
		for _, noise := range []string{"", "[    1.2] random: crng init done", prefix + "12"} {
			text, frame := SplitLine(append([]byte(noise), bytes.TrimSuffix(b, []byte("\n"))...))
			if string(text) != noise {
				t.Errorf("%s: SplitLine: text = %q, want %q", name, text, noise)
			}
			for _, end := range []string{"", "\r"} {
				got, err := ParseFrame(append(bytes.Clone(frame), end...))
				if err != nil {
					t.Errorf("%s: ParseFrame: %v", name, err)
				} else if diff := cmp.Diff(f, got); diff != "" {
					t.Errorf("%s: ParseFrame (-want +got):\n%s", name, diff)
				}
			}
		}
	}
}

// TestFrameDamaged loses, changes and doubles each byte of a frame.
func TestFrameDamaged(t *testing.T) {
	good := bytes.TrimSpace(line(t, frames["part"]))
	for i := range good {
		lost := append(bytes.Clone(good[:i]), good[i+1:]...)
		changed := bytes.Clone(good)
		changed[i] ^= 0x10
		twice := append(bytes.Clone(good[:i+1]), good[i:]...)
		for _, b := range [][]byte{lost, changed, twice, good[:i]} {
			f, err := ParseFrame(b)
			if !errors.Is(err, ErrDamaged) {
				// Hex digits of the checksum may be of either case.
				if bytes.EqualFold(b, good) {
					continue
				}
				t.Errorf("ParseFrame(%q) = %+v, %v, want ErrDamaged", b, f, err)
			}
			if f != nil && err != nil {
				t.Errorf("ParseFrame(%q) = %+v beside an error", b, f)
			}
		}
	}
}

func TestFrameWithoutMeaning(t *testing.T) {
	for _, f := range []*Frame{
		{Data: []byte("x")},
		{More: true},
		{Number: 1},
		{Number: 1, Data: make([]byte, MaxFrameData+1)},
	} {
		if b, err := f.Append(nil); err == nil {
			t.Errorf("Append(%+v) = %q, want an error", f, b)
		}
	}
}

func TestSplitter(t *testing.T) {
	long := strings.Repeat("x", MaxLine+10)
	in := "one\r\n\ntwo\n" + long + "\n=> "
	for _, chunk := range []int{1, 3, len(in)} {
		var got []string
		s := Splitter{Line: func(b []byte) { got = append(got, string(b)) }}
		for rest := []byte(in); len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			if n, err := s.Write(rest[:min(chunk, len(rest))]); err != nil || n != min(chunk, len(rest)) {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		want := []string{"one", "", "two", long[:MaxLine], long[MaxLine:]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines in chunks of %d (-want +got):\n%s", chunk, diff)
		}
		if string(s.Rest()) != "=> " {
			t.Errorf("Rest = %q, want the prompt", s.Rest())
		}
	}
}

// consoleLines are what real consoles say around frames.
var consoleLines = []string{
	"[    0.000000] Linux version 6.1.0-50-armmp (debian-kernel@lists.debian.org)",
	"\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0)",
	"Hit any key to stop autoboot:  2 \b\b\b 1 \b\b\b 0 ",
	"[    7.061475] reboot: System halted\r",
	"7 {\"a\":230}", // the end of a frame whose beginning an emulated UART lost
	"@probity ", "@probity 00000000 {}", "@probity 00000000", "",
}

// FuzzConsoleLine gives lines to the host's parser.
func FuzzConsoleLine(f *testing.F) {
	seeds := 0
	for _, l := range consoleLines {
		f.Add([]byte(l))
		seeds++
	}
	for _, x := range frames {
		b := bytes.TrimSpace(line(f, x))
		f.Add(b)
		f.Add(append([]byte("[    1.5] usb 1-1: new device"), b...))
		f.Add(b[:len(b)/2])
		seeds += 3
	}
	if seeds < 20 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, frame := SplitLine(b)
		if !bytes.Equal(append(bytes.Clone(text), frame...), b) {
			t.Fatalf("SplitLine(%q) = %q, %q", b, text, frame)
		}
		if frame == nil {
			return
		}
		got, err := ParseFrame(frame)
		if err != nil {
			if got != nil || !errors.Is(err, ErrDamaged) {
				t.Fatalf("ParseFrame(%q) = %+v, %v", frame, got, err)
			}
			return
		}
		if len(got.Data) > MaxFrameData {
			t.Fatalf("%d bytes of data", len(got.Data))
		}
		again, err := ParseFrame(bytes.TrimSpace(line(t, got)))
		if err != nil {
			t.Fatalf("ParseFrame(Append): %v", err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("round trip (-want +got):\n%s", diff)
		}
	})
}
