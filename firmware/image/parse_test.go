package image_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

func TestParseFirmware(t *testing.T) {
	b := must(imagetest.Firmware(imagetest.Config{Modules: 2}))
	want := []string{
		"image",
		"  volume NVRAM fff12b8d-7696-4c8b-a985-2747075b4f50",
		"    variable store authenticated variables aaf32c78-947b-439a-a180-2e144ec37792",
		"      variable BootOrder 8be4df61-93ca-11d2-aa0d-00e098032b8c",
		"      variable Lang 8be4df61-93ca-11d2-aa0d-00e098032b8c",
		"  volume FVMAIN_COMPACT 48db5e17-707c-472d-91cd-1613e7ef51b0",
		"    volume file FVMAIN_COMPACT file 9e21fd93-9c72-4c15-8c4b-e77f1db2d792",
		"      lzma section LZMA ee4e5898-3914-4259-9d6e-dc7bd79403cf",
		"        volume image section",
		"          volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
		"            driver Driver00 d0000000-5b1d-4c4e-9a37-70726f626974",
		"              dxe depex section (TRUE END)",
		"              pe32 section (x64 boot driver)",
		"              user interface section Driver00",
		"            driver Driver01 d0000001-5b1d-4c4e-9a37-70726f626974",
		"              dxe depex section (TRUE END)",
		"              pe32 section (x64 boot driver)",
		"              user interface section Driver01",
	}
	m := mustParse(t, b)
	if diff := cmp.Diff(want, outline(m)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if p := m.Problems(); len(p) != 0 {
		t.Errorf("Problems() = %v", p)
	}
	dxe := m.Find(image.KindVolume)[2]
	if want := "0x4 of the unpacked lzma section at 0x10090"; dxe.Place() != want {
		t.Errorf("Place() = %q, want %q", dxe.Place(), want)
	}
	if got := m.Find(image.KindVariable)[1]; string(got.Body()) != "eng" {
		t.Errorf("variable Lang = %q", got.Body())
	}
}

// The digest of a volume in a packed section is that of the unpacked volume.
func TestDigestOfUnpackedVolume(t *testing.T) {
	volume := must(imagetest.Volume(imagetest.DXEVolume, 64<<10, imagetest.Module(implantGUID, "Module", imagetest.Program(0x8664, 11, nil))))
	packed := must(imagetest.LZMASection(imagetest.Section(imagetest.SectionRaw, 0, 0, 0), imagetest.Section(imagetest.SectionVolume, volume...)))
	b := must(imagetest.Volume(imagetest.MainVolume, 64<<10, imagetest.File(implantGUID, imagetest.FileVolume, packed)))
	volumes := mustParse(t, b).Find(image.KindVolume)
	if len(volumes) != 2 {
		t.Fatalf("%d volumes, want 2", len(volumes))
	}
	for i, want := range [][]byte{b, volume} {
		sum := sha256.Sum256(want)
		if got := volumes[i].Digest(pcr.SHA256); !bytes.Equal(got, sum[:]) {
			t.Errorf("digest of %s = %x, want %x", volumes[i].Label(), got, sum)
		}
	}
}

const eventlogs = "../../testdata/eventlogs"

func captured(tb testing.TB, base, digest string) []byte {
	tb.Helper()
	b := imagetest.Captured(base, digest, imagetest.PackageDirs()...)
	if b == nil {
		tb.Skipf("SKIPPED: no %s of the package version that the captured boots used (SHA-256 %s) below %v", base, digest,
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

// Debian's OVMF and AAVMF measured volumes of theirs into PCR 0 of captured boots: as they are when unpacked.
func TestVolumesOfCapturedBoots(t *testing.T) {
	const (
		ovmf       = "b157d97b1f69729514feb7f201d2cbe4957f23ab77920e361fe9f822ba49ca4c"
		secureBoot = "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62"
		aavmf      = "5f8ef96257f27e2815270bc54cbf6923bb344cbb5cd72be5b392c2ee4939181a"
	)
	for _, c := range []struct{ base, digest, log, guid string }{
		{"OVMF_CODE_4M.fd", ovmf, "uki.bin", "7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"},
		{"OVMF_CODE_4M.secboot.fd", secureBoot, "grub-secure-boot.bin", "7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"},
		{"AAVMF_CODE.fd", aavmf, "arm64-aavmf-uki.bin", "8c8ce578-8a3d-4f1c-9935-896185c32dd3"},
	} {
		t.Run(c.log, func(t *testing.T) {
			m, log := mustParse(t, captured(t, c.base, c.digest)), bootLog(t, c.log)
			if p := m.Problems(); len(p) > 0 {
				t.Errorf("%s: %s", p[0].Label(), p[0].Problem)
			}
			var found []string
			for _, v := range m.Find(image.KindVolume) {
				if bytes.Contains(log, v.Digest(pcr.SHA256)) {
					found = append(found, v.GUID.String())
				}
			}
			if diff := cmp.Diff([]string{c.guid}, found); diff != "" {
				t.Errorf("volumes whose digest the log holds (-want +got):\n%s", diff)
			}
		})
	}
}

// The network card's option ROM holds the driver that real firmware measured into PCR 2.
func TestOptionROMOfCapturedBoot(t *testing.T) {
	b := captured(t, "efi-virtio.rom", "f4413b7e780ee458643af59c92c98854a4232107a04abc2e8c10f3e661ba22da")
	programs := mustParse(t, b).Find(image.KindProgram)
	if len(programs) != 1 {
		t.Fatalf("%d programs, want 1", len(programs))
	}
	f, err := pecoff.Parse(programs[0].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.Authenticode(pcr.SHA256)
	if err != nil || !bytes.Contains(bootLog(t, "direct-option-rom.bin"), d) {
		t.Errorf("the log does not hold the digest %x (%v)", d, err)
	}
}

func TestParseKinds(t *testing.T) {
	kernel := imagetest.FITImage{Name: "kernel-1", Type: "kernel", Data: bytes.Repeat([]byte("linux"), 30)}
	tree := imagetest.FITImage{Name: "fdt-1", Type: "flat_dt", Data: []byte("tree")}
	padding := bytes.Repeat([]byte{0xff}, 256)
	fit := []string{
		"image", "  FIT Probity's test image", "    FIT image kernel-1 (description kernel-1, arch arm64)",
		"    FIT image fdt-1 (description fdt-1, arch arm64)", "    FIT configuration conf-1 (kernel kernel-1, fdt fdt-1, default)",
	}
	external := append(append([]string{}, fit[:2]...), fit[4], fit[2], fit[3])
	for _, c := range []struct {
		name string
		b    []byte
		want []string
	}{
		{"FIT", imagetest.FIT(false, kernel, tree), fit},
		{"FIT with data behind it", imagetest.FIT(true, kernel, tree), external},
		{"FIT in flash", append(append(bytes.Clone(padding), imagetest.FIT(true, kernel, tree)...), padding...), external},
		{"devicetree", imagetest.DeviceTree(imagetest.Node{Properties: []imagetest.Property{imagetest.Text("model", "Board")}}), []string{"image", "  devicetree Board"}},
		{"uImage", imagetest.UImage("Linux-6.1", 2, []byte("kernel")), []string{
			"image", "  uImage Linux-6.1 (load 0x80008000, entry 0x80008000, os 5, arch 2, compression 0)",
		}},
		{
			"multi-file uImage",
			imagetest.UImage("both", 4, append([]byte{0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0}, "first\x00\x00\x00two"...)),
			[]string{
				"image", "  uImage both (load 0x80008000, entry 0x80008000, os 5, arch 2, compression 0)", "    uImage component component 0",
				"    uImage component component 1",
			},
		},
		{"microcode", append(append(bytes.Clone(padding), imagetest.Microcode(0x906ea, 0xf8, 976)...), padding...), []string{
			"image", "  microcode 000906ea (processor signature 000906ea, flags 80, revision 000000f8 of 2025-07-15)",
		}},
		{"option ROM", imagetest.OptionROM(0x8086, 0x10d3, imagetest.Program(0x8664, 11, []byte("code"))), []string{
			"image", "  option ROM 8086:10d3", "    program", "      program section .text",
		}},
		{"program", imagetest.UKI("252", []string{".linux"}, imagetest.ProgramSection{Name: ".linux", Data: []byte("k")}), []string{
			"image", "  program (systemd-stub 252)", "    program section .text", "    program section .rodata",
			"    program section .sdmagic", "    program section .linux",
		}},
		{"flash", imagetest.Flash(must(imagetest.Volume(imagetest.DXEVolume, 8<<10))), []string{
			"image", "  region descriptor", "  region me", "    data", "  region bios", "    volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1",
		}},
		{"raw", append(bytes.Clone(padding), "something"...), []string{"image", "  data"}},
		{"erased", padding, []string{"image"}},
	} {
		if diff := cmp.Diff(c.want, outline(mustParse(t, c.b))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What looks wrong but may be shipped is no error, but shown.
func TestProblems(t *testing.T) {
	volume := func(files ...[]byte) []byte { return must(imagetest.Volume(imagetest.DXEVolume, 8<<10, files...)) }
	module := imagetest.Module(implantGUID, "Module", imagetest.Program(0x8664, 11, nil))
	header, fixed := bytes.Clone(module), bytes.Clone(module)
	header[18] = 9
	fixed[17] = 1
	hidden := volume(module)
	copy(hidden[6000:], "hidden behind the last file")
	fit := imagetest.FIT(false, imagetest.FITImage{Name: "k", Type: "kernel", Data: []byte("linux kernel")})
	copy(fit[bytes.Index(fit, []byte("linux kernel")):], "Linux")
	missing := imagetest.FIT(false, imagetest.FITImage{Name: "kernel", Type: "kernel", Data: []byte("x")})
	conf := missing[bytes.LastIndex(missing, []byte("conf-1")):]
	copy(conf[bytes.Index(conf, []byte("kernel")):], "kernal")
	uimage := imagetest.UImage("k", 2, []byte("kernel"))
	uimage[len(uimage)-1] ^= 1
	microcode := imagetest.Microcode(1, 1, 976)
	microcode[100] ^= 1
	guided := imagetest.GUIDedSection(implantGUID, []byte("?"))
	for _, c := range []struct {
		name, want string
		b          []byte
	}{
		{"file header", "checksum of the file's header", volume(header)},
		{"file checksum", "want the fixed 0xaa", volume(fixed)},
		{"free space", "free space", hidden},
		{"pad file", "pad file is not empty", volume(imagetest.File(implantGUID, imagetest.FilePad, []byte("payload")))},
		{"no PE", "no PE/COFF image", volume(imagetest.Module(implantGUID, "M", []byte("MZ")))},
		{"depex", "unknown operation 0x77", volume(imagetest.File(implantGUID, imagetest.FileDriver, imagetest.Section(imagetest.SectionDepex, 0x77)))},
		{"encapsulation", "not known and not unpacked", volume(imagetest.File(implantGUID, imagetest.FileFreeform, guided))},
		{"FIT hash", "sha256 of the data", fit},
		{"FIT configuration", "is missing", missing},
		{"uImage", "checksum of the data", uimage},
		{"microcode", "checksum of the microcode", microcode},
	} {
		p := mustParse(t, c.b).Problems()
		if len(p) == 0 || !strings.Contains(p[0].Problem, c.want) {
			t.Errorf("%s: %d problems, want one with %q: %v", c.name, len(p), c.want, outline(mustParse(t, c.b)))
		}
	}
}

// Names from images go to terminals and logs: they must not carry control characters.
func TestNamesArePrintable(t *testing.T) {
	b := must(imagetest.Volume(imagetest.DXEVolume, 8<<10, imagetest.Module(implantGUID, "\x1b[2Jgood\n\u202eevil", nil)))
	got := mustParse(t, b).Find(image.KindFile)[0].Name
	if want := `\x1b[2Jgood\x0a\x202eevil`; got != want {
		t.Errorf("name = %q, want %q", got, want)
	}
}

func TestGUID(t *testing.T) {
	const text = "7c04a583-9e3e-4f1c-ad65-e05268d0b4d1"
	g, err := image.ParseGUID(strings.ToUpper(text))
	if err != nil || g.String() != text || g[0] != 0x83 || g[8] != 0xad {
		t.Errorf("ParseGUID = %x, %v", g, err)
	}
	for _, s := range []string{"", text[1:], text + "0", strings.Replace(text, "-", "0", 1), strings.Replace(text, "7", "x", 1)} {
		if g, err := image.ParseGUID(s); err == nil || !g.IsZero() {
			t.Errorf("ParseGUID(%q) = %s, %v, want an error", s, g, err)
		}
	}
}
