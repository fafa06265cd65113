package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// addSections adds sections to a real stub, as objcopy does.
func addSections(stub []byte, sections ...imagetest.ProgramSection) []byte {
	le := binary.LittleEndian
	pe := bytes.Clone(stub)
	at := int(le.Uint32(pe[0x3c:]))
	l := layoutOf(pe)
	count := int(le.Uint16(pe[at+6:]))
	var end uint32
	for i := range count {
		s := pe[l.sections+40*i:]
		end = max(end, le.Uint32(s[12:])+le.Uint32(s[8:]))
	}
	round := func(v, a uint32) uint32 { return (v + a - 1) / a * a }
	for _, s := range sections {
		pe = append(pe, make([]byte, int(round(uint32(len(pe)), 512))-len(pe))...)
		h := pe[l.sections+40*count:][:40]
		clear(h)
		copy(h, s.Name)
		raw := round(uint32(len(s.Data)), 512)
		le.PutUint32(h[8:], uint32(len(s.Data)))
		le.PutUint32(h[12:], round(end, 4096))
		le.PutUint32(h[16:], raw)
		le.PutUint32(h[20:], uint32(len(pe)))
		end = round(end, 4096) + uint32(len(s.Data))
		count++
		pe = append(append(pe, s.Data...), make([]byte, int(raw)-len(s.Data))...)
	}
	le.PutUint16(pe[at+6:], uint16(count))
	return pe
}

// capturedUKI is the captured unified kernel image but for its initial RAM disk.
func capturedUKI(stub, kernel []byte, cmdline string) []byte {
	return addSections(stub, section(".osrel", []byte("NAME=Lab\nID=lab\nVERSION_ID=1\n")),
		section(".cmdline", []byte(cmdline+"\x00")), section(".linux", kernel), section(".initrd", []byte("another")))
}

const (
	x86Kernel = "boot/vmlinuz-6.1.0-56-cloud-amd64"
	armKernel = "boot/vmlinuz-6.1.0-56-cloud-arm64"
)

