package predict

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// peiModules builds a volume that is linked to an address.
func peiModules(t testing.TB, address uint64, version string) []byte {
	t.Helper()
	v, err := imagetest.PEIModules(address, version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ovmf builds a firmware whose first phase unpacks both volumes.
func ovmf(t testing.TB, pei, dxe []byte) []byte {
	t.Helper()
	packed, err := imagetest.LZMASection(imagetest.Section(imagetest.SectionVolume, pei...),
		imagetest.Section(imagetest.SectionVolume, dxe...))
	if err != nil {
		t.Fatal(err)
	}
	return mustVolume(t, imagetest.MainVolume, imagetest.File(owner, imagetest.FileVolume, packed))
}

func mustVolume(t testing.TB, name image.GUID, files ...[]byte) []byte {
	t.Helper()
	v, err := imagetest.Volume(name, 64<<10, files...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPlatformUnpacked(t *testing.T) {
	pei := peiModules(t, 0x820000, "")
	dxe := mustVolume(t, imagetest.DXEVolume, imagetest.Module(owner, "Driver", imagetest.Program(0x8664, 11, []byte{0xc3})))
	p := boot(t, Input{Firmware: ovmf(t, pei, dxe)})
	if p.Firmware != "edk2 (OVMF)" || p.Coverage[0].Degree != Partial {
		t.Errorf("firmware %q, coverage %+v, want OVMF, partial", p.Firmware, p.Coverage[0])
	}
	if e := find(t, p, 0, "EV_EFI_PLATFORM_FIRMWARE_BLOB 0x820000"); len(e.Digests) != 0 || !e.Required {
		t.Errorf("volume of the PEI modules = %+v, want no digest", e)
	}
	e := find(t, p, 0, "EV_EFI_PLATFORM_FIRMWARE_BLOB 0x824000")
	if !bytes.Equal(e.Digests[pcr.SHA256], digests(dxe)[pcr.SHA256]) {
		t.Errorf("volume of the drivers has the digest %x, want that of the volume", e.Digests)
	}
	if !e.Matches("EV_EFI_PLATFORM_FIRMWARE_BLOB 0x900000", pcr.SHA256, e.Digests[pcr.SHA256]) {
		t.Error("the volume is not recognised at another address")
	}
	// An implant must not pass for the volume whose digest is not known.
	changed := digests(append(bytes.Clone(dxe), 1))[pcr.SHA256]
	for _, x := range p.PCR(0) {
		if x.Matches("EV_EFI_PLATFORM_FIRMWARE_BLOB 0x824000", pcr.SHA256, changed) {
			t.Errorf("a changed volume passes for %q", x.Slot)
		}
	}
	if e := find(t, p, 0, "EV_S_CRTM_VERSION"); !bytes.Equal(e.Digests[pcr.SHA256], digests([]byte{0, 0})[pcr.SHA256]) {
		t.Errorf("version = %+v, want an empty text", e)
	}
}

func TestPlatformInFlash(t *testing.T) {
	for name, address := range map[string]uint64{"linked to its place": 0x1000, "linked elsewhere": 0x5f000000} {
		pei := peiModules(t, address, string(utf16z("2026.02-1")))
		p := boot(t, Input{Firmware: append(bytes.Repeat([]byte{0}, 0x1000), pei...)})
		slot := "EV_EFI_PLATFORM_FIRMWARE_BLOB " + map[bool]string{true: "0x1000", false: "0x5f000000"}[address == 0x1000]
		if e := find(t, p, 0, slot); !bytes.Equal(e.Digests[pcr.SHA384], digests(pei)[pcr.SHA384]) {
			t.Errorf("%s: volume = %+v, want the digest of the volume", name, e)
		}
		version := find(t, p, 0, "EV_S_CRTM_VERSION")
		if !bytes.Equal(version.Digests[pcr.SHA256], digests(utf16z("2026.02-1"))[pcr.SHA256]) || p.Coverage[0].Degree != Complete {
			t.Errorf("%s: version = %+v, coverage %+v", name, version, p.Coverage[0])
		}
	}
}

// Firmware of other kinds has no prediction of PCR 0, with the reason, and what the PFP demands of everybody has.
func TestPlatformUnknown(t *testing.T) {
	pei, other := peiModules(t, 0x820000, ""), peiModules(t, 0x820000, string(utf16z("version"))+"\xff"+string(utf16z("another")))
	dxe := mustVolume(t, imagetest.DXEVolume)
	askew := bytes.Replace(pei, []byte("VZ"), []byte("XX"), 2)
	foreign := bytes.Replace(pei, guidTcg2Pei[:], owner[:], 1)
	for name, c := range map[string]struct {
		firmware []byte
		why      string
	}{
		"no UEFI firmware":       {bytes.Repeat([]byte("code"), 300), "holds no UEFI firmware"},
		"volumes beside another": {append(bytes.Clone(pei), dxe...), "2 volumes beside each other"},
		"no address":             {ovmf(t, askew, dxe), "address of the PEI volume"},
		"other modules":          {ovmf(t, foreign, dxe), "other modules"},
	} {
		p := boot(t, Input{Firmware: c.firmware})
		if p.Coverage[0].Degree != None || !strings.Contains(p.Coverage[0].Why, c.why) || p.Coverage[2].Degree != Complete {
			t.Errorf("%s: coverage of PCR 0 = %+v, want none because of %q", name, p.Coverage[0], c.why)
		}
	}
	if e := find(t, boot(t, Input{Firmware: ovmf(t, other, dxe)}), 0, "EV_S_CRTM_VERSION"); e.Reason == "" {
		t.Errorf("version of a module with two texts = %+v, want a reason", e)
	}
	var format *image.FormatError
	cut := ovmf(t, pei, dxe)[:9000]
	if p, err := Boot(Input{Firmware: cut}); !errors.As(err, &format) || p != nil {
		t.Errorf("Boot() of a firmware that is cut off = %v, %v, want an *image.FormatError", p, err)
	}
}

func TestPlatformUBoot(t *testing.T) {
	const version = "U-Boot 2023.01+dfsg-2+deb12u3 (Jun 22 2026 - 08:38:07 +0000)\x00"
	p := boot(t, Input{Firmware: []byte(version + exitAction + version)})
	if p.Firmware != "U-Boot 2023.01" || p.SecureBoot != eventlog.SecureBootOff || p.Coverage[0].Degree != Complete {
		t.Errorf("firmware %q, Secure Boot %s, coverage %+v", p.Firmware, p.SecureBoot, p.Coverage[0])
	}
	other := strings.Replace(version, "08:38", "09:38", 1)
	if e := find(t, boot(t, Input{Firmware: []byte(version + exitAction + other)}), 0, "EV_S_CRTM_VERSION"); e.Reason == "" {
		t.Errorf("version of an image with two = %+v, want a reason", e)
	}
	if c := boot(t, Input{Firmware: []byte(version + exitAction), SecureBoot: eventlog.SecureBootOn}).Coverage[7]; c.Degree != Partial {
		t.Errorf("with Secure Boot on, coverage of PCR 7 = %+v, want partial", c)
	}
	for name, in := range map[string]Input{
		"no measurements": {Firmware: []byte(version)},
		"variables":       {Firmware: []byte(version + exitAction), Variables: erased},
	} {
		if _, err := Boot(in); !errors.Is(err, ErrInput) {
			t.Errorf("%s: Boot() = %v, want ErrInput", name, err)
		}
	}
}
