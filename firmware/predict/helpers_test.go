package predict

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// logs are the captured boots.
const logs = "../../testdata/eventlogs"

func readFile(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readLog(t testing.TB, name string) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Parse(readFile(t, logs, name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// cmdline returns what the captured kernel was given.
func cmdline(t testing.TB, name string) string {
	t.Helper()
	return strings.TrimSuffix(string(readFile(t, logs, name+".cmdline")), "\n")
}

// captured are the versions of the packages that the captured boots were made with.
var captured = map[string]string{
	"ovmf": "2022.11-6+deb12u2", "qemu-efi-aarch64": "2022.11-6+deb12u2", "u-boot-qemu": "2023.01+dfsg-2+deb12u3",
	"systemd-boot-efi": "252.39-1~deb12u2", "shim-signed": "1.51~1+deb12u1+16.1-2~deb12u1",
	"grub-efi-amd64-signed":            "1+2.06+13+deb12u2",
	"linux-image-6.1.0-56-cloud-amd64": "6.1.192-2",
	"linux-image-6.1.0-56-cloud-arm64": "6.1.192-2",
}

// packages reads files of distribution packages that were unpacked for boot tests.
type packages struct {
	t    testing.TB
	root string
}

// unpacked returns a set of packages: "x86" or "arm64". It skips the test if there is none or one of other versions.
func unpacked(t testing.TB, set string) packages {
	t.Helper()
	cache := os.Getenv("PROBITY_BOOT_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("no cache of packages: %v", err)
		}
		cache = filepath.Join(dir, "probity", "boot")
	}
	b, err := os.ReadFile(filepath.Join(cache, set, "set.json"))
	if err != nil {
		t.Skipf("no package set %q to compare with (PROBITY_BOOT_CACHE says where): %v", set, err)
	}
	var s struct {
		Packages []struct{ Name, Version string }
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Packages {
		if want, ok := captured[p.Name]; !ok || p.Version != want {
			t.Skipf("package %s has version %s, the boots were captured with %q", p.Name, p.Version, want)
		}
	}
	return packages{t, filepath.Join(cache, set, "root")}
}

func (p packages) read(path string) []byte {
	p.t.Helper()
	return readFile(p.t, p.root, path)
}

// seen is an event by which a prediction and a log differ.
type seen struct {
	PCR  int
	Slot string
}

// differ pairs the events of a log with those of a prediction, in the PCRs that it covers. It returns the events of the
// log that nothing matches, and the required ones that no event of the log matches.
func differ(p *Prediction, l *eventlog.Log) (unknown, missing []seen) {
	const bank = pcr.SHA256
	used := make([]bool, len(p.Events))
	for i := range l.Events {
		e := &l.Events[i]
		if !e.Extends() || p.Coverage[e.PCR].Degree == None {
			continue
		}
		k := slices.IndexFunc(indices(len(used)), func(k int) bool {
			x := &p.Events[k]
			return !used[k] && x.PCR == int(e.PCR) && x.Matches(e.Slot(), bank, e.Digest(bank))
		})
		if k < 0 {
			unknown = append(unknown, seen{int(e.PCR), e.Slot()})
			continue
		}
		used[k] = true
	}
	for k := range p.Events {
		if x := &p.Events[k]; !used[k] && x.Required {
			missing = append(missing, seen{x.PCR, x.Slot})
		}
	}
	return inOrder(unknown), inOrder(missing)
}

func inOrder(s []seen) []seen {
	slices.SortStableFunc(s, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.PCR, b.PCR), strings.Compare(a.Slot, b.Slot))
	})
	return s
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// boot predicts and checks what holds for every prediction.
func boot(t testing.TB, in Input) *Prediction {
	t.Helper()
	p, err := Boot(in)
	if err != nil {
		t.Fatalf("Boot() = %v", err)
	}
	checkPrediction(t, p)
	return p
}

func checkPrediction(t testing.TB, p *Prediction) {
	t.Helper()
	for _, e := range p.Events {
		if p.Coverage[e.PCR].Degree == None {
			t.Errorf("PCR %d is not covered and has the event %q", e.PCR, e.Slot)
		}
		if e.Note == "" || e.Slot == "" {
			t.Errorf("PCR %d, event %q: note %q, want both", e.PCR, e.Slot, e.Note)
		}
		if len(e.Digests) == 0 {
			if e.Reason == "" || e.SlotPattern != "" || !slices.Contains(p.Coverage[e.PCR].Slots, e.Slot) {
				t.Errorf("PCR %d, %q without digest: reason %q, pattern %q, covered as %v", e.PCR, e.Slot, e.Reason, e.SlotPattern,
					p.Coverage[e.PCR])
			}
			continue
		}
		if e.Reason != "" || len(e.Digests[pcr.SHA256]) != 32 || len(e.Digests[pcr.SHA384]) != 48 || len(e.Digests) != 2 {
			t.Errorf("PCR %d, %q has the digests %x and the reason %q", e.PCR, e.Slot, e.Digests, e.Reason)
		}
		if !e.Matches(e.Slot, pcr.SHA256, e.Digests[pcr.SHA256]) {
			t.Errorf("PCR %d, %q does not match itself (pattern %q)", e.PCR, e.Slot, e.SlotPattern)
		}
	}
	for i, c := range p.Coverage {
		if c.Degree != Complete && c.Why == "" || c.Degree == Partial != (len(c.Slots) > 0) {
			t.Errorf("coverage of PCR %d = %+v", i, c)
		}
	}
}

// find returns the only event of a slot.
func find(t testing.TB, p *Prediction, i int, slot string) Event {
	t.Helper()
	var out []Event
	for _, e := range p.PCR(i) {
		if e.Slot == slot {
			out = append(out, e)
		}
	}
	if len(out) != 1 {
		t.Fatalf("PCR %d has %d events %q, want 1", i, len(out), slot)
	}
	return out[0]
}

// section names a part of a program.
func section(name string, data []byte) imagetest.ProgramSection {
	return imagetest.ProgramSection{Name: name, Data: data}
}

// kernelImage builds what passes for a Linux kernel with an EFI stub that measures.
func kernelImage() []byte {
	code := append([]byte("\xeb\x3eHdrS"), make([]byte, 58)...)
	return imagetest.Program(0x8664, 10, append(code, nameOptions+"\x00"+nameInitrd+"\x00"...))
}

// ukiImage builds a unified kernel image in the way of systemd 252.
func ukiImage(cmdline string, more ...imagetest.ProgramSection) []byte {
	known := []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrsig", ".pcrpkey"}
	return imagetest.UKI("252.39-1~deb12u2", known, append([]imagetest.ProgramSection{
		section(".osrel", []byte("NAME=Lab\nID=lab\nVERSION_ID=1\n")), section(".cmdline", []byte(cmdline+"\x00")),
		section(".linux", kernelImage()),
	}, more...)...)
}

// systemdBootImage builds what passes for systemd-boot.
func systemdBootImage() []byte {
	return imagetest.ProgramOf(0x8664, 10, nil, section(".text", []byte{0xc3}),
		section(".sdmagic", []byte("#### LoaderInfo: systemd-boot 252.39-1~deb12u2 ####\x00")))
}

// debianScript is the configuration in the memory disk of Debian's signed GRUB.
const debianScript = `
if [ -z "$prefix" -o ! -e "$prefix" ]; then
	if ! search --file --set=root /.disk/info; then
		search --file --set=root /.disk/mini-info
	fi
	set prefix=($root)/boot/grub
fi
if [ -e $prefix/x86_64-efi/grub.cfg ]; then
	source $prefix/x86_64-efi/grub.cfg
elif [ -e $prefix/grub.cfg ]; then
	source $prefix/grub.cfg
else
	source $cmdpath/grub.cfg
fi
`

// grubImage64 builds a GRUB image with a prefix, a built-in configuration and a memory disk.
func grubImage64(prefix, config string, disk []byte) []byte {
	le := binary.LittleEndian
	mods := le.AppendUint64(le.AppendUint64([]byte("mimg\x00\x00\x00\x00"), 24), 0)
	for kind, content := range [][]byte{objectMemoryDisk: disk, objectConfig: []byte(config + "\x00"), objectPrefix: []byte(prefix + "\x00")} {
		if content == nil {
			continue
		}
		mods = le.AppendUint32(le.AppendUint32(mods, uint32(kind)), uint32(8+len(content)))
		mods = append(mods, content...)
	}
	le.PutUint64(mods[16:], uint64(len(mods)))
	return imagetest.ProgramOf(0x8664, 10, nil, section(".text", []byte{0xc3}), section("mods", mods))
}

// fatDisk builds a FAT12 file system with one file in its root folder, in every second cluster.
func fatDisk(name, content string) []byte {
	le := binary.LittleEndian
	const clusters = 8
	b := make([]byte, 512*(1+1+1+2*clusters))
	b[0] = 0xeb
	le.PutUint16(b[11:], 512)
	b[13], b[16] = 1, 1
	le.PutUint16(b[14:], 1)
	le.PutUint16(b[17:], 16) // entries of the root folder: one sector
	le.PutUint16(b[22:], 1)
	root := b[1024:]
	copy(root, name)
	root[11] = 0x20
	le.PutUint16(root[26:], 2)
	le.PutUint32(root[28:], uint32(len(content)))
	put := func(n, v int) { // entry n of the table
		at := 512 + n + n/2
		old := le.Uint16(b[at:])
		if n%2 != 0 {
			le.PutUint16(b[at:], old&0xf|uint16(v)<<4)
		} else {
			le.PutUint16(b[at:], old&0xf000|uint16(v))
		}
	}
	for n := 2; len(content) > 0; n += 2 {
		k := copy(b[1536+512*(n-2):][:512], content)
		if content = content[k:]; len(content) > 0 {
			put(n, n+2)
		} else {
			put(n, 0xfff)
		}
	}
	return b
}

// gptDisk builds the disk of the captured boots: one EFI system partition of so many sectors.
func gptDisk(sectors uint64) *bytes.Reader {
	const sector, start = 512, 2048
	le := binary.LittleEndian
	entries := make([]byte, 128*128)
	copy(entries, "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3blab-partition-01")
	le.PutUint64(entries[32:], start)
	le.PutUint64(entries[40:], start+sectors-1)
	copy(entries[56:], "E\x00S\x00P\x00")
	total := start + sectors + 40
	h := make([]byte, sector)
	copy(h, "EFI PART\x00\x00\x01\x00\x5c")
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[32:], total-1)
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], total-34)
	copy(h[56:], "lab-disk-0000001")
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	return bytes.NewReader(slices.Concat(make([]byte, sector), h, entries))
}
