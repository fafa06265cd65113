package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash/flashtest"
)

// random returns the same bytes for the same size.
func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func openNOR(t testing.TB, c *flashtest.Chip, transfer int) Reader {
	t.Helper()
	r, err := OpenNOR(c.Port(), "/dev/spidev0.0", transfer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// readingCommands are all that a chip may ever be asked.
var readingCommands = []byte{cmdRead, cmdRead4, cmdReadSFDP, cmdReadID}

func TestNOR(t *testing.T) {
	small := flashtest.NewChip(random(1 << 20))
	limited := flashtest.NewChip(small.Data)
	limited.MaxTransfer = 61
	large := flashtest.NewChip(random(32 << 20))
	native4 := flashtest.NewChip(random(1 << 20)) // knows 4 address bytes only, and no other READ
	native4.FourByteMode = true
	native4.SFDP[0x10+2] = native4.SFDP[0x10+2]&^6 | 4
	moved := flashtest.NewChip(random(32 << 20)) // left in 4-byte mode by a boot loader
	moved.FourByteMode = true
	old := flashtest.NewChip(random(1 << 20)) // from before SFDP
	old.SFDP = nil
	unknown := flashtest.NewChip(random(1 << 20)) // of a maker whose ids tell no size
	unknown.ID = [3]byte{0xbf, 0x26, 0x41}
	for name, c := range map[string]struct {
		chip     *flashtest.Chip
		commands []byte
		erase    uint64
	}{
		"1 MiB":             {small, []byte{cmdRead, cmdReadSFDP, cmdReadID}, 4096},
		"small transfers":   {limited, []byte{cmdRead, cmdReadSFDP, cmdReadID}, 4096},
		"32 MiB":            {large, []byte{cmdRead4, cmdReadSFDP, cmdReadID}, 4096},
		"4 bytes only":      {native4, []byte{cmdRead, cmdReadSFDP, cmdReadID}, 4096},
		"32 MiB in 4-byte":  {moved, []byte{cmdRead4, cmdReadSFDP, cmdReadID}, 4096},
		"without SFDP":      {old, []byte{cmdRead, cmdReadSFDP, cmdReadID}, 0},
		"size by SFDP only": {unknown, []byte{cmdRead, cmdReadSFDP, cmdReadID}, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			r := openNOR(t, c.chip, 0)
			chip := r.Describe()
			if r.Size() != uint64(len(c.chip.Data)) || chip.Size != r.Size() || chip.EraseSize != c.erase || chip.Kind != SPI ||
				chip.Device != "/dev/spidev0.0" || len(chip.JEDEC) != 6 {
				t.Errorf("Describe() = %+v of %d bytes", chip, len(c.chip.Data))
			}
			sum, err := Hash(context.Background(), r, Region{Name: "all"}, HashOptions{})
			if want := sha256.Sum256(c.chip.Data); err != nil || sum.Digest != want {
				t.Errorf("Hash = %x, %v, want %x", sum.Digest, err, want)
			}
			if got := c.chip.Commands(); !bytes.Equal(got, c.commands) {
				t.Errorf("commands % x, want % x", got, c.commands)
			}
			if token, ok := r.Generation(); ok {
				t.Errorf("Generation() = %q of a chip that counts nothing", token)
			}
		})
	}
}

func TestNORReadAt(t *testing.T) {
	c := flashtest.NewChip(random(64 << 10))
	c.MaxTransfer = 100
	r := openNOR(t, c, 0)
	for _, at := range []struct {
		off  int64
		n    int
		want int
		err  error
	}{
		{0, 1, 1, nil},
		{95, 300, 300, nil},
		{64<<10 - 5, 5, 5, nil},
		{64<<10 - 5, 6, 5, io.EOF}, // not the first byte again
		{64 << 10, 1, 0, io.EOF},
		{1 << 40, 1, 0, io.EOF},
	} {
		b := make([]byte, at.n)
		n, err := r.ReadAt(b, at.off)
		if n != at.want || err != at.err {
			t.Errorf("ReadAt(%d bytes, %#x) = %d, %v, want %d, %v", at.n, at.off, n, err, at.want, at.err)
		} else if n > 0 && !bytes.Equal(b[:n], c.Data[at.off:at.off+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %#x) returns other bytes", at.n, at.off)
		}
	}
	if n, err := r.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
		t.Errorf("ReadAt(-1) = %d, %v, want an error", n, err)
	}
}

func TestNORTransfer(t *testing.T) {
	for name, c := range map[string]struct{ given, stated, want int }{
		"nobody knows":   {0, 0, spiTransfer},
		"sysfs":          {65536, 0, 65536},
		"the port":       {0, 256, 256},
		"port is less":   {65536, 256, 256},
		"port is more":   {256, 65536, 256},
		"the least ever": {0, minTransfer, minTransfer},
	} {
		chip := flashtest.NewChip(random(64 << 10))
		chip.MaxTransfer = c.stated
		if got := openNOR(t, chip, c.given).(*nor).transfer; got != c.want {
			t.Errorf("%s: transfer = %d, want %d", name, got, c.want)
		}
	}
	chip := flashtest.NewChip(random(64 << 10))
	var unsupported *UnsupportedError
	if _, err := OpenNOR(chip.Port(), "x", minTransfer-1); !errors.As(err, &unsupported) {
		t.Errorf("OpenNOR with tiny transfers = %v, want an UnsupportedError", err)
	}
}

func TestOpenNORRefuses(t *testing.T) {
	var (
		chipError   *ChipError
		unsupported *UnsupportedError
		sfdpError   *SFDPError
	)
	fill := func(v byte) func(byte, uint32, []byte) error {
		return func(_ byte, _ uint32, answer []byte) error {
			copy(answer, bytes.Repeat([]byte{v}, len(answer)))
			return nil
		}
	}
	broken := errors.New("wire cut")
	for name, c := range map[string]struct {
		size   int
		change func(*flashtest.Chip)
		is     func(error) bool
		want   string
	}{
		"bus pulled up":   {1 << 20, func(c *flashtest.Chip) { c.Fault = fill(0xff) }, is(ErrNoChip), "answered ffffff"},
		"bus pulled down": {1 << 20, func(c *flashtest.Chip) { c.Fault = fill(0) }, is(ErrNoChip), "answered 000000"},
		"bus fails": {1 << 20, func(c *flashtest.Chip) {
			c.Fault = func(byte, uint32, []byte) error { return broken }
		}, is(broken), "command 9f"},
		"SFDP larger than the id":  {1 << 20, func(c *flashtest.Chip) { c.SFDP = flashtest.SFDP(2<<20, false) }, as(&chipError), "SFDP says 2097152 bytes, its id 1048576"},
		"SFDP smaller than the id": {1 << 20, func(c *flashtest.Chip) { c.SFDP = flashtest.SFDP(64<<10, false) }, as(&chipError), "SFDP says"},
		"broken SFDP":              {1 << 20, func(c *flashtest.Chip) { c.SFDP[6] = 0xff }, as(&sfdpError), "SFDP: byte 0x6"},
		"SFDP cut off":             {1 << 20, func(c *flashtest.Chip) { c.SFDP = c.SFDP[:30] }, as(&chipError), ""},
		"no size": {1 << 20, func(c *flashtest.Chip) {
			c.SFDP, c.ID = nil, [3]byte{0xbf, 0x26, 0x41}
		}, as(&unsupported), "neither SFDP nor its id"},
		"large without READ4":        {32 << 20, func(c *flashtest.Chip) { c.SFDP = flashtest.SFDP(32<<20, false) }, as(&unsupported), "mtd"},
		"large without SFDP":         {32 << 20, func(c *flashtest.Chip) { c.SFDP = nil }, as(&unsupported), "mtd"},
		"another id the second time": {1 << 20, func(c *flashtest.Chip) { c.Fault = idFrom(2, [3]byte{1, 2, 3}) }, as(&chipError), "answered as 010203"},
		"gone after SFDP":            {1 << 20, func(c *flashtest.Chip) { c.Fault = idFrom(3, [3]byte{0xff, 0xff, 0xff}) }, is(ErrNoChip), ""},
	} {
		t.Run(name, func(t *testing.T) {
			chip := flashtest.NewChip(random(c.size))
			c.change(chip)
			r, err := OpenNOR(chip.Port(), "/dev/spidev3.1", 0)
			if r != nil || err == nil || !c.is(err) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/dev/spidev3.1") {
				t.Errorf("OpenNOR = %v, %v, want an error with %q and the device", r, err, c.want)
			}
			if n := chip.OpenPorts(); n != 0 {
				t.Errorf("%d ports stay open", n)
			}
			for _, command := range chip.Commands() {
				if !bytes.Contains(readingCommands, []byte{command}) {
					t.Errorf("command %02x was sent", command)
				}
			}
		})
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func as[T error](want *T) func(error) bool {
	return func(err error) bool { return errors.As(err, want) }
}

// idFrom answers READ ID with another id from the n-th time on.
func idFrom(n int, id [3]byte) func(byte, uint32, []byte) error {
	return func(command byte, _ uint32, answer []byte) error {
		if command == cmdReadID {
			if n--; n <= 0 {
				copy(answer, id[:])
			}
		}
		return nil
	}
}

// TestNORVanishes takes the chip off the bus in the middle: what an idle bus gives must never become a digest.
func TestNORVanishes(t *testing.T) {
	chip := flashtest.NewChip(random(1 << 20))
	r := openNOR(t, chip, 0)
	gone := false
	chip.Fault = func(command byte, address uint32, answer []byte) error {
		if gone = gone || command == cmdRead && address >= 0x80000; gone {
			copy(answer, bytes.Repeat([]byte{0xff}, len(answer)))
		}
		return nil
	}
	sum, err := Hash(context.Background(), r, Region{Name: "all", Source: Source{SPI, "0.0"}}, HashOptions{})
	if !errors.Is(err, ErrNoChip) || !cmp.Equal(sum, Sum{}) {
		t.Errorf("Hash = %+v, %v, want ErrNoChip", sum, err)
	}
	if err == nil || !strings.Contains(err.Error(), "0x80000") {
		t.Errorf("Hash = %v, want the offset", err)
	}
}

// TestNORBlank: the chip answers, but everything in it reads alike.
func TestNORBlank(t *testing.T) {
	for _, fill := range []byte{0, 0xff} {
		chip := flashtest.NewChip(bytes.Repeat([]byte{fill}, 128<<10))
		r := openNOR(t, chip, 0)
		if sum, err := Hash(context.Background(), r, Region{Name: "all"}, HashOptions{}); !errors.Is(err, ErrNoChip) {
			t.Errorf("Hash of a chip full of %#x = %+v, %v, want ErrNoChip", fill, sum, err)
		}
		sum, err := Hash(context.Background(), r, Region{Name: "half", Length: 64 << 10}, HashOptions{})
		if want := sha256.Sum256(chip.Data[:64<<10]); err != nil || !sum.Blank || sum.Digest != want {
			t.Errorf("Hash of a blank region = %+v, %v, want it blank", sum, err)
		}
		chip.Data[len(chip.Data)-1] = 0x55
		if sum, err := Hash(context.Background(), r, Region{Name: "all"}, HashOptions{}); err != nil || sum.Blank {
			t.Errorf("Hash of a chip with one other byte = %+v, %v", sum, err)
		}
	}
}
