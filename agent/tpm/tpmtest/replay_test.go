package tpmtest_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
)

const shared = "../../../../shared"

func readLog(t *testing.T, path string) *eventlog.Log {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: recorded boots are not beside this repository: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Parse(b)
	if err != nil {
		t.Fatalf("Parse(%s): %v", path, err)
	}
	return log
}

// TestReplayCorpus puts logs of real machines into a real TPM and compares with what an independent program replayed.
func TestReplayCorpus(t *testing.T) {
	dir := filepath.Join(shared, "corpus/eventlogs")
	index, err := os.ReadFile(filepath.Join(dir, "index.tsv"))
	if err != nil {
		t.Skipf("skipped: recorded boots are not beside this repository: %v", err)
	}
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	for _, line := range strings.Split(strings.TrimSpace(string(index)), "\n")[1:] {
		f := strings.Split(line, "\t")
		log := readLog(t, filepath.Join(dir, f[0]))
		alg, err := pcr.ParseAlgorithm(f[4])
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ReplayLog(log); errors.Is(err, tpmtest.ErrHCRTM) {
			t.Logf("%s: %v", f[0], err)
			continue
		} else if err != nil {
			t.Errorf("ReplayLog(%s): %v", f[0], err)
			continue
		}
		want := pcr.NewBank(alg)
		for _, p := range strings.Fields(f[5]) {
			i, v, _ := strings.Cut(p, "=")
			setPCR(t, want, i, v)
		}
		got, err := d.ReadPCRs(alg, want.Present())
		if err != nil {
			t.Fatalf("%s: ReadPCRs: %v", f[0], err)
		}
		if diff := cmp.Diff(want.Strings(), got.Strings()); diff != "" {
			t.Errorf("%s: PCRs (-want +got):\n%s", f[0], diff)
		}
	}
}

// TestReplayBoot puts a captured boot with its IMA list into a TPM: every PCR becomes what the machine's was.
func TestReplayBoot(t *testing.T) {
	dir := filepath.Join(shared, "lab/artefacts/direct-four-banks")
	log := readLog(t, filepath.Join(dir, "bios_measurements.bin"))
	list, err := os.ReadFile(filepath.Join(dir, "ima_binary.bin"))
	if err != nil {
		t.Fatal(err)
	}
	s := tpmtest.Start(t, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA1, pcr.SHA256, pcr.SHA384, pcr.SHA512}})
	if err := s.ReplayLog(log); err != nil {
		t.Fatal(err)
	}
	want := readBanks(t, filepath.Join(dir, "pcrs.txt"))
	d := s.TPM(t)
	const withoutIMA = pcr.Selection(0x3ff)
	for a, bank := range want {
		got, err := d.ReadPCRs(a, withoutIMA)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range withoutIMA.Indices() {
			if !bytes.Equal(got.Value(i), bank.Value(i)) {
				t.Errorf("%s PCR %d = %x, want %x", a, i, got.Value(i), bank.Value(i))
			}
		}
	}
	if err := tpmtest.ReplayIMA(s.Transport(t), list, ima.Recomputed); err != nil {
		t.Fatal(err)
	}
	for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA256} { // FACTS: IMA pads SHA-1 in the other banks of this kernel
		got, err := d.ReadPCRs(a, pcr.Select(ima.PCR))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Value(ima.PCR), want[a].Value(ima.PCR)) {
			t.Errorf("%s PCR 10 = %x, want %x", a, got.Value(ima.PCR), want[a].Value(ima.PCR))
		}
	}
}

func TestHCRTM(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	if err := s.Boot(tpmtest.Boot{HCRTM: []byte("root of trust")}); err != nil {
		t.Fatal(err)
	}
	got, err := s.TPM(t).ReadPCRs(pcr.SHA256, pcr.Select(0))
	if err != nil {
		t.Fatal(err)
	}
	want := pcr.NewBank(pcr.SHA256)
	start := make([]byte, 32)
	start[31] = 4
	h := pcr.SHA256.New()
	h.Write([]byte("root of trust"))
	if err := errors.Join(want.Set(0, start), want.Extend(0, h.Sum(nil))); err != nil {
		t.Fatal(err)
	}
	if !got.Equal(want) {
		t.Errorf("PCR 0 after H-CRTM = %v, want %v", got.Strings(), want.Strings())
	}
}

func TestReplayNeedsABank(t *testing.T) {
	log := readLog(t, filepath.Join(shared, "corpus/eventlogs/gce-debian10-sha1-only.bin"))
	s := tpmtest.Start(t, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA384}})
	if err := s.ReplayLog(log); !errors.Is(err, tpmtest.ErrBank) {
		t.Errorf("ReplayLog of a SHA-1 log on a SHA-384 TPM: %v, want ErrBank", err)
	}
}

func readBanks(t *testing.T, path string) map[pcr.Algorithm]*pcr.Bank {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := make(map[pcr.Algorithm]*pcr.Bank)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		w := strings.Fields(sc.Text())
		a, err := pcr.ParseAlgorithm(w[0])
		if err != nil {
			t.Fatal(err)
		}
		if out[a] == nil {
			out[a] = pcr.NewBank(a)
		}
		setPCR(t, out[a], w[1], w[2])
	}
	return out
}

func setPCR(t *testing.T, b *pcr.Bank, index, value string) {
	t.Helper()
	i, err := strconv.Atoi(index)
	if err != nil {
		t.Fatal(err)
	}
	v, err := hex.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set(i, v); err != nil {
		t.Fatal(err)
	}
}
