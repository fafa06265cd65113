package flash

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash/flashtest"
)

// realChips are ids and parameters read from chips, as people posted them with patches to linux-mtd (the kernel shows
// them in /sys/bus/spi/devices/*/spi-nor) and, MX25L1606E, to the linux-sunxi wiki.
var realChips = map[string]struct {
	id   jedecID
	sfdp string // hexadecimal; NxBB stands for N bytes BB
	want SFDP
}{
	"Macronix MX25L1606E": { // JESD216 of 2011: nine double words
		jedecID{0xc2, 0x20, 0x15},
		`53464450000101ff00000109300000ffc2000104600000ff 24xff
		e52081ffffffff0000ff00ff083b00ffeeffffffffff00ffffff00ff0c2010d800ff00ff 12xff
		00360027f64ffffffecfffffffffffff`,
		SFDP{Major: 1, Density: 2 << 20, EraseSize: 4096},
	},
	"Winbond W25Q64JW-M": {
		jedecID{0xef, 0x80, 0x17},
		`53464450060101ff00060110800000ff84000102d00000ff 104xff
		e520f9ffffffff0344eb086b083b42bbfeffffffffff0000ffff40eb0c200f5210d800003602a60082ea14c4e96376337a757a75
		f7bdd55c19f75dffe930f880 16xff 0000f0ffffffffff`,
		SFDP{Major: 1, Minor: 6, Density: 8 << 20, EraseSize: 4096},
	},
	"Adesto AT25QL128A": {
		jedecID{0x1f, 0x42, 0x18},
		`53464450060101ff00060110300000ff1f00010280000001 24xff
		e520f1ffffffff0744eb086b083b80bbfeffffffffff00ffffff42eb0c200f5210d800ff3362d500842901ceeca1073d7a757a75
		f7a2d55c19f61cffe810c080 16xff 501650190000ffff`,
		SFDP{Major: 1, Minor: 6, Density: 16 << 20, EraseSize: 4096},
	},
	"Micron MT25QU256A": {
		jedecID{0x20, 0xbb, 0x19},
		`53464450060101ff00060110300000ff84000102800000ff 24xff
		e520fbffffffff0f29eb276b273b27bbffffffffffff27bbffff29eb0c2010d80f520000244a99008b8e03d4ac0127387a757a75
		fbbdd55c4a0f82ff81bd3d36 16xff ffe7ffff21dcffff`,
		SFDP{Major: 1, Minor: 6, Density: 32 << 20, Address: Address3Or4, Read4: true, EraseSize: 4096},
	},
	"ISSI IS25WP256": { // states 3 address bytes only, for 32 MiB
		jedecID{0x9d, 0x70, 0x19},
		`53464450060101ff00060110300000ff9d05010380000002 24xff
		e520f9ffffffff0f44eb086b083b80bbfeffffffffff00ffffff44eb0c200f5210d800ff234ac90082d811cecccd68467a757a75
		f7aed55c4a422cfff030faa9 16xff 501950169ff9c0648fefffff`,
		SFDP{Major: 1, Minor: 6, Density: 32 << 20, Read4: true, EraseSize: 4096},
	},
	"Winbond, 2 Gbit": {
		jedecID{0xef, 0x80, 0x22},
		`53464450060101ff00060110800000ff84000102d00000ff03000102f00000ff 96xff
		e520fbffffffff7f44eb086b083b42bbfeffffffffff0000ffff40eb0c200f5210d800003652b50082ea14e2e96376337a757a75
		f7a2d55c199148ffe970f8a1 16xff ff0af0ff21ffdcff`,
		SFDP{Major: 1, Minor: 6, Density: 256 << 20, Address: Address3Or4, Read4: true, EraseSize: 4096},
	},
}

// unhex reads the form of realChips.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var b []byte
	for field := range strings.FieldsSeq(text) {
		count, digits := 1, field
		if n, rest, ok := strings.Cut(field, "x"); ok {
			if _, err := fmt.Sscan(n, &count); err != nil {
				t.Fatal(err)
			}
			digits = rest
		}
		part, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, bytes.Repeat(part, count)...)
	}
	return b
}

