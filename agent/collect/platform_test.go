package collect

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
)

const secureBootVar = efivars + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// describe reads the tree's platform and checks that it can be sent.
func describe(t *testing.T, tr tree) proto.Platform {
	t.Helper()
	p := tr.collector().Platform()
	b, err := proto.Encode(&p)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > proto.MaxPlatform {
		t.Errorf("%d bytes, at most %d allowed", len(b), proto.MaxPlatform)
	}
	var again proto.Platform
	if err := proto.Decode(b, &again); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Errorf("changed by encoding (-want +got):\n%s", diff)
	}
	return p
}

func (t tree) esrt(n int, class, version, lowest string) {
	dir := fmt.Sprintf("%s/entry%d/", esrt, n)
	t.write(dir+"fw_class", class)
	t.write(dir+"fw_version", version)
	t.write(dir+"lowest_supported_fw_version", lowest)
}

// pc makes a UEFI machine as sysfs shows one, links included.
func pc(tr tree) {
	for name, v := range map[string]string{
		"sys_vendor": "Acme Telecom\n", "product_name": "Router 7  \n", "board_name": "R7-MB\n",
		"bios_vendor": "EDK II\n", "bios_version": "2.4.1\n", "bios_date": "02/06/2015\n", "product_serial": "secret\n",
	} {
		tr.write("sys/devices/virtual/dmi/id/"+name, v)
	}
	tr.link("../../devices/virtual/dmi/id", "sys/class/dmi/id")
	tr.write(secureBootVar, "\x06\x00\x00\x00\x01")
	tr.esrt(10, "E8D4D0BB-0000-4000-8000-0123456789AB\n", "65538\n", "1\n")
	tr.esrt(2, "11111111-2222-3333-4444-555555555555\n", "7\n", "0\n")
	tr.write("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n")
	tr.write("sys/bus/pci/devices/0000:00:00.0/device", "0x29c0\n")
	tr.write("sys/bus/pci/devices/0000:00:00.0/class", "0x060000\n")
	tr.write("proc/version", "Linux version 6.1.0 (builder@host) #1 SMP\n")
	tr.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet\n")
	tr.write("usr/lib/os-release", "NAME=\"Acme\"\nPRETTY_NAME=\"Acme \\\"OS\\\" 12\"\n")
	tr.link("/usr/lib/os-release", "etc/os-release")
}

