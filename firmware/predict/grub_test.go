package predict

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Where a configuration cannot be followed, PCRs 8 and 9 are given up with the reason, and the rest stands.
func TestGRUBNotFollowed(t *testing.T) {
	disk := fatDisk("GRUB    CFG", debianScript)
	for name, c := range map[string]struct {
		change func(in *Input)
		why    string
	}{
		"menu":         {func(in *Input) { in.GRUB.Config.Content = []byte("menuentry x {\n}") }, "menuentry"},
		"not given":    {func(in *Input) { in.GRUB.Config.Content = nil }, "it is not given"},
		"no boot":      {func(in *Input) { in.GRUB.Config.Content = []byte("linux /lab/linux") }, "without the command boot"},
		"another file": {func(in *Input) { in.GRUB.Config.Path = "/grub.cfg" }, "search --file"},
		"other kernel": {func(in *Input) { in.GRUB.Config.Content = []byte("linux /lab/initrd\nboot") }, "another kernel"},
		"built in":     {func(in *Input) { in.BootLoaders[0] = File{"", grubImage64("/x", "search x", disk)} }, `"search x"`},
		"no disk":      {func(in *Input) { in.BootLoaders[0] = File{"", grubImage64("/x", embeddedConfig, nil)} }, "not FAT"},
		"empty disk":   {func(in *Input) { in.BootLoaders[0] = File{"", grubImage64("/x", embeddedConfig, fatDisk("X", ""))} }, "no GRUB    CFG"},
		"no objects": {func(in *Input) {
			in.BootLoaders[0] = File{"", imagetest.ProgramOf(0x8664, 10, nil, section("mods", []byte("m")))}
		}, "mimg"},
	} {
		t.Run(name, func(t *testing.T) {
			in := grubInput(t)
			in.BootLoaders[0].Path = ""
			c.change(&in)
			p := boot(t, in)
			for _, i := range []int{8, 9} {
				if k := p.Coverage[i]; k.Degree != None || !strings.Contains(k.Why, c.why) {
					t.Errorf("coverage of PCR %d = %+v, want none because of %q", i, k, c.why)
				}
			}
			if p.Coverage[4].Degree != Complete {
				t.Errorf("coverage of PCR 4 = %+v, want complete", p.Coverage[4])
			}
		})
	}
}

// A GRUB without a built-in configuration reads the one in its folder, and needs no command for it.
func TestGRUBPlain(t *testing.T) {
	in := grubInput(t)
	in.BootLoaders[0].Content = grubImage64("/boot/grub", "", nil)
	in.GRUB.Device = "hd1,msdos2"
	in.GRUB.Config.Content = []byte("linux /lab/linux\nboot")
	var got []string
	for _, e := range boot(t, in).Events {
		if e.PCR == 8 || e.PCR == 9 {
			got = append(got, e.Slot)
		}
	}
	want := []string{"EV_IPL (hd1,msdos2)/boot/grub/grub.cfg", "EV_IPL grub_cmd", "EV_IPL /lab/linux", "EV_IPL kernel_cmdline", "EV_IPL grub_cmd"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("measured (-want +got):\n%s", d)
	}
}

// shimImage builds what passes for shim with these keys; long section names stand in the table of strings.
func shimImage(vendor, denied, level []byte) []byte {
	le := binary.LittleEndian
	keys := le.AppendUint32(le.AppendUint32(nil, uint32(len(vendor))), uint32(len(denied)))
	keys = le.AppendUint32(le.AppendUint32(keys, 16), uint32(16+len(vendor)))
	keys = append(append(keys, vendor...), denied...)
	b := imagetest.ProgramOf(0x8664, 10, nil, section(".text", append([]byte("UEFI SHIM\x00"), utf16z("MokListTrusted")...)),
		section("/4", keys), section("/17", level))
	le.PutUint32(b[0x40+12:], uint32(len(b)))
	return append(b, "\x2a\x00\x00\x00.vendor_cert\x00.sbatlevel\x00"...)
}

func TestShim(t *testing.T) {
	root := newSigner(t, "vendor", rsaKey(t), nil)
	platform := newSigner(t, "platform", rsaKey(t), nil)
	level := []byte("\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00\x00sbat,1,9\x00sbat,1,99\x00")
	loader := root.signedImage(t, 0x8664, nil, section(".sdmagic", []byte("#### LoaderInfo: systemd-boot 252 ####\x00")))
	in := Input{
		Variables: policy(t, platform.cert), Loader: LoaderSystemdBoot, Kernel: File{"linux", kernelImage()}, Cmdline: "quiet",
		BootLoaders: []File{{"shim", shimImage(root.cert.Raw, nil, level)}, {"loader", loader}},
	}
	p := boot(t, in)
	for _, c := range []struct {
		pcr     int
		slot    string
		content []byte
	}{
		{14, "EV_IPL MokList", signatureList(guidCertX509, guidShimLock, root.cert.Raw)},
		{14, "EV_IPL MokListX", signatureList(guidCertSHA256, guidShimLock, make([]byte, 32))},
		{14, "EV_IPL MokListTrusted", []byte{1}},
		{7, "EV_EFI_VARIABLE_AUTHORITY SbatLevel", variableData(guidShimLock, "SbatLevel", []byte("sbat,1,9"))},
	} {
		if e := find(t, p, c.pcr, c.slot); !bytes.Equal(e.Digests[pcr.SHA384], digests(c.content)[pcr.SHA384]) {
			t.Errorf("%s = %x (%s), want the digest of %q", c.slot, e.Digests, e.Reason, c.content)
		}
	}
	var keys []Event // the loader's, then that of the kernel, which nobody signed
	for _, e := range p.PCR(7) {
		if e.Slot == "EV_EFI_VARIABLE_AUTHORITY MokListRT" {
			keys = append(keys, e)
		}
	}
	want := digests(variableData(guidShimLock, "MokListRT", append(guidShimLock[:], root.cert.Raw...)))
	if len(keys) != 2 || !bytes.Equal(keys[0].Digests[pcr.SHA256], want[pcr.SHA256]) || !strings.Contains(keys[1].Reason, "refuses") {
		t.Errorf("shim's keys = %+v, want the vendor's, then a reason", keys)
	}
	in.Variables, in.SecureBoot = nil, eventlog.SecureBootUnknown
	if c := boot(t, in).Coverage[7]; c.Degree != Partial {
		t.Errorf("without variables, coverage of PCR 7 = %+v, want partial", c)
	}
	in.BootLoaders[0].Content = shimImage(root.cert.Raw, nil, level)[:0x600]
	if _, err := Boot(in); err == nil {
		t.Error("Boot() accepts a shim that is cut off")
	}
}

func TestVendorKeys(t *testing.T) {
	le := binary.LittleEndian
	for name, fields := range map[string][]uint32{
		"short": {1, 2, 3}, "allowed behind": {100, 0, 16, 16}, "denied behind": {0, 1, 16, 16}, "wrapped": {2, 0, 0xffffffff, 16},
	} {
		var b []byte
		for _, f := range fields {
			b = le.AppendUint32(b, f)
		}
		if a, d, err := vendorKeys(b); err == nil || a != nil || d != nil {
			t.Errorf("%s: vendorKeys() = %x, %x, %v, want an error", name, a, d, err)
		}
	}
}