// Predictions from the packages that the captured boots ran: all but the initial RAM disk, and the image that holds it,
// must agree with the log to the digest.
func TestBootCaptured(t *testing.T) {
	unlike := []seen{
		{4, `EV_EFI_BOOT_SERVICES_APPLICATION \EFI\BOOT\BOOTX64.EFI`}, {9, "EV_EVENT_TAG Linux initrd"}, {11, "EV_IPL .initrd"},
	}
	x86UKI := func(p packages, log string) File {
		stub := p.read("usr/lib/systemd/boot/efi/linuxx64.efi.stub")
		return File{`\EFI\BOOT\BOOTX64.EFI`, capturedUKI(stub, p.read(x86Kernel), cmdline(p.t, log))}
	}
	armUKI := func(p packages, log, path string) File {
		stub := p.read("usr/lib/systemd/boot/efi/linuxaa64.efi.stub")
		return File{path, capturedUKI(stub, p.read(armKernel), cmdline(p.t, log))}
	}
	for _, c := range []struct {
		log, set string
		in       func(p packages) Input
		unlike   []seen
	}{
		{"uki", "x86", func(p packages) Input {
			return Input{
				Firmware: p.read("usr/share/OVMF/OVMF_CODE_4M.fd"), Variables: p.read("usr/share/OVMF/OVMF_VARS_4M.fd"),
				UKI: x86UKI(p, "uki"), Disk: gptDisk(0x1b800),
			}
		}, unlike},
		{"uki-signed-snakeoil", "x86", func(p packages) Input {
			return Input{
				Firmware:  p.read("usr/share/OVMF/OVMF_CODE_4M.secboot.fd"),
				Variables: p.read("usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"),
				UKI:       x86UKI(p, "uki-signed-snakeoil"), Disk: gptDisk(0x1b800),
			}
		}, unlike},
		{"systemd-boot", "x86", func(p packages) Input {
			return Input{
				Firmware: p.read("usr/share/OVMF/OVMF_CODE_4M.fd"), Variables: p.read("usr/share/OVMF/OVMF_VARS_4M.fd"),
				Loader:      LoaderSystemdBoot,
				BootLoaders: []File{{`\EFI\BOOT\BOOTX64.EFI`, p.read("usr/lib/systemd/boot/efi/systemd-bootx64.efi")}},
				Kernel:      File{`\lab\linux`, p.read(x86Kernel)}, Initrd: File{`\lab\initrd`, []byte("another")},
				Cmdline: strings.TrimPrefix(cmdline(t, "systemd-boot"), `initrd=\lab\initrd `), Disk: gptDisk(0x1b800),
			}
		}, unlike[1:2]},
		{"grub-secure-boot", "x86", capturedGRUB, []seen{{9, "EV_IPL /lab/initrd"}}},
		{"arm64-aavmf-uki", "arm64", func(p packages) Input {
			return Input{
				Firmware: p.read("usr/share/AAVMF/AAVMF_CODE.fd"), Variables: p.read("usr/share/AAVMF/AAVMF_VARS.fd"),
				UKI: armUKI(p, "arm64-aavmf-uki", `\EFI\BOOT\BOOTAA64.EFI`), Disk: gptDisk(0x21800),
			}
		}, []seen{{4, `EV_EFI_BOOT_SERVICES_APPLICATION \EFI\BOOT\BOOTAA64.EFI`}, unlike[1], unlike[2]}},
		{"arm64-uboot-uki", "arm64", func(p packages) Input {
			return Input{
				Firmware: p.read("usr/lib/u-boot/qemu_arm64/u-boot.bin"),
				UKI:      armUKI(p, "arm64-uboot-uki", `efi\boot\bootaa64.efi`), Disk: gptDisk(0x21800),
			}
		}, []seen{{4, `EV_EFI_BOOT_SERVICES_APPLICATION efi\boot\bootaa64.efi`}, unlike[1], unlike[2]}},
	} {
		t.Run(c.log, func(t *testing.T) {
			p := boot(t, c.in(unpacked(t, c.set)))
			unknown, missing := differ(p, readLog(t, c.log))
			if d := cmp.Diff(c.unlike, unknown); d != "" {
				t.Errorf("events of the log that are not predicted (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.unlike, missing); d != "" {
				t.Errorf("predicted events that are not in the log (-want +got):\n%s", d)
			}
			for i, want := range map[int]Degree{1: None, 2: Complete, 4: Complete, 5: Complete, 9: Complete, 11: Complete, 14: Complete} {
				if got := p.Coverage[i].Degree; got != want {
					t.Errorf("coverage of PCR %d = %s (%s), want %s", i, got, p.Coverage[i].Why, want)
				}
			}
		})
	}
}

func capturedGRUB(p packages) Input {
	args := strings.TrimPrefix(cmdline(p.t, "grub-secure-boot"), "BOOT_IMAGE=")
	return Input{
		Firmware: p.read("usr/share/OVMF/OVMF_CODE_4M.secboot.fd"), Variables: p.read("usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
		Loader: LoaderGRUB, Disk: gptDisk(0x1e000),
		BootLoaders: []File{
			{`\EFI\BOOT\BOOTX64.EFI`, p.read("usr/lib/shim/shimx64.efi.signed")},
			{`\EFI\BOOT\grubx64.efi`, p.read("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")},
		},
		Kernel: File{"/lab/linux", p.read(x86Kernel)}, Initrd: File{"/lab/initrd", []byte("another")},
		GRUB: GRUB{Config: File{Content: []byte("linux " + args + "\ninitrd /lab/initrd\nboot\n")}},
	}
}

// PCRs that do not hold the initial RAM disk are predicted to the value that the TPM had.
func TestValueCaptured(t *testing.T) {
	p := boot(t, capturedGRUB(unpacked(t, "x86")))
	b, err := readLog(t, "grub-secure-boot").Replay(pcr.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{2, 3, 4, 5, 6, 7, 8, 14} {
		if got, want := p.Value(i, pcr.SHA256), b.Value(i); !bytes.Equal(got, want) {
			t.Errorf("PCR %d: Value() = %x, want %x", i, got, want)
		}
	}
	if got := p.Value(0, pcr.SHA256); got != nil {
		t.Errorf("PCR 0 depends on the machine, Value() = %x", got)
	}
}

// Without Secure Boot, shim and GRUB measure less, and the kernel has no event log: only the values of the TPM can be
// compared.
func TestValueWithoutSecureBoot(t *testing.T) {
	const values = "../../../shared/lab/artefacts/grub-no-event-log/pcrs.txt"
	text, err := os.ReadFile(values)
	if err != nil {
		t.Skipf("the PCRs of a boot with GRUB without Secure Boot are not here: %v", err)
	}
	set := unpacked(t, "x86")
	in := capturedGRUB(set)
	in.Firmware, in.Variables = set.read("usr/share/OVMF/OVMF_CODE_4M.fd"), set.read("usr/share/OVMF/OVMF_VARS_4M.fd")
	p := boot(t, in)
	b := pcr.NewBank(pcr.SHA256)
	for line := range strings.Lines(string(text)) {
		var i int
		var value []byte
		if n, _ := fmt.Sscanf(line, "sha256 %d %x", &i, &value); n == 2 {
			if err := b.Set(i, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, i := range []int{2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14} {
		if got, want := p.Value(i, pcr.SHA256), b.Value(i); want == nil || !bytes.Equal(got, want) {
			t.Errorf("PCR %d: Value() = %x, want %x", i, got, want)
		}
	}
}

// A firmware with one text changed in a driver, and U-Boot's with another version, are seen, and nothing else is.
func TestBootImplant(t *testing.T) {
	x86 := unpacked(t, "x86")
	p := boot(t, Input{
		Firmware: x86.read("usr/share/OVMF/OVMF_CODE_4M.fd"), Variables: x86.read("usr/share/OVMF/OVMF_VARS_4M.fd"),
		Disk: gptDisk(0x1b800),
	})
	unknown, missing := differ(p, readLog(t, "uki-firmware"))
	want := []seen{{0, "EV_EFI_PLATFORM_FIRMWARE_BLOB 0x900000"}}
	if d := cmp.Diff([][]seen{want, want}, [][]seen{unknown, missing}); d != "" {
		t.Errorf("unknown and missing events (-want +got):\n%s", d)
	}
}
