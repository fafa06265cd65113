package eventlog

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSafeText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain\x00\x00", "plain"},
		{"a\nb\tc\rd", `a\nb\tc\rd`},
		{"\x1b[31mred", `\x1b[31mred`},
		{"evil\u202egnp.exe", `evil\u202egnp.exe`},
		{"zero\u200bwidth\u2066", `zero\u200bwidth\u2066`},
		{"\u009b2J", `\u009b2J`},
		{"bad\xff\xfeutf8", `bad\xff\xfeutf8`},
		{"nul\x00inside", `nul\x00inside`},
		{"größe 语", "größe 语"},
		{`C:\path "quoted" 'x'`, `C:\path "quoted" 'x'`},
		{strings.Repeat("a", 20), strings.Repeat("a", 16) + "..."},
	}
	for _, tt := range tests {
		limit := 64
		if strings.HasSuffix(tt.want, "...") {
			limit = 16
		}
		if got := safeText([]byte(tt.in), limit); got != tt.want {
			t.Errorf("safeText(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSafeUTF16(t *testing.T) {
	for in, want := range map[string]string{
		"Boot\x00rest": "Boot",
		"\x1b[0m":      `\x1b[0m`,
		"a\u202eb":     `a\u202eb`,
		"😀":            "😀",
	} {
		if got := safeUTF16(utf16le(in), 64); got != want {
			t.Errorf("safeUTF16(%q) = %q, want %q", in, got, want)
		}
	}
	if got := safeUTF16([]byte{0x3d, 0xd8, 'x', 0, 'y'}, 64); got != `\ufffdx` {
		t.Errorf("lone surrogate and odd byte = %q", got)
	}
	if got := safeUTF16(utf16le(strings.Repeat("b", 40)), 10); got != "bbbbbbbbbb..." {
		t.Errorf("long text = %q", got)
	}
}

func TestDevicePath(t *testing.T) {
	acpi := node(2, 1, le32(acpiPCIRoot), le32(0))
	pci := node(1, 1, []byte{0, 3})
	disk := node(4, 1, le32(1), le64(0x800), le64(0x1000), guidShim[:], []byte{2, 2})
	mbr := node(4, 1, le32(1), le64(1), le64(2), make([]byte, 16), []byte{1, 1})
	mac := node(3, 11, []byte{1, 2, 3, 4, 5, 6}, make([]byte, 26), []byte{1})
	tests := []struct {
		name       string
		path       []byte
		text, file string
	}{
		{
			"disk", join(acpi, pci, disk, node(4, 4, utf16le("\\EFI\\BOOT\x00")), node(4, 4, utf16le("BOOTX64.EFI\x00")), endNode),
			`PciRoot(0x0)/Pci(0x3,0x0)/HD(1,GPT,605dab50-e046-4300-abb6-3dd810dd8b23,0x800,0x1000)/\EFI\BOOT/BOOTX64.EFI`, `\EFI\BOOT\BOOTX64.EFI`,
		},
		{"volume", join(node(4, 7, guidShim[:]), node(4, 6, guidShim[:]), endNode), "Fv(shim)/FvFile(shim)", ""},
		{"network", join(mac, node(3, 12, []byte{10, 0, 0, 2, 10, 0, 0, 1}, make([]byte, 11)), endNode), "MAC(010203040506,0x1)/IPv4(10.0.0.1,10.0.0.2)", ""},
		{"IPv6 and URI", join(node(3, 13, make([]byte, 32)), node(3, 24, []byte("http://a/\x1b"))), `IPv6(::,::)/Uri(http://a/\x1b)`, ""},
		{
			"storage", join(node(3, 18, le16(1), le16(2), le16(3)), node(3, 23, le32(1), make([]byte, 8)), node(3, 2, le16(1), le16(0)), node(3, 5, []byte{1, 2}), node(3, 1, []byte{0, 1}, le16(2))),
			"Sata(0x1,0x2,0x3)/NVMe(0x1,0000000000000000)/Scsi(0x1,0x0)/USB(0x1,0x2)/Ata(0,1,2)", "",
		},
		{
			"cards", join(node(3, 26, []byte{1}), node(3, 29, []byte{0}), node(3, 20, le16(7)), node(3, 15, le16(1), le16(2), []byte{3, 4, 5}), node(3, 16, le16(1), le16(2), le16(3), utf16le("S1"))),
			"SD(1)/eMMC(0)/Vlan(7)/UsbClass(0x1,0x2,0x3)/UsbWwid(0x2,0x3,0x1,S1)", "",
		},
		{
			"hardware", join(node(1, 3, le32(11), le64(1), le64(2)), node(1, 4, guidShim[:]), node(1, 5, le32(1)), node(2, 3, le32(5)), node(2, 2, le32(1), le32(2), le32(3), []byte{0}), node(2, 1, le32(7), le32(1))),
			"MemoryMapped(0xb,0x1,0x2)/VenHw(shim)/Ctrl(0x1)/AcpiAdr(0x5)/AcpiEx(0x00000001,0x00000003,0x2)/Acpi(0x00000007,0x1)", "",
		},
		{
			"media", join(node(4, 2, le32(1), le64(2), le64(3)), node(4, 3, guidShim[:]), node(4, 8, le32(0), le64(1), le64(2)), node(4, 9, le64(1), le64(2), guidShim[:], le16(0)), mbr, node(3, 10, guidShim[:])),
			"CDROM(1,0x2,0x3)/VenMedia(shim)/Offset(0x1,0x2)/RamDisk(0x1,0x2,shim)/HD(1,MBR,0x00000000,0x1,0x2)/VenMsg(shim)", "",
		},
		{"BIOS and PCIe", join(node(5, 1, le16(2), le16(0), []byte("Harddisk\x00")), node(2, 1, le32(acpiPCIeRoot), le32(2))), "BBS(0x2,Harddisk)/PcieRoot(0x2)", ""},
		{"instances", join(pci, node(0x7f, 1), pci, endNode, pci), "Pci(0x3,0x0)/(next instance)/Pci(0x3,0x0)", ""},
		{"unknown node", node(9, 9, []byte{1, 2}), "Path(9,9,0102)", ""},
		{"short node", node(1, 1, []byte{1}), "Path(1,1,01)", ""},
		{"size zero", []byte{1, 1, 0, 0}, "(node of 0 bytes, 4 left)", ""},
		{"size beyond", []byte{1, 1, 9, 0, 0}, "(node of 9 bytes, 5 left)", ""},
		{"cut off", []byte{1, 1}, "(cut off)", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseDevicePath(tt.path)
			if got.text != tt.text || got.file != tt.file {
				t.Errorf("got  %s, file %q\nwant %s, file %q", got.text, got.file, tt.text, tt.file)
			}
		})
	}
	long := parseDevicePath(bytes.Repeat(pci, 100_000))
	if n := strings.Count(long.text, "Pci("); n != maxNodes || !strings.HasSuffix(long.text, "/...") {
		t.Errorf("%d nodes printed, want %d", n, maxNodes)
	}
}

func TestLoadOption(t *testing.T) {
	path := join(node(1, 1, []byte{0, 3}), endNode)
	option := join(le32(9), le16(uint16(len(path))), utf16le("Linux\x00"), path, []byte("quiet"))
	e := loose(1, EFIVariableBoot, variableData(guidGlobalVariable, "Boot0001", option))
	d := e.Describe()
	if d.Detail != "Linux: Pci(0x3,0x0)" || d.Fields["active"] != true || d.Fields["hidden"] != true || d.Fields["optional_data"] != "quiet" {
		t.Errorf("boot entry = %+v", d)
	}
	for n := range len(option) - 5 {
		e.Data = variableData(guidGlobalVariable, "Boot0001", option[:n])
		if d := e.Describe(); n > 0 && d.Fields["problem"] == nil {
			t.Errorf("%d bytes of a load option: %+v", n, d)
		}
	}
}

// A signature list's own header is no signature, and a list whose sizes do not add up is not read.
func TestSignatureDatabase(t *testing.T) {
	owner := guidShim[:]
	h1, h2 := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	one := signatureList(guidCertSHA256, nil, 48, join(owner, h1))
	evil := signatureList(guidCertSHA256, bytes.Repeat([]byte{0xee}, 48), 48, join(owner, h2))
	s := parseSignatures(join(one, evil))
	want := []string{"sha256:" + strings.Repeat("01", 32), "sha256:" + strings.Repeat("02", 32)}
	if diff := cmp.Diff(want, s.hashes); diff != "" || s.problem != "" {
		t.Errorf("%s\n%s", s.problem, diff)
	}
	bad := map[string][]byte{
		"cut off":       one[:20],
		"size beyond":   signatureList(guidCertSHA256, nil, 48, join(owner, h1))[:70],
		"odd size":      signatureList(guidCertSHA256, []byte{1}, 48, join(owner, h1)[:47]),
		"wrong size":    signatureList(guidCertSHA256, nil, 49, append(join(owner, h1), 0)),
		"size zero":     signatureList(guidCertSHA256, nil, 0),
		"owner only":    signatureList(guidCertX509, nil, 16, owner),
		"header beyond": join(guidCertSHA256[:], le32(28), le32(0xffffffff), le32(48)),
		"list too small": join(guidCertSHA256[:], le32(4), le32(0), le32(48),
			make([]byte, 100)),
	}
	for name, b := range bad {
		if s := parseSignatures(b); s.problem == "" || s.hashes != nil || s.certificates != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := parseSignatures(bytes.Repeat(signatureList(guidCertSHA256, nil, 48), 100_000)); s.problem != "too many signature lists" {
		t.Errorf("endless lists: %q", s.problem)
	}
	many := parseSignatures(signatureList(guidCertSHA256, nil, 48, bytes.Repeat(join(owner, h1), 1)))
	if many.counts["sha256"] != 1 {
		t.Errorf("counts = %v", many.counts)
	}
	big := signatureList(guidCertSHA256, nil, 48, slicesOf(join(owner, h1), 5000)...)
	if s := parseSignatures(big); s.counts["sha256"] != 5000 || len(s.hashes) != maxListed {
		t.Errorf("%d hashes listed of %v", len(s.hashes), s.counts)
	}
	if detail := describeDatabase(join(one, one[:10]), map[string]any{}); !strings.Contains(detail, "1 sha256, then unreadable") {
		t.Errorf("detail %q", detail)
	}
}

func slicesOf(b []byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// Certificates of a real db are told by their names, and broken ones by their digest.
func TestCertificates(t *testing.T) {
	raw, _ := genuine(t, "grub-secure-boot")
	found := map[string]bool{}
	for _, e := range mustParse(t, raw).Events {
		d := e.Describe()
		if c, ok := d.Fields["certificates"].([]map[string]any); ok {
			for _, c := range c {
				found[c["subject"].(string)] = true
			}
		}
		if e.Type == EFIVariableAuthority {
			found[d.Detail] = true
		}
	}
	for _, want := range []string{
		"CN=Microsoft Corporation UEFI CA 2011,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US", "CN=Debian Secure Boot CA",
	} {
		if !found[want] {
			t.Errorf("no certificate %q in %v", want, found)
		}
	}
	for _, der := range [][]byte{{}, {0x30, 0x82, 0, 0, 0}, append([]byte{0x30, 0x82}, make([]byte, maxCertificate)...)} {
		if c := describeCertificate(der); !strings.HasPrefix(c["subject"].(string), "unreadable certificate") {
			t.Errorf("certificate of %d bytes: %v", len(der), c)
		}
	}
	d := loose(7, EFIVariableAuthority, variableData(guidImageSecurity, "db", join(guidShim[:], make([]byte, 32)))).Describe()
	if d.Detail != "image digest "+strings.Repeat("00", 32) {
		t.Errorf("authority by digest: %+v", d)
	}
}

// Nested Windows tags are listed with bounds on depth and number.
func TestTags(t *testing.T) {
	tag := func(id uint32, data []byte) []byte { return join(le32(id), le32(uint32(len(data))), data) }
	deep := []byte{1}
	for range 10_000 {
		deep = tag(0x40010001, deep)
	}
	d := loose(12, EventTag, deep).Describe()
	items, _ := d.Fields["items"].([]string)
	if len(items) != maxTagDepth+1 {
		t.Errorf("%d items of a deep nesting, want %d", len(items), maxTagDepth+1)
	}
	if d := loose(12, EventTag, bytes.Repeat(tag(1, nil), maxTags+1)).Describe(); d.Fields["problem"] == nil {
		t.Errorf("more than %d tags: %s", maxTags, d.Detail)
	}
	d = loose(12, EventTag, tag(0x40010001, join(tag(5, utf16le("name\x00")), tag(6, []byte{1, 2})))).Describe()
	want := []string{"0x40010001:", "  0x00000005 name", "  0x00000006 0102"}
	if diff := cmp.Diff(want, d.Fields["items"]); diff != "" {
		t.Error(diff)
	}
}
