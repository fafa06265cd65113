package image

import (
	"bytes"
	stdpe "debug/pe"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

// fakePE is an EFI image with a section of code and something behind it, as linkers leave symbols there.
func fakePE() []byte {
	const header, optional, directories = 0x80, 112 + 8*16, 16
	b := make([]byte, 0x600)
	copy(b, "MZ")
	le.PutUint32(b[dosPEOffset:], header)
	copy(b[header:], "PE\x00\x00")
	le.PutUint16(b[header+4:], stdpe.IMAGE_FILE_MACHINE_AMD64)
	le.PutUint16(b[header+coffSections:], 1)
	le.PutUint32(b[header+coffSymbolTable:], 0x600)
	le.PutUint16(b[header+coffOptionalLen:], optional)
	opt := b[header+optOffset:]
	le.PutUint16(opt[optMagic:], magicPE32Plus)
	le.PutUint32(opt[optSectionAlign:], 512)
	le.PutUint32(opt[optFileAlign:], 512)
	le.PutUint32(opt[optImageSize:], 0x1200)
	le.PutUint32(opt[optHeadersSize:], 0x400)
	le.PutUint32(opt[optDirectoryCount:], directories)
	h := opt[optional:]
	copy(h, ".text")
	le.PutUint32(h[8:], 0x123)
	le.PutUint32(h[12:], 0x1000)
	le.PutUint32(h[16:], 0x200)
	le.PutUint32(h[20:], 0x400)
	copy(b[0x400:], "code")
	return append(b, "symbols"...)
}

// sections reads an image with Go's own reader and returns what its sections hold in memory.
func sections(t *testing.T, b []byte) (names []string, content map[string][]byte) {
	t.Helper()
	f, err := stdpe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	content = make(map[string][]byte)
	var end uint32
	for _, s := range f.Sections {
		data, err := s.Data()
		if err != nil {
			t.Fatalf("section %s: %v", s.Name, err)
		}
		if s.VirtualAddress < end {
			t.Errorf("section %s at %#x overlaps the one before, which ends at %#x", s.Name, s.VirtualAddress, end)
		}
		end = s.VirtualAddress + s.VirtualSize
		names = append(names, s.Name)
		content[s.Name] = data[:min(len(data), int(s.VirtualSize))]
	}
	if size := f.OptionalHeader.(*stdpe.OptionalHeader64).SizeOfImage; size < end || size-end >= 4096 {
		t.Errorf("image of %#x bytes in memory, want %#x on a whole page", size, end)
	}
	return names, content
}

func TestUKI(t *testing.T) {
	linux, initrd := bytes.Repeat([]byte("kernel"), 1000), bytes.Repeat([]byte("initrd"), 333)
	parts := UKIParts{Stub: fakePE(), Linux: linux, Initrd: initrd, Cmdline: "console=ttyS0"}
	uki, err := UKI(parts)
	if err != nil {
		t.Fatal(err)
	}
	names, got := sections(t, uki)
	if diff := cmp.Diff([]string{".text", ".osrel", ".cmdline", ".linux", ".initrd"}, names); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	for name, want := range map[string][]byte{
		".osrel": []byte(DefaultOSRelease), ".cmdline": []byte("console=ttyS0\x00"), ".linux": linux, ".initrd": initrd,
	} {
		if !bytes.Equal(got[name], want) {
			t.Errorf("section %s has %d bytes, want the %d bytes put in", name, len(got[name]), len(want))
		}
	}
	if !bytes.HasPrefix(got[".text"], []byte("code")) || bytes.Contains(uki, []byte("symbols")) {
		t.Errorf("the stub's code is %.8q, want it kept and its symbols left out", got[".text"])
	}
	if again, err := UKI(parts); err != nil || !bytes.Equal(uki, again) {
		t.Errorf("UKI of equal input gives other bytes (error %v)", err)
	}
	if !bytes.Equal(parts.Stub, fakePE()) {
		t.Error("UKI changed its input")
	}

	parts.Initrd, parts.OSRelease = nil, "ID=acme\n"
	if uki, err = UKI(parts); err != nil {
		t.Fatal(err)
	}
	names, got = sections(t, uki)
	if slices.Contains(names, ".initrd") || string(got[".osrel"]) != "ID=acme\n" {
		t.Errorf("sections %v with .osrel %q, want no .initrd and the release that was given", names, got[".osrel"])
	}
}

func TestRealUKI(t *testing.T) {
	for _, name := range []debian.Name{debian.X86, debian.ARM64} {
		t.Run(string(name), func(t *testing.T) {
			s := debian.Need(t, name)
			stub, linux := read(t, s.SystemdStub), read(t, s.Kernel)
			uki, err := UKI(UKIParts{Stub: stub, Linux: linux, Initrd: []byte("x"), Cmdline: "quiet"})
			if err != nil {
				t.Fatal(err)
			}
			_, got := sections(t, uki)
			if !bytes.Equal(got[".linux"], linux) {
				t.Errorf("section .linux has %d bytes, want the kernel's %d", len(got[".linux"]), len(linux))
			}
			_, before := sections(t, stub)
			for name, data := range before {
				if !bytes.Equal(got[name], data) {
					t.Errorf("the stub's section %s changed", name)
				}
			}
		})
	}
}

// damagedPE returns images that are none, by what is wrong with them.
func damagedPE() map[string][]byte {
	change := func(at int, v byte) []byte {
		b := fakePE()
		b[at] = v
		return b
	}
	const header, opt, table = 0x80, 0x80 + optOffset, 0x80 + optOffset + 112 + 8*16
	return map[string][]byte{
		"empty":           nil,
		"short":           []byte("MZ"),
		"no MZ":           change(0, 'X'),
		"no PE":           change(header, 'X'),
		"far PE":          change(dosPEOffset+3, 0xff),
		"32 bits":         change(opt+1, 1),
		"no sections":     change(header+coffSections, 0),
		"many sections":   change(header+coffSections, 97),
		"more sections":   change(header+coffSections, 20),
		"long headers":    change(opt+optHeadersSize+2, 1),
		"no directories":  change(opt+optDirectoryCount, 4),
		"short optional":  change(header+coffOptionalLen, 112),
		"no alignment":    change(opt+optFileAlign+1, 0),
		"large alignment": change(opt+optFileAlign+3, 1),
		"section cut off": fakePE()[:0x5ff],
		"far section":     change(table+16+3, 0xff),
	}
}

func TestUKIInvalid(t *testing.T) {
	for name, stub := range damagedPE() {
		uki, err := UKI(UKIParts{Stub: stub, Linux: []byte("x"), Cmdline: "x"})
		wantError(t, "UKI of a stub: "+name, err, "PE image")
		if uki != nil {
			t.Errorf("UKI of a stub: %s: bytes with an error", name)
		}
	}
	full := fakePE()
	le.PutUint32(full[0x80+optOffset+optHeadersSize:], 0x80+optOffset+112+8*16+3*sectionHeaderSize)
	_, err := UKI(UKIParts{Stub: full, Linux: []byte("x"), Cmdline: "x"})
	wantError(t, "UKI of a stub with full headers", err, "no room")
	_, err = UKI(UKIParts{Stub: fakePE(), Cmdline: "x"})
	wantError(t, "UKI without kernel", err, "want a kernel")
	_, err = UKI(UKIParts{Stub: fakePE(), Linux: []byte("x")})
	wantError(t, "UKI without command line", err, "command line")
}
