package unpack

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/ulikunitz/xz/lzma"
)

type unpacker struct {
	name   string
	f      func(b []byte, limit int) ([]byte, error)
	packed []byte
	plain  []byte
}

// What edk2's own encoders (BaseTools 2022.11: TianoCompress, EfiCompress, LzmaCompress --f86) made of prose and code.
const (
	goldenTiano = "HgEAAPgLAAAA3luTbTdA8GPqyjbkgTwFu01sSokIMgm2p5y14Y3vDmUjGgAbBxl3332+M6chSemnAZa87azD88bB3n8z178BtqGX79PvPt6/edPE" +
		"9wzoG/1rwDgn5y7U05B3sH/CRrCRtCSrCX2hJ1hMrQl6ddjaFQrCihaFRrCjvxXBK6XpXjWFRvcCVYVjcVRQ6hcx2KdpNxlDwF96YialTe5Iqe0rjCKnwx8j" +
		"FVFbjKH4WLUzQ/jJrmyV4WyrogL2QEkQF724yufLG9MyRAYFe5pIgMMLjOSIDFkBJEBj1xlEBw6pmiA4dXNXQEwzmiAyZATRAZMzZroDc2DY10CObGia6BRb" +
		"LYcF2dMgpxWGtqiNEGE22enj/b12umiEDD14OYAA"
	goldenUEFI = "HQEAAPgLAAAA3luTbTdA8GPqyjbkgTwFu01sSokIMgm2p5y14Y3vDmUjNAA2DjLvvvt8Z05Ck9NOAy1521mH542DvP5nr34DbUMv36fefb1+86eJ" +
		"7hnQN/rXgHBPzl2ppyDvYP+EjWEjaElWEvtCTrCZWhL067G0KhWFFC0KjWFHfiuCV0vSvGsKje4EqwrG4qih1C5jsU7SbjKHgL70xE1Km9yRU9pXGEVPhj5G" +
		"KqK3GUPwsWpmh/GTXNkrwtlXRAXsgJIgL3txlc+WN6ZkiAwK9zSRAYYXGckQGLICSIDHrjKIDh1TNEBw6uaugJhnNEBkyAmiAyZmzXQG5sGxroEc2NE10Ci2" +
		"Ww4Ls6ZBTisNbVEaIMJts9PH+3rtdNEIGHrwcwA="
	goldenLZMAX86 = "XQAAAAHABgAAAAAAAAAqkg2k5L5C/pQWYIJLzWzq8Lmkube/9yBHcmLXVbSloybgTyfOlGMy6v325/iquAebQcV06KX9Gu9xK9yG6sPi2/Ia" +
		"5756Fk1CtdX3DP3NBn0nhL//YxUThU05yZga6oZ7YupbTGGpOPow8UBJ0XhNXvJkimFsrtMVzdfCC5h98MLOGzn8rTseerAhLVPjyIKjKb4Zc63K5vyQOvV4" +
		"Mj86vZHGiYzoy4MFJgJRFwwK8E2USExueo6PYvoPzbj2K0kmIUpWkcXPEsw223CYaHpwYyTHfMH0nTJh/H+k7KjKL+9/e6KNB5ykDwQg19s9wW/0X7P4ztg3" +
		"nuJX8lVeXtS8Q5Yf67iwCgXTd2B6Rmi4wJPyz2PXPRZ0jpkixL8a75do8dRinGXBnFbLt/Wyr8NLVPHGR0PN0IIrycjIq85HcOonhMq8wv6rssZIKrshcNpq" +
		"ITIx+VGd/XxBdV6sR7eE69VsZeChmUrmg2EcJvOsY6K9ElBUmctQRtnjdoaST/2NiQxJWKzng95HJj7JUOju5x8kV5ZcBdirM8Mbzko9C/p4gdYA"
)

func golden(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// prose is what goldenTiano and goldenUEFI hold.
func prose() []byte {
	var b bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&b, "Probity tells anyone who depends on a device whether it runs %d exactly %d. ", i, i*i)
	}
	return b.Bytes()
}

