package eventlog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Slots of a genuine boot, as somebody would read them.
func TestSlots(t *testing.T) {
	raw, _ := genuine(t, "uki-signed-snakeoil")
	l := mustParse(t, raw)
	var got []string
	for i := range l.Events {
		if s := l.Events[i].Slot(); !slices.Contains(got, s) {
			got = append(got, s)
		}
	}
	want := []string{
		"EV_S_CRTM_VERSION",
		"EV_EFI_PLATFORM_FIRMWARE_BLOB 0x820000",
		"EV_EFI_PLATFORM_FIRMWARE_BLOB 0x900000",
		"EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot",
		"EV_EFI_VARIABLE_DRIVER_CONFIG PK",
		"EV_EFI_VARIABLE_DRIVER_CONFIG KEK",
		"EV_EFI_VARIABLE_DRIVER_CONFIG db",
		"EV_EFI_VARIABLE_DRIVER_CONFIG dbx",
		"EV_SEPARATOR",
		"EV_EFI_VARIABLE_BOOT BootOrder",
		"EV_EFI_VARIABLE_BOOT Boot0001",
		"EV_EFI_VARIABLE_BOOT Boot0000",
		"EV_EFI_VARIABLE_BOOT Boot0002",
		"EV_EFI_ACTION Calling EFI Application from Boot Option",
		"EV_EFI_VARIABLE_AUTHORITY db",
		"EV_EFI_GPT_EVENT",
		`EV_EFI_BOOT_SERVICES_APPLICATION \EFI\BOOT\BOOTX64.EFI`,
		"EV_IPL .linux (name)", "EV_IPL .linux",
		"EV_IPL .osrel (name)", "EV_IPL .osrel",
		"EV_IPL .cmdline (name)", "EV_IPL .cmdline",
		"EV_IPL .initrd (name)", "EV_IPL .initrd",
		"EV_EVENT_TAG Linux load options", "EV_EVENT_TAG Linux initrd",
		"EV_EFI_ACTION Exit Boot Services Invocation", "EV_EFI_ACTION Exit Boot Services Returned with Success",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Boots of one system have the same slots in the same order, whatever differs in content.
func TestSlotsAreStable(t *testing.T) {
	slots := func(name string) (out []string) {
		raw, _ := genuine(t, name)
		for _, e := range mustParse(t, raw).Events {
			out = append(out, e.Slot())
		}
		return out
	}
	want := slots("uki")
	for _, name := range []string{"uki-cmdline", "uki-firmware"} {
		if diff := cmp.Diff(want, slots(name)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// The measured command line is the one that the running kernel showed.
func TestCommandLines(t *testing.T) {
	for name, pick := range map[string]func(string) string{
		"systemd-boot":     func(s string) string { return s },
		"grub-secure-boot": func(s string) string { return strings.Replace(s, "BOOT_IMAGE=", "", 1) },
	} {
		raw, _ := genuine(t, name)
		want := pick(strings.TrimSpace(string(readFile(t, testdata+"/"+name+".cmdline"))))
		var got []string
		l := mustParse(t, raw)
		for i := range l.Events {
			e := &l.Events[i]
			if d := e.Describe(); d.Kind == "kernel command line" {
				got = append(got, d.Detail)
				if d.Name != "kernel_cmdline" || !e.DataMatches(pcr.SHA256) {
					t.Errorf("%s: name %q, bound %v", name, d.Name, e.DataMatches(pcr.SHA256))
				}
			}
		}
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestDescribe(t *testing.T) {
	sbat := variableData(guidShim, "SbatLevel", []byte("sbat,1,2021030218\n"))
	blob2 := join([]byte{4}, []byte("DXE\x00"), le64(0x1000), le64(0x20))
	tables := join(le64(1), guidOf("ACPI 2.0"), le64(0x7000))
	tables2 := join([]byte{5}, []byte("ACPI\x00"), le64(1), guidOf("ACPI 2.0"), le64(0x7000))
	tag := func(id uint32, data []byte) []byte { return join(le32(id), le32(uint32(len(data))), data) }
	tests := []struct {
		name               string
		e                  *Event
		kind, slot, detail string
	}{
		{"separator", loose(0, Separator, []byte{0, 0, 0, 0}), "separator", "EV_SEPARATOR", "end of the firmware's measurements"},
		{"error separator", loose(0, Separator, []byte{1, 0, 0, 0}), "separator", "EV_SEPARATOR", "the firmware reports an error"},
		{"Windows separator", loose(12, Separator, []byte("WBCL")), "separator", "EV_SEPARATOR", "WBCL"},
		{"version", loose(0, SCRTMVersion, utf16le("v1.12\x00")), "firmware version", "EV_S_CRTM_VERSION", "v1.12"},
		{"version GUID", loose(0, SCRTMVersion, guidImageSecurity[:]), "firmware version", "EV_S_CRTM_VERSION", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"},
		{"contents", loose(0, SCRTMContents, []byte("Boot Guard\x00")), "root of trust", "EV_S_CRTM_CONTENTS Boot Guard", "Boot Guard"},
		{"blob", loose(0, EFIPlatformFirmwareBlob, join(le64(0x820000), le64(0xe0000))), "firmware volume", "EV_EFI_PLATFORM_FIRMWARE_BLOB 0x820000", "917504 bytes at 0x820000"},
		{"blob 2", loose(0, EFIPlatformFirmwareBlob2, blob2), "firmware volume", "EV_EFI_PLATFORM_FIRMWARE_BLOB2 DXE", "32 bytes at 0x1000"},
		{"bad blob", loose(0, EFIPlatformFirmwareBlob, []byte{1, 2}), "firmware volume", "EV_EFI_PLATFORM_FIRMWARE_BLOB", "0102"},
		{"post code", loose(0, PostCode, []byte("ACPI DATA")), "firmware code", "EV_POST_CODE ACPI DATA", "ACPI DATA"},
		{"tables", loose(1, EFIHandoffTables, tables), "configuration tables", "EV_EFI_HANDOFF_TABLES ACPI 2.0", "ACPI 2.0"},
		{"tables 2", loose(1, EFIHandoffTables2, tables2), "configuration tables", "EV_EFI_HANDOFF_TABLES2 ACPI", "ACPI 2.0"},
		{"GRUB", loose(8, IPL, []byte("grub_cmd: set x=1\x00")), "GRUB command", "EV_IPL grub_cmd", "set x=1"},
		{"GRUB file", loose(9, IPL, []byte("(hd0)/grub.cfg\x00")), "file read by the boot loader", "EV_IPL (hd0)/grub.cfg", "(hd0)/grub.cfg"},
		{"MOK", loose(14, IPL, []byte("MokListX\x00")), "machine owner keys", "EV_IPL MokListX", "MokListX"},
		{"raw IPL", loose(9, IPL, []byte{1, 0xff}), "boot loader event", "EV_IPL", "01ff"},
		{"stub", loose(11, IPL, utf16le(".linux\x00")), "systemd-stub section", "EV_IPL .linux", "content of section .linux"},
		{"initrd", loose(9, EventTag, tag(0x8f3b22ec, []byte("Linux initrd\x00"))), "tagged event", "EV_EVENT_TAG Linux initrd", "Linux initrd"},
		{"unknown tag", loose(9, EventTag, tag(7, []byte("x"))), "tagged event", "EV_EVENT_TAG 0x00000007", "x"},
		{"bad tag", loose(9, EventTag, tag(7, []byte("x"))[:8]), "tagged event", "EV_EVENT_TAG", "0700000001000000"},
		{"Windows", loose(12, EventTag, tag(0x40010001, tag(5, []byte{1}))), "Windows boot configuration", "EV_EVENT_TAG 0x40010001", "2 items"},
		{"locality", loose(0, NoAction, locality(3).data), "startup locality", "EV_NO_ACTION StartupLocality", "locality 3"},
		{"SBAT", loose(7, EFIVariableAuthority, sbat), "Secure Boot authority", "EV_EFI_VARIABLE_AUTHORITY SbatLevel", `sbat,1,2021030218\n`},
		{"setup mode", loose(7, EFIVariableDriverConfig, variableData(guidGlobalVariable, "SetupMode", []byte{1})), "EFI variable", "EV_EFI_VARIABLE_DRIVER_CONFIG SetupMode", "on"},
		{"no variable", loose(7, EFIVariableDriverConfig, []byte("x")), "EFI variable", "EV_EFI_VARIABLE_DRIVER_CONFIG", "78"},
		{"H-CRTM", loose(0, EFIHCRTMEvent, []byte("HCRTM")), "hardware root of trust", "EV_EFI_HCRTM_EVENT HCRTM", "HCRTM"},
		{"unknown type", loose(0, 0x80001234, []byte{0}), "event", "EV_UNKNOWN_0x80001234", "00"},
		{"cut GPT", loose(5, EFIGPTEvent, []byte("EFI PART")), "partition table", "EV_EFI_GPT_EVENT", "4546492050415254"},
		{"memory image", loose(4, EFIBootServicesApplication, imageLoad(nil)), "boot application", "EV_EFI_BOOT_SERVICES_APPLICATION", "loaded from memory"},
		{"runtime driver", loose(2, EFIRuntimeServicesDriver, []byte{1}), "runtime driver", "EV_EFI_RUNTIME_SERVICES_DRIVER", "01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.e.Describe()
			if d.Kind != tt.kind || d.Detail != tt.detail || tt.e.Slot() != tt.slot {
				t.Errorf("got %q, %q, slot %q\nwant %q, %q, slot %q", d.Kind, d.Detail, tt.e.Slot(), tt.kind, tt.detail, tt.slot)
			}
		})
	}
}

// guidOf returns the bytes of a named GUID.
func guidOf(name string) []byte {
	for g, n := range guidNames {
		if n == name {
			return g[:]
		}
	}
	panic("no GUID " + name)
}

func TestReferenceManifest(t *testing.T) {
	sized := func(s string) []byte { return append([]byte{byte(len(s) + 1)}, append([]byte(s), 0)...) }
	base := join(le32(11129), guidImageSecurity[:])
	strings2 := join(sized("Acme"), sized("R7"), sized("2"), sized("Acme FW"), le32(11129), sized("2.4.1"))
	locators := join(le32(1), le32(18), []byte("https://acme.test\x00"), le32(3), le32(16+8), guidShim[:], utf16le("Cert"))
	d := loose(0, NoAction, join([]byte("SP800-155 Event3"), base, strings2, locators)).Describe()
	want := map[string]any{
		"vendor_id": uint32(11129), "manifest": "d719b2cb-3d3a-4596-a3bc-dad00e67656f", "platform_manufacturer": "Acme",
		"platform_model": "R7", "platform_version": "2", "firmware_manufacturer": "Acme FW",
		"firmware_manufacturer_id": uint32(11129), "firmware_version": "2.4.1",
		"manifest_location": "https://acme.test", "certificate_location": "variable Cert of shim",
	}
	if diff := cmp.Diff(want, d.Fields); diff != "" || d.Kind != "reference manifest" {
		t.Errorf("%s:\n%s", d.Kind, diff)
	}
	d = loose(0, NoAction, join([]byte("SP800-155 Event\x00"), base)).Describe()
	if d.Kind != "reference manifest" || d.Fields["problem"] != nil {
		t.Errorf("version 1: %+v", d)
	}
	d = loose(0, NoAction, join([]byte("SP800-155 Event2"), base)).Describe()
	if d.Fields["problem"] != "the event is cut off" {
		t.Errorf("cut off: %+v", d)
	}
}

func TestGPT(t *testing.T) {
	raw, _ := genuine(t, "uki")
	for _, e := range mustParse(t, raw).Events {
		if e.Type != EFIGPTEvent {
			continue
		}
		d := e.Describe()
		entries, _ := d.Fields["entries"].([]map[string]any)
		if len(entries) != 1 || entries[0]["type"] != "EFI system partition" || entries[0]["first_lba"] != uint64(2048) {
			t.Errorf("partitions = %+v", d.Fields)
		}
		cut := loose(5, EFIGPTEvent, e.Data[:120]).Describe()
		if cut.Fields["problem"] != "partition entries are cut off" {
			t.Errorf("cut off: %+v", cut)
		}
		return
	}
	t.Error("no partition table")
}

// The view is JSON with the names that tools rely on.
func TestView(t *testing.T) {
	raw, quoted := genuine(t, "direct-four-banks")
	b, err := json.Marshal(mustParse(t, raw).View())
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Events  int
		Format  string
		Banks   []string
		PCRs    map[string]map[string]string
		Entries []map[string]any
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if v.Format != "tcg2" || v.Events != 24 || len(v.Entries) != 24 || v.PCRs["sha256"]["0"] != quoted.Strings()["0"] {
		t.Errorf("view: %s, %d events, %d entries", v.Format, v.Events, len(v.Entries))
	}
	if diff := cmp.Diff([]string{"sha1", "sha256", "sha384", "sha512"}, v.Banks); diff != "" {
		t.Error(diff)
	}
	for _, key := range []string{"number", "offset", "pcr", "type", "slot", "digests", "size", "bound", "kind"} {
		if _, ok := v.Entries[0][key]; !ok {
			t.Errorf("entry has no %q: %v", key, v.Entries[0])
		}
	}
}

// What testdata's README says about differences between boots is so.
func TestDifferences(t *testing.T) {
	_, base := genuine(t, "uki")
	for name, want := range map[string]pcr.Selection{
		"uki-cmdline": pcr.Select(4, 9, 10, 11), "uki-firmware": pcr.Select(0, 10), "uki-signed-snakeoil": pcr.Select(0, 4, 7, 10),
	} {
		_, other := genuine(t, name)
		var got pcr.Selection
		for i := range pcr.Count {
			if string(base.Value(i)) != string(other.Value(i)) {
				got |= 1 << i
			}
		}
		if got != want {
			t.Errorf("%s differs from uki in PCRs %s, want %s", name, got, want)
		}
	}
}
