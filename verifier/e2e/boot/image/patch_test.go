package image

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

// fakeFirmware is a firmware image with a volume that holds a file with a packed volume, erased flash and filling.
func fakeFirmware(tb testing.TB, inner string, filling int) []byte {
	tb.Helper()
	packed, err := pack([]byte(inner))
	if err != nil {
		tb.Fatal(err)
	}
	const volumeSize = 64 << 10
	b := bytes.Repeat([]byte{0xff}, volumeSize)
	clear(b[:volumeHeaderSize])
	le.PutUint64(b[volumeLength:], volumeSize)
	copy(b[volumeSignature:], signatureFVH)
	le.PutUint16(b[volumeHeaderLen:], volumeHeaderSize)
	var sum uint16
	for i := 0; i < volumeHeaderSize; i += 2 {
		sum += le.Uint16(b[i:])
	}
	le.PutUint16(b[50:], -sum)

	file := b[volumeHeaderSize:]
	section := file[ffsHeaderSize:]
	clear(file[:ffsHeaderSize+guidSectionSize])
	file[ffsType], file[ffsFileSum], file[ffsState] = ffsVolumeImage, 0xaa, 0xf8
	copy(section[sectionGUID:], lzmaGUID)
	le.PutUint16(section[sectionData:], guidSectionSize)
	section[sectionType] = sectionGUIDed
	copy(section[guidSectionSize:], packed)
	putUint24(section, guidSectionSize+len(packed))
	putUint24(file[ffsSize:], ffsHeaderSize+guidSectionSize+len(packed))
	var header byte
	for i, v := range file[:ffsHeaderSize] {
		if i != ffsFileSum && i != ffsState {
			header += v
		}
	}
	file[ffsHeaderSum] = -header
	return append(b, make([]byte, filling)...)
}

// unpacked finds and unpacks the volume as firmware does, with the checks of its file's header.
func unpacked(t *testing.T, code []byte) []byte {
	t.Helper()
	v, err := findVolume(code)
	if err != nil {
		t.Fatal(err)
	}
	var sum byte
	for i, b := range code[v.file : v.file+ffsHeaderSize] {
		if i != ffsFileSum && i != ffsState {
			sum += b
		}
	}
	if sum != 0 {
		t.Errorf("the file's header sums up to %#x, want 0", sum)
	}
	packed := code[v.section()+v.data : v.section()+v.size]
	raw, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	if size := le.Uint64(packed[5:]); size != uint64(len(raw)) {
		t.Errorf("the header has size %d, want %d: EDK II wants it", size, len(raw))
	}
	return raw
}

func TestPatchVolume(t *testing.T) {
	inner := strings.Repeat("modules ", 1000) + "EDK II" + wide("EDK II") + strings.Repeat("more", 100)
	code := fakeFirmware(t, inner, 0)
	before := bytes.Clone(code)
	patched, err := PatchVolume(code, "EDK II", "EDK 42")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(code, before) {
		t.Error("PatchVolume changed its input")
	}
	want := strings.NewReplacer("EDK II", "EDK 42", wide("EDK II"), wide("EDK 42")).Replace(inner)
	if got := unpacked(t, patched); string(got) != want {
		t.Errorf("patched volume of %d bytes differs from the wanted one of %d", len(got), len(want))
	}
	if again, err := PatchVolume(code, "EDK II", "EDK 42"); err != nil || !bytes.Equal(patched, again) {
		t.Errorf("PatchVolume of equal input gives other bytes (error %v)", err)
	}
	// Back again: the file shrinks or grows, and what it gave back is erased.
	back, err := PatchVolume(patched, "EDK 42", "EDK II")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, before) {
		t.Error("PatchVolume there and back gives other bytes")
	}
}