func TestPlatformOfAPC(t *testing.T) {
	tr := newTree(t)
	pc(tr)
	got := describe(t, tr)
	if got.Architecture == "" {
		t.Error("no architecture")
	}
	got.Architecture = ""
	want := proto.Platform{
		Vendor: "Acme Telecom", Model: "Router 7", Board: "R7-MB",
		FirmwareVendor: "EDK II", FirmwareVersion: "2.4.1", FirmwareDate: "02/06/2015",
		Kernel: "Linux version 6.1.0 (builder@host) #1 SMP", CommandLine: "BOOT_IMAGE=/vmlinuz quiet", OS: `Acme "OS" 12`,
		SecureBoot: "on",
		Firmware: []proto.FirmwareVersion{
			{Class: "11111111-2222-3333-4444-555555555555", Version: 7},
			{Class: "e8d4d0bb-0000-4000-8000-0123456789ab", Version: 65538, Lowest: 1},
		},
		Devices: []proto.BusDevice{{Bus: "pci", Address: "0000:00:00.0", Name: "8086:29c0 class 060000"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Platform (-want +got):\n%s", diff)
	}
	tr.write(secureBootVar, "\x06\x00\x00\x00\x00")
	if got := describe(t, tr); got.SecureBoot != "off" || got.Unavailable != nil {
		t.Errorf("Secure Boot %q, unavailable %q", got.SecureBoot, got.Unavailable)
	}
}

func TestPlatformOfABoard(t *testing.T) {
	tr := newTree(t)
	tr.write(devicetree+"/model", "Acme Base Station 5\x00")
	tr.write(devicetree+"/compatible", "acme,bs5\x00nxp,imx8mm\x00")
	tr.write(devicetree+"/chosen/u-boot,version", "2023.01+dfsg\x00")
	tr.write("proc/version", "Linux")
	tr.write("proc/cmdline", "")
	tr.write("etc/os-release", "PRETTY_NAME='Board Linux'\n")
	tr.write("sys/bus/i2c/devices/3-0050/name", "24c32\n")
	got := describe(t, tr)
	unavailable := got.Unavailable
	got.Architecture, got.Unavailable = "", nil
	want := proto.Platform{
		Vendor: "acme", Model: "Acme Base Station 5", Board: "bs5", FirmwareVendor: "U-Boot", FirmwareVersion: "2023.01+dfsg",
		Kernel: "Linux", OS: "Board Linux",
		Devices: []proto.BusDevice{{Bus: "i2c", Address: "3-0050", Name: "24c32"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Platform (-want +got):\n%s", diff)
	}
	none := "not-supported: this machine did not start through UEFI: there is no " + tr.path(efi)
	if diff := cmp.Diff(map[string]string{"firmware": none, "secure-boot": none}, unavailable); diff != "" {
		t.Errorf("unavailable (-want +got):\n%s", diff)
	}
}

func TestPlatformReasons(t *testing.T) {
	guid := "11111111-2222-3333-4444-555555555555"
	for _, tc := range []struct {
		name, key, says string
		make            func(tree)
	}{
		{"no identity", "identity", "not-found: neither", func(tr tree) { tr.remove("sys/class/dmi/id") }},
		{"identity is a directory", "identity", "malformed: ", func(tr tree) {
			tr.remove("sys/class/dmi/id/board_name")
			tr.write("sys/class/dmi/id/board_name/x", "")
		}},
		{"devicetree is damaged", "identity", "malformed: ", func(tr tree) { tr.write(devicetree+"/model/x", "") }},
		{"no efivarfs", "secure-boot", "mount -t efivarfs efivarfs", func(tr tree) { tr.remove(secureBootVar) }},
		{"no variable", "secure-boot", "no Secure Boot", func(tr tree) {
			tr.remove(secureBootVar)
			tr.write(efivars+"/Boot0000-x", "")
		}},
		{"efivarfs is a file", "secure-boot", "efivarfs is not mounted", func(tr tree) {
			tr.remove(efivars)
			tr.write(efivars, "")
		}},
		{"no value", "secure-boot", "malformed: ", func(tr tree) { tr.write(secureBootVar, "\x06\x00\x00\x00") }},
		{"strange value", "secure-boot", "malformed: ", func(tr tree) { tr.write(secureBootVar, "\x06\x00\x00\x00\x02") }},
		{"endless variable", "secure-boot", "too-large: ", func(tr tree) { tr.write(secureBootVar, strings.Repeat("\x01", maxText+1)) }},
		{"no ESRT", "firmware", "not-found: ", func(tr tree) { tr.remove(efi + "/esrt") }},
		{"no GUID", "firmware", "want a GUID", func(tr tree) { tr.esrt(3, strings.Replace(guid, "1", "g", 1), "1", "1") }},
		{"short GUID", "firmware", "want a GUID", func(tr tree) { tr.esrt(3, guid[1:], "1", "1") }},
		{"no version", "firmware", "32 bits", func(tr tree) { tr.esrt(3, guid, "4294967296", "1") }},
		{"no lowest version", "firmware", "32 bits", func(tr tree) { tr.esrt(3, guid, "1", "-1") }},
		{"entry without files", "firmware", "not-found: ", func(tr tree) { tr.write(esrt+"/entry4/x", "") }},
		{"too many entries", "firmware", "too-large: ", func(tr tree) {
			for i := range maxResources + 1 {
				tr.esrt(i, guid, "1", "1")
			}
		}},
		{"no command line", "command-line", "not-found: ", func(tr tree) { tr.remove("proc/cmdline") }},
		{"command line is a directory", "command-line", "malformed: ", func(tr tree) {
			tr.remove("proc/cmdline")
			tr.write("proc/cmdline/x", "")
		}},
		{"no os-release", "os", "not-found: ", func(tr tree) { tr.remove("usr") }},
		{"no name", "os", "no PRETTY_NAME", func(tr tree) { tr.write("usr/lib/os-release", "NAME=x\n") }},
		{"no buses", "devices", "not-found: none of the buses", func(tr tree) { tr.remove("sys/bus") }},
		{"bus is a file", "devices", "io-error: ", func(tr tree) { tr.link("devices", "sys/bus/spi/devices") }},
		{"id is a directory", "devices", "malformed: ", func(tr tree) { tr.write("sys/bus/pci/devices/0000:00:1f.0/vendor/x", "") }},
		{"no address", "devices", "is no address", func(tr tree) { tr.write("sys/bus/spi/devices/spi\x1b0/modalias", "") }},
		{"os-release too large", "os", "too-large: ", func(tr tree) { tr.write("usr/lib/os-release", strings.Repeat("#", maxText+1)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := newTree(t)
			pc(tr)
			tc.make(tr)
			got := describe(t, tr)
			if len(got.Unavailable) != 1 || !strings.Contains(got.Unavailable[tc.key], tc.says) {
				t.Errorf("unavailable = %q, want %s: ...%s...", got.Unavailable, tc.key, tc.says)
			}
		})
	}
}

// Strings of any size and content, from firmware or an administrator, fit into the protocol (ATTACKS row 14).
func TestPlatformHostileStrings(t *testing.T) {
	tr := newTree(t)
	pc(tr)
	hostile := strings.Repeat("\x1b[2J\xff<script>é\x00", 900)
	for _, name := range []string{"sys_vendor", "product_name", "board_name", "bios_vendor", "bios_version", "bios_date"} {
		tr.write("sys/class/dmi/id/"+name, hostile)
	}
	tr.write("proc/version", hostile)
	tr.write("proc/cmdline", hostile)
	tr.write("usr/lib/os-release", "PRETTY_NAME="+hostile+"\n")
	got := describe(t, tr)
	if len(got.CommandLine) > maxCommandLine || len(got.CommandLine) < maxCommandLine-10 || len(got.OS) < 240 {
		t.Errorf("command line of %d bytes, OS of %d", len(got.CommandLine), len(got.OS))
	}
	all := fmt.Sprint(got)
	if i := strings.IndexFunc(all, unicode.IsControl); i >= 0 || !utf8.ValidString(all) {
		t.Errorf("control character at %d, or not UTF-8", i)
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		`Arch`: "Arch", `"a b"`: "a b", `'a "b"'`: `a "b"`, `"a\$b\\c"`: `a$b\c`, `"a\nb"`: `a\nb`, `"`: `"`, `""`: "", `"a'`: `"a'`,
	} {
		if got := unquote(in); got != want {
			t.Errorf("unquote(%s) = %s, want %s", in, got, want)
		}
	}
}

// Whatever machine this is, its description and reasons can be sent.
func TestPlatformOfThisMachine(t *testing.T) {
	got := describe(t, tree{t, "/"})
	if _, err := os.Stat("/proc/version"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	if got.Kernel == "" || got.Architecture == "" {
		t.Errorf("kernel %q, architecture %q", got.Kernel, got.Architecture)
	}
	if _, err := New(Config{}).BootID(); err != nil {
		t.Error(err)
	}
	if b, un := New(Config{}).BootLog(); (un == nil) == (len(b) == 0) {
		t.Errorf("BootLog = %d bytes, %v", len(b), un)
	}
}
