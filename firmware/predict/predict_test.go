package predict

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a*", "a", true},
		{"a*", "ab/c", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"aa*aa", "aaa", false},
		{"*b*", "abc", true},
		{"*b*b", "abc", false},
		{"", "", true},
		{"*", "", true},
		{`a\*`, `a\b`, true},
		{"EV_IPL *", "EV_IPL", false},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("match(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

func TestEventMatches(t *testing.T) {
	d := digests([]byte("content"))
	e := Event{Slot: "slot a", SlotPattern: "slot*", Digests: d}
	unknown := Event{Slot: "slot a"}
	for _, c := range []struct {
		e      Event
		slot   string
		bank   pcr.Algorithm
		digest []byte
		want   bool
	}{
		{e, "slot b", pcr.SHA384, d[pcr.SHA384], true},
		{e, "slot a", pcr.SHA256, d[pcr.SHA384], false},
		{e, "slot a", pcr.SHA1, nil, false}, // a bank that nothing is predicted in
		{e, "other", pcr.SHA256, d[pcr.SHA256], false},
		{unknown, "slot a", pcr.SHA256, []byte{1}, true},
		{unknown, "slot b", pcr.SHA256, []byte{1}, false},
	} {
		if got := c.e.Matches(c.slot, c.bank, c.digest); got != c.want {
			t.Errorf("Matches(%q, %s, %x) = %v, want %v", c.slot, c.bank, c.digest, got, c.want)
		}
	}
}

func TestInputErrors(t *testing.T) {
	kernel, uki := File{"linux", kernelImage()}, File{"uki", ukiImage("quiet")}
	grub := []File{{"grub", grubImage64("/x", "", nil)}}
	for want, in := range map[string]Input{
		"nothing is given":                       {},
		"the loader is not stated":               {Kernel: kernel},
		"a unified kernel image and a kernel":    {Loader: LoaderUKI, UKI: uki, Kernel: kernel},
		`loader "uki" without`:                   {Loader: LoaderUKI, Kernel: kernel},
		`loader "grub" without the program`:      {Loader: LoaderGRUB, Kernel: kernel},
		`loader "grub" without a kernel`:         {Loader: LoaderGRUB, BootLoaders: grub},
		`loader "systemd-boot", but none`:        {Loader: LoaderSystemdBoot, BootLoaders: grub, Kernel: kernel},
		`loader "efi-stub" wants a kernel`:       {Loader: LoaderEFIStub, UKI: uki},
		`unknown loader "lilo"`:                  {Loader: "lilo", Kernel: kernel},
		"has its command line":                   {UKI: uki, Cmdline: "quiet"},
		"is no unified kernel image":             {UKI: kernel},
		"is no Linux kernel":                     {Loader: LoaderEFIStub, Kernel: grub[0]},
		"is given as a boot loader, but":         {Loader: LoaderGRUB, BootLoaders: []File{uki}, Kernel: kernel},
		"which must be the first":                {Loader: LoaderGRUB, BootLoaders: append(grub[:1:1], File{"s", shimImage(nil, nil, nil)}), Kernel: kernel},
		"there is a path, but no content":        {UKI: uki, Initrd: File{Path: "initrd"}},
		"without NUL and line end":               {UKI: File{"a\nb", uki.Content}},
		"9 boot loaders":                         {UKI: uki, BootLoaders: make([]File, 9)},
		"a command line of":                      {Loader: LoaderEFIStub, Kernel: kernel, Cmdline: strings.Repeat("x", MaxCmdline+1)},
		"a GRUB configuration of":                {UKI: uki, GRUB: GRUB{Config: File{Content: make([]byte, MaxScript+1)}}},
		"GRUB's path or device":                  {UKI: uki, GRUB: GRUB{Device: strings.Repeat("x", MaxPath+1)}},
		"Secure Boot state 7":                    {UKI: uki, SecureBoot: 7},
		"no GUID partition table":                {Disk: bytes.NewReader(make([]byte, 8192))},
		"read the partition table at byte 0x200": {Disk: bytes.NewReader(nil)},
	} {
		p, err := Boot(in)
		if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), want) || p != nil {
			t.Errorf("Boot() = %v, %v, want ErrInput with %q", p, err, want)
		}
	}
	var format *pecoff.FormatError
	if p, err := Boot(Input{UKI: File{"uki", uki.Content[:700]}}); !errors.As(err, &format) || p != nil {
		t.Errorf("Boot() of an image that is cut off = %v, %v, want a *pecoff.FormatError", p, err)
	}
}

