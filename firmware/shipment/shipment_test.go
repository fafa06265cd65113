package shipment

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
)

const testLayout = `regions:
  - name: nvram
    source: mtd:bios
    length: 64KiB
    exclude: [{offset: 0x100, length: 0x200, reason: NVRAM variables}, {offset: 0x400, length: 6}]
  - name: code
    source: mtd:bios
    offset: 64KiB
`

func tarOf(t testing.TB, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(name)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// All that a vendor ships, generated.
func TestBuild(t *testing.T) {
	fw, err := imagetest.Firmware(imagetest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]bool{}
	in := Input{
		About: about(), Boot: ukiInput("quiet"), Layout: layout(t, testLayout), Images: []Image{image(fw)},
		RootFS:   []string{tarOf(t, "usr/bin/a", "usr/bin/b")},
		Progress: func(p Progress) { steps[p.Step] = true },
	}
	in.Boot.Firmware = fw
	m, r := build(t, in)

	if len(m.Files) != 2 || r.RootFS.Listed != 2 {
		t.Errorf("files = %v, report %+v, want 2", m.Files, r.RootFS)
	}
	masked := bytes.Clone(fw[:64<<10])
	for _, x := range [][2]int{{0x100, 0x200}, {0x400, 6}} {
		copy(masked[x[0]:x[0]+x[1]], bytes.Repeat([]byte{0xff}, x[1]))
	}
	digest := func(b []byte) manifest.Digests {
		d := sha256.Sum256(b)
		return manifest.Digests{{Algorithm: pcr.SHA256, Value: d[:]}}
	}
	want := []manifest.Region{
		{Name: "nvram", Length: 64 << 10, Digests: digest(masked), Excluded: []manifest.Range{
			{Offset: 0x100, Length: 0x200, Reason: "NVRAM variables"}, {Offset: 0x400, Length: 6, Reason: noReason},
		}},
		{Name: "code", Offset: 64 << 10, Length: 192 << 10, Digests: digest(fw[64<<10:])},
	}
	if diff := cmp.Diff(want, m.Regions); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	if p := registerOf(m, 11); p == nil || p.Coverage != manifest.Complete || len(p.Events) != 8 {
		t.Errorf("PCR 11 = %+v, want 8 events, complete", p)
	}
	if p := registerOf(m, 13); p == nil || p.Coverage != manifest.Complete || len(p.Events) != 0 ||
		!cmp.Equal(p.Values, []manifest.Digests{untouched}) {
		t.Errorf("PCR 13, into which nothing is measured, = %+v, want the value that it starts with", p)
	}
	if p := registerOf(m, 0); p != nil {
		t.Errorf("PCR 0 of an unknown firmware = %+v, want nothing", p)
	}
	for _, p := range r.PCRs {
		if p.Coverage == "none" && (p.Why == "" || p.Events > 0 || p.Origin != "") {
			t.Errorf("report of PCR %d = %+v", p.Index, p)
		}
	}
	if len(r.PCRs) != 15 {
		t.Errorf("the report has %d PCRs, want 15", len(r.PCRs))
	}
	for _, step := range []string{"boot chain", "flash region nvram", "flash region code", "root file system " + in.RootFS[0]} {
		if !steps[step] {
			t.Errorf("no progress of %q in %v", step, steps)
		}
	}
	again, _ := build(t, in)
	a, _ := manifest.Encode(m)
	if b, _ := manifest.Encode(again); !bytes.Equal(a, b) {
		t.Error("the same input made two manifests")
	}
}

func TestBuildErrors(t *testing.T) {
	two := testLayout + "  - name: env\n    source: mtd:env\n"
	flashed := []Image{image(make([]byte, 128<<10))}
	for want, in := range map[string]Input{
		"nothing to make it of":           {About: about()},
		"id: missing":                     {Boot: ukiInput("")},
		"deny-list":                       {About: manifest.Manifest{Advisory: "x"}},
		"stated already":                  {About: manifest.Manifest{Files: make([]manifest.File, 1)}},
		"without a layout":                {About: about(), Images: flashed},
		"layout without a flash image":    {About: about(), Boot: ukiInput(""), Layout: layout(t, testLayout)},
		"say with each image":             {About: about(), Layout: layout(t, two), Images: flashed},
		"no region of it":                 {About: about(), Layout: layout(t, testLayout), Images: []Image{{Source: flash.Source{Kind: flash.MTD, Name: "x"}}}},
		"two images":                      {About: about(), Layout: layout(t, two), Images: []Image{{Source: flash.Source{Kind: flash.MTD, Name: "env"}}, {Source: flash.Source{Kind: flash.MTD, Name: "env"}}}},
		"outside":                         {About: about(), Layout: layout(t, testLayout), Images: []Image{image(make([]byte, 64<<10))}},
		"the loader is not stated":        {About: about(), Boot: &predict.Input{Kernel: predict.File{Content: uki("")}}},
		"from a log, but there is none":   {About: about(), Boot: ukiInput(""), FromLogs: 1},
		"boot log x: boot event log":      {About: about(), Logs: []Log{{Name: "x", Content: []byte("no log")}}},
		"root file system /nowhere/there": {About: about(), RootFS: []string{"/nowhere/there"}},
	} {
		m, r, err := Build(context.Background(), in)
		if err == nil || !strings.Contains(err.Error(), want) || m != nil || r != nil {
			t.Errorf("Build() = %v, %v, %v, want an error with %q", m, r, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Build(ctx, Input{About: about(), Boot: ukiInput("")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Build() after the end = %v", err)
	}
}

func TestImageBySource(t *testing.T) {
	l := layout(t, testLayout+"  - name: env\n    source: mtd:env\n  - name: modem\n    source: file:/lib/firmware/*.bin\n")
	env := image([]byte("environment"))
	env.Source = flash.Source{Kind: flash.MTD, Name: "env"}
	m, r := build(t, Input{About: about(), Layout: l, Images: []Image{env}})
	if len(m.Regions) != 1 || m.Regions[0].Name != "env" || m.Regions[0].Length != 11 {
		t.Errorf("regions = %+v, want env", m.Regions)
	}
	for i, want := range []string{"no image of mtd:bios was given", "no image of mtd:bios was given", "", "no image of file:/lib/firmware/*.bin was given"} {
		if got := r.Regions[i].Left; got != want {
			t.Errorf("region %s: left out because %q, want %q", r.Regions[i].Name, got, want)
		}
	}
}

// A manifest from logs alone, verified and not.
func TestLogs(t *testing.T) {
	log := capturedLog(t, "uki")
	m, r := build(t, Input{About: about(), Logs: []Log{log}})
	for i, want := range map[int]string{0: "complete, log", 1: "informative, log", 4: "complete, log", 5: "informative, log", 7: "complete, log", 11: "complete, log"} {
		if got := coverages(r)[i]; got != want {
			t.Errorf("PCR %d: %s, want %s", i, got, want)
		}
	}
	if p := registerOf(m, 10); p != nil {
		t.Errorf("PCR 10 = %+v, want none", p)
	}
	if got := r.Logs[0].Verified; len(got) == 0 || r.Logs[0].Used == 0 {
		t.Errorf("Verified = %v, %d used", got, r.Logs[0].Used)
	}
	if !strings.Contains(registerOf(m, 4).Note, "which leads to the PCR values of its TPM") {
		t.Errorf("note of PCR 4 = %q", registerOf(m, 4).Note)
	}
	if !slices.ContainsFunc(registerOf(m, 4).Events, func(e manifest.Event) bool { return strings.HasPrefix(e.Note, "boot application ") }) {
		t.Errorf("no event of PCR 4 says that it is a boot application: %+v", registerOf(m, 4).Events)
	}
	log.PCRs = nil
	m, r = build(t, Input{About: about(), Logs: []Log{log}})
	if len(r.Logs[0].Verified) > 0 || !strings.Contains(registerOf(m, 4).Note, "not compared with PCR values") {
		t.Errorf("a log without values: Verified = %v, note %q", r.Logs[0].Verified, registerOf(m, 4).Note)
	}
	// What only one of two boots measured is allowed, but not required.
	m, _ = build(t, Input{About: about(), Logs: []Log{log, capturedLog(t, "systemd-boot")}})
	required := map[bool]int{}
	for _, e := range registerOf(m, 11).Events {
		required[e.Required]++
	}
	if required[true] > 0 || required[false] == 0 {
		t.Errorf("PCR 11 of a boot with and one without systemd-stub: required %v", required)
	}
}

func TestLogMismatch(t *testing.T) {
	log := capturedLog(t, "uki")
	for _, bank := range log.PCRs {
		if err := bank.Set(4, make([]byte, bank.Algorithm().Size())); err != nil {
			t.Fatal(err)
		}
	}
	m, r := build(t, Input{About: about(), Logs: []Log{log}})
	if diff := cmp.Diff([]int{4}, r.Logs[0].Ignored); diff != "" || registerOf(m, 4) != nil {
		t.Errorf("ignored PCRs (-want +got):\n%s\nPCR 4: %+v", diff, registerOf(m, 4))
	}
	other := capturedLog(t, "arm64-uboot-uki")
	other.Content = log.Content
	for _, bank := range other.PCRs {
		for i := range 15 {
			if err := bank.Set(i, make([]byte, bank.Algorithm().Size())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := Build(context.Background(), Input{About: about(), Logs: []Log{other}}); err == nil ||
		!strings.Contains(err.Error(), "of another boot") {
		t.Errorf("Build() with values of another boot = %v", err)
	}
	sha1 := pcr.NewBank(pcr.SHA1)
	log.PCRs = []*pcr.Bank{sha1}
	if _, _, err := Build(context.Background(), Input{About: about(), Logs: []Log{log}}); err == nil ||
		!strings.Contains(err.Error(), "other banks") {
		t.Errorf("Build() with values of SHA-1 only = %v", err)
	}
}

// captured are the packages of the captured boots; the test is skipped without them.
func captured(t *testing.T, path string) []byte {
	t.Helper()
	cache := os.Getenv("PROBITY_BOOT_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("SKIPPED: no cache of packages: %v", err)
		}
		cache = filepath.Join(dir, "probity", "boot")
	}
	b, err := os.ReadFile(filepath.Join(cache, "x86", "set.json"))
	if err != nil {
		t.Skipf("SKIPPED: no packages of the captured boots (PROBITY_BOOT_CACHE says where): %v", err)
	}
	var set struct {
		Packages []struct{ Name, Version string }
	}
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Packages {
		if want := map[string]string{"ovmf": "2022.11-6+deb12u2", "systemd-boot-efi": "252.39-1~deb12u2"}[p.Name]; want != "" && want != p.Version {
			t.Skipf("SKIPPED: package %s has version %s, the boot was captured with %s", p.Name, p.Version, want)
		}
	}
	return readFile(t, cache, "x86", "root", path)
}

// Images of a real boot and its log: the log fills what the images leave open, and shows what they contradict.
func TestImagesAndLog(t *testing.T) {
	in := Input{About: about(), Logs: []Log{capturedLog(t, "systemd-boot")}, Boot: &predict.Input{
		Firmware:  captured(t, "usr/share/OVMF/OVMF_CODE_4M.fd"),
		Variables: captured(t, "usr/share/OVMF/OVMF_VARS_4M.fd"),
		Loader:    predict.LoaderSystemdBoot,
		BootLoaders: []predict.File{
			{Path: `\EFI\BOOT\BOOTX64.EFI`, Content: captured(t, "usr/lib/systemd/boot/efi/systemd-bootx64.efi")},
		},
		Kernel: predict.File{Path: `\lab\linux`, Content: captured(t, "boot/vmlinuz-6.1.0-56-cloud-amd64")},
		Initrd: predict.File{Path: `\lab\initrd`, Content: []byte("another")},
		Cmdline: strings.TrimPrefix(strings.TrimSuffix(string(readFile(t, eventlogs, "systemd-boot.cmdline")), "\n"),
			`initrd=\lab\initrd `),
	}}
	m, r := build(t, in)
	want := map[int]string{0: "complete, images and log", 1: "informative, log", 4: "complete, images", 5: "partial, images"}
	for i, w := range want {
		if got := coverages(r)[i]; got != w {
			t.Errorf("PCR %d: %s, want %s", i, got, w)
		}
	}
	var got []string
	for _, d := range r.Logs[0].Differences {
		got = append(got, fmt.Sprintf("%d %s", d.PCR, d.Slot))
	}
	initrd := "9 EV_EVENT_TAG Linux initrd"
	if diff := cmp.Diff([]string{initrd, initrd}, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if n := len(registerOf(m, 9).Events); n != 2 {
		t.Errorf("PCR 9 has %d events, want the predicted 2", n)
	}
	in.FromLogs = pcr.Select(9)
	m, r = build(t, in)
	if n := len(registerOf(m, 9).Events); n != 3 || coverages(r)[9] != "complete, images and log" {
		t.Errorf("PCR 9 with the log's events has %d, %s, want 3", n, coverages(r)[9])
	}
	in.Logs, in.FromLogs = nil, 0
	if _, r = build(t, in); coverages(r)[0] != "partial, images" || !strings.Contains(r.PCRs[0].Why, "memory") {
		t.Errorf("PCR 0 without a log: %+v", r.PCRs[0])
	}
}
