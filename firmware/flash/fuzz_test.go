package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash/flashtest"
)

// layoutSeeds returns layouts of several forms, sound and damaged.
func layoutSeeds(f *testing.F) [][]byte {
	out := [][]byte{[]byte(goodLayout), []byte("regions: []\n"), (&Layout{Regions: goodRegions}).YAML()}
	for cut := 1; cut < len(goodLayout); cut += 37 {
		out = append(out, []byte(goodLayout[:cut]))
	}
	if len(out) < 10 {
		f.Fatalf("only %d seeds", len(out))
	}
	return out
}

func FuzzParseLayout(f *testing.F) {
	for _, s := range layoutSeeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLayout(b)
		if err != nil {
			var e *LayoutError
			if l != nil || !errors.As(err, &e) || e.Detail == "" {
				t.Fatalf("ParseLayout = %v, %v, want nil and a LayoutError", l, err)
			}
			if e.Line < 0 || e.Line > len(b)+1 {
				t.Fatalf("error in line %d of %d bytes", e.Line, len(b))
			}
			return
		}
		checkLayout(t, l)
		again, err := ParseLayout(l.YAML())
		if len(l.YAML()) > MaxLayoutSize { // it may be written shorter than YAML does
			return
		}
		if diff := cmp.Diff(l, again); err != nil || diff != "" {
			t.Fatalf("ParseLayout(YAML()) = %v (-want +got):\n%s\n%s", err, diff, l.YAML())
		}
	})
}

// checkLayout checks what ParseLayout promises.
func checkLayout(t *testing.T, l *Layout) {
	if len(l.Regions) > MaxRegions {
		t.Fatalf("%d regions", len(l.Regions))
	}
	names := map[string]bool{}
	for i, r := range l.Regions {
		if err := r.Valid(); err != nil || names[r.Name] {
			t.Fatalf("region %+v: %v", r, err)
		}
		names[r.Name] = true
		if s, err := ParseSource(r.Source.String()); err != nil || s != r.Source {
			t.Fatalf("source %v: %v, %v", r.Source, s, err)
		}
		for _, o := range l.Regions[:i] {
			if r.overlaps(o) {
				t.Fatalf("%+v overlaps %+v", r, o)
			}
		}
	}
}

func FuzzReadSFDP(f *testing.F) {
	seeds := [][]byte{flashtest.SFDP(1<<20, false), flashtest.SFDP(32<<20, true), flashtest.SFDP(4<<30, true)}
	for _, c := range realChips {
		b := unhex(f, c.sfdp)
		seeds = append(seeds, b, b[:len(b)/2])
	}
	if len(seeds) < 10 {
		f.Fatalf("only %d seeds", len(seeds))
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		counter := &countingReader{ReaderAt: bytes.NewReader(b)}
		p, err := ReadSFDP(counter)
		if counter.read > 2*(headerSize*(maxParameters+1)+4*maxParameterWords) {
			t.Fatalf("%d bytes were read of the chip", counter.read)
		}
		if err != nil {
			var e *SFDPError
			if p != nil || !errors.Is(err, ErrNoSFDP) && !errors.As(err, &e) {
				t.Fatalf("ReadSFDP = %v, %v, want nil and ErrNoSFDP or an SFDPError", p, err)
			}
			if e != nil && e.Offset >= maxTableAddress {
				t.Fatalf("error at %#x", e.Offset)
			}
			return
		}
		if p.Density == 0 || p.Density > MaxDensity || p.EraseSize > p.Density || p.Address >= addressModes {
			t.Fatalf("ReadSFDP = %+v", p)
		}
	})
}

type countingReader struct {
	io.ReaderAt
	read int
}

func (c *countingReader) ReadAt(b []byte, at int64) (int, error) {
	c.read += len(b)
	return c.ReaderAt.ReadAt(b, at)
}

// FuzzOpenNOR gives a chip any id and parameters. Whatever it states, it is sent only commands that read, and nothing
// is read beyond what it states.
func FuzzOpenNOR(f *testing.F) {
	n := 0
	for _, c := range realChips {
		f.Add(c.id[0], c.id[1], c.id[2], unhex(f, c.sfdp), c.want.Read4)
		n++
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
	content := random(64 << 10)
	f.Fuzz(func(t *testing.T, maker, kind, capacity byte, sfdp []byte, read4 bool) {
		chip := &flashtest.Chip{Data: content, ID: [3]byte{maker, kind, capacity}, SFDP: sfdp, Read4: read4, MaxTransfer: 256}
		r, err := OpenNOR(chip.Port(), "fuzz", 0)
		for _, command := range chip.Commands() {
			if !bytes.Contains(readingCommands, []byte{command}) {
				t.Fatalf("command %02x was sent", command)
			}
		}
		if err != nil {
			if r != nil || chip.OpenPorts() != 0 {
				t.Fatalf("OpenNOR = %v, %v with %d open ports", r, err, chip.OpenPorts())
			}
			return
		}
		if r.Size() == 0 || r.Size() > MaxDensity {
			t.Fatalf("size %d", r.Size())
		}
		sum, err := Hash(context.Background(), r, Region{Name: "x", Length: min(r.Size(), 4096)}, HashOptions{})
		if err != nil && !errors.Is(err, ErrNoChip) || err == nil && sum.Length == 0 {
			t.Fatalf("Hash = %+v, %v", sum, err)
		}
		if err := r.Close(); err != nil || chip.OpenPorts() != 0 {
			t.Fatalf("Close = %v, %d open ports", err, chip.OpenPorts())
		}
	})
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"mtd:bios", "mtd:mtd0", "spi:0.0", "block:/dev/mmcblk0boot0", `file:/a/\*[b-c]?*.bin`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			if s != (Source{}) {
				t.Fatalf("ParseSource(%q) = %v, %v", text, s, err)
			}
			return
		}
		if s.String() != text || len(text) > MaxSource {
			t.Fatalf("ParseSource(%q) = %v", text, s)
		}
		if s.Kind == File && !s.Pattern() && hasMeta(escape(literal(s.Name))) {
			t.Fatalf("escape(literal(%q)) is a pattern", s.Name)
		}
	})
}