// TestPatchVolumeSizes patches packed data that is larger than it must be, and so large that nothing fits behind it.
func TestPatchVolumeSizes(t *testing.T) {
	code := fakeFirmware(t, strings.Repeat("x", 5000)+"EDK II", 0)
	v, err := findVolume(code)
	if err != nil {
		t.Fatal(err)
	}
	larger, err := pack(bytes.Repeat([]byte("no two alike 0123456789 "), 1))
	if err != nil {
		t.Fatal(err)
	}
	larger = append(larger, make([]byte, 2000)...)
	if err := v.replace(code, larger); err != nil {
		t.Fatal(err)
	}
	grown, err := findVolume(code)
	if err != nil || grown.fileSize <= v.fileSize {
		t.Fatalf("file of %d bytes after %d, error %v, want it larger", grown.fileSize, v.fileSize, err)
	}
	if err := grown.replace(code, larger[:100]); err != nil {
		t.Fatal(err)
	}
	small, err := findVolume(code)
	if err != nil || !bytes.Equal(code[small.fileEnd():grown.fileEnd()], bytes.Repeat([]byte{0xff}, grown.fileEnd()-small.fileEnd())) {
		t.Errorf("what the file gave back is not erased (error %v)", err)
	}
	err = small.replace(code, make([]byte, 62<<10))
	wantError(t, "replace by what does not fit", err, "free behind")
}

func TestPatchInvalid(t *testing.T) {
	code := fakeFirmware(t, "EDK II", 0)
	for _, test := range []struct{ from, to, want string }{
		{"EDK II", "EDK", "same length"},
		{"EDK II", "EDK II", "different"},
		{"", "", "different"},
		{"EDK 42", "EDK II", "is not in"},
	} {
		_, err := PatchVolume(code, test.from, test.to)
		wantError(t, fmt.Sprintf("PatchVolume(%q, %q)", test.from, test.to), err, test.want)
		_, err = PatchText([]byte("xx EDK II xx"), test.from, test.to)
		wantError(t, fmt.Sprintf("PatchText(%q, %q)", test.from, test.to), err, test.want)
	}
	file, section := volumeHeaderSize, volumeHeaderSize+ffsHeaderSize
	for name, test := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"empty":         {func([]byte) []byte { return nil }, "no compressed volume"},
		"GUID alone":    {func([]byte) []byte { return lzmaGUID }, "no compressed volume"},
		"other file":    {func(b []byte) []byte { b[file+ffsType] = 7; return b }, "no compressed volume"},
		"other section": {func(b []byte) []byte { b[section+sectionType] = 1; return b }, "no compressed volume"},
		"long file":     {func(b []byte) []byte { b[file+ffsSize+2] = 0xff; return b }, "do not fit"},
		"short data":    {func(b []byte) []byte { b[section+sectionData] = 1; return b }, "do not fit"},
		"short section": {func(b []byte) []byte { putUint24(b[section:], 60); return b }, "besides it"},
		"checksum":      {func(b []byte) []byte { b[file+ffsAttributes] |= ffsHasSum; return b }, "checksum"},
		"dictionary":    {func(b []byte) []byte { b[section+guidSectionSize+4] = 0xff; return b }, "dictionary"},
		"properties":    {func(b []byte) []byte { b[section+guidSectionSize] = 0xff; return b }, "compressed volume"},
		"packed data":   {func(b []byte) []byte { b[section+guidSectionSize+lzmaHeaderSize] = 1; return b }, "compressed volume"},
	} {
		patched, err := PatchVolume(test.change(bytes.Clone(code)), "EDK II", "EDK 42")
		wantError(t, "PatchVolume: "+name, err, test.want)
		if patched != nil {
			t.Errorf("PatchVolume: %s: bytes with an error", name)
		}
	}
}

// flipped returns the offsets in which two images differ.
func flipped(a, b []byte) []int {
	var at []int
	for start := 0; start < len(a); start += 4096 {
		end := min(start+4096, len(a))
		if bytes.Equal(a[start:end], b[start:end]) {
			continue
		}
		for i := start; i < end; i++ {
			if a[i] != b[i] {
				at = append(at, i)
			}
		}
	}
	return at
}

func TestFlipPadding(t *testing.T) {
	const volumeSize = 64 << 10
	for filling, inVolume := range map[int]bool{0: true, 32 << 10: false} {
		code := fakeFirmware(t, "EDK II", filling)
		got, at, err := FlipPadding(code)
		if err != nil {
			t.Fatal(err)
		}
		if diff := flipped(code, got); !slices.Equal(diff, []int{at}) || at < volumeSize != inVolume {
			t.Errorf("FlipPadding with filling of %d: offset %d, differs at %v, in the volume: want %t", filling, at, diff, inVolume)
		}
	}
	_, _, err := FlipPadding(fakeFirmware(t, "EDK II", 100))
	wantError(t, "FlipPadding with little filling", err, "100 bytes of padding")
	_, _, err = FlipPadding([]byte("x"))
	wantError(t, "FlipPadding of no firmware", err, "no compressed volume")
	broken := fakeFirmware(t, "EDK II", 0)
	broken[50]++
	_, _, err = FlipPadding(broken)
	wantError(t, "FlipPadding without a volume", err, "no firmware volume")
}