// A partition table with sectors of 4 KiB, and tables that were damaged.
func TestPartitions(t *testing.T) {
	small := make([]byte, 40<<10)
	if _, err := gptDisk(9).ReadAt(small[:17<<10], 0); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 40<<10)
	copy(large[4096:], small[512:1024])
	copy(large[2*4096:], small[1024:])
	want, err := readPartitions(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readPartitions(bytes.NewReader(large)); err != nil || !bytes.Equal(got, want) || len(got) != 92+8+128 {
		t.Errorf("readPartitions() with sectors of 4 KiB = %d bytes, %v, want %d", len(got), err, len(want))
	}
	fix := func(b []byte) {
		clear(b[512+16 : 512+20])
		binary.LittleEndian.PutUint32(b[512+16:], crc32.ChecksumIEEE(b[512:512+92]))
	}
	for name, change := range map[string]func(b []byte){
		"header has a wrong checksum":  func(b []byte) { b[512+60]++ },
		"entries have a wrong":         func(b []byte) { b[1024+130]++ },
		"want at most 4096 of 128":     func(b []byte) { b[512+84] = 0; fix(b) },
		"at sector 1152921504606846":   func(b []byte) { b[512+79] = 0x10; fix(b) },
		"of 128 bytes at sector 2: wa": func(b []byte) { b[512+82] = 1; fix(b) },
	} {
		b := bytes.Clone(small)
		change(b)
		if got, err := readPartitions(bytes.NewReader(b)); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), name) || got != nil {
			t.Errorf("readPartitions() = %x, %v, want ErrInput with %q", got, err, name)
		}
	}
}

// slots lists the events of a PCR, those that are not required in brackets.
func slots(p *Prediction, i int) []string {
	var out []string
	for _, e := range p.PCR(i) {
		s := e.Slot
		if len(e.Digests) == 0 {
			s += "?"
		}
		if !e.Required {
			s = "[" + s + "]"
		}
		out = append(out, s)
	}
	return out
}

// What the stub's version and the image's sections change.
func TestUKIVariants(t *testing.T) {
	const options, initrd = "EV_EVENT_TAG Linux load options", "EV_EVENT_TAG Linux initrd"
	disk := section(".initrd", []byte("initrd"))
	versioned := func(v string, more ...imagetest.ProgramSection) []byte {
		return imagetest.UKI(v, []string{".linux"}, append([]imagetest.ProgramSection{section(".linux", kernelImage())}, more...)...)
	}
	const payload = "EV_EFI_BOOT_SERVICES_APPLICATION VenMedia(systemd-stub payload)"
	for name, c := range map[string]struct {
		uki     []byte
		linux   []string
		payload string
	}{
		"all":                   {ukiImage("quiet", disk), []string{options, initrd}, payload},
		"no initial RAM disk":   {ukiImage("quiet"), []string{options}, payload},
		"no command line":       {versioned("252", disk), []string{"[" + options + "?]", initrd}, payload},
		"command line with tab": {ukiImage("quiet\tx"), []string{"[" + options + "?]"}, payload},
		"signature":             {ukiImage("quiet", disk, section(".pcrsig", []byte("{}"))), []string{options, initrd + "?"}, payload},
		"os-release added":      {versioned("258", section(".data", utf16z("os-release")), disk), []string{"[" + options + "?]", initrd}, "[" + payload + "]"},
		"newer":                 {versioned("257.1"), []string{"[" + options + "?]"}, "[" + payload + "]"},
		"no version":            {versioned("main"), []string{"[" + options + "?]"}, "[" + payload + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := boot(t, Input{Variables: erased, UKI: File{"uki", c.uki}})
			if d := cmp.Diff(c.linux, slots(p, 9)); d != "" {
				t.Errorf("PCR 9 (-want +got):\n%s", d)
			}
			if s := slots(p, 4); len(s) < 4 || s[3] != c.payload {
				t.Errorf("PCR 4 = %q, want %q as the fourth", s, c.payload)
			}
		})
	}
	zboot := kernelImage()
	copy(zboot[4:], "zimg")
	p := boot(t, Input{Loader: LoaderEFIStub, Kernel: File{"linux", zboot}, Cmdline: "quiet"})
	if p.Coverage[9].Degree != None || p.Coverage[4].Degree != None {
		t.Errorf("coverage with a packed kernel: %+v, %+v, want none", p.Coverage[4], p.Coverage[9])
	}
}

// Boot entries are written with and without a NUL at the end of their options: both are expected, and no value is.
func TestEFIStub(t *testing.T) {
	in := Input{Loader: LoaderEFIStub, Kernel: File{`\linux.efi`, kernelImage()}, Cmdline: "quiet", Initrd: File{"", []byte("x")}}
	p := boot(t, in)
	var got [][]byte
	for _, e := range p.PCR(9) {
		got = append(got, e.Digests[pcr.SHA256])
	}
	options := utf16z("quiet")
	want := [][]byte{
		digests(options)[pcr.SHA256], digests(options[:len(options)-2])[pcr.SHA256], digests([]byte("x"))[pcr.SHA256],
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("PCR 9 (-want +got):\n%s", d)
	}
	if v := p.Value(9, pcr.SHA256); v != nil {
		t.Errorf("Value(9) = %x, want none", v)
	}
	for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA512} {
		if v := p.Value(11, a); v != nil {
			t.Errorf("Value(11, %s) = %x, want none", a, v)
		}
	}
	if p.Value(-1, pcr.SHA256) != nil || p.Value(pcr.Count, pcr.SHA256) != nil {
		t.Error("Value() of a PCR that does not exist, want none")
	}
	in.Cmdline = ""
	if d := cmp.Diff([]string{"EV_EVENT_TAG Linux initrd"}, slots(boot(t, in), 9)); d != "" {
		t.Errorf("PCR 9 without options (-want +got):\n%s", d)
	}
}