// machineCode is what goldenLZMAX86 holds: calls and jumps that the filter converts, and near misses that it must not.
func machineCode() []byte {
	var b []byte
	for i := range 64 {
		next := int32(0x400-len(b)) - 5
		b = append(b, 0x55, 0x48, 0x89, 0xe5, 0xe8)
		b = binary.LittleEndian.AppendUint32(b, uint32(next))
		b = append(b, 0xe9, byte(i), 0xff, 0, 0, 0x0f, 0x84)
		b = binary.LittleEndian.AppendUint32(b, uint32(i*3))
		b = append(b, 0xe8, 0, 0xe8, 0xff, 0xff, 0xff, byte(i*7))
	}
	return b
}

func packLZMA(tb testing.TB, plain []byte, sized bool) []byte {
	tb.Helper()
	var b bytes.Buffer
	c := lzma.WriterConfig{EOSMarker: true}
	if sized {
		c = lzma.WriterConfig{SizeInHeader: true, Size: int64(len(plain))}
	}
	w, err := c.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func packBrotli(tb testing.TB, plain []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(plain))))
	b.Write(make([]byte, 8))
	w := brotli.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func unpackers(tb testing.TB) []unpacker {
	return []unpacker{
		{"lzma", LZMA, packLZMA(tb, prose(), true), prose()},
		{"lzma x86", LZMAX86, golden(tb, goldenLZMAX86), machineCode()},
		{"brotli", Brotli, packBrotli(tb, prose()), prose()},
		{"tiano", Tiano, golden(tb, goldenTiano), prose()},
		{"uefi", UEFI, golden(tb, goldenUEFI), prose()},
	}
}

func TestUnpack(t *testing.T) {
	for _, u := range unpackers(t) {
		t.Run(u.name, func(t *testing.T) {
			got, err := u.f(u.packed, len(u.plain))
			if err != nil || !bytes.Equal(got, u.plain) {
				t.Fatalf("%d bytes, %v, want the %d bytes that were packed", len(got), err, len(u.plain))
			}
			got, err = u.f(append(bytes.Clone(u.packed), 0xff, 0xff, 0xff), len(u.plain))
			if err != nil || !bytes.Equal(got, u.plain) {
				t.Errorf("with bytes behind the stream: %d bytes, %v", len(got), err)
			}
			got, err = u.f(u.packed, len(u.plain)-1)
			if got != nil || !errors.Is(err, ErrLimit) {
				t.Errorf("limit one byte too low: %d bytes, %v, want ErrLimit", len(got), err)
			}
		})
	}
}

func TestUnpackCut(t *testing.T) {
	for _, u := range unpackers(t) {
		for n := 0; n < len(u.packed); n += 1 + n/64 {
			got, err := u.f(u.packed[:n], 1<<20)
			if err == nil && bytes.Equal(got, u.plain) && n > len(u.packed)-8 {
				continue // the last bytes of a stream may be nothing but its flush
			}
			if err == nil || got != nil {
				t.Fatalf("%s cut to %d of %d bytes: %d bytes, %v, want an error", u.name, n, len(u.packed), len(got), err)
			}
		}
	}
}

// Any single bit may be wrong: no panic, and never more than the limit.
func TestUnpackFlipped(t *testing.T) {
	const limit = 1 << 16
	for _, u := range unpackers(t) {
		for bit := 0; bit < 8*len(u.packed); bit += 3 {
			b := bytes.Clone(u.packed)
			b[bit/8] ^= 1 << (bit % 8)
			if got, err := u.f(b, limit); len(got) > limit || err != nil && got != nil {
				t.Fatalf("%s, bit %d: %d bytes, %v", u.name, bit, len(got), err)
			}
		}
	}
}

