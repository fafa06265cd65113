package pecoff_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

func section(name string, data []byte) imagetest.ProgramSection {
	return imagetest.ProgramSection{Name: name, Data: data}
}

// The names that the stubs of some versions hold.
var (
	known252 = []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrsig", ".pcrpkey"}
	known254 = []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey"}
	known257 = []string{
		".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey", ".profile",
		".dtbauto", ".hwids",
	}
)

// parts are sections of a unified kernel image in the order in which tools append them, which is not that of measuring.
func parts() []imagetest.ProgramSection {
	return []imagetest.ProgramSection{
		{Name: ".sbat", Data: []byte("sbat,1")},
		{Name: ".osrel", Data: []byte("ID=test\n")},
		{Name: ".cmdline", Data: []byte("quiet\x00")},
		{Name: ".uname", Data: []byte("6.1")},
		{Name: ".pcrsig", Data: []byte("{}")},
		{Name: ".initrd", Data: []byte("cpio")},
		{Name: ".linux", Data: []byte("MZ kernel")},
	}
}

func bigUKI() []byte {
	return imagetest.UKI("257.1", known257, append(parts(), section(".profile", []byte("ID=one")), section(".cmdline", []byte("debug")),
		section(".profile", []byte("ID=two")), section(".cmdline", []byte("rescue")), section(".dtbauto", []byte("tree")))...)
}

func measured(t *testing.T, b []byte) []string {
	t.Helper()
	m, err := mustParse(t, b).StubMeasurements()
	if err != nil {
		t.Fatalf("StubMeasurements = %v", err)
	}
	var out []string
	for i := range m {
		if string(m[i].Name) != m[i].Section+"\x00" {
			t.Errorf("name %q of section %s, want one trailing NUL", m[i].Name, m[i].Section)
		}
		s := m[i].Section + "=" + string(m[i].Content)
		if m[i].Conditional {
			s += "?"
		}
		out = append(out, s)
	}
	return out
}