// A boot loader that is not known gives up what it may measure.
func TestUnknownLoader(t *testing.T) {
	p := boot(t, Input{
		Loader: LoaderUKI, UKI: File{"uki", ukiImage("quiet")}, BootLoaders: []File{{"tool", imagetest.Program(0x8664, 10, []byte{0xc3})}},
	})
	for _, i := range []int{4, 8, 9, 11, 12, 13, 14} {
		if c := p.Coverage[i]; c.Degree != None || !strings.Contains(c.Why, "tool") {
			t.Errorf("coverage of PCR %d = %+v, want none because of the tool", i, c)
		}
	}
}

// systemd-boot's entry: the path of the initial RAM disk is part of the command line.
func TestSystemdBootEntry(t *testing.T) {
	tagged := imagetest.ProgramOf(0x8664, 10, nil, section(".text", binary.LittleEndian.AppendUint32(nil, tagLoaderConf)),
		section(".sdmagic", []byte("#### LoaderInfo: systemd-boot 258 ####\x00")))
	in := Input{
		Loader: LoaderSystemdBoot, BootLoaders: []File{{"sd", tagged}}, Kernel: File{"linux", kernelImage()},
		Initrd: File{"/a/initrd", []byte("x")},
	}
	p := boot(t, in)
	want := digests(utf16z(`initrd=\a\initrd`))[pcr.SHA256]
	if e := find(t, p, 12, "EV_IPL kernel_cmdline"); !bytes.Equal(e.Digests[pcr.SHA256], want) {
		t.Errorf("command line = %+v, want %x", e, want)
	}
	if e := find(t, p, 5, "EV_EVENT_TAG systemd-boot configuration"); e.Required || e.Reason == "" {
		t.Errorf("configuration = %+v, want one that may be", e)
	}
	in.Initrd.Path = ""
	if e := find(t, boot(t, in), 12, "EV_IPL kernel_cmdline"); e.Reason == "" {
		t.Errorf("command line without the path = %+v, want a reason", e)
	}
	in.Initrd = File{}
	if p := boot(t, in); len(p.PCR(12)) != 0 || p.Coverage[12].Degree != Complete {
		t.Errorf("without options, PCR 12 = %+v, %+v, want nothing", p.PCR(12), p.Coverage[12])
	}
}

// U-Boot's digest equals Authenticode for an image without bytes between its parts, and leaves such bytes out
// otherwise.
func TestUBootDigests(t *testing.T) {
	plain := imagetest.Program(0x8664, 10, bytes.Repeat([]byte{1}, 1000))
	same := func(b []byte) bool {
		t.Helper()
		pe, err := pecoff.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		x, err := authenticode(pe)
		if err != nil {
			t.Fatal(err)
		}
		y, err := uBootDigests(b, pe)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Equal(x[pcr.SHA256], y[pcr.SHA256])
	}
	if !same(plain) || !same(imagetest.ProgramOf(0x8664, 10, make([]byte, 16), section(".text", []byte("x")))) {
		t.Error("digests of a plain image differ")
	}
	if !same(append(bytes.Clone(plain), make([]byte, 16)...)) {
		t.Error("digests of an image with bytes behind it differ")
	}
	moved := bytes.Clone(plain) // a gap of 512 bytes before the section
	l := layoutOf(moved)
	at := binary.LittleEndian.Uint32(moved[l.sections+20:])
	binary.LittleEndian.PutUint32(moved[l.sections+20:], at+512)
	moved = append(moved[:at:at], append(bytes.Repeat([]byte{7}, 512), moved[at:]...)...)
	if same(moved) {
		t.Error("digests of an image with a gap are equal")
	}
	short := append(bytes.Clone(plain), 0)
	binary.LittleEndian.PutUint32(short[l.sections+16:], uint32(len(short))-at)
	pe, err := pecoff.Parse(short)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := uBootDigests(short, pe); !errors.Is(err, ErrInput) || d != nil {
		t.Errorf("uBootDigests() of a section that reaches behind the end = %x, %v, want ErrInput", d, err)
	}
}

func TestDegree(t *testing.T) {
	for d, want := range map[Degree]string{None: "none", Partial: "partial", Complete: "complete"} {
		if got := d.String(); got != want {
			t.Errorf("Degree(%d).String() = %q, want %q", d, got, want)
		}
	}
}
