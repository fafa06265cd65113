package shipment

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
)

const eventlogs = "../../testdata/eventlogs"

func about() manifest.Manifest {
	return manifest.Manifest{
		ID: "acme/r7/2.5.0", Vendor: "Acme", Model: "R7", Version: "2.5.0", SVN: 7, MinSVN: 5,
		NotBefore: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC),
	}
}

func readFile(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// capturedLog is a boot that was captured, with the values of its TPM.
func capturedLog(t testing.TB, name string) Log {
	t.Helper()
	banks := map[string]*pcr.Bank{}
	for line := range strings.Lines(string(readFile(t, eventlogs, name+".pcrs"))) {
		f := strings.Fields(line)
		a, err := pcr.ParseAlgorithm(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if banks[f[0]] == nil {
			banks[f[0]] = pcr.NewBank(a)
		}
		value, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		var i int
		for _, c := range f[1] {
			i = 10*i + int(c-'0')
		}
		if err := banks[f[0]].Set(i, value); err != nil {
			t.Fatal(err)
		}
	}
	log := Log{Name: name, Content: readFile(t, eventlogs, name+".bin")}
	for _, b := range banks {
		log.PCRs = append(log.PCRs, b)
	}
	return log
}

// uki is a unified kernel image on a generated stub.
func uki(cmdline string) []byte {
	section := func(name string, data []byte) imagetest.ProgramSection {
		return imagetest.ProgramSection{Name: name, Data: data}
	}
	kernel := imagetest.Program(0x8664, 10, []byte("LOADED_IMAGE::LoadOptions Linux initrd"))
	return imagetest.UKI("252.39-1", []string{".linux", ".osrel", ".cmdline", ".initrd"}, section(".osrel", []byte("ID=lab\n")),
		section(".cmdline", []byte(cmdline)), section(".initrd", []byte("initrd")), section(".linux", kernel))
}

func ukiInput(cmdline string) *predict.Input {
	return &predict.Input{UKI: predict.File{Path: `\EFI\BOOT\BOOTX64.EFI`, Content: uki(cmdline)}}
}

func layout(t testing.TB, text string) *flash.Layout {
	t.Helper()
	l, err := flash.ParseLayout([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func image(b []byte) Image { return Image{Content: bytes.NewReader(b), Size: uint64(len(b))} }

// build makes a manifest, which must survive its encoding.
func build(t testing.TB, in Input) (*manifest.Manifest, *Report) {
	t.Helper()
	m, r, err := Build(context.Background(), in)
	if err != nil {
		t.Fatalf("Build() = %v", err)
	}
	b, err := manifest.Encode(m)
	if err != nil {
		t.Fatalf("Encode(Build()) = %v", err)
	}
	again, err := manifest.Decode(b)
	if diff := cmp.Diff(m, again); err != nil || diff != "" {
		t.Fatalf("Decode(Encode(Build())) = %v (-want +got):\n%s", err, diff)
	}
	return m, r
}

// register returns a PCR of a manifest, nil if it has none.
func registerOf(m *manifest.Manifest, i int) *manifest.PCR {
	for k := range m.PCRs {
		if m.PCRs[k].Index == i {
			return &m.PCRs[k]
		}
	}
	return nil
}

// coverages are the degrees of all PCRs, by index.
func coverages(r *Report) map[int]string {
	out := map[int]string{}
	for _, p := range r.PCRs {
		if p.Coverage != "none" {
			out[p.Index] = p.Coverage + ", " + p.Origin
		}
	}
	return out
}