func TestStubMeasurements(t *testing.T) {
	for _, c := range []struct {
		name string
		uki  []byte
		want []string
	}{
		{"252", imagetest.UKI("252.39-1~deb12u2", known252, parts()...), []string{
			".linux=MZ kernel", ".osrel=ID=test\n", ".cmdline=quiet\x00", ".initrd=cpio",
		}},
		{"254", imagetest.UKI("254.26", known254, parts()...), []string{
			".linux=MZ kernel", ".osrel=ID=test\n", ".cmdline=quiet\x00", ".initrd=cpio", ".uname=6.1", ".sbat=sbat,1",
		}},
		{"257, first profile", bigUKI(), []string{
			".linux=MZ kernel", ".osrel=ID=test\n", ".cmdline=debug", ".initrd=cpio", ".uname=6.1", ".sbat=sbat,1", ".profile=ID=one",
		}},
		{"257, devicetrees by hardware", imagetest.UKI("257.1", known257, append(parts(), section(".dtbauto", []byte("a")),
			section(".dtbauto", []byte("b")), section(".hwids", []byte("h")))...), []string{
			".linux=MZ kernel", ".osrel=ID=test\n", ".cmdline=quiet\x00", ".initrd=cpio", ".uname=6.1", ".sbat=sbat,1", ".dtbauto=a?",
			".dtbauto=b?", ".hwids=h",
		}},
	} {
		if diff := cmp.Diff(c.want, measured(t, c.uki)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	f := mustParse(t, bigUKI())
	if got := f.StubVersion(); got != "257.1" {
		t.Errorf("StubVersion = %q", got)
	}
	m, _ := f.StubMeasurements()
	name, content := m[0].Digests(pcr.SHA256)
	wantName, wantContent := sha256.Sum256([]byte(".linux\x00")), sha256.Sum256([]byte("MZ kernel"))
	if !bytes.Equal(name, wantName[:]) || !bytes.Equal(content, wantContent[:]) {
		t.Errorf("Digests = %x, %x, want %x, %x", name, content, wantName, wantContent)
	}
}

func TestNoStub(t *testing.T) {
	for name, b := range map[string][]byte{
		"program":            program(""),
		"without linux":      imagetest.UKI("252", known252, section(".cmdline", []byte("quiet"))),
		"boot loader":        imagetest.ProgramOf(0x8664, 10, nil, section(".sdmagic", []byte("#### LoaderInfo: systemd-boot 252 ####")), section(".linux", []byte("x"))),
		"stub in the kernel": imagetest.ProgramOf(0x8664, 10, nil, section(".linux", imagetest.UKI("252", known252))),
		"odd version":        imagetest.UKI("252\n", known252, parts()...),
	} {
		if m, err := mustParse(t, b).StubMeasurements(); m != nil || !errors.Is(err, pecoff.ErrNoStub) {
			t.Errorf("%s: %v, %v, want ErrNoStub", name, m, err)
		}
	}
}

const eventlogs = "../../../testdata/eventlogs"

func captured(t *testing.T, base, digest string) []byte {
	t.Helper()
	b := imagetest.Captured(base, digest, imagetest.PackageDirs()...)
	if b == nil {
		t.Skipf("SKIPPED: no %s of the package version that the captured boots used (SHA-256 %s) below %v", base, digest,
			imagetest.PackageDirs())
	}
	return b
}

func bootLog(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(eventlogs, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Real firmware measured these programs of Debian's packages: the logs of those boots hold their Authenticode digests.
func TestAuthenticodeOfCapturedBoots(t *testing.T) {
	for _, c := range []struct{ base, digest, log string }{
		{"shimx64.efi.signed", "0fc347af103ec1dfac6e3f184c0a5241a2ce756a0932b359c404d39c45423806", "grub-secure-boot.bin"},
		{"grubx64.efi.signed", "78313ff24688c8b2e1d4f4e1eff13236b2bd29b0f76ba749fd7fff4d305a1d94", "grub-secure-boot.bin"},
		{"systemd-bootx64.efi", "10288fece5e90ce3ba3e7160f49695b022d648f7ef41774678db8c77774db167", "systemd-boot.bin"},
		{"vmlinuz-6.1.0-56-cloud-amd64", "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275", "systemd-boot.bin"},
		{"vmlinuz-6.1.0-56-cloud-amd64", "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275", "uki.bin"},
		{"vmlinuz-6.1.0-56-cloud-arm64", "d418ce578d1c70b65bd5f3688c4ffbe97307cb48cf49270155af974931626047", "arm64-aavmf-uki.bin"},
		{"vmlinuz-6.1.0-56-cloud-arm64", "d418ce578d1c70b65bd5f3688c4ffbe97307cb48cf49270155af974931626047", "arm64-uboot-uki.bin"},
	} {
		t.Run(c.base+" in "+c.log, func(t *testing.T) {
			if d := authenticode(t, captured(t, c.base, c.digest)); !bytes.Contains(bootLog(t, c.log), d) {
				t.Errorf("the log does not hold the digest %x", d)
			}
		})
	}
}

// A unified kernel image on Debian's stub, made as the captured boot's was: the log holds the digests of names and
// contents in the order that is predicted.
func TestStubMeasurementsOfCapturedBoots(t *testing.T) {
	for _, c := range []struct{ stub, stubDigest, kernel, kernelDigest, log, cmdline string }{
		{
			"linuxx64.efi.stub", "c62ae56ffaf49d1a61de4434f4f531dd1d4ed3b5aee46c934c56e3f809b22cc4",
			"vmlinuz-6.1.0-56-cloud-amd64", "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275", "uki.bin", "uki.cmdline",
		},
		{
			"linuxaa64.efi.stub", "e937f97467a4cebf48189e1f1348025c03d69bdee82a31cb2cf7e8307cb51dbf", "vmlinuz-6.1.0-56-cloud-arm64",
			"d418ce578d1c70b65bd5f3688c4ffbe97307cb48cf49270155af974931626047", "arm64-aavmf-uki.bin", "arm64-aavmf-uki.cmdline",
		},
	} {
		t.Run(c.log, func(t *testing.T) {
			cmdline := append(bytes.TrimSpace(bootLog(t, c.cmdline)), 0)
			uki := addSections(captured(t, c.stub, c.stubDigest), section(".osrel", []byte("NAME=Lab\nID=lab\nVERSION_ID=1\n")),
				section(".cmdline", cmdline), section(".linux", captured(t, c.kernel, c.kernelDigest)))
			m, err := mustParse(t, uki).StubMeasurements()
			if err != nil || len(m) != 3 { // the stub's own .sbat is not measured by this version
				t.Fatalf("%d measurements, %v, want 3", len(m), err)
			}
			log, at := bootLog(t, c.log), 0
			for i := range m {
				name, content := m[i].Digests(pcr.SHA256)
				for _, d := range [][]byte{name, content} {
					n := bytes.Index(log[at:], d)
					if n < 0 {
						t.Fatalf("the log does not hold %x of %s behind byte %d", d, m[i].Section, at)
					}
					at += n + len(d)
				}
			}
		})
	}
}

// addSections appends sections to a program, as objcopy and ukify do.
func addSections(b []byte, sections ...imagetest.ProgramSection) []byte {
	b = bytes.Clone(b)
	pe := int(binary.LittleEndian.Uint32(b[0x3c:]))
	headers := pe + 24 + int(binary.LittleEndian.Uint16(b[pe+20:]))
	address := uint32(1 << 24)
	for _, s := range sections {
		n := int(binary.LittleEndian.Uint16(b[pe+6:]))
		b = append(b, make([]byte, -len(b)&511)...)
		h := b[headers+40*n:][:40]
		clear(h)
		copy(h[:8], s.Name)
		raw := (len(s.Data) + 511) &^ 511
		binary.LittleEndian.PutUint32(h[8:], uint32(len(s.Data)))
		binary.LittleEndian.PutUint32(h[12:], address)
		binary.LittleEndian.PutUint32(h[16:], uint32(raw))
		binary.LittleEndian.PutUint32(h[20:], uint32(len(b)))
		binary.LittleEndian.PutUint16(b[pe+6:], uint16(n+1))
		address += uint32(raw+8191) &^ 4095
		b = append(append(b, s.Data...), make([]byte, raw-len(s.Data))...)
	}
	return b
}