func TestUnpackBomb(t *testing.T) {
	claims := func(b []byte, at, width int, v uint64) []byte {
		b = bytes.Clone(b)
		for i := range width {
			b[at+i] = byte(v >> (8 * i))
		}
		return b
	}
	us := unpackers(t)
	for _, c := range []struct {
		name string
		f    func([]byte, int) ([]byte, error)
		b    []byte
	}{
		{"lzma", LZMA, claims(us[0].packed, 5, 8, 1<<60)},
		{"lzma dictionary", LZMA, claims(claims(us[0].packed, 1, 4, 1<<32-1), 5, 8, 1<<40)},
		{"brotli", Brotli, claims(us[2].packed, 0, 8, 1<<63)},
		{"tiano", Tiano, claims(us[3].packed, 4, 4, 1<<32-1)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := c.f(c.b, 1<<20)
		runtime.ReadMemStats(&after)
		if got != nil || !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %d bytes, %v, want ErrLimit", c.name, len(got), err)
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 64<<10 {
			t.Errorf("%s: refusing a bomb allocates %d bytes", c.name, allocated)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	long := packBrotli(t, prose())
	binary.LittleEndian.PutUint64(long, 10)
	outside := golden(t, goldenUEFI)
	binary.LittleEndian.PutUint32(outside, 1<<31)
	for _, c := range []struct {
		name string
		f    func([]byte, int) ([]byte, error)
		b    []byte
		want string
	}{
		{"lzma without size", LZMA, packLZMA(t, prose(), false), "does not tell the unpacked size"},
		{"brotli longer than its header", Brotli, long, "longer than the 10 bytes"},
		{"uefi beyond the end", UEFI, outside, "cut off"},
		{"uefi of zeros", UEFI, append([]byte{16, 0, 0, 0, 99, 0, 0, 0}, make([]byte, 16)...), "match reaches"},
		{"tiano of ones", Tiano, append([]byte{16, 0, 0, 0, 99, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 16)...), "31 codes"},
	} {
		got, err := c.f(c.b, 1<<20)
		if c.name == "uefi of zeros" { // one literal that takes no bits, again and again: valid
			if err != nil || !bytes.Equal(got, make([]byte, 99)) {
				t.Errorf("%s: %x, %v, want 99 zeros", c.name, got, err)
			}
			continue
		}
		if got != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v, want an error with %q", c.name, len(got), err, c.want)
		}
	}
}

func TestFilterX86(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		plain := make([]byte, n%97)
		for i := range plain { // dense in what the filter looks at
			plain[i] = []byte{0xe8, 0xe9, 0, 0xff, byte(r.Uint32())}[r.IntN(5)]
		}
		b := bytes.Clone(plain)
		filterX86(b, true)
		filterX86(b, false)
		if !bytes.Equal(b, plain) {
			t.Fatalf("filter there and back: %x, want %x", b, plain)
		}
	}
	call := []byte{0xe8, 0x10, 0, 0, 0, 0x90}
	filterX86(call, true)
	if want := []byte{0xe8, 0x15, 0, 0, 0, 0x90}; !bytes.Equal(call, want) {
		t.Errorf("call +0x10 at 0 = %x, want the absolute %x", call, want)
	}
}

func FuzzUnpack(f *testing.F) {
	us := unpackers(f)
	for i, u := range us {
		f.Add(uint8(i), u.packed)
	}
	if len(us) < 5 {
		f.Fatalf("only %d seeds", len(us))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		const limit = 1 << 18
		u := us[int(which)%len(us)]
		got, err := u.f(b, limit)
		if err != nil && got != nil || err == nil && got == nil || len(got) > limit {
			t.Fatalf("%s: %d bytes, %v", u.name, len(got), err)
		}
		again, _ := u.f(b, limit)
		if !bytes.Equal(got, again) {
			t.Fatalf("%s gives different bytes the second time", u.name)
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	plain := make([]byte, 1<<20)
	for i := range plain {
		plain[i] = byte(r.IntN(16) * r.IntN(16))
	}
	packed := packLZMA(b, plain, true)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := LZMA(packed, len(plain)); err != nil {
			b.Fatal(err)
		}
	}
}
