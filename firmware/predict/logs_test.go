package predict

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// erased stands for variables that were never written: Secure Boot is off.
var erased = make([]byte, 4096)

// The logs are compared with predictions from stand-ins for the images: what does not depend on their code must agree
// to the digest, and everything else to the slot.
func TestBootLogsWithoutImages(t *testing.T) {
	uki := []seen{
		{4, "EV_EFI_BOOT_SERVICES_APPLICATION VenMedia(systemd-stub payload)"},
		{9, "EV_EVENT_TAG Linux initrd"},
		{11, "EV_IPL .initrd"},
		{11, "EV_IPL .linux"},
	}
	ukiAt := func(path string) []seen {
		return inOrder(append(slices.Clone(uki), seen{4, "EV_EFI_BOOT_SERVICES_APPLICATION " + path}))
	}
	initrd := section(".initrd", []byte("another"))
	version := "U-Boot 2023.01+dfsg-2+deb12u3 (Jun 22 2026 - 08:38:07 +0000)\x00"
	for _, c := range []struct {
		log  string
		in   Input
		both []seen // in the log and predicted, with another digest
	}{
		{
			"uki", Input{
				Variables: erased, Disk: gptDisk(0x1b800),
				UKI: File{`\EFI\BOOT\BOOTX64.EFI`, ukiImage(cmdline(t, "uki"), initrd)},
			}, ukiAt(`\EFI\BOOT\BOOTX64.EFI`),
		},
		{
			"uki-cmdline", Input{
				Variables: erased, Disk: gptDisk(0x1b800),
				UKI: File{`\EFI\BOOT\BOOTX64.EFI`, ukiImage(cmdline(t, "uki-cmdline"), initrd)},
			}, ukiAt(`\EFI\BOOT\BOOTX64.EFI`),
		},
		{
			"arm64-aavmf-uki", Input{
				Variables: erased, Disk: gptDisk(0x21800),
				UKI: File{`\EFI\BOOT\BOOTAA64.EFI`, ukiImage(cmdline(t, "arm64-aavmf-uki"), initrd)},
			}, ukiAt(`\EFI\BOOT\BOOTAA64.EFI`),
		},
		{
			"arm64-uboot-uki", Input{
				Firmware: []byte("\x14\x00\x00\xea" + version + exitAction), Disk: gptDisk(0x21800),
				UKI: File{`efi\boot\bootaa64.efi`, ukiImage(cmdline(t, "arm64-uboot-uki"), initrd)},
			}, ukiAt(`efi\boot\bootaa64.efi`),
		},
		{
			"systemd-boot", Input{
				Variables: erased, Disk: gptDisk(0x1b800), Loader: LoaderSystemdBoot,
				BootLoaders: []File{{`\EFI\BOOT\BOOTX64.EFI`, systemdBootImage()}},
				Kernel:      File{`\lab\linux`, kernelImage()}, Initrd: File{"/lab/initrd", []byte("another")},
				Cmdline: strings.TrimPrefix(cmdline(t, "systemd-boot"), `initrd=\lab\initrd `),
			}, []seen{
				{4, `EV_EFI_BOOT_SERVICES_APPLICATION \EFI\BOOT\BOOTX64.EFI`},
				{4, `EV_EFI_BOOT_SERVICES_APPLICATION \lab\linux`},
				{9, "EV_EVENT_TAG Linux initrd"},
			},
		},
	} {
		t.Run(c.log, func(t *testing.T) {
			p := boot(t, c.in)
			unknown, missing := differ(p, readLog(t, c.log))
			if d := cmp.Diff(c.both, unknown); d != "" {
				t.Errorf("events of the log that are not predicted (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.both, missing); d != "" {
				t.Errorf("predicted events that are not in the log (-want +got):\n%s", d)
			}
		})
	}
}

// What each loader measures in a PCR of its own is predicted to the value of the TPM.
func TestValueLogs(t *testing.T) {
	for _, c := range []struct {
		log  string
		in   Input
		pcrs []int
	}{
		{"uki", Input{Variables: erased, Disk: gptDisk(0x1b800)}, []int{2, 3, 5, 6, 7}},
		{
			"arm64-uboot-uki", Input{
				Firmware: []byte("U-Boot 2023.01+dfsg-2+deb12u3 (Jun 22 2026 - 08:38:07 +0000)\x00" + exitAction), Disk: gptDisk(0x21800),
			}, []int{0, 2, 3, 5, 6, 7},
		},
		{"systemd-boot", Input{
			Loader: LoaderSystemdBoot, BootLoaders: []File{{"", systemdBootImage()}}, Kernel: File{"", kernelImage()},
			Cmdline: cmdline(t, "systemd-boot"),
		}, []int{11, 12, 13, 14}},
		{"grub-secure-boot", grubInput(t), []int{8, 11, 12, 13}},
	} {
		t.Run(c.log, func(t *testing.T) {
			p, l := boot(t, c.in), readLog(t, c.log)
			b, err := l.Replay(pcr.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range c.pcrs {
				want := b.Value(i)
				if want == nil {
					want = make([]byte, 32)
				}
				if got := p.Value(i, pcr.SHA256); !slices.Equal(got, want) {
					t.Errorf("PCR %d: Value() = %x, want %x (%s)", i, got, want, p.Coverage[i].Why)
				}
			}
		})
	}
}

// grubInput is the captured boot with GRUB, with stand-ins for the programs.
func grubInput(t testing.TB) Input {
	args := strings.TrimPrefix(cmdline(t, "grub-secure-boot"), "BOOT_IMAGE=")
	return Input{
		Loader: LoaderGRUB,
		BootLoaders: []File{
			{`\EFI\BOOT\grubx64.efi`, grubImage64("/EFI/debian", embeddedConfig+"\n", fatDisk("GRUB    CFG", debianScript))},
		},
		Kernel: File{"/lab/linux", kernelImage()}, Initrd: File{"/lab/initrd", []byte("another")},
		GRUB: GRUB{Config: File{Content: []byte("linux " + args + "\ninitrd /lab/initrd\nboot\n")}},
	}
}

// GRUB's files are named as GRUB opened them, and its configuration has the captured digest.
func TestGRUBFiles(t *testing.T) {
	p, l := boot(t, grubInput(t)), readLog(t, "grub-secure-boot")
	var got, want []string
	for _, e := range p.PCR(9) {
		got = append(got, e.Slot)
	}
	for i := range l.Events {
		if e := &l.Events[i]; e.PCR == 9 {
			want = append(want, e.Slot())
			if strings.HasSuffix(e.Slot(), "grub.cfg") && !slices.Equal(e.Digest(pcr.SHA256), p.PCR(9)[0].Digests[pcr.SHA256]) {
				t.Errorf("configuration: predicted %x, measured %x", p.PCR(9)[0].Digests[pcr.SHA256], e.Digest(pcr.SHA256))
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events of PCR 9 (-log +predicted):\n%s", d)
	}
}

// The events of a Secure Boot policy have the digests of their data, so that the log itself gives the databases.
func TestSecureBootLogs(t *testing.T) {
	for _, name := range []string{"uki-signed-snakeoil", "grub-secure-boot"} {
		t.Run(name, func(t *testing.T) {
			l := readLog(t, name)
			values := map[string][]byte{}
			for i := range l.Events {
				if e := &l.Events[i]; e.Type == eventlog.EFIVariableDriverConfig {
					key, value := splitVariable(t, e.Data)
					values[key] = value
				}
			}
			in := Input{Variables: store(t,
				imagetest.Variable{GUID: guidGlobal, Name: "PK", Data: values["PK"]},
				imagetest.Variable{GUID: guidGlobal, Name: "KEK", Data: values["KEK"]},
				imagetest.Variable{GUID: guidDatabase, Name: "db", Data: values["db"]},
				imagetest.Variable{GUID: guidDatabase, Name: "dbx", Data: values["dbx"]},
			)}
			p, err := Boot(in)
			if err != nil {
				t.Fatal(err)
			}
			if p.SecureBoot != eventlog.SecureBootOn {
				t.Errorf("Secure Boot is %s, want on", p.SecureBoot)
			}
			if p.Coverage[7].Degree != None || len(p.PCR(7)) != 0 {
				t.Errorf("without programs, PCR 7 is %+v, want none", p.Coverage[7])
			}
			in.UKI = File{"uki", ukiImage("quiet")}
			p = boot(t, in)
			unknown, missing := differ(p, &eventlog.Log{Format: l.Format, Banks: l.Banks, Events: configuration(l)})
			if len(unknown) != 0 {
				t.Errorf("variables that are not predicted: %v", unknown)
			}
			for _, m := range missing {
				if m.PCR == 7 && m.Slot != "EV_EFI_VARIABLE_AUTHORITY db" {
					t.Errorf("missing: %v", m)
				}
			}
		})
	}
}

// configuration returns the events of PCR 7 up to its separator.
func configuration(l *eventlog.Log) []eventlog.Event {
	var out []eventlog.Event
	for _, e := range l.Events {
		if e.PCR == 7 {
			out = append(out, e)
			if e.Type == eventlog.Separator {
				break
			}
		}
	}
	return out
}