func TestReadSFDPOfRealChips(t *testing.T) {
	for name, c := range realChips {
		got, err := ReadSFDP(bytes.NewReader(unhex(t, c.sfdp)))
		if err != nil {
			t.Errorf("%s: ReadSFDP: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, *got); diff != "" {
			t.Errorf("%s: ReadSFDP (-want +got):\n%s", name, diff)
		}
		if n := c.id.capacity(); n != 0 && n != c.want.Density || n == 0 && c.id[0] != 0x1f {
			t.Errorf("%s: capacity() = %d, want %d", name, n, c.want.Density)
		}
	}
}

func TestCapacity(t *testing.T) {
	for id, want := range map[jedecID]uint64{
		{0xef, 0x30, 0x10}: 64 << 10,
		{0xef, 0x40, 0x18}: 16 << 20,
		{0xef, 0x40, 0x20}: 64 << 20, // W25Q512JV
		{0xc2, 0x20, 0x1a}: 64 << 20, // MX25L51245G
		{0xc2, 0x25, 0x3a}: 64 << 20, // MX25U51245G
		{0x20, 0xba, 0x20}: 64 << 20, // N25Q512A
		{0x20, 0xba, 0x22}: 256 << 20,
		{0x01, 0x02, 0x15}: 0,       // S25FL032P, which has 4 MiB
		{0xbf, 0x25, 0x41}: 2 << 20, // SST25VF016B numbers its chips: a table
		{0xbf, 0x26, 0x41}: 0,       // SST26 has SFDP for that
		{0xef, 0x40, 0xff}: 0,
		{0xef, 0x40, 0x00}: 0,
	} {
		if got := id.capacity(); got != want {
			t.Errorf("capacity(%x) = %d, want %d", id, got, want)
		}
	}
}

// TestReadSFDPRefuses breaks sound parameters one field at a time.
func TestReadSFDPRefuses(t *testing.T) {
	const basic = 0x10 // where flashtest puts its table
	word := func(n int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[basic+4*n:], v)
			return b
		}
	}
	set := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			copy(b[at:], v)
			return b
		}
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		offset uint32
		want   string
	}{
		"cut in header":           {func(b []byte) []byte { return b[:7] }, 0, "cut off"},
		"cut in parameter header": {func(b []byte) []byte { return b[:15] }, 8, "cut off"},
		"cut in table":            {func(b []byte) []byte { return b[:len(b)-1] }, basic, "cut off"},
		"major revision":          {set(5, 2), 5, "major revision 2"},
		"too many headers":        {set(6, 32), 6, "33 parameter headers"},
		"headers over the end":    {set(6, 31), 80, "cut off"},
		"no basic table":          {set(8, 1), 8, "no basic"},
		"basic of other revision": {set(10, 2), 8, "no basic"},
		"empty table":             {set(11, 0), 11, "0 double words"},
		"long table":              {set(11, 65), 11, "65 double words"},
		"short table":             {set(11, 8), basic, "at least 9"},
		"unaligned table":         {set(12, 0x12), 12, "aligned"},
		"table beyond space":      {set(12, 0xfc, 0xff, 0xff), 12, "below 0x1000000"},
		"table beyond the end":    {set(12, 0, 1), 0x100, "cut off"},
		"reserved address mode":   {word(0, 3<<17), basic, "reserved"},
		"part of a byte":          {word(1, 8), basic + 4, "whole bytes"},
		"no byte":                 {word(1, 0), basic + 4, "whole bytes"},
		"small exponent":          {word(1, 1<<31|31), basic + 4, "2^32"},
		"huge exponent":           {word(1, 0xffffffff), basic + 4, "2^32"},
		"over 4 GiB":              {word(1, 1<<31|36), basic + 4, "at most"},
		"erase over the chip":     {word(7, 0x2020d820), basic + 28, "erase type 1"},
		"erase beyond 32 bits":    {word(8, 0xff<<16), basic + 28, "erase type 4"},
	} {
		got, err := ReadSFDP(bytes.NewReader(c.change(flashtest.SFDP(1<<20, false))))
		var e *SFDPError
		if got != nil || !errors.As(err, &e) {
			t.Errorf("%s: ReadSFDP = %+v, %v, want nil and an SFDPError", name, got, err)
			continue
		}
		if e.Offset != c.offset || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: ReadSFDP = %v, want byte %#x: %s", name, e, c.offset, c.want)
		}
	}
	for name, b := range map[string][]byte{"erased": bytes.Repeat([]byte{0xff}, 64), "zero": make([]byte, 64)} {
		if got, err := ReadSFDP(bytes.NewReader(b)); got != nil || !errors.Is(err, ErrNoSFDP) {
			t.Errorf("%s: ReadSFDP = %v, %v, want ErrNoSFDP", name, got, err)
		}
	}
}

func TestReadSFDPOfFakes(t *testing.T) {
	for size, read4 := range map[uint64]bool{64 << 10: false, 16 << 20: false, 32 << 20: true, 256 << 20: true, 512 << 20: true, 4 << 30: true} {
		got, err := ReadSFDP(bytes.NewReader(flashtest.SFDP(size, read4)))
		if err != nil || got.Density != size || got.Read4 != read4 || got.EraseSize != 4096 {
			t.Errorf("ReadSFDP(%d bytes, %v) = %+v, %v", size, read4, got, err)
		}
	}
}

// TestReadSFDPNewestTable checks that of two basic tables the newer counts, wherever it stands.
func TestReadSFDPNewestTable(t *testing.T) {
	b := append(flashtest.SFDP(1<<20, false), make([]byte, 64)...)
	b[6] = 1
	old := bytes.Clone(b[8:16])
	old[1], old[4] = 5, 0x40
	table := bytes.Clone(b[16:80])
	binary.LittleEndian.PutUint32(table[4:], 8<<21-1)
	out := append(bytes.Clone(b[:8]), old...)        // minor 5, at 0x40: 2 MiB
	out = append(out, 0, 6, 1, 16, 0x80, 0, 0, 0xff) // minor 6, at 0x80: 1 MiB
	out = append(out, make([]byte, 0x40-len(out))...)
	out = append(append(out, table...), flashtest.SFDP(1<<20, false)[16:]...)
	if got, err := ReadSFDP(bytes.NewReader(out)); err != nil || got.Density != 1<<20 {
		t.Errorf("ReadSFDP = %+v, %v, want 1 MiB", got, err)
	}
	out[9], out[17] = 7, 6
	if got, err := ReadSFDP(bytes.NewReader(out)); err != nil || got.Density != 2<<20 {
		t.Errorf("ReadSFDP = %+v, %v, want 2 MiB", got, err)
	}
}