func TestUBoot(t *testing.T) {
	image := []byte("x\x00U-Boot 2023.01+dfsg-2 (Jun 22 2026 - 08:38:07 +0000)\x00 U-Boot (x) Unknown command '%s'\x00")
	v, err := UBootVersion(image)
	if want := "U-Boot 2023.01+dfsg-2 (Jun 22 2026 - 08:38:07 +0000)"; err != nil || v != want {
		t.Errorf("UBootVersion = %q, %v, want %q", v, err, want)
	}
	patched, err := PatchText(image, v, strings.Replace(v, "2023", "2024", 1))
	if err != nil || !bytes.Contains(patched, []byte("U-Boot 2024.01+dfsg-2 (Jun")) || len(patched) != len(image) {
		t.Errorf("PatchText = %q, %v", patched, err)
	}
	got, at, err := FlipUBoot(image)
	if err != nil || !slices.Equal(flipped(image, got), []int{at}) || !bytes.Contains(got, []byte(v)) {
		t.Errorf("FlipUBoot = %q, %d, %v, want one byte changed outside the version", got, at, err)
	}
	_, err = UBootVersion([]byte("U-Boot SPL"))
	wantError(t, "UBootVersion of no U-Boot", err, "no version")
	_, _, err = FlipUBoot(nil)
	wantError(t, "FlipUBoot of nothing", err, "is not in")
}

func TestRealFirmware(t *testing.T) {
	t.Run("OVMF", func(t *testing.T) { checkFirmware(t, read(t, debian.Need(t, debian.X86).OVMF.Code)) })
	t.Run("AAVMF", func(t *testing.T) { checkFirmware(t, read(t, debian.Need(t, debian.ARM64).AAVMF.Code)) })
	t.Run("U-Boot", func(t *testing.T) {
		image := read(t, debian.Need(t, debian.ARM64).UBoot)
		v, err := UBootVersion(image)
		if err != nil || !strings.HasPrefix(v, "U-Boot 20") {
			t.Errorf("UBootVersion = %q, %v", v, err)
		}
		got, at, err := FlipUBoot(image)
		if err != nil || !slices.Equal(flipped(image, got), []int{at}) {
			t.Errorf("FlipUBoot: offset %d, error %v", at, err)
		}
	})
}

// checkFirmware flips a byte of a real firmware. That real ones can be patched, and what the machines then measure, the
// real boots show: packing them takes long where the race detector watches.
func checkFirmware(t *testing.T, code []byte) {
	t.Helper()
	v, err := findVolume(code)
	if err != nil {
		t.Fatal(err)
	}
	flippedCode, at, err := FlipPadding(code)
	if err != nil {
		t.Fatal(err)
	}
	if diff := flipped(code, flippedCode); !slices.Equal(diff, []int{at}) {
		t.Errorf("FlipPadding: differs at %v, want %d", diff, at)
	}
	if at >= v.file && at < v.fileEnd() {
		t.Errorf("FlipPadding: offset %#x is in the compressed volume, from %#x to %#x", at, v.file, v.fileEnd())
	}
}

func FuzzFlipPadding(f *testing.F) {
	f.Add(fakeFirmware(f, "EDK II", 0))
	f.Add(fakeFirmware(f, "EDK II", 32<<10))
	f.Add(read(f, debian.Need(f, debian.X86).OVMF.Code)[:128<<10])
	f.Fuzz(func(t *testing.T, code []byte) {
		got, at, err := FlipPadding(code)
		if err != nil {
			if got != nil {
				t.Error("FlipPadding: bytes with an error")
			}
			return
		}
		if diff := flipped(code, got); !slices.Equal(diff, []int{at}) {
			t.Errorf("FlipPadding: differs at %v, want %d", diff, at)
		}
	})
}
